"""The account as a cycle sees it.

Belongs here: the reading of a state into the contracts of ``core.model``.
Does not belong here: arithmetic (``margin``).
"""

from decimal import Decimal

from wonttrade_dagster.core.model import AccountSnapshot, OpenOrder, Position
from wonttrade_dagster.core.simulation.margin import (
    MarginScope,
    account_value_usd,
    cross_scope,
    free_of_usd,
    isolated_scope,
    liquidation_px_in,
    unrealized_usd,
    used_at_usd,
    value_usd,
)
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    PerpPosition,
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
    cross = cross_scope(state, rules)
    positions: list[Position] = []
    used = cross_used = notional = ZERO
    for held in state.positions.values():
        value = value_usd(state, held)
        position = _position(state, held, value, rules, cross)
        positions.append(position)
        used += position.margin_used_usd
        if held.is_cross:
            cross_used += position.margin_used_usd
            notional += abs(value)
    return AccountSnapshot(
        state.time_ms if at_ms is None else max(state.time_ms, at_ms),
        account_value_usd(state),
        free_of_usd(cross.equity_usd, cross_used, notional),
        used,
        tuple(positions),
        open_orders(state) if orders is None else orders,
        tuple(state.marks.items()),
    )


def open_orders(state: ExchangeState) -> tuple[OpenOrder, ...]:
    """The standing orders, oldest first; they tell of the positions' sizes, and of no price."""
    return tuple([_open_order(state, order) for order in state.orders.values()])


def _position(
    state: ExchangeState, position: PerpPosition, value: Decimal, rules: VenueRules, cross: MarginScope
) -> Position:
    symbol, setting = position.symbol, state.setting(position.symbol, rules)
    scope = cross if position.is_cross else isolated_scope(state, position, rules)
    return Position(
        symbol,
        position.size_base,
        position.entry_px,
        setting.leverage,
        setting.is_cross,
        unrealized_usd(state, position),
        used_at_usd(position, value, setting.leverage),
        liquidation_px_in(scope, state, position, rules),
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
