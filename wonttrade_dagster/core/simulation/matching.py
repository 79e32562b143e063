"""How an order meets the market: a taker walks the levels, a fired trigger becomes a taker.

Belongs here: turning an order and a quote into fills, what rests, and which standing orders die with them.
Does not belong here: when a trigger fires (``marks``, ``bars``), the checks at the door (``admission``).
"""

from collections.abc import Sequence
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.simulation.admission import crossing, reduces, screen_margin, take
from wonttrade_dagster.core.simulation.events import Event, OrderUpdate, TriggerFired
from wonttrade_dagster.core.simulation.fills import FillCause, apply_fill
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    Level,
    OrderRequest,
    OrderStatus,
    Quote,
    StandingOrder,
    Tif,
    VenueRules,
)

Step = tuple[ExchangeState, tuple[Event, ...]]


def without_order(state: ExchangeState, oid: int) -> ExchangeState:
    """The state with one standing order less."""
    return replace(state, orders={key: order for key, order in state.orders.items() if key != oid})


def with_order(state: ExchangeState, order: StandingOrder) -> ExchangeState:
    """The state with an order standing, or standing in its new form."""
    return replace(state, orders={**state.orders, order.oid: order})


def drop_order(state: ExchangeState, order: StandingOrder, status: OrderStatus) -> Step:
    """Remove a standing order for a reason."""
    return without_order(state, order.oid), (OrderUpdate(order, status, state.time_ms),)


def reducible_base(state: ExchangeState, request: OrderRequest, size_base: Decimal) -> Decimal:
    """``size_base`` capped to what a reduce-only request can close; unchanged for others."""
    if not request.reduce_only:
        return size_base
    if not reduces(state, request.symbol, is_buy=request.is_buy):
        return ZERO
    held = abs(state.size_base(request.symbol))
    return held if request.is_whole_position else min(size_base, held)


def fill_levels(
    state: ExchangeState,
    order: StandingOrder,
    taken: Sequence[Level],
    rules: VenueRules,
    *,
    crossed: bool = True,
) -> Step:
    """Book one fill per level for ``order``."""
    request = order.request
    cause = FillCause(
        oid=order.oid,
        cloid=request.cloid,
        fee_rate=rules.taker_fee_rate if crossed else rules.maker_fee_rate,
        crossed=crossed,
        leg=request.trigger.leg if request.trigger else None,
    )
    events: list[Event] = []
    for level in taken:
        signed = level.size_base if request.is_buy else -level.size_base
        state, execution = apply_fill(state, request.symbol, signed, level.px, cause, rules)
        events.append(execution)
    return state, tuple(events)


def run_order(state: ExchangeState, order: StandingOrder, taken: Sequence[Level], rules: VenueRules) -> Step:
    """Fill an admitted order against ``taken``; the rest rests (Gtc, Alo) or is cancelled (Ioc)."""
    state, events = fill_levels(state, order, taken, rules)
    left = order.open_base - sum((level.size_base for level in taken), ZERO)
    after = replace(order, open_base=left, is_waiting=False)
    if left == 0:
        events += (OrderUpdate(after, OrderStatus.FILLED, state.time_ms),)
    elif order.request.tif is Tif.IOC:
        events += (OrderUpdate(after, OrderStatus.CANCELED, state.time_ms),)
    else:
        state = with_order(state, after)
    state, more = drop_useless(state, order.symbol)
    return state, events + more


def drop_useless(state: ExchangeState, symbol: str) -> Step:
    """Cancel reduce-only orders that no longer reduce, and older resting ones beyond the position.

    The first is what the venue does once a position is closed (waiting triggers included); the second was
    recorded when a second reduce-only order was placed: the older goes, the newest is capped as it fills.
    """
    events: list[Event] = []
    left: dict[int, StandingOrder] | None = None
    room: Decimal | None = None
    for order in reversed(tuple(state.orders.values())):
        request = order.request
        if request.symbol != symbol or not request.reduce_only:
            continue
        is_useless = not reduces(state, symbol, is_buy=request.is_buy)
        if is_useless or (room is not None and not order.is_waiting and order.open_base > room):
            left = dict(state.orders) if left is None else left
            del left[order.oid]
            events.append(OrderUpdate(order, OrderStatus.REDUCE_ONLY_CANCELED, state.time_ms))
        elif not order.is_waiting:
            room = (abs(state.size_base(symbol)) if room is None else room) - order.open_base
    return state if left is None else replace(state, orders=left), tuple(events)


def fill_resting(state: ExchangeState, order: StandingOrder, size_base: Decimal, rules: VenueRules) -> Step:
    """The market came to a resting order: it fills at its own price, as maker, if margin still allows."""
    state = without_order(state, order.oid)
    size = min(size_base, reducible_base(state, order.request, order.open_base))
    if size == 0:
        return state, (OrderUpdate(order, OrderStatus.REDUCE_ONLY_CANCELED, state.time_ms),)
    level = Level(order.request.limit_px, size)
    if screen_margin(state, order.request, size, (level,), rules):
        return state, (OrderUpdate(order, OrderStatus.MARGIN_CANCELED, state.time_ms),)
    state, events = fill_levels(state, order, (level,), rules, crossed=False)
    left = order.open_base - size
    after = replace(order, open_base=left)
    if left:
        state = with_order(state, after)
    else:
        events += (OrderUpdate(after, OrderStatus.FILLED, state.time_ms),)
    state, more = drop_useless(state, order.symbol)
    return state, events + more


def fire(state: ExchangeState, order: StandingOrder, quote: Quote, rules: VenueRules) -> Step:
    """Turn a waiting order whose trigger was reached into a taker at ``quote``.

    A market trigger becomes an IOC order that fills no further than its limit and no further than
    ``trigger_slippage`` beyond its trigger; what it cannot fill is cancelled, as on the venue, and the
    position then stands without it. A limit trigger rests with what it cannot fill.
    """
    request, trigger = order.request, order.request.trigger
    if trigger is None:
        raise ValueError(f"order {order.oid} has no trigger to fire")
    state = without_order(state, order.oid)
    events: tuple[Event, ...] = (
        TriggerFired(
            symbol=request.symbol,
            oid=order.oid,
            cloid=request.cloid,
            leg=trigger.leg,
            trigger_px=trigger.trigger_px,
            mark_px=quote.mark_px,
            time_ms=state.time_ms,
        ),
        OrderUpdate(order, OrderStatus.TRIGGERED, state.time_ms),
    )
    fired = _fired(state, order, rules)
    levels = crossing(fired.request, quote)
    status = _stillborn(state, fired, take(levels, fired.open_base), quote, rules)
    if status is not None:
        return state, (*events, OrderUpdate(fired, status, state.time_ms))
    state, more = run_order(state, fired, take(levels, fired.open_base), rules)
    return state, events + more


def _fired(state: ExchangeState, order: StandingOrder, rules: VenueRules) -> StandingOrder:
    """The order that a trigger becomes: sized to the position, priced, no longer waiting."""
    request, trigger = order.request, order.request.trigger
    limit, tif = request.limit_px, Tif.GTC
    if trigger is not None and trigger.is_market:
        tif = Tif.IOC
        if request.is_buy:
            limit = min(limit, trigger.trigger_px * (1 + rules.trigger_slippage))
        else:
            limit = max(limit, trigger.trigger_px * (1 - rules.trigger_slippage))
    size = reducible_base(state, request, order.open_base)
    fired = replace(request, limit_px=limit, tif=tif)
    return replace(order, request=fired, open_base=size, is_waiting=False)


def _stillborn(
    state: ExchangeState, fired: StandingOrder, taken: Sequence[Level], quote: Quote, rules: VenueRules
) -> OrderStatus | None:
    """Why a fired order ends without any fill, or None when it goes on."""
    if fired.open_base == 0:
        return OrderStatus.REDUCE_ONLY_CANCELED
    if screen_margin(state, fired.request, fired.open_base, taken, rules):
        return OrderStatus.MARGIN_REJECTED
    if taken or fired.request.tif is not Tif.IOC:
        return None
    has_book = quote.asks if fired.request.is_buy else quote.bids
    return OrderStatus.IOC_REJECTED if has_book else OrderStatus.NO_LIQUIDITY_REJECTED
