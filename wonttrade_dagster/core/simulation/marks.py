"""What a new price does to an account: liquidation, triggers, resting orders; and funding.

Belongs here: one step of the market, all symbols together.
Does not belong here: what the market does inside a candle (``bars``).
"""

from collections.abc import Mapping
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation.admission import crossing, take
from wonttrade_dagster.core.simulation.events import Event, FundingPayment
from wonttrade_dagster.core.simulation.fills import with_position
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.liquidation import liquidate
from wonttrade_dagster.core.simulation.matching import Step, fill_resting, fire
from wonttrade_dagster.core.simulation.orders import with_marks
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    Quote,
    StandingOrder,
    VenueRules,
)

FUNDING_QUANTUM_USD = Decimal("0.000001")


def mark_to(state: ExchangeState, quotes: Mapping[str, Quote], rules: VenueRules, time_ms: int) -> Step:
    """Move the market to ``quotes`` and let follow what follows.

    In this order, the worst for the account first: liquidation at the new marks, triggers that the mark has
    reached (stops before take-profits), resting orders that the book has come to, liquidation again.

    Args:
        state: the account before.
        quotes: the new market of some or all symbols; the others stay where they are.
        rules: the venue's.
        time_ms: now.

    Returns:
        The account after, and everything that happened, in order.
    """
    state = replace(with_marks(state, quotes), time_ms=time_ms)
    events: tuple[Event, ...] = ()
    for step in (liquidate, _fire_reached, _match_resting, liquidate):
        state, more = step(state, quotes, rules)
        events += more
    if events:
        check_identities(state)
    return state, events


def is_reached(order: StandingOrder, mark_px: Decimal) -> bool:
    """Whether the mark has reached a waiting order's trigger."""
    trigger = order.request.trigger
    if trigger is None or not order.is_waiting:
        return False
    return mark_px <= trigger.trigger_px if order.request.fires_below else mark_px >= trigger.trigger_px


def stops_first(order: StandingOrder) -> tuple[bool, int]:
    """Sort key of triggers that are reached together: the worse one, then the older one."""
    trigger = order.request.trigger
    return trigger is None or trigger.leg is not Leg.STOP_LOSS, order.oid


def _fire_reached(state: ExchangeState, quotes: Mapping[str, Quote], rules: VenueRules) -> Step:
    events: tuple[Event, ...] = ()
    for order in sorted(state.orders.values(), key=stops_first):
        quote = quotes.get(order.symbol)
        if order.oid in state.orders and quote and is_reached(order, quote.mark_px):
            state, more = fire(state, order, quote, rules)
            events += more
    return state, events


def _match_resting(state: ExchangeState, quotes: Mapping[str, Quote], rules: VenueRules) -> Step:
    events: tuple[Event, ...] = ()
    for order in tuple(state.orders.values()):
        quote = quotes.get(order.symbol)
        if order.is_waiting or order.oid not in state.orders or quote is None:
            continue
        taken = take(crossing(order.request, quote), order.open_base)
        if taken:
            size = sum((level.size_base for level in taken), ZERO)
            state, more = fill_resting(state, order, size, rules)
            events += more
    return state, events


def pay_funding(state: ExchangeState, symbol: str, rate: Decimal, oracle_px: Decimal, time_ms: int) -> Step:
    """Charge one hour of funding: size·oracle·rate, rounded to 6 decimals; longs pay a positive rate.

    Comes out of the cross account, or out of the isolated position's margin. Nothing happens while flat.
    """
    position = state.positions.get(symbol)
    if position is None:
        return state, ()
    paid = (position.size_base * oracle_px * rate).quantize(FUNDING_QUANTUM_USD)
    changed = replace(position, funding_usd=position.funding_usd + paid)
    cross_raw = state.cross_raw_usd - paid
    if not position.is_cross:
        changed = replace(changed, isolated_raw_usd=changed.isolated_raw_usd - paid)
        cross_raw = state.cross_raw_usd
    state = replace(
        state,
        time_ms=time_ms,
        cross_raw_usd=cross_raw,
        funding_usd=state.funding_usd + paid,
        positions=with_position(state.positions, changed),
    )
    check_identities(state)
    return state, (FundingPayment(symbol, position.size_base, oracle_px, rate, paid, time_ms),)
