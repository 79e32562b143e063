"""What a protection order is worth to a position.

Belongs here: plain questions about stop-loss and take-profit triggers, shared by plan and execution.
Does not belong here: deciding to place or cancel one.
"""

from collections.abc import Sequence
from decimal import Decimal

from wonttrade_dagster.core.model import Leg, OpenOrder, TargetPosition

_STOP_LOSS = Leg.STOP_LOSS  # looking a member up in its class costs more than the comparison
_ZERO = Decimal(0)


def protection_px(target: TargetPosition, leg: Leg) -> Decimal | None:
    """The price that the target names for that leg; None only for a flat target."""
    return target.stop_loss if leg is _STOP_LOSS else target.take_profit


def is_crossed(leg: Leg, trigger_px: Decimal, reference_px: Decimal, *, is_long: bool) -> bool:
    """Whether a protection order would fire at once at that price, so that it cannot rest."""
    fires_below = (leg is _STOP_LOSS) == is_long
    return reference_px <= trigger_px if fires_below else reference_px >= trigger_px


def protects(order: OpenOrder, held_base: Decimal) -> bool:
    """Whether the order can only reduce a position of that signed size."""
    return order.reduce_only and order.is_buy == (held_base < _ZERO)


def covers(orders: Sequence[OpenOrder], held_base: Decimal) -> bool:
    """Whether the orders of one leg together close the whole position."""
    return _is_elastic(orders) or _total(orders) >= abs(held_base)


def covers_exactly(order: OpenOrder, held_base: Decimal) -> bool:
    """Whether one order closes the whole position and nothing more."""
    return order.is_whole_position or order.size_base == abs(held_base)


def _is_elastic(orders: Sequence[OpenOrder]) -> bool:
    return any(order.is_whole_position for order in orders)


def _total(orders: Sequence[OpenOrder]) -> Decimal:
    return sum((order.size_base for order in orders), Decimal(0))
