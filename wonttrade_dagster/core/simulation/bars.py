"""What happens inside a candle, between two decisions.

Belongs here: the assumed path of the price through a bar and the events along it.
Does not belong here: finding the bars that matter (``watch``), booking (``matching``, ``liquidation``).

A candle does not say in which order its extremes came. The path assumed here is the worst one for what is
held: open, then the extreme against the position, then the other one, then the close. So:

- a bar that opens beyond a stop fills it at the open, never at the stop; a take-profit that the open has
  jumped over still fills at its own price, not better;
- if both a stop and a take-profit lie inside, the stop wins;
- stop and liquidation come in the order of their prices on the way; on a jump liquidation comes first;
- the bar that follows an entry counts from its open on;
- with several symbols all opens come first, then each symbol's bad way in turn while the ones before stand at
  their worst (cross margin sees the worst of all together), then the good ways, then the closes;
- a resting order fills, at its own price, only when the bar trades through it, not on a touch.

The mark is the traded price (history knows no mark). Fired triggers and liquidations pay the slippage on top
(by the bar that they happen in; a liquidation in parts as if it were whole) and are rounded to the tick
against the account; depth is unlimited.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.precision import PriceRounding, round_price, tick_px
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.simulation.bar_table import Bar, BarTable
from wonttrade_dagster.core.simulation.events import Event
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.liquidation import liquidate
from wonttrade_dagster.core.simulation.margin import ONE, is_any_below_maintenance, liquidation_px
from wonttrade_dagster.core.simulation.marks import is_reached, stops_first
from wonttrade_dagster.core.simulation.matching import Step, fill_resting, fire, reducible_base
from wonttrade_dagster.core.simulation.quotes import bar_quote, with_slippage
from wonttrade_dagster.core.simulation.records import (
    ExchangeState,
    Quote,
    StandingOrder,
    VenueRules,
)
from wonttrade_dagster.core.simulation.slippage import Slippage, Taking
from wonttrade_dagster.core.simulation.watch import first_touched, watch


def walk_bar(state: ExchangeState, symbol: str, bar: Bar, rules: VenueRules, slippage: Slippage) -> Step:
    """Walk one candle of one symbol; the marks of the others stand still."""
    state, events = _walk(state, {symbol: bar}, rules, slippage)
    return state, events


def walk_bars(
    state: ExchangeState,
    table: BarTable,
    rules: VenueRules,
    slippage: Slippage,
    start: int = 0,
    stop: int | None = None,
) -> Step:
    """Walk the bars ``[start, stop)`` of ``table``, all symbols together, oldest first.

    Bars that reach no trigger, no resting order and no liquidation are only compared. Afterwards the marks
    are the last closes and the time is just after the last bar's open (a bar does not know when it ends).
    """
    end = len(table.open_time_ms) if stop is None else stop
    events: tuple[Event, ...] = ()
    index = start
    while index < end:
        if index > start:
            state = _stand(state, table, index - 1)
        index = first_touched(watch(state, table, rules), table, index, end)
        if index < end:
            state, more = _walk(state, _bars(table, index), rules, slippage)
            events += more
            index += 1
    return (_stand(state, table, end - 1) if end > start else state), events


def walk_opens(
    state: ExchangeState,
    opens: Mapping[str, Decimal],
    rules: VenueRules,
    slippage: Slippage,
    known: Mapping[str, Bar],
    time_ms: int,
) -> Step:
    """The prices jump to the opens of bars of which nothing else is known yet.

    What lies beyond them happens, as at the open of :func:`walk_bar`; the same bars may be walked later.

    Args:
        state: the account before.
        opens: by symbol.
        rules: the venue's.
        slippage: on triggers and liquidations.
        known: the last closed bar by symbol, for the slippage.
        time_ms: of the last of these opens.
    """
    state = replace(state, time_ms=max(state.time_ms, time_ms), marks={**state.marks, **opens})
    state, events = _Walker(rules, slippage, known).jump(state, tuple(opens))
    if events:
        check_identities(state)
    return state, events


def _stand(state: ExchangeState, table: BarTable, index: int) -> ExchangeState:
    """Marks at the closes of a bar."""
    closes = {symbol: exact(columns.close[index]) for symbol, columns in table.columns.items()}
    time_ms = max(state.time_ms, table.open_time_ms[index] + 1)
    return replace(state, time_ms=time_ms, marks={**state.marks, **closes})


def _bars(table: BarTable, index: int) -> dict[str, Bar]:
    time_ms = table.open_time_ms[index]
    return {symbol: columns.bar(index, time_ms) for symbol, columns in table.columns.items()}


def exact(px: float) -> Decimal:
    """A candle's price in its shortest decimal form."""
    return Decimal(repr(px))


@quick_init
@dataclass(frozen=True, slots=True)
class _Path:
    """The way of one symbol through its bar: where it turns."""

    symbol: str
    first: Decimal
    second: Decimal
    close: Decimal


def _walk(state: ExchangeState, bars: Mapping[str, Bar], rules: VenueRules, slippage: Slippage) -> Step:
    walker = _Walker(rules, slippage, bars)
    # Just after the open, so that a decision at the open and what the bar did to it have an order in time.
    time_ms = max(state.time_ms, *(bar.open_time_ms + 1 for bar in bars.values()))
    opens = {symbol: exact(bar.open) for symbol, bar in bars.items()}
    state = replace(state, time_ms=time_ms, marks={**state.marks, **opens})
    state, events = walker.jump(state, tuple(bars))
    paths = [_path(state, symbol, bar) for symbol, bar in bars.items()]
    for turn in ("first", "second", "close"):
        for path in paths:
            state, more = walker.move(state, path.symbol, getattr(path, turn))
            events += more
    if events:
        check_identities(state)
    return state, events


def _path(state: ExchangeState, symbol: str, bar: Bar) -> _Path:
    low, high, close = exact(bar.low), exact(bar.high), exact(bar.close)
    if state.size_base(symbol) < 0:
        return _Path(symbol, high, low, close)
    return _Path(symbol, low, high, close)


@quick_init
@dataclass(frozen=True, slots=True)
class _Walker:
    """``bars``: what the slippage of each symbol is measured by."""

    rules: VenueRules
    slippage: Slippage
    bars: Mapping[str, Bar]

    def jump(self, state: ExchangeState, symbols: tuple[str, ...]) -> Step:
        """The opens: whatever lies beyond the new price already, liquidation first."""
        state, events = self._liquidate(state)
        for order in sorted(_met_at_marks(state, symbols), key=stops_first):
            if order.oid in state.orders:
                state, more = self._run(state, order)
                events += more
        return state, events

    def move(self, state: ExchangeState, symbol: str, to_px: Decimal) -> Step:
        """The price of ``symbol`` runs to ``to_px``; every event on the way happens at its own price."""
        events: tuple[Event, ...] = ()
        is_down = to_px < state.marks[symbol]
        # On the book first; what the slipped book does not take goes on to the backstop.
        on_book: tuple[Decimal, ...] = (ONE, self.rules.backstop_fraction)
        fractions = on_book
        while True:
            order = self._next_order(state, symbol, to_px, is_down=is_down)
            order_px = _event_px(order) if order else to_px
            liquidation = self._liquidation(state, symbol, to_px, fractions, is_down=is_down)
            if liquidation is not None and (
                order is None or not _is_before(order_px, liquidation, is_down=is_down)
            ):
                before = state = _marked(state, symbol, liquidation)
                state, more = self._liquidate(state)
                fractions = fractions[1:] if state is before else on_book
            elif order is not None:
                state = _marked(state, symbol, _later(state.marks[symbol], order_px, is_down=is_down))
                state, more = self._run(state, order)
                fractions = on_book
            else:
                return _marked(state, symbol, to_px), events
            events += more

    def _run(self, state: ExchangeState, order: StandingOrder) -> Step:
        if order.is_waiting:
            return self._fire(state, order)
        return fill_resting(state, order, order.open_base, self.rules)

    def _liquidate(self, state: ExchangeState) -> Step:
        if not is_any_below_maintenance(state, self.rules):
            return state, ()
        quotes = {
            symbol: self._quote(symbol, state.marks[symbol], abs(position.size_base), state.next_oid)
            for symbol, position in state.positions.items()
        }
        state, events = liquidate(state, quotes, self.rules)
        return state, with_slippage(events, quotes.values())

    def _quote(self, symbol: str, px: Decimal, size_base: Decimal, oid: int) -> Quote:
        taking = Taking(symbol, size_base, oid, self.bars.get(symbol))
        return bar_quote(symbol, px, self.rules, self.slippage, taking)

    def _fire(self, state: ExchangeState, order: StandingOrder) -> Step:
        """At the mark or at the trigger, whichever is worse for the taker."""
        mark, trigger = state.marks[order.symbol], order.request.trigger
        trigger_px = trigger.trigger_px if trigger else mark
        px = max(mark, trigger_px) if order.request.is_buy else min(mark, trigger_px)
        size = reducible_base(state, order.request, order.open_base)
        quote = self._quote(order.symbol, px, size, order.oid)
        state, events = fire(state, order, quote, self.rules)
        return state, with_slippage(events, (quote,))

    def _next_order(
        self, state: ExchangeState, symbol: str, to_px: Decimal, *, is_down: bool
    ) -> StandingOrder | None:
        """The order that the price meets first; stops before others at one price."""
        met = [
            order
            for order in state.orders.values()
            if order.symbol == symbol and _is_met(order, to_px, is_down=is_down)
        ]
        sign = -1 if is_down else 1
        return min(met, key=lambda o: (sign * _event_px(o), *stops_first(o)), default=None)

    def _liquidation(
        self,
        state: ExchangeState,
        symbol: str,
        to_px: Decimal,
        fractions: tuple[Decimal, ...],
        *,
        is_down: bool,
    ) -> Decimal | None:
        """The first price on the grid beyond the next liquidation price, when the way leads past it."""
        if not fractions or state.size_base(symbol) == 0 or (state.size_base(symbol) > 0) != is_down:
            return None
        px = liquidation_px(state, symbol, self.rules, fractions[0])
        if px is None or not _is_before(px, to_px, is_down=is_down):
            return None
        decimals = self.rules.assets[symbol].size_decimals
        rounding = PriceRounding.DOWN if is_down else PriceRounding.UP
        on_grid = round_price(px, decimals, rounding)
        if on_grid == px:
            on_grid += -tick_px(px, decimals) if is_down else tick_px(px, decimals)
        beyond = max(on_grid, to_px) if is_down else min(on_grid, to_px)
        return _later(state.marks[symbol], beyond, is_down=is_down)


def _marked(state: ExchangeState, symbol: str, px: Decimal) -> ExchangeState:
    return replace(state, marks={**state.marks, symbol: px})


def _later(at_px: Decimal, px: Decimal, *, is_down: bool) -> Decimal:
    """``px``, or where the price already is when that lies behind it."""
    return min(at_px, px) if is_down else max(at_px, px)


def _is_before(px: Decimal, other_px: Decimal, *, is_down: bool) -> bool:
    return px > other_px if is_down else px < other_px


def _event_px(order: StandingOrder) -> Decimal:
    trigger = order.request.trigger
    return trigger.trigger_px if order.is_waiting and trigger else order.request.limit_px


def _is_met(order: StandingOrder, to_px: Decimal, *, is_down: bool) -> bool:
    """Whether a price that runs in this direction as far as ``to_px`` meets the order."""
    if order.is_waiting:
        return order.request.fires_below == is_down and is_reached(order, to_px)
    return order.request.is_buy == is_down and _is_through(order, to_px)


def _met_at_marks(state: ExchangeState, symbols: Collection[str]) -> Sequence[StandingOrder]:
    """The orders that the present prices have reached; what they do moves no price."""
    met: list[StandingOrder] = []
    for order in state.orders.values():
        symbol = order.request.symbol
        if symbol in symbols:
            px = state.marks[symbol]
            if is_reached(order, px) if order.is_waiting else _is_through(order, px):
                met.append(order)
    return met


def _is_through(order: StandingOrder, px: Decimal) -> bool:
    """Whether a resting order's price has been traded through, not only touched."""
    if order.is_waiting:
        return False
    return px < order.request.limit_px if order.request.is_buy else px > order.request.limit_px
