"""What is missing in a series of a fixed grid, and where the market stood still.

Belongs here: arithmetic on frames of history. Does not belong here: the tables (``history``), which series
should be there (``history_survey``).
"""

from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.candles import interval_ms


@dataclass(frozen=True, slots=True)
class Gap:
    """Neighbouring candles or hours: times of the first and the last one, and how many."""

    first_ms: int
    last_ms: int
    count: int


def gaps_in(frame: pl.DataFrame, interval: str, from_ms: int, to_ms: int) -> tuple[Gap, ...]:
    """Runs of open times of the grid in ``[from_ms, to_ms)`` that ``frame`` does not have."""
    return missing_runs(frame["open_time_ms"], interval_ms(interval), from_ms, to_ms)


def missing_runs(times_ms: pl.Series, step_ms: int, from_ms: int, to_ms: int) -> tuple[Gap, ...]:
    """Runs of multiples of ``step_ms`` in ``[from_ms, to_ms)`` that are not among ``times_ms``."""
    first_ms = -(-from_ms // step_ms) * step_ms
    expected = pl.DataFrame({"time": pl.int_range(first_ms, max(first_ms, to_ms), step_ms, eager=True)})
    missing = expected.join(pl.DataFrame({"time": times_ms}), on="time", how="anti")
    return runs_of(missing["time"].sort(), step_ms)


def runs_of(times_ms: pl.Series, step_ms: int) -> tuple[Gap, ...]:
    """Neighbours among ascending times, ``step_ms`` apart, as one run each."""
    run = (times_ms.diff().fill_null(step_ms) != step_ms).cum_sum()
    runs = pl.DataFrame({"time": times_ms, "run": run}).group_by("run", maintain_order=True)
    spans = runs.agg(pl.col("time").first().alias("first"), pl.col("time").last().alias("last"), pl.len())
    return tuple(Gap(first, last, count) for _, first, last, count in spans.iter_rows())


def halts_in(frame: pl.DataFrame, interval: str) -> tuple[Gap, ...]:
    """Runs of candles in which nothing was traded: the venue stood still, nothing is missing."""
    still = frame.filter(pl.col("volume") == 0)["open_time_ms"]
    return runs_of(still, interval_ms(interval))
