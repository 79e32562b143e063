"""What must stand in capitals: positions whose stop-loss is missing or too small on the venue.

Belongs here: reading an account snapshot for missing protection.
Does not belong here: putting protection back (``core.reconcile``).
"""

from decimal import Decimal

from wonttrade_dagster.core.model import AccountSnapshot, Leg, OpenOrder, Position
from wonttrade_dagster.core.precision import wire


def protection_alerts(account: AccountSnapshot) -> tuple[str, ...]:
    """One sentence per position that is not fully covered by stop-losses standing on the venue."""
    sentences = (stop_alert(position, account) for position in account.positions)
    return tuple(sentence for sentence in sentences if sentence)


def stop_coverage_base(position: Position, orders: tuple[OpenOrder, ...]) -> Decimal:
    """Base units of ``position`` that its standing stop-losses would close, at most its size."""
    stops = [o for o in orders if o.leg is Leg.STOP_LOSS and o.is_buy == (position.size_base < 0)]
    size = abs(position.size_base)
    if any(stop.is_whole_position for stop in stops):
        return size
    return min(sum((stop.size_base for stop in stops), Decimal(0)), size)


def stop_alert(position: Position, account: AccountSnapshot) -> str | None:
    """The sentence for one position, None where stop-losses cover it."""
    covered = stop_coverage_base(position, account.protection(position.symbol))
    size, side = abs(position.size_base), "LONG" if position.size_base > 0 else "SHORT"
    if covered >= size:
        return None
    if covered == 0:
        return f"MISSING STOP: THE {side} OF {wire(size)} {position.symbol} HAS NO STOP-LOSS ON THE VENUE"
    return (
        f"UNDERSIZED STOP: STOP-LOSSES ON THE VENUE COVER {wire(covered)} OF THE {side} OF {wire(size)} "
        f"{position.symbol}"
    )
