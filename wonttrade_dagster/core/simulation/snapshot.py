"""The account as a cycle sees it.

Belongs here: the reading of a state into the contracts of ``core.model``.
Does not belong here: arithmetic (``margin``).
"""

from wonttrade_dagster.core.model import AccountSnapshot, OpenOrder, Position
from wonttrade_dagster.core.simulation.margin import (
    MarginScope,
    account_value_usd,
    cross_scope,
    free_margin_usd,
    isolated_scope,
    liquidation_px_in,
    margin_used_usd,
    unrealized_usd,
)
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    PerpPosition,
    StandingOrder,
    VenueRules,
)


def account_snapshot(state: ExchangeState, rules: VenueRules, at_ms: int | None = None) -> AccountSnapshot:
    """Positions, standing orders, value and margin at the state's own marks, at its time or a later one."""
    cross = cross_scope(state, rules)
    positions = tuple(_position(state, p, rules, cross) for p in state.positions.values())
    return AccountSnapshot(
        taken_at_ms=state.time_ms if at_ms is None else max(state.time_ms, at_ms),
        account_value_usd=account_value_usd(state),
        free_margin_usd=free_margin_usd(state, rules),
        margin_used_usd=sum((position.margin_used_usd for position in positions), ZERO),
        positions=positions,
        open_orders=tuple(_open_order(state, order) for order in state.orders.values()),
        marks=tuple(state.marks.items()),
    )


def _position(
    state: ExchangeState, position: PerpPosition, rules: VenueRules, cross: MarginScope
) -> Position:
    setting = state.setting(position.symbol, rules)
    scope = cross if position.is_cross else isolated_scope(state, position, rules)
    return Position(
        symbol=position.symbol,
        size_base=position.size_base,
        entry_px=position.entry_px,
        leverage=setting.leverage,
        is_cross=setting.is_cross,
        unrealized_pnl_usd=unrealized_usd(state, position),
        margin_used_usd=margin_used_usd(state, position, rules),
        liquidation_px=liquidation_px_in(scope, state, position, rules),
        funding_since_open_usd=position.funding_usd,
    )


def _open_order(state: ExchangeState, order: StandingOrder) -> OpenOrder:
    request = order.request
    trigger = request.trigger if order.is_waiting else None
    whole = request.is_whole_position
    return OpenOrder(
        symbol=request.symbol,
        oid=order.oid,
        cloid=request.cloid,
        is_buy=request.is_buy,
        size_base=abs(state.size_base(request.symbol)) if whole else order.open_base,
        limit_px=request.limit_px,
        reduce_only=request.reduce_only,
        placed_at_ms=order.placed_at_ms,
        trigger_px=trigger.trigger_px if trigger else None,
        leg=trigger.leg if trigger else None,
        is_whole_position=whole,
    )
