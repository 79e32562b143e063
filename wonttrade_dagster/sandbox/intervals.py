"""The venue's candle intervals and their grids.

Belongs here: when a candle of an interval starts and ends. Does not belong here: prices.

Intervals up to a day and ``3d`` lie on the epoch's grid, a week starts on Monday, a month on its first.
"""

from datetime import UTC, datetime

from wonttrade_dagster.sandbox.walk import DAY_MS, MINUTE_MS

HOUR_MS = 3_600_000
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""The first Monday of the epoch, 1970-01-05."""

INTERVAL_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    "1M": 31 * DAY_MS,
}
"""Length by name; of a month, the longest."""


def start_ms(interval: str, time_ms: int) -> int:
    """Start of the candle of ``interval`` that contains ``time_ms``. Raises ``KeyError``."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
    anchor = MONDAY_MS if interval == "1w" else 0
    length = INTERVAL_MS[interval]
    return (time_ms - anchor) // length * length + anchor


def next_start_ms(interval: str, candle_start_ms: int) -> int:
    """Start of the candle after the one that starts at ``candle_start_ms``."""
    return start_ms(interval, candle_start_ms + INTERVAL_MS[interval])
