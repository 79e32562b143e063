"""Random candles as files of history, in the forms in which people keep them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
from market_samples import utc_ms

from wonttrade_dagster.adapters.history_files import CandleFile, read_history_file

DAY = utc_ms(2025, 6, 1)
STEP_MS = 300_000


def zoned(candles: pl.DataFrame, zone: str | None = "UTC") -> pl.DataFrame:
    """The candles with ``open_time`` as a datetime in ``zone``."""
    utc = pl.from_epoch("open_time_ms", time_unit="ms").dt.replace_time_zone("UTC")
    time = utc.dt.replace_time_zone(None) if zone is None else utc.dt.convert_time_zone(zone)
    return candles.select(time.alias("open_time"), pl.exclude("open_time_ms"))


def as_text(candles: pl.DataFrame, form: str) -> pl.DataFrame:
    time = pl.from_epoch("open_time_ms", time_unit="ms").dt.strftime(form)
    return candles.select(time.alias("timestamp"), pl.exclude("open_time_ms"))


def write(path: Path, frame: pl.DataFrame) -> Path:
    writers: dict[str, Callable[[Path], None]] = {
        ".parquet": frame.write_parquet,
        ".csv": frame.write_csv,
        ".feather": frame.write_ipc,
    }
    writers[path.suffix](path)
    return path


def candle_file(path: Path) -> CandleFile:
    content = read_history_file(path)
    assert isinstance(content, CandleFile)
    return content
