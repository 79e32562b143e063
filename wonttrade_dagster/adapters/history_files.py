"""History files: Parquet, CSV and Feather into checked series, and series into the history.

Belongs here: what a file holds (candles or funding), of which symbols and interval, and its import.
Does not belong here: columns and times (``history_columns``), the rules (``history_checks``), the tables
(``history``).

A file is imported whole or not at all, in one transaction.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.history import ImportCounts, MarketHistory, SeriesRows
from wonttrade_dagster.adapters.history_checks import (
    HOUR_MS,
    check_grid,
    check_prices,
    check_rates,
    check_unique,
    infer_interval,
)
from wonttrade_dagster.adapters.history_columns import (
    ROW,
    map_columns,
    numbers,
    read_raw,
    refusal,
    times_ms,
)
from wonttrade_dagster.core.model import CandleSeries

_PRICES = ("open", "high", "low", "close", "volume")
_SYMBOL = re.compile(r"^k?[A-Z0-9]{1,15}$")
_QUOTE = re.compile(r"([/_-](USDC?|USDT|PERP)(:\w+)?)+$")
_INTERVAL = re.compile(r"^\d{1,2}[mhdwM]$")
_OTHER_SERIES = frozenset({"mark", "index", "oracle", "premium"})


@dataclass(frozen=True, slots=True, eq=False)
class CandleFile:
    """The candles of one file, a series per symbol, checked."""

    path: Path
    series: tuple[CandleSeries, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FundingSeries:
    """Hourly funding of one symbol; ``frame`` is ``history.FUNDING_SCHEMA``, times on the hour."""

    symbol: str
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class FundingFile:
    """The funding rates of one file, a series per symbol, checked."""

    path: Path
    series: tuple[FundingSeries, ...]


@dataclass(frozen=True, slots=True)
class SeriesImport:
    """What importing one series did. ``series`` is an interval or ``funding``."""

    symbol: str
    series: str
    first_ms: int
    last_ms: int
    counts: ImportCounts


@dataclass(frozen=True, slots=True)
class FileImport:
    """What importing one file did."""

    path: Path
    series: tuple[SeriesImport, ...]

    @property
    def counts(self) -> ImportCounts:
        """All its series together."""
        return sum((series.counts for series in self.series), ImportCounts(0, 0, 0))


def read_history_file(path: Path) -> CandleFile | FundingFile:
    """Read and check one file.

    Columns are found by their names (``open_time``, ``timestamp``, ``o``, ``funding_rate``, …), the symbol
    in a column or at the start of the file's name, the interval by the spacing of the rows, which must agree
    with the file's name.

    Raises:
        HistoryError: the file, the row, the column and the remedy of the first thing that is wrong.
    """
    raw = read_raw(path)
    columns = map_columns(path, raw.columns)
    if "time" not in columns:
        raise refusal(
            path,
            f"no column of {raw.columns[1:]} is the time",
            "name it open_time (candles) or time (funding)",
        )
    if set(_PRICES) <= set(columns):
        return _candle_file(path, raw, columns)
    if "rate" in columns and not set(_PRICES) & set(columns):
        return _funding_file(path, raw, columns)
    missing = [name for name in _PRICES if name not in columns]
    raise refusal(
        path,
        f"column {missing[0]!r} is missing",
        f"give time, {', '.join(_PRICES)}; or time and funding_rate",
    )


def import_files(
    history: MarketHistory,
    paths: Iterable[Path],
    *,
    replace: bool = False,
    on_file: Callable[[FileImport], None] | None = None,
) -> tuple[FileImport, ...]:
    """Import files one after another, each in a transaction of its own.

    Every file is read and checked before the first one is written.

    Args:
        history: where to.
        paths: the files.
        replace: overwrite what is stored with other values; by default that is counted and left.
        on_file: called after each file, for a progress bar.

    Raises:
        HistoryError: a file is wrong; nothing was imported.
        StorageError: the history did not take a file; those before it are in.
    """
    done = []
    for content in [read_history_file(path) for path in paths]:
        done.append(_import(history, content, replace=replace))
        if on_file is not None:
            on_file(done[-1])
    return tuple(done)


def _import(history: MarketHistory, content: CandleFile | FundingFile, *, replace: bool) -> FileImport:
    if isinstance(content, CandleFile):
        rows = [SeriesRows(s.symbol, s.interval, s.frame) for s in content.series]
    else:
        rows = [SeriesRows(s.symbol, "funding", s.frame) for s in content.series]
    counts = history.add_all(rows, f"file:{content.path.name}", replace=replace)
    return FileImport(content.path, tuple(_report(r, c) for r, c in zip(rows, counts, strict=True)))


def _report(rows: SeriesRows, counts: ImportCounts) -> SeriesImport:
    times = rows.frame.to_series(0)
    return SeriesImport(rows.symbol, rows.series, times[0], times[-1], counts)


def _candle_file(path: Path, raw: pl.DataFrame, columns: dict[str, str]) -> CandleFile:
    other = _OTHER_SERIES & set(_tokens(path))
    if other:
        raise refusal(path, f"its name says {min(other)} prices", "import candles of trades")
    times = times_ms(path, raw, columns["time"])
    values = [numbers(path, raw, columns[name]).alias(name) for name in _PRICES]
    texts = {name: raw[columns[name]] for name in ("symbol", "interval") if name in columns}
    frame = pl.DataFrame([raw[ROW], times.alias("open_time_ms"), *values])
    frame = frame.with_columns(*(series.cast(pl.String).alias(name) for name, series in texts.items()))
    check_prices(path, frame)
    return CandleFile(
        path, tuple(_candles(path, s, part) for s, part in _by_symbol(path, frame, "open_time_ms"))
    )


def _candles(path: Path, symbol: str, frame: pl.DataFrame) -> CandleSeries:
    check_unique(path, frame, "open_time_ms")
    interval = infer_interval(path, frame, _stated_intervals(path, frame))
    check_grid(path, frame, interval)
    return CandleSeries(symbol, interval, frame.select("open_time_ms", *_PRICES))


def _stated_intervals(path: Path, frame: pl.DataFrame) -> dict[str, str]:
    tokens = [token for token in _tokens(path)[1:] if _INTERVAL.match(token)]
    stated = {"the file name": tokens[-1]} if tokens else {}
    if "interval" in frame.columns:
        names = frame["interval"].unique(maintain_order=True).to_list()
        if len(names) > 1:
            raise refusal(
                path, f"column 'interval' holds both {names[0]} and {names[1]}", "give each its own file"
            )
        stated["column 'interval'"] = str(names[0])
    return stated


def _funding_file(path: Path, raw: pl.DataFrame, columns: dict[str, str]) -> FundingFile:
    times = times_ms(path, raw, columns["time"]) // HOUR_MS * HOUR_MS
    rates = numbers(path, raw, columns["rate"])
    frame = pl.DataFrame([raw[ROW], times.alias("time_ms"), rates.alias("rate_hourly")])
    if "symbol" in columns:
        frame = frame.with_columns(raw[columns["symbol"]].cast(pl.String).alias("symbol"))
    return FundingFile(path, tuple(_funding(path, s, part) for s, part in _by_symbol(path, frame, "time_ms")))


def _funding(path: Path, symbol: str, frame: pl.DataFrame) -> FundingSeries:
    check_unique(path, frame, "time_ms")
    check_rates(path, frame)
    return FundingSeries(symbol, frame.select("time_ms", "rate_hourly"))


def _by_symbol(path: Path, frame: pl.DataFrame, time: str) -> list[tuple[str, pl.DataFrame]]:
    """The rows of each symbol, ascending in time."""
    if "symbol" not in frame.columns:
        return [(_file_symbol(path), frame.sort(time))]
    unnamed = frame.filter(pl.col("symbol").is_null() | (pl.col("symbol").str.strip_chars() == ""))
    if not unnamed.is_empty():
        raise refusal(path, f"row {unnamed[ROW][0]}: the symbol is missing", "name one in every row")
    groups: dict[str, list[pl.DataFrame]] = {}
    for (name,), part in frame.group_by("symbol", maintain_order=True):
        groups.setdefault(_symbol(path, str(name)), []).append(part)
    return [(symbol, pl.concat(parts).sort(time)) for symbol, parts in groups.items()]


def _symbol(path: Path, text: str) -> str:
    symbol = _QUOTE.sub("", text.strip())
    if not _SYMBOL.match(symbol):
        raise refusal(
            path, f"{text!r} is not a symbol of the venue", "write it as the venue does, like BTC or kPEPE"
        )
    return symbol


def _tokens(path: Path) -> list[str]:
    return [token for token in re.split(r"[-_. ]+", path.stem) if token]


def _file_symbol(path: Path) -> str:
    tokens = _tokens(path)
    if not tokens or not _SYMBOL.match(tokens[0]):
        raise refusal(
            path, "no column names the symbol", "begin the file's name with it, like BTC-5m.parquet"
        )
    return tokens[0]
