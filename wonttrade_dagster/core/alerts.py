"""What must stand in capitals: positions whose stop-loss is missing or too small on the venue.

Belongs here: reading an account snapshot for missing protection.
Does not belong here: putting protection back (``core.reconcile``).
"""

from decimal import Decimal

from wonttrade_dagster.core.model import AccountSnapshot, Leg, OpenOrder, Position
from wonttrade_dagster.core.precision import wire

_STOP_LOSS = Leg.STOP_LOSS  # looking a member up in its class costs more than the comparison
_ZERO = Decimal(0)


def protection_alerts(account: AccountSnapshot) -> tuple[str, ...]:
    """One sentence per position that is not fully covered by stop-losses standing on the venue."""
    sentences = (stop_alert(position, account) for position in account.positions)
    return tuple(sentence for sentence in sentences if sentence)


def stop_coverage_base(position: Position, orders: tuple[OpenOrder, ...]) -> Decimal:
    """Base units of ``position`` that its standing stop-losses would close, at most its size."""
    size, is_short = abs(position.size_base), position.size_base < _ZERO
    covered = _ZERO
    for order in orders:
        if order.leg is _STOP_LOSS and order.is_buy == is_short:
            if order.is_whole_position:
                return size
            covered += order.size_base
    return min(covered, size)


def stop_alert(position: Position, account: AccountSnapshot) -> str | None:
    """The sentence for one position, None where stop-losses cover it."""
    covered = stop_coverage_base(position, account.protection(position.symbol))
    size = abs(position.size_base)
    if covered >= size:
        return None
    side = "LONG" if position.size_base > 0 else "SHORT"
    if covered == 0:
        return f"MISSING STOP: THE {side} OF {wire(size)} {position.symbol} HAS NO STOP-LOSS ON THE VENUE"
    return (
        f"UNDERSIZED STOP: STOP-LOSSES ON THE VENUE COVER {wire(covered)} OF THE {side} OF {wire(size)} "
        f"{position.symbol}"
    )
