"""What the venue does to an account that no longer holds its maintenance margin.

Belongs here: judging and closing, cross and isolated.
Does not belong here: when prices move (``marks``, ``bars``).

Rules: protocol.md §10.3. Equity below maintenance: market orders on the book for a whole position, the
largest maintenance first, until the account holds enough; of a position above 100,000 USD one fifth,
unless a part was taken within the last 30 s. They pay the taker fee and stop at the bankruptcy price.
Below two thirds of maintenance: the backstop takes all positions and all margin of the scope over, so
nothing is left (and nothing is owed: a gap beyond bankruptcy is the venue's loss).
"""

from collections.abc import Mapping
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.precision import floor_size
from wonttrade_dagster.core.simulation.admission import take
from wonttrade_dagster.core.simulation.events import Event, Liquidation
from wonttrade_dagster.core.simulation.fills import FillCause, apply_fill
from wonttrade_dagster.core.simulation.margin import (
    MarginScope,
    cross_positions,
    position_maintenance_usd,
    scope_of,
    value_usd,
)
from wonttrade_dagster.core.simulation.matching import Step, drop_order, drop_useless
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    Level,
    OrderStatus,
    PerpPosition,
    Quote,
    VenueRules,
)


def liquidate(state: ExchangeState, quotes: Mapping[str, Quote], rules: VenueRules) -> Step:
    """Bring every scope that is below maintenance at the state's marks back above it, or to nothing."""
    events: tuple[Event, ...] = ()
    cross = sorted(
        cross_positions(state),
        key=lambda p: (-position_maintenance_usd(state, p, rules), p.symbol),
    )
    isolated = [p for p in state.positions.values() if not p.is_cross]
    for position in (*cross, *isolated):
        state, more = _liquidate_position(state, position.symbol, quotes, rules)
        events += more
    return state, events


def _liquidate_position(
    state: ExchangeState, symbol: str, quotes: Mapping[str, Quote], rules: VenueRules
) -> Step:
    position = state.positions.get(symbol)
    if position is None:
        return state, ()
    scope = scope_of(state, position, rules)
    if not scope.is_short:
        return state, ()
    state, events = _drop_orders(state, position, rules)
    if scope.equity_usd < scope.maintenance_usd * rules.backstop_fraction:
        state, more = _take_over(state, scope, rules)
    else:
        state, more = _sell_on_book(state, scope, position, quotes.get(symbol), rules)
    return state, events + more


def _drop_orders(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> Step:
    """Orders that could open anything in the scope go first."""
    events: tuple[Event, ...] = ()
    for order in tuple(state.orders.values()):
        shares = position.is_cross and state.setting(order.symbol, rules).is_cross
        in_scope = shares or order.symbol == position.symbol
        if in_scope and not order.request.reduce_only:
            state, more = drop_order(state, order, OrderStatus.LIQUIDATED_CANCELED)
            events += more
    return state, events


def _sell_on_book(
    state: ExchangeState, scope: MarginScope, position: PerpPosition, quote: Quote | None, rules: VenueRules
) -> Step:
    """Market order for the position or its fifth; what the book does not take waits for the next step."""
    held, mark = position.size_base, state.marks[position.symbol]
    wanted = _wanted_base(state, position, rules)
    bankrupt_px = mark - scope.equity_usd / held
    taken = take(_reachable(quote, bankrupt_px, held), wanted) if quote else ()
    closed = sum((level.size_base for level in taken), ZERO)
    if not closed:
        return state, ()
    is_partial = closed < abs(held)
    signed = closed if held > 0 else -closed
    event = Liquidation(
        symbol=position.symbol,
        size_base=signed,
        mark_px=mark,
        is_backstop=False,
        is_partial=is_partial,
        equity_usd=scope.equity_usd,
        maintenance_usd=scope.maintenance_usd,
        time_ms=state.time_ms,
        is_cross=position.is_cross,
    )
    cause = FillCause(state.next_oid, None, rules.taker_fee_rate, crossed=True, liquidation_mark_px=mark)
    at_ms = state.time_ms if is_partial else state.partly_liquidated_at_ms
    state = replace(state, next_oid=state.next_oid + 1, partly_liquidated_at_ms=at_ms)
    events: list[Event] = [event]
    for level in taken:
        size = level.size_base if held < 0 else -level.size_base
        state, execution = apply_fill(state, position.symbol, size, level.px, cause, rules)
        events.append(execution)
    state, more = drop_useless(state, position.symbol)
    return state, (*events, *more)


def _wanted_base(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> Decimal:
    held, last_ms = abs(position.size_base), state.partly_liquidated_at_ms
    is_cooling = last_ms is not None and state.time_ms - last_ms < rules.liquidation_cooldown_ms
    if is_cooling or abs(value_usd(state, position)) <= rules.partial_liquidation_usd:
        return held
    decimals = rules.assets[position.symbol].size_decimals
    return floor_size(held * rules.partial_liquidation_fraction, decimals) or held


def _reachable(quote: Quote, bankrupt_px: Decimal, held: Decimal) -> tuple[Level, ...]:
    if held > 0:
        return tuple(level for level in quote.bids if level.px >= bankrupt_px)
    return tuple(level for level in quote.asks if level.px <= bankrupt_px)


def _take_over(state: ExchangeState, scope: MarginScope, rules: VenueRules) -> Step:
    """The backstop: every position of the scope leaves at the price that leaves no equity behind.

    The scope's equity E is spread over its notional N: each position goes at mark·(1 − side·E/N), one
    position thus exactly at its bankruptcy price.
    """
    notional = sum((abs(value_usd(state, p)) for p in scope.positions), ZERO)
    share = scope.equity_usd / notional
    events: tuple[Event, ...] = ()
    for position in scope.positions:
        state, more = _take_over_one(state, scope, position, share, rules)
        events += more
    return state, events


def _take_over_one(
    state: ExchangeState, scope: MarginScope, position: PerpPosition, share: Decimal, rules: VenueRules
) -> Step:
    held, mark = position.size_base, state.marks[position.symbol]
    side = 1 if held > 0 else -1
    mode = "Cross" if position.is_cross else "Isolated"
    event = Liquidation(
        symbol=position.symbol,
        size_base=held,
        mark_px=mark,
        is_backstop=True,
        is_partial=False,
        equity_usd=scope.equity_usd,
        maintenance_usd=scope.maintenance_usd,
        time_ms=state.time_ms,
        is_cross=position.is_cross,
    )
    cause = FillCause(
        oid=state.next_oid,
        cloid=None,
        fee_rate=ZERO,
        crossed=True,
        liquidation_mark_px=mark,
        direction=f"Liquidated {mode} {'Long' if held > 0 else 'Short'}",
    )
    state = replace(state, next_oid=state.next_oid + 1)
    state, execution = apply_fill(state, position.symbol, -held, mark * (1 - side * share), cause, rules)
    state, more = drop_useless(state, position.symbol)
    return state, (event, execution, *more)
