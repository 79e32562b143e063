"""What must stand in capitals: positions whose stop-loss is missing or too small on the venue.

Belongs here: reading an account snapshot for missing protection.
Does not belong here: putting protection back (``core.reconcile``).
"""

from decimal import Decimal

from wonttrade_dagster.core.model import AccountSnapshot, Leg, OpenOrder, Position
from wonttrade_dagster.core.precision import wire

_ZERO = Decimal(0)


def protection_alerts(account: AccountSnapshot) -> tuple[str, ...]:
    """One sentence per position that is not fully covered by stop-losses standing on the venue."""
    sentences = [stop_alert(position, account) for position in account.positions]
    return tuple([sentence for sentence in sentences if sentence])


def stop_coverage_base(position: Position, orders: tuple[OpenOrder, ...]) -> Decimal:
    """Base units of ``position`` that standing stop-losses of its symbol would close, at most its size."""
    size, covered, is_short = abs(position.size_base), _ZERO, position.size_base < _ZERO
    for order in orders:
        if order.leg is Leg.STOP_LOSS and order.symbol == position.symbol and order.is_buy == is_short:
            if order.is_whole_position:
                return size
            covered += order.size_base
    return min(covered, size)


def stop_alert(position: Position, account: AccountSnapshot) -> str | None:
    """The sentence for one position, None where stop-losses cover it."""
    covered, size = stop_coverage_base(position, account.open_orders), abs(position.size_base)
    if covered >= size:
        return None
    side = "LONG" if position.size_base > _ZERO else "SHORT"
    if not covered:
        return f"MISSING STOP: THE {side} OF {wire(size)} {position.symbol} HAS NO STOP-LOSS ON THE VENUE"
    return (
        f"UNDERSIZED STOP: STOP-LOSSES ON THE VENUE COVER {wire(covered)} OF THE {side} OF {wire(size)} "
        f"{position.symbol}"
    )
