"""The rule in freqtrade's backtesting.

Belongs here: that package's own way to say the rule; no exchange is asked: the market is written down here.
Signals of a bar's close are traded at the next bar's open; stop and take-profit are one fraction of the entry
price each (a stop-loss and a "return on investment"), and nothing pays funding.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import freqtrade
import pandas as pd
from freqtrade.enums import CandleType, RunMode
from freqtrade.optimize.backtesting import Backtesting
from freqtrade.resolvers import ExchangeResolver
from peer_file import RuleFile, tell

FILE = RuleFile.read()
PAIR = "BTC/USDC:USDC"
STRATEGY = """
from freqtrade.strategy import IStrategy

class Rule(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    can_short = True
    stoploss = -0.005
    minimal_roi = {"0": 0.01}
    process_only_new_candles = True
    startup_candle_count = 0
    size_base = 1.0

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = (dataframe["side"] > 0).astype(int)
        dataframe["enter_short"] = (dataframe["side"] < 0).astype(int)
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe["exit_long"] = (dataframe["side"] < 0).astype(int)
        dataframe["exit_short"] = (dataframe["side"] > 0).astype(int)
        return dataframe

    def custom_stake_amount(self, pair, current_time, current_rate, **kwargs):
        return current_rate * self.size_base
"""
MARKET: dict[str, Any] = {
    "id": "0",
    "symbol": PAIR,
    "base": "BTC",
    "quote": "USDC",
    "settle": "USDC",
    "type": "swap",
    "spot": False,
    "swap": True,
    "future": False,
    "linear": True,
    "inverse": False,
    "contract": True,
    "contractSize": 1.0,
    "active": True,
    "precision": {"amount": 1e-5, "price": 0.01},
    "limits": {
        "amount": {"min": None, "max": None},
        "price": {"min": None, "max": None},
        "cost": {"min": 10.0, "max": None},
        "leverage": {"min": 1, "max": 40},
    },
    "info": {},
}


def configuration(folder: Path) -> dict[str, Any]:
    """Isolated futures on a dry run of one pair."""
    (folder / "rule.py").write_text(STRATEGY, encoding="utf-8")
    given: dict[str, Any] = {
        "strategy": "Rule",
        "strategy_path": str(folder),
        "user_data_dir": folder,
        "datadir": folder,
        "exportdirectory": folder,
        "timeframe": "1m",
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "stake_currency": "USDC",
        "stake_amount": "unlimited",
        "dry_run_wallet": FILE.deposit_usd,
        "max_open_trades": 1,
        "fee": FILE.fee_rate,
        "dry_run": True,
        "dataformat_ohlcv": "feather",
        "exchange": {"name": "hyperliquid", "pair_whitelist": [PAIR], "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}],
        "entry_pricing": {"price_side": "same", "use_order_book": False},
        "exit_pricing": {"price_side": "same", "use_order_book": False},
    }
    return given | {
        "candle_type_def": CandleType.FUTURES,
        "runmode": RunMode.BACKTEST,
        "original_config": given,
    }


def candles() -> pd.DataFrame:
    """The file's bars and decisions."""
    frame = pd.DataFrame({"date": pd.to_datetime(FILE.open_time_ms, unit="ms", utc=True)})
    for name in ("open", "high", "low", "close", "volume", "side"):
        frame[name] = getattr(FILE, name)
    return frame


def main() -> None:
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory() as folder:
        config = configuration(Path(folder))
        exchange = ExchangeResolver.load_exchange(config, validate=False, load_leverage_tiers=False)
        exchange._markets = {PAIR: MARKET}  # noqa: SLF001 (else it asks the exchange)
        test = Backtesting(config, exchange)
        test.progress = None
        test.funding_fee_timeframe_secs = 3600
        test.futures_data = {PAIR: pd.DataFrame(columns=["date", "open_fund", "open_mark"])}
        test._set_strategy(test.strategylist[0])  # noqa: SLF001 (else it reads candles from its own files)
        test.strategy.size_base = FILE.size_base
        frames = test.strategy.advise_all_indicators({PAIR: candles()})
        began, ended = (datetime.fromtimestamp(ms / 1000, UTC) for ms in FILE.open_time_ms[[0, -1]].tolist())

        def run() -> tuple[int, float]:
            found = test.backtest(processed=frames, start_date=began, end_date=ended)
            return len(found["results"]), float(found["final_balance"])

        tell(FILE, freqtrade.__version__, run)


if __name__ == "__main__":
    main()
