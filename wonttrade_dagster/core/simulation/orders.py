"""What an account may ask of the exchange: pay in, place, cancel, set leverage, move isolated margin.

Belongs here: the requests, judged and carried out, with the venue's answers.
Does not belong here: what a moving price does (``marks``, ``bars``), the wire format of the answers.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.simulation.admission import (
    Rejection,
    crossing,
    screen,
    screen_margin,
    take,
)
from wonttrade_dagster.core.simulation.events import (
    ChangeOutcome,
    Deposited,
    Event,
    Execution,
    OrderOutcome,
    OrderUpdate,
)
from wonttrade_dagster.core.simulation.fills import MARGIN_QUANTUM_USD, with_position
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.margin import (
    MIN_TRANSFER_FRACTION,
    cross_positions,
    cross_value_usd,
    free_margin_usd,
    margin_used_usd,
    value_usd,
)
from wonttrade_dagster.core.simulation.matching import (
    drop_order,
    reducible_base,
    run_order,
)
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    LeverageSetting,
    OrderRequest,
    OrderStatus,
    PerpPosition,
    Quote,
    StandingOrder,
    VenueRules,
)

NOT_OPEN = "Order was never placed, already canceled, or filled."
AVERAGE_PX_QUANTUM = Decimal("1e-8")


def open_account(deposit_usd: Decimal, time_ms: int) -> ExchangeState:
    """A fresh account that holds ``deposit_usd`` in cash. Raises ``UsageError`` unless it is positive."""
    return deposit(ExchangeState(time_ms), deposit_usd, time_ms)[0]


def deposit(
    state: ExchangeState, amount_usd: Decimal, time_ms: int
) -> tuple[ExchangeState, tuple[Event, ...]]:
    """Pay in ``amount_usd``. Raises ``UsageError`` for an amount that is not positive and finite."""
    if not amount_usd.is_finite() or amount_usd <= 0:
        raise UsageError(f"a deposit must be a positive amount of USD, not {amount_usd}")
    paid = replace(
        state,
        time_ms=time_ms,
        cross_raw_usd=state.cross_raw_usd + amount_usd,
        deposits_usd=state.deposits_usd + amount_usd,
    )
    check_identities(paid)
    return paid, (Deposited(amount_usd, time_ms),)


def withdraw(
    state: ExchangeState, amount_usd: Decimal, rules: VenueRules, time_ms: int
) -> tuple[ExchangeState, ChangeOutcome]:
    """Take ``amount_usd`` out of the cross account: no more than ``withdrawable`` at the state's marks.

    It lowers ``deposits_usd``, which are net and become negative once more is taken out than was paid in.
    """
    if not amount_usd.is_finite() or amount_usd <= 0 or amount_usd > free_margin_usd(state, rules):
        return state, ChangeOutcome("Insufficient balance for withdrawal.")
    taken = replace(
        state,
        time_ms=time_ms,
        cross_raw_usd=state.cross_raw_usd - amount_usd,
        deposits_usd=state.deposits_usd - amount_usd,
    )
    check_identities(taken)
    return taken, ChangeOutcome()


def with_marks(state: ExchangeState, quotes: Mapping[str, Quote]) -> ExchangeState:
    """The state valued at the quotes' marks; fires nothing (see ``mark_to``)."""
    return replace(state, marks=_marks(state, quotes))


def _marks(state: ExchangeState, quotes: Mapping[str, Quote]) -> Mapping[str, Decimal]:
    return {**state.marks, **{name: quote.mark_px for name, quote in quotes.items()}}


def place_order(
    state: ExchangeState,
    request: OrderRequest,
    quotes: Mapping[str, Quote],
    rules: VenueRules,
    time_ms: int,
) -> tuple[ExchangeState, OrderOutcome]:
    """Judge, match, and book one order.

    Args:
        state: the account before.
        request: the order.
        quotes: the market by symbol; must hold the request's symbol.
        rules: the venue's.
        time_ms: now.

    Returns:
        The account after, and the venue's answer. A refused order changes nothing but marks and counters.
    """
    marks, oid = _marks(state, quotes), state.next_oid
    refused = screen(state, request, quotes, rules)
    if refused:
        return _refuse(replace(state, marks=marks, time_ms=time_ms), request, refused)
    if request.trigger is not None:
        return _wait(state, request, marks, time_ms)
    size = reducible_base(state, request, request.size_base)
    taken = take(crossing(request, quotes[request.symbol]), size)
    state = replace(state, marks=marks, time_ms=time_ms, next_oid=oid + 1)
    refused = screen_margin(state, request, size, taken, rules)
    if refused:
        return _refuse(replace(state, next_oid=oid), request, refused)
    order = StandingOrder(oid, request, size, time_ms)
    state, events = run_order(state, order, taken, rules)
    check_identities(state)
    return state, _answer(state, order, (OrderUpdate(order, OrderStatus.OPEN, time_ms), *events))


def _wait(
    state: ExchangeState, request: OrderRequest, marks: Mapping[str, Decimal], time_ms: int
) -> tuple[ExchangeState, OrderOutcome]:
    order = StandingOrder(state.next_oid, request, request.size_base, time_ms, is_waiting=True)
    state = replace(
        state,
        marks=marks,
        time_ms=time_ms,
        orders={**state.orders, order.oid: order},
        next_oid=order.oid + 1,
    )
    events = (OrderUpdate(order, OrderStatus.OPEN, time_ms),)
    return state, OrderOutcome(OrderStatus.OPEN, order.oid, is_waiting=True, events=events)


def _refuse(
    state: ExchangeState, request: OrderRequest, refused: Rejection
) -> tuple[ExchangeState, OrderOutcome]:
    """Answer with an error; refusals that have a status of their own get a number too, as recorded."""
    if refused.status is None:
        return state, OrderOutcome(OrderStatus.REJECTED, None, refused.error, refused.has_suffix)
    order = StandingOrder(state.next_oid, request, request.size_base, state.time_ms)
    events = (OrderUpdate(order, refused.status, state.time_ms),)
    state = replace(state, next_oid=state.next_oid + 1)
    return state, OrderOutcome(refused.status, order.oid, refused.error, refused.has_suffix, events=events)


def _answer(state: ExchangeState, order: StandingOrder, events: tuple[Event, ...]) -> OrderOutcome:
    fills = [event for event in events if isinstance(event, Execution)]
    return OrderOutcome(
        status=OrderStatus.OPEN if order.oid in state.orders else OrderStatus.FILLED,
        oid=order.oid,
        filled_base=sum((fill.size_base for fill in fills), ZERO),
        average_px=average_px(fills),
        events=events,
    )


def average_px(fills: Iterable[Execution]) -> Decimal | None:
    """Size-weighted price to 8 decimals, None without fills."""
    counted = list(fills)
    size = sum((fill.size_base for fill in counted), ZERO)
    if not size:
        return None
    return (sum((fill.px * fill.size_base for fill in counted), ZERO) / size).quantize(AVERAGE_PX_QUANTUM)


def cancel_order(state: ExchangeState, key: int | str, time_ms: int) -> tuple[ExchangeState, ChangeOutcome]:
    """Cancel a standing order by oid or by client order id (the latest of that id)."""
    state = replace(state, time_ms=time_ms)
    for order in reversed(tuple(state.orders.values())):
        if key in (order.oid, order.request.cloid):
            state, events = drop_order(state, order, OrderStatus.CANCELED)
            return state, ChangeOutcome(events=events)
    return state, ChangeOutcome(NOT_OPEN)


def set_leverage(
    state: ExchangeState, symbol: str, setting: LeverageSetting, rules: VenueRules, time_ms: int
) -> tuple[ExchangeState, ChangeOutcome]:
    """Set leverage and margin mode of a symbol, up or down, with or without a position.

    Lowering an isolated position's leverage moves the missing margin from the cross account; raising it moves
    none back (not established; ``update_isolated_margin`` does).
    """
    spec = rules.assets[symbol]
    current, position = state.setting(symbol, rules), state.positions.get(symbol)
    changed = replace(state, time_ms=time_ms, settings={**state.settings, symbol: setting})
    if not 1 <= setting.leverage <= spec.max_leverage:
        return state, ChangeOutcome("Invalid leverage value")
    if spec.only_isolated and setting.is_cross:
        return state, ChangeOutcome("Cross margin is not allowed for this asset.")
    if position is None:
        return changed, ChangeOutcome()
    if setting.is_cross != current.is_cross:
        return state, ChangeOutcome("Cannot switch leverage type with open position.")
    if setting.leverage >= current.leverage:
        return changed, ChangeOutcome()
    return _lowered(state, changed, position, rules)


def _lowered(
    state: ExchangeState, changed: ExchangeState, position: PerpPosition, rules: VenueRules
) -> tuple[ExchangeState, ChangeOutcome]:
    setting = changed.setting(position.symbol, rules)
    kind = "Cross" if setting.is_cross else "Isolated"
    refusal = ChangeOutcome(
        f"{kind} position does not have sufficient margin available to decrease leverage."
    )
    if setting.is_cross:
        used = sum((margin_used_usd(changed, p, rules) for p in cross_positions(changed)), ZERO)
        return (state, refusal) if used > cross_value_usd(changed) else (changed, ChangeOutcome())
    needed = abs(value_usd(state, position)) / setting.leverage
    missing = (needed - margin_used_usd(state, position, rules)).quantize(MARGIN_QUANTUM_USD, ROUND_CEILING)
    if missing <= 0:
        return changed, ChangeOutcome()
    if missing > free_margin_usd(state, rules):
        return state, refusal
    return _moved(changed, position, missing), ChangeOutcome()


def update_isolated_margin(
    state: ExchangeState, symbol: str, amount_usd: Decimal, rules: VenueRules, time_ms: int
) -> tuple[ExchangeState, ChangeOutcome]:
    """Move ``amount_usd`` (negative: back) between the cross account and an isolated position.

    What stays must cover the initial margin at the position's leverage and 10 % of its notional.
    """
    position, setting = state.positions.get(symbol), state.setting(symbol, rules)
    if position is None or setting.is_cross:
        return state, ChangeOutcome("Position does not use isolated margin.")
    notional = abs(value_usd(state, position))
    kept = max(notional / setting.leverage, MIN_TRANSFER_FRACTION * notional)
    is_short = margin_used_usd(state, position, rules) + amount_usd < kept if amount_usd < 0 else False
    if is_short or amount_usd > free_margin_usd(state, rules):
        return state, ChangeOutcome("Insufficient margin to update isolated margin.")
    return _moved(replace(state, time_ms=time_ms), position, amount_usd), ChangeOutcome()


def _moved(state: ExchangeState, position: PerpPosition, amount_usd: Decimal) -> ExchangeState:
    changed = replace(position, isolated_raw_usd=position.isolated_raw_usd + amount_usd)
    moved = replace(
        state,
        cross_raw_usd=state.cross_raw_usd - amount_usd,
        positions=with_position(state.positions, changed),
    )
    check_identities(moved)
    return moved
