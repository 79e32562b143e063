"""How fast the simulated exchange walks candles that reach nothing, and what aligning them costs.

Belongs here: ``walk_bars`` over a year of minutes. Does not belong here: the backtest around it.
"""

from decimal import Decimal

from bench.candles import FIRST_PX, SYMBOLS, walk
from bench.measure import Figure, Laps, Result, peak_rss_mb, time_calls
from wonttrade_dagster.adapters.replay import default_assets
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    BarTable,
    ExchangeState,
    OrderRequest,
    Slippage,
    Tif,
    Trigger,
    VenueRules,
    bar_quote,
    open_account,
    place_order,
    walk_bars,
)

ROUNDS = 5
FROM_MS = 1_748_736_000_000
_NO_SLIPPAGE = Slippage()


def run(count: int, seed: int) -> Result:
    """``count`` one-minute bars of one symbol and of two, each with a position, a stop and a take-profit."""
    rules = VenueRules(default_assets(SYMBOLS))
    frames = {symbol: walk(symbol, FROM_MS, count, 1, seed) for symbol in SYMBOLS}
    aligning = time_calls(lambda: BarTable.of(frames), ROUNDS, warm_up=1)
    one = _walking(BarTable.of({"BTC": frames["BTC"]}), rules)
    two = _walking(BarTable.of(frames), rules)
    figures = (
        _rate("bars_per_second", one, count),
        _rate("bars_per_second_two_symbols", two, count),
        Figure.of("walk", one),
        Figure.of("align_two_symbols", aligning),
    )
    ratios = {"two_symbols_to_one": figures[1].median / figures[0].median}
    facts = {"rounds": ROUNDS, "standing_orders_per_symbol": 2, "peak_rss_mb": peak_rss_mb()}
    return Result(figures, ratios, facts)


def _walking(table: BarTable, rules: VenueRules) -> Laps:
    state = _opened(table, rules)

    def walk_all() -> None:
        _, events = walk_bars(state, table, rules, _NO_SLIPPAGE)
        if events:
            raise WontTradeError("an order was reached that should have stood: nothing was measured")

    return time_calls(walk_all, ROUNDS, warm_up=1)


def _opened(table: BarTable, rules: VenueRules) -> ExchangeState:
    """A small long position in every symbol, its exits just beyond everything that will happen."""
    state = open_account(Decimal(1_000_000), FROM_MS)
    for symbol, columns in table.columns.items():
        px = Decimal(FIRST_PX[symbol])
        buy = OrderRequest(symbol, is_buy=True, size_base=Decimal("0.1"), limit_px=px, tif=Tif.IOC)
        state = _sent(state, buy, px, rules)
        for leg, trigger in (
            (Leg.STOP_LOSS, Decimal(repr(min(columns.low))) * Decimal("0.9")),
            (Leg.TAKE_PROFIT, Decimal(repr(max(columns.high))) * Decimal("1.1")),
        ):
            trigger_px = trigger.quantize(Decimal(1))
            order = OrderRequest(
                symbol,
                is_buy=False,
                size_base=Decimal("0.1"),
                limit_px=(trigger_px * Decimal("0.9")).quantize(Decimal(1)),
                reduce_only=True,
                trigger=Trigger(trigger_px, is_market=True, leg=leg),
            )
            state = _sent(state, order, px, rules)
    return state


def _sent(state: ExchangeState, order: OrderRequest, px: Decimal, rules: VenueRules) -> ExchangeState:
    quotes = {order.symbol: bar_quote(order.symbol, px, rules, _NO_SLIPPAGE)}
    state, outcome = place_order(state, order, quotes, rules, FROM_MS)
    if outcome.error is not None:
        raise WontTradeError(f"the benchmark's own order was refused: {outcome.error}")
    return state


def _rate(name: str, laps: Laps, bars: int) -> Figure:
    per_second, cpu = ([1000 * bars / ms for ms in each] for each in (laps.wall_ms, laps.cpu_ms))
    return Figure(name, "bars/s", per_second, cpu, is_rate=True)
