"""The rule in backtesting.py.

Belongs here: that package's own way to say the rule. Orders of a bar's close fill at the next bar's open, a
position is closed and the other one opened there; the year's statistics are part of its run.
"""

import warnings
from typing import Any

import backtesting
import pandas as pd
from backtesting import Backtest, Strategy
from peer_file import RuleFile, tell

FILE = RuleFile.read()
SIDE, STOP, PROFIT = (each.tolist() for each in (FILE.side, FILE.stop_px, FILE.take_profit_px))


class Rule(Strategy):
    """Obeys the decisions of the file."""

    def init(self) -> None:
        """Nothing is computed: the decisions stand in the file."""

    def next(self) -> None:
        """After each bar's close."""
        row = len(self.data) - 1
        side = SIDE[row]
        if not side:
            return
        self.position.close()
        send = self.buy if side > 0 else self.sell
        send(size=FILE.size_base, sl=STOP[row], tp=PROFIT[row])


def main() -> None:
    columns = {
        "Open": FILE.open,
        "High": FILE.high,
        "Low": FILE.low,
        "Close": FILE.close,
        "Volume": FILE.volume,
    }
    frame = pd.DataFrame(columns, index=pd.to_datetime(FILE.open_time_ms, unit="ms"))
    test = Backtest(
        frame, Rule, cash=FILE.deposit_usd, commission=FILE.fee_rate, margin=1 / 20, finalize_trades=True
    )

    def run() -> tuple[int, float]:
        found: Any = test.run()
        return int(found["# Trades"]), float(found["Equity Final [$]"])

    tell(FILE, backtesting.__version__, run)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
