"""The account as a cycle sees it.

Belongs here: the reading of a state into the contracts of ``core.model``.
Does not belong here: arithmetic (``margin``).
"""

from wonttrade_dagster.core.model import AccountSnapshot, OpenOrder, Position
from wonttrade_dagster.core.simulation.margin import (
    MarginScope,
    MarkedPosition,
    account_value_usd,
    at_mark,
    cross_scope_of,
    free_of_usd,
    isolated_scope_of,
    liquidation_px_in,
    unrealized_usd,
    used_at_usd,
)
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    StandingOrder,
    VenueRules,
)


def account_snapshot(
    state: ExchangeState,
    rules: VenueRules,
    at_ms: int | None = None,
    orders: tuple[OpenOrder, ...] | None = None,
) -> AccountSnapshot:
    """Positions, standing orders, value and margin at the state's own marks, at its time or a later one.

    Args:
        state: the account.
        rules: the venue's.
        at_ms: the time of the reading.
        orders: its :func:`open_orders`, where they are known.
    """
    marked = [at_mark(state, position, rules) for position in state.positions.values()]
    cross = cross_scope_of(state, [each for each in marked if each.position.is_cross])
    positions: list[Position] = []
    used = cross_used = notional = ZERO
    for held in marked:
        position = _position(state, held, rules, cross)
        positions.append(position)
        used += position.margin_used_usd
        if held.position.is_cross:
            cross_used += position.margin_used_usd
            notional += abs(held.value_usd)
    is_all_cross = len(cross.positions) == len(marked)
    return AccountSnapshot(
        state.time_ms if at_ms is None else max(state.time_ms, at_ms),
        cross.equity_usd if is_all_cross else account_value_usd(state),
        free_of_usd(cross.equity_usd, cross_used, notional),
        used,
        tuple(positions),
        open_orders(state) if orders is None else orders,
        tuple(state.marks.items()),
    )


def open_orders(state: ExchangeState) -> tuple[OpenOrder, ...]:
    """The standing orders, oldest first; they tell of the positions' sizes, and of no price."""
    return tuple([_open_order(state, order) for order in state.orders.values()])


def _position(state: ExchangeState, held: MarkedPosition, rules: VenueRules, cross: MarginScope) -> Position:
    position = held.position
    setting = state.setting(position.symbol, rules)
    return Position(
        position.symbol,
        position.size_base,
        position.entry_px,
        setting.leverage,
        setting.is_cross,
        unrealized_usd(state, position),
        used_at_usd(position, held.value_usd, setting.leverage),
        liquidation_px_in(cross if position.is_cross else isolated_scope_of(held), held),
        position.funding_usd,
    )


def _open_order(state: ExchangeState, order: StandingOrder) -> OpenOrder:
    request = order.request
    trigger = request.trigger if order.is_waiting else None
    whole = request.is_whole_position
    return OpenOrder(
        request.symbol,
        order.oid,
        request.cloid,
        request.is_buy,
        abs(state.size_base(request.symbol)) if whole else order.open_base,
        request.limit_px,
        request.reduce_only,
        order.placed_at_ms,
        trigger.trigger_px if trigger else None,
        trigger.leg if trigger else None,
        whole,
    )
