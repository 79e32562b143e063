"""What a history file's rows must obey before any of them is imported.

Belongs here: the rules for candles and funding rates, each refusing with the row it was broken in.
Does not belong here: reading files and naming columns (``history_columns``).
"""

from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.history_columns import ROW, refusal
from wonttrade_dagster.core.candles import INTERVALS_MS
from wonttrade_dagster.core.plausibility import MAX_FUNDING_RATE_HOURLY

HOUR_MS = 3_600_000

_FOREIGN_RUN = 3
"""So many equal spacings in a row are another interval, not missing candles."""


def check_unique(path: Path, frame: pl.DataFrame, time: str) -> None:
    """No time of a symbol occurs twice. ``frame`` is sorted by ``time``."""
    again = frame.filter(pl.col(time).diff() == 0)
    if not again.is_empty():
        raise refusal(
            path,
            f"row {again[ROW][0]}: the time {again[time][0]} occurs a second time",
            "keep one row for each time and symbol",
        )


def infer_interval(path: Path, frame: pl.DataFrame, stated: dict[str, str]) -> str:
    """The interval by its spacing, which must agree with everything that states one.

    Args:
        path: the file.
        frame: candles of one symbol, ascending, unique.
        stated: where an interval is stated (``the file name``, a column) → which.
    """
    spacings = frame["open_time_ms"].diff().drop_nulls()
    seen = next(
        (name for name, ms in INTERVALS_MS.items() if len(spacings) and ms == spacings.mode().min()), None
    )
    names = set(stated.values()) | ({seen} if seen else set())
    if len(names) > 1:
        says = ", ".join(f"{where} says {what}" for where, what in stated.items())
        raise refusal(path, f"the rows are {seen} apart but {says}", "correct the name, or split the file")
    if not names:
        raise refusal(
            path, f"no interval can be read from {frame.height} row(s)", "name the file like BTC-5m.parquet"
        )
    interval = names.pop()
    if interval not in INTERVALS_MS:
        raise refusal(
            path, f"the interval {interval!r} is not one of the venue's", f"use {', '.join(INTERVALS_MS)}"
        )
    return interval


def check_grid(path: Path, frame: pl.DataFrame, interval: str) -> None:
    """Open times lie on the interval's grid, and no stretch of the file has another interval."""
    step_ms = INTERVALS_MS[interval]
    off = frame.filter(pl.col("open_time_ms") % step_ms != 0)
    if not off.is_empty():
        raise refusal(
            path,
            f"row {off[ROW][0]}: the open time {off['open_time_ms'][0]} is not on the {interval} grid of UTC",
            "give candles by their open time in UTC",
        )
    spacing = pl.col("open_time_ms").diff()
    foreign = frame.with_columns(spacing.alias("spacing")).with_columns(
        (pl.col("spacing") != pl.col("spacing").shift(1)).fill_null(value=True).cum_sum().alias("run")
    )
    runs = foreign.filter(
        pl.col("spacing").is_in(list(INTERVALS_MS.values())) & (pl.col("spacing") != step_ms)
    )
    long = runs.filter(pl.len().over("run") >= _FOREIGN_RUN)
    if not long.is_empty():
        minutes = long["spacing"][0] // 60_000
        raise refusal(
            path,
            f"row {long[ROW][0]}: rows from here on are {minutes} minutes apart among {interval} candles",
            "give each interval its own file",
        )


def check_prices(path: Path, frame: pl.DataFrame) -> None:
    """Positive prices, ``low <= open, close <= high``, volume not negative."""
    rules = {
        **{name: (pl.col(name) <= 0, "is not positive") for name in ("open", "high", "low", "close")},
        "volume": (pl.col("volume") < 0, "is negative"),
    }
    for column, (broken, what) in rules.items():
        _refuse_where(path, frame, broken, column, what)
    _refuse_where(path, frame, pl.col("high") < pl.col("low"), "high", "is below the low")
    for column in ("open", "close"):
        outside = ~pl.col(column).is_between(pl.col("low"), pl.col("high"))
        _refuse_where(path, frame, outside, column, "is outside of low and high")


def check_rates(path: Path, frame: pl.DataFrame) -> None:
    """Hourly rates within the venue's cap, one an hour, and hours apart."""
    beyond = pl.col("rate_hourly").abs() > MAX_FUNDING_RATE_HOURLY
    _refuse_where(path, frame, beyond, "rate_hourly", "is beyond the venue's cap of 4 % an hour")
    spacing_ms = frame["time_ms"].diff().drop_nulls().mode()
    if len(spacing_ms) and int(spacing_ms[0]) != HOUR_MS and len(spacing_ms) < frame.height - 1:
        hours = int(spacing_ms[0]) // HOUR_MS
        raise refusal(
            path, f"the rates are {hours} hours apart, the venue pays every hour", "give hourly rates"
        )


def check_open_interest(path: Path, frame: pl.DataFrame) -> None:
    """Open interest is not negative."""
    _refuse_where(path, frame, pl.col("open_interest_base") < 0, "open_interest_base", "is negative")


def _refuse_where(path: Path, frame: pl.DataFrame, broken: pl.Expr, column: str, what: str) -> None:
    rows = frame.filter(broken)
    if not rows.is_empty():
        more = f" (and {rows.height - 1} more rows)" if rows.height > 1 else ""
        value = rows[column][0]
        raise refusal(
            path, f"row {rows[ROW][0]}, column {column!r}: {value} {what}{more}", "repair or drop the row"
        )
