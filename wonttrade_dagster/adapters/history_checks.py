"""What a history file's rows must obey before any of them is imported.

Belongs here: the rules for candles and funding rates, each refusing with the row it was broken in.
Does not belong here: reading files and naming columns (``history_columns``).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl

from wonttrade_dagster.adapters.history_columns import ROW, refusal
from wonttrade_dagster.core.candles import INTERVALS_MS
from wonttrade_dagster.core.plausibility import MAX_FUNDING_RATE_HOURLY
from wonttrade_dagster.core.utc import utc_exact

HOUR_MS = 3_600_000

_FOREIGN_RUN = 3
"""So many equal spacings in a row are another interval, not missing candles."""

_MOST = 1e18
"""Of a price and a volume; sums of finite numbers beyond are soon infinite."""

_BOOKED_WITHIN_MS = 60_000
"""A rate's time may lie so long after its hour; whoever rounds to minutes keeps it within."""


def check_unique(path: Path, frame: pl.DataFrame, time: str) -> None:
    """No time of a symbol occurs twice. ``frame`` is sorted by ``time``."""
    again = frame.filter(pl.col(time).diff() == 0)
    if not again.is_empty():
        raise refusal(
            path,
            f"row {again[ROW][0]}: the time {utc_exact(again[time][0])} occurs a second time",
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
            f"row {off[ROW][0]}: {utc_exact(off['open_time_ms'][0])} is not on the {interval} grid",
            "give candles by their open time in UTC",
        )
    foreign = _foreign_run(frame, "open_time_ms", [ms for ms in INTERVALS_MS.values() if ms != step_ms])
    if foreign is not None:
        row, spacing_ms = foreign
        raise refusal(
            path,
            f"row {row}: rows from here on are {spacing_ms // 60_000} minutes apart among {interval} candles",
            "give each interval its own file",
        )


def _foreign_run(frame: pl.DataFrame, time: str, spacings_ms: Sequence[int]) -> tuple[int, int] | None:
    """Row and spacing where the first run of equal spacings, out of these, begins; None without one."""
    spaced = frame.with_columns(spacing=pl.col(time).diff())
    begins = (pl.col("spacing") != pl.col("spacing").shift(1)).fill_null(value=True)
    runs = spaced.with_columns(run=begins.cum_sum()).filter(pl.col("spacing").is_in(list(spacings_ms)))
    long = runs.filter(pl.len().over("run") >= _FOREIGN_RUN)
    return None if long.is_empty() else (int(long[ROW][0]), int(long["spacing"][0]))


def check_prices(path: Path, frame: pl.DataFrame) -> None:
    """Positive prices, ``low <= open, close <= high``, volume not negative."""
    rules = {
        **{name: (pl.col(name) <= 0, "is not positive") for name in ("open", "high", "low", "close")},
        "volume": (pl.col("volume") < 0, "is negative"),
    }
    for column, (broken, what) in rules.items():
        _refuse_where(path, frame, broken, column, what)
        _refuse_where(path, frame, pl.col(column) > _MOST, column, "is beyond any market")
    _refuse_where(path, frame, pl.col("high") < pl.col("low"), "high", "is below the low")
    for column in ("open", "close"):
        outside = ~pl.col(column).is_between(pl.col("low"), pl.col("high"))
        _refuse_where(path, frame, outside, column, "is outside of low and high")


def on_the_hour(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """The same rates at the full hours at which they were paid; the venue books them some ms later."""
    other = frame.filter(pl.col("time_ms") % HOUR_MS > _BOOKED_WITHIN_MS)
    if not other.is_empty():
        raise refusal(
            path,
            f"row {other[ROW][0]}: {utc_exact(other['time_ms'][0])} is not when the venue pays",
            "give the hour at which each rate was paid, in UTC",
        )
    return frame.with_columns(pl.col("time_ms") // HOUR_MS * HOUR_MS)


def check_rates(path: Path, frame: pl.DataFrame) -> None:
    """Hourly rates within the venue's cap, and none that stand for several hours."""
    beyond = pl.col("rate_hourly").abs() > MAX_FUNDING_RATE_HOURLY
    _refuse_where(path, frame, beyond, "rate_hourly", "is beyond the venue's cap of 4 % an hour")
    nearest_ms = frame["time_ms"].diff().min()
    if isinstance(nearest_ms, int) and nearest_ms > HOUR_MS:
        _refuse_long_rates(path, "the rates", nearest_ms // HOUR_MS)
    foreign = _foreign_run(frame, "time_ms", [hours * HOUR_MS for hours in range(2, 25)])
    if foreign is not None:
        _refuse_long_rates(path, f"row {foreign[0]}: the rates from here on", foreign[1] // HOUR_MS)


def _refuse_long_rates(path: Path, which: str, hours: int) -> NoReturn:
    raise refusal(path, f"{which} are {hours} hours apart, the venue pays every hour", "give hourly rates")


def check_hourly(path: Path, stated: Iterable[str]) -> None:
    """What a file says of the length that its rates are for."""
    other = sorted(set(stated) - {"1h"})
    if other:
        raise refusal(path, f"it says {other[0]}, the venue pays every hour", "give hourly rates")


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
