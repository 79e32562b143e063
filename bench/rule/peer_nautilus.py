"""The rule in nautilus_trader's backtest engine.

Belongs here: that package's own way to say the rule. Orders of a bar's close fill at that close; stop and
take-profit are a bracket, the take-profit a resting limit order.
"""

from decimal import Decimal

import nautilus_trader
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import BacktestEngineConfig, LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy
from peer_file import RuleFile, tell

FILE = RuleFile.read()
VENUE = Venue("SIM")
NS_PER_MINUTE = 60_000_000_000


def perpetual() -> CryptoPerpetual:
    """A linear perpetual with the fee of the file on either side of the book."""
    fee = Decimal(str(FILE.fee_rate))
    symbol = Symbol("BTCUSDT-PERP")
    return CryptoPerpetual(
        instrument_id=InstrumentId(symbol, VENUE),
        raw_symbol=symbol,
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=2,
        size_precision=5,
        price_increment=Price(0.01, 2),
        size_increment=Quantity(0.00001, 5),
        margin_init=Decimal("0.05"),
        margin_maint=Decimal("0.025"),
        maker_fee=fee,
        taker_fee=fee,
        ts_event=0,
        ts_init=0,
    )


class Rule(Strategy):
    """Obeys the decisions of the file, by the time of the bar that decided them."""

    def __init__(self, instrument: CryptoPerpetual, bar_type: BarType) -> None:
        super().__init__()
        self.instrument = instrument
        self.bar_type = bar_type
        self.size = instrument.make_qty(FILE.size_base)
        rows = FILE.side.nonzero()[0]
        self.decisions = {
            int(FILE.open_time_ms[row]) * 1_000_000 + NS_PER_MINUTE: (
                OrderSide.BUY if FILE.side[row] > 0 else OrderSide.SELL,
                instrument.make_price(FILE.stop_px[row]),
                instrument.make_price(FILE.take_profit_px[row]),
            )
            for row in rows
        }

    def on_start(self) -> None:
        """Ask for the bars."""
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar: Bar) -> None:
        """After each bar's close."""
        decision = self.decisions.get(bar.ts_event)
        if decision is None:
            return
        side, stop_px, take_profit_px = decision
        self.cancel_all_orders(self.instrument.id)
        self.close_all_positions(self.instrument.id)
        bracket = self.order_factory.bracket(
            instrument_id=self.instrument.id,
            order_side=side,
            quantity=self.size,
            sl_trigger_price=stop_px,
            tp_price=take_profit_px,
        )
        self.submit_order_list(bracket)


def bars(bar_type: BarType) -> list[Bar]:
    """The file's bars, stamped with their close."""
    columns = (FILE.open_time_ms, FILE.open, FILE.high, FILE.low, FILE.close, FILE.volume)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [_bar(bar_type, *row) for row in rows]


def _bar(bar_type: BarType, opened_ms: int, *values: float) -> Bar:
    *prices, volume = values
    closed_ns = opened_ms * 1_000_000 + NS_PER_MINUTE
    return Bar(bar_type, *(Price(px, 2) for px in prices), Quantity(volume, 5), closed_ns, closed_ns)


def main() -> None:
    instrument = perpetual()
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.HEDGING,  # each trade a position of its own: faster than one that is opened again
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(FILE.deposit_usd, USDT)],
        default_leverage=Decimal(20),
    )
    engine.add_instrument(instrument)
    engine.add_data(bars(bar_type))
    engine.add_strategy(Rule(instrument, bar_type))

    def run() -> tuple[int, float]:
        engine.run()
        equity_usd = float(engine.portfolio.account(VENUE).balance_total(USDT).as_double())
        return engine.cache.positions_total_count(), equity_usd

    tell(FILE, nautilus_trader.__version__, run)


if __name__ == "__main__":
    main()
