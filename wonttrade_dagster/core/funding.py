"""Funding rates as an hourly series.

Belongs here: which hours a series lacks. Does not belong here: paying funding (``core.simulation``), where
rates come from (``adapters``).
"""

from collections.abc import Iterable

HOUR_MS = 3_600_000


def missing_hours(times_ms: Iterable[int], from_ms: int, to_ms: int) -> tuple[int, ...]:
    """The full hours in ``[from_ms, to_ms)`` that are not among ``times_ms`` (full hours), ascending.

    The venue pays every hour (Hyperliquid documentation "Funding"): an hour without a rate is a hole in the
    record and never a rate of zero.
    """
    first_ms = -(-from_ms // HOUR_MS) * HOUR_MS
    return tuple(sorted(set(range(first_ms, to_ms, HOUR_MS)).difference(times_ms)))
