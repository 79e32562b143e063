"""The history as Parquet files that an import takes back as they were.

Belongs here: names and columns of exported files. Does not belong here: reading them (``history_files``).

Every value and its source is written as it is stored: exporting and importing elsewhere gives equal tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.files import storage_error
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_files import EXPORTED_SOURCE
from wonttrade_dagster.adapters.history_survey import FUNDING, OPEN_INTEREST

_VALUE_NAMES = {"rate_hourly": "funding_rate"}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One series in one file."""

    path: Path
    symbol: str
    series: str
    rows: int


def export_history(
    history: MarketHistory,
    folder: Path,
    symbols: Sequence[str] = (),
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> Iterator[ExportedFile]:
    """Write every stored series of ``symbols`` (all when empty) in ``[from_ms, to_ms)`` to its own file.

    Files are named like ``BTC-5m.parquet``; a series without rows in the range gets none, and a file of
    that name is replaced.

    Raises:
        StorageError: the folder or the history cannot be used.
    """
    for symbol, series, *_ in history.coverage().iter_rows():
        if symbols and symbol not in symbols:
            continue
        frame = history.rows(symbol, series, from_ms, to_ms)
        if not frame.is_empty():
            path = folder / f"{symbol}-{series}.parquet"
            _write(_columns(symbol, series, frame), path)
            yield ExportedFile(path, symbol, series, frame.height)


def _columns(symbol: str, series: str, frame: pl.DataFrame) -> pl.DataFrame:
    time = frame.columns[0]
    name = "time" if series in (FUNDING, OPEN_INTEREST) else "open_time"
    zoned = pl.from_epoch(time, time_unit="ms").dt.replace_time_zone("UTC").alias(name)
    renamed = frame.rename(_VALUE_NAMES, strict=False).rename({"source": EXPORTED_SOURCE})
    return renamed.select(zoned, pl.lit(symbol).alias("symbol"), pl.exclude(time))


def _write(frame: pl.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(temporary)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
