"""What one fill does to an account.

Belongs here: entry price, closed PnL, fee, margin transfer, direction word of a single fill.
Does not belong here: which fills happen (``matching``), what follows from them (``orders``, ``marks``).

Rules: protocol.md §10.1 (fee truncated to 6 decimals, closed PnL without fee), §10.3 (entry averages on an
increase, stays on a decrease, restarts on a flip). An isolated opening moves cost / leverage from the cross
account and pays its fee from that margin (this reproduces the recorded HYPE position); how much margin a
partial close gives back is not established: here the closed share of the position's equity at the
fill's price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.simulation.events import Execution
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    LeverageSetting,
    PerpPosition,
    VenueRules,
)

FEE_QUANTUM_USD = Decimal("0.000001")
MARGIN_QUANTUM_USD = Decimal("0.000001")
"""Margin moves between the accounts in the venue's own smallest unit, so that printed amounts add up."""


@quick_init
@dataclass(frozen=True, slots=True)
class FillCause:
    """Why a fill happens: the order it belongs to and what is charged for it."""

    oid: int
    cloid: str | None
    fee_rate: Decimal
    crossed: bool
    leg: Leg | None = None
    liquidation_mark_px: Decimal | None = None
    direction: str | None = None
    """Overrides the word, for takeovers."""


def fee_usd(px: Decimal, size_base: Decimal, rate: Decimal) -> Decimal:
    """Notional·rate, cut (not rounded) to 6 decimals."""
    return (px * size_base * rate).quantize(FEE_QUANTUM_USD, rounding=ROUND_DOWN)


def direction(held_base: Decimal, signed_base: Decimal) -> str:
    """The venue's word for a trade of ``signed_base`` against a position of ``held_base``."""
    side = "Long" if held_base > 0 or (held_base == 0 and signed_base > 0) else "Short"
    if held_base * signed_base >= 0:
        return f"Open {side}"
    if abs(signed_base) <= abs(held_base):
        return f"Close {side}"
    return f"{side} > {'Short' if side == 'Long' else 'Long'}"


def apply_fill(
    state: ExchangeState,
    symbol: str,
    signed_base: Decimal,
    px: Decimal,
    cause: FillCause,
    rules: VenueRules,
) -> tuple[ExchangeState, Execution]:
    """Book one fill of ``signed_base`` at ``px``; margin is not judged here."""
    held = state.size_base(symbol)
    fee = fee_usd(px, abs(signed_base), cause.fee_rate)
    pnl, cross_raw, position = _settled(state, symbol, signed_base, px, fee, rules)
    execution = Execution(
        symbol=symbol,
        oid=cause.oid,
        tid=state.next_tid,
        cloid=cause.cloid,
        time_ms=state.time_ms,
        px=px,
        is_buy=signed_base > 0,
        size_base=abs(signed_base),
        start_position_base=held,
        direction=cause.direction or direction(held, signed_base),
        closed_pnl_usd=pnl,
        fee_usd=fee,
        crossed=cause.crossed,
        leg=cause.leg,
        liquidation_mark_px=cause.liquidation_mark_px,
    )
    return _booked(state, execution, cross_raw, position), execution


def _settled(
    state: ExchangeState, symbol: str, signed_base: Decimal, px: Decimal, fee: Decimal, rules: VenueRules
) -> tuple[Decimal, Decimal, PerpPosition | None]:
    """The closed PnL, and cross account and position after a fill and its fee."""
    held = state.size_base(symbol)
    pnl, opened = ZERO, signed_base
    cross_raw, position = state.cross_raw_usd, state.positions.get(symbol)
    if position is not None and held * signed_base < 0:
        closed = -signed_base if abs(signed_base) <= abs(held) else held
        pnl, opened = (px - position.entry_px) * closed, signed_base + closed
        released, position = _close(position, closed, px)
        cross_raw += released
    if opened:
        paid, position = _open(position, symbol, opened, px, state.setting(symbol, rules))
        cross_raw -= paid
    # The margin that carries the position pays the fee, the cross account once it is closed.
    if position is None or position.is_cross:
        cross_raw -= fee
    else:
        position = replace(position, isolated_raw_usd=position.isolated_raw_usd - fee)
    return pnl, cross_raw, position


def _booked(
    state: ExchangeState, execution: Execution, cross_raw_usd: Decimal, position: PerpPosition | None
) -> ExchangeState:
    symbol, filled = execution.symbol, state.net_filled_base.get(execution.symbol, ZERO)
    others = {name: held for name, held in state.positions.items() if name != symbol}
    return replace(
        state,
        cross_raw_usd=cross_raw_usd,
        positions=others if position is None else {**others, symbol: position},
        realized_pnl_usd=state.realized_pnl_usd + execution.closed_pnl_usd,
        fees_usd=state.fees_usd + execution.fee_usd,
        net_filled_base={**state.net_filled_base, symbol: filled + execution.signed_base},
        marks={symbol: execution.px, **state.marks},
        next_tid=state.next_tid + 1,
    )


def _close(position: PerpPosition, closed: Decimal, px: Decimal) -> tuple[Decimal, PerpPosition | None]:
    """Take ``closed`` (signed as held) out of a position: what the cross account gets, what is left."""
    left = position.size_base - closed
    if position.is_cross:
        released, isolated_raw = closed * px, ZERO
    else:
        equity = position.isolated_raw_usd + position.size_base * px
        share = (equity * closed / position.size_base).quantize(MARGIN_QUANTUM_USD)
        released = max(share, ZERO) if left else equity
        isolated_raw = position.isolated_raw_usd + closed * px - released
    return released, replace(position, size_base=left, isolated_raw_usd=isolated_raw) if left else None


def _open(
    position: PerpPosition | None, symbol: str, opened: Decimal, px: Decimal, setting: LeverageSetting
) -> tuple[Decimal, PerpPosition]:
    """Add ``opened`` (signed) to a position or start one: what the cross account pays, what is held."""
    before = position or PerpPosition(symbol, ZERO, px, setting.is_cross)
    size = before.size_base + opened
    entry = px if not before.size_base else (before.entry_px * before.size_base + px * opened) / size
    if setting.is_cross:
        return opened * px, replace(before, size_base=size, entry_px=entry, isolated_raw_usd=ZERO)
    margin = (abs(opened) * px / setting.leverage).quantize(MARGIN_QUANTUM_USD)
    isolated_raw = before.isolated_raw_usd + margin - opened * px
    return margin, replace(before, size_base=size, entry_px=entry, isolated_raw_usd=isolated_raw)


def with_position(positions: Mapping[str, PerpPosition], changed: PerpPosition) -> Mapping[str, PerpPosition]:
    """The positions with one replaced, or removed when its size became 0."""
    others = {name: p for name, p in positions.items() if name != changed.symbol}
    return {**others, changed.symbol: changed} if changed.size_base else others
