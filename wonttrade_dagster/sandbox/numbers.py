"""Decimals as the venue prints them, and strictly read from what a client sent.

Belongs here: text of numbers on the wire. Does not belong here: the grid (``core.precision``).
"""

import re
from decimal import Decimal

MAX_WIRE_DECIMALS = 8
_WIRE = re.compile(rf"\d+(\.\d{{1,{MAX_WIRE_DECIMALS}}})?")


def text(value: Decimal) -> str:
    """``1`` as ``"1.0"``, ``83767.50`` as ``"83767.5"``: at least one decimal, no exponent, no ``-0``."""
    if not value:
        return "0.0"
    plain = format(value.normalize(), "f")
    return plain if "." in plain else plain + ".0"


def px_text(px: float, max_decimals: int) -> str:
    """A price with at most 5 significant figures and ``max_decimals`` decimals, printed like the venue.

    Raises:
        ValueError: ``px`` is not positive.
    """
    if px <= 0:
        raise ValueError(f"a price must be positive, not {px}")
    figures_left = 4 - int(f"{px:e}".partition("e")[2])
    plain = f"{px:.{max(0, min(max_decimals, figures_left))}f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return plain if "." in plain else plain + ".0"


def size_text(size: float, size_decimals: int) -> str:
    """An amount of base units on the lot grid, printed like the venue."""
    return text(Decimal(f"{size:.{size_decimals}f}"))


def read_wire(value: object) -> Decimal:
    """A price or size of an order (protocol §13).

    Raises:
        ValueError: it is not a string, or has a sign, an exponent or more than 8 decimals.
    """
    if not isinstance(value, str) or not _WIRE.fullmatch(value):
        raise ValueError(f"{value!r} is not an unsigned decimal with at most {MAX_WIRE_DECIMALS} decimals")
    return Decimal(value)
