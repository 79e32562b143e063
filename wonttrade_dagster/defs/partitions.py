"""The two time grids of the graph: cycles and UTC days.

Belongs here: partition definitions, their keys, and the arithmetic between a key and a time.
Does not belong here: what is done with a partition.
See https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

CYCLE_KEY_FORMAT = "%Y-%m-%d-%H:%M"
DAY_KEY_FORMAT = "%Y-%m-%d"

LIVE_DAYS = 31
"""How far back cycle keys reach: 44,640 one-minute keys take the UI 2.8 s, 156,000 take it more than 4 s
of CPU at each look. DuckDB keeps everything."""

FIRST_DAY = "2023-01-01"
"""Hyperliquid's perpetuals have no earlier history."""


def cron_of(cycle_minutes: int) -> str:
    """The cron schedule of the cycle grid.

    Raises:
        ValueError: for a cadence that neither divides an hour nor is whole hours dividing a day.
    """
    if cycle_minutes < 60 and 60 % cycle_minutes == 0:
        return f"*/{cycle_minutes} * * * *"
    if cycle_minutes == 1440:
        return "0 0 * * *"
    hours, rest = divmod(cycle_minutes, 60)
    if rest == 0 and hours and 24 % hours == 0:
        return f"0 */{hours} * * *"
    raise ValueError(f"a cycle of {cycle_minutes} minutes neither divides an hour nor a day in whole hours")


def cycle_partitions(cycle_minutes: int, now: datetime) -> dg.TimeWindowPartitionsDefinition:
    """Cycles of the last month, and the next two: a run starts some seconds before its own minute."""
    first = (now - timedelta(days=LIVE_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=cron_of(cycle_minutes),
        start=first.strftime(CYCLE_KEY_FORMAT),
        fmt=CYCLE_KEY_FORMAT,
        end_offset=2,
        timezone="UTC",
    )


def day_partitions() -> dg.DailyPartitionsDefinition:
    """UTC days, for history and backtests; the running day is one of them."""
    return dg.DailyPartitionsDefinition(
        start_date=FIRST_DAY, fmt=DAY_KEY_FORMAT, timezone="UTC", end_offset=1
    )


def cycle_key(cycle_ms: int) -> str:
    """The partition key of a cycle: its UTC minute."""
    return datetime.fromtimestamp(cycle_ms / 1000, UTC).strftime(CYCLE_KEY_FORMAT)


def cycle_ms_of(key: str) -> int:
    """The decision time that a cycle key names."""
    return int(datetime.strptime(key, CYCLE_KEY_FORMAT).replace(tzinfo=UTC).timestamp()) * 1000


def day_ms_of(key: str) -> int:
    """The first millisecond of a day key."""
    return int(datetime.strptime(key, DAY_KEY_FORMAT).replace(tzinfo=UTC).timestamp()) * 1000


def next_cycle_ms(now_ms: int, cycle_minutes: int) -> int:
    """The first decision time after ``now_ms``."""
    step_ms = cycle_minutes * 60_000
    return (now_ms // step_ms + 1) * step_ms
