"""History files: Parquet, CSV and Feather into checked series, and series into the history.

Belongs here: what a file holds (candles, funding or open interest), of which symbols and interval, and its
import. Does not belong here: columns and times (``history_columns``), the rules (``history_checks``), the
tables (``history``), writing files (``history_export``).

All files of an import go in together, in one transaction, or none does.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import polars as pl

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.history import ImportCounts, MarketHistory, SeriesRows
from wonttrade_dagster.adapters.history_checks import (
    check_grid,
    check_hourly,
    check_open_interest,
    check_prices,
    check_rates,
    check_unique,
    infer_interval,
    on_the_hour,
)
from wonttrade_dagster.adapters.history_columns import (
    NOTHING_STATED,
    ROW,
    StatedTimes,
    map_columns,
    numbers,
    read_raw,
    refusal,
    times_ms,
)
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.model import CandleSeries
from wonttrade_dagster.core.utc import utc_text

EXPORTED_SOURCE = "wonttrade_source"
"""Column of an exported file that says where each row came from: an import keeps it."""

_PRICES = ("open", "high", "low", "close", "volume")
_POINTS = ("rate", "open_interest")
_SYMBOL = re.compile(r"^(?=.*[A-Z])k?[A-Z0-9]{1,15}$")
_PAIR = re.compile(r"\w(USDC|USDT)$")
_QUOTE = re.compile(r"([/_-](USDC?|USDT|PERP)(:\w+)?)+$")
_INTERVAL = re.compile(r"^\d{1,2}[mhdwM]$")
_HOURS = re.compile(r"^\d{1,2}h$")
_OTHER_SERIES = frozenset({"mark", "index", "oracle", "premium"})


@dataclass(frozen=True, slots=True, eq=False)
class CandleFile:
    """The candles of one file, a series per symbol, checked."""

    path: Path
    series: tuple[CandleSeries, ...]
    sources: tuple[pl.Series, ...] = ()
    """Per series where each row came from, of an exported file; else empty."""

    @property
    def rows(self) -> tuple[SeriesRows, ...]:
        """What goes into the tables."""
        return tuple(
            SeriesRows(s.symbol, s.interval, _with_source(self.path, s.frame, source))
            for s, source in zip_longest(self.series, self.sources)
        )


@dataclass(frozen=True, slots=True, eq=False)
class PointSeries:
    """A value a time of one symbol: hourly funding on the hour, or open interest, in the table's schema."""

    symbol: str
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class PointFile:
    """The funding rates or the open interest of one file, a series per symbol, checked."""

    path: Path
    kind: Literal["funding", "open_interest"]
    series: tuple[PointSeries, ...]
    sources: tuple[pl.Series, ...] = ()

    @property
    def rows(self) -> tuple[SeriesRows, ...]:
        """What goes into the tables."""
        return tuple(
            SeriesRows(s.symbol, self.kind, _with_source(self.path, s.frame, source))
            for s, source in zip_longest(self.series, self.sources)
        )


@dataclass(frozen=True, slots=True)
class SeriesImport:
    """What importing one series did. ``series`` is an interval, ``funding`` or ``open_interest``."""

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


def read_history_file(path: Path, stated: StatedTimes = NOTHING_STATED) -> CandleFile | PointFile:
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
    priced = set(_PRICES) & set(columns)
    if len(priced) == len(_PRICES):
        return _candle_file(path, raw, columns, stated)
    points = [name for name in _POINTS if name in columns]
    if len(points) == 1 and not priced:
        return _point_file(path, raw, columns, points[0], stated)
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
    stated: StatedTimes = NOTHING_STATED,
    on_file: Callable[[Path], None] | None = None,
    now_ms: int | None = None,
) -> tuple[FileImport, ...]:
    """Import files together: every one is read and checked, then all go in in one transaction.

    Args:
        history: where to.
        paths: the files.
        replace: overwrite what is stored with other values; by default that is counted and left. Files that
            contradict each other are refused then.
        stated: what is known of times that do not say it themselves.
        on_file: called when a file has been read and checked, for a progress bar.
        now_ms: candles that had not closed by then are refused; by default the time of this machine.

    Raises:
        HistoryError: a file is wrong, or holds a candle that is still forming; nothing was imported.
        StorageError: the history did not take the rows; nothing was imported.
    """
    contents = list[CandleFile | PointFile]()
    closed_by_ms = SystemClock().now_ms() if now_ms is None else now_ms
    for path in paths:
        contents.append(read_history_file(path, stated))
        _refuse_unclosed(contents[-1], closed_by_ms)
        if on_file is not None:
            on_file(path)
    rows = [content.rows for content in contents]
    if replace:
        _refuse_quarrel(contents)
    counts = iter(history.add_all([one for many in rows for one in many], "file", replace=replace))
    return tuple(
        FileImport(content.path, tuple(_report(one, next(counts)) for one in many))
        for content, many in zip(contents, rows, strict=True)
    )


def _refuse_quarrel(contents: list[CandleFile | PointFile]) -> None:
    """Two files that replace each other's rows would do so at every import: which is right cannot be told."""
    seen: dict[tuple[str, str], list[tuple[Path, pl.DataFrame]]] = {}
    for content in contents:
        for rows in content.rows:
            frame = rows.frame.drop("source")
            time, *values = frame.columns
            others = seen.setdefault((rows.symbol, rows.series), [])
            for path, other in others:
                both = frame.join(other, on=time, suffix="_other")
                apart = both.filter(pl.any_horizontal(pl.col(v) != pl.col(f"{v}_other") for v in values))
                if not apart.is_empty():
                    at = f"{rows.symbol} {rows.series} of {utc_text(apart[time][0])}"
                    raise refusal(
                        content.path,
                        f"{at} has other values in {path}",
                        "replace by one of the two",
                    )
            others.append((content.path, frame))


def _refuse_unclosed(content: CandleFile | PointFile, now_ms: int) -> None:
    """A download usually ends with the forming candle: stored once, it would stand as if it were whole."""
    for rows in content.rows:
        length_ms = interval_ms(rows.series) if isinstance(content, CandleFile) else 0
        last_ms = int(rows.frame.to_series(0)[-1])
        if last_ms + length_ms > now_ms:
            raise refusal(
                content.path,
                f"{rows.symbol} {rows.series}: the row of {utc_text(last_ms)} lies in the future or is still "
                "forming",
                "drop the rows that had not closed when the file was made",
            )


def _with_source(path: Path, frame: pl.DataFrame, source: pl.Series | None) -> pl.DataFrame:
    named = pl.lit(f"file:{path.name}") if source is None else source
    return frame.with_columns(named.alias("source"))


def _report(rows: SeriesRows, counts: ImportCounts) -> SeriesImport:
    times = rows.frame.to_series(0)
    return SeriesImport(rows.symbol, rows.series, times[0], times[-1], counts)


def _candle_file(path: Path, raw: pl.DataFrame, columns: dict[str, str], stated: StatedTimes) -> CandleFile:
    other = _OTHER_SERIES & set(_tokens(path))
    if other:
        raise refusal(path, f"its name says {min(other)} prices", "import candles of trades")
    times = times_ms(path, raw, columns["time"], stated)
    values = [numbers(path, raw, columns[name]).alias(name) for name in _PRICES]
    frame = pl.DataFrame([raw[ROW], times.alias("open_time_ms"), *values, *_texts(raw, columns)])
    check_prices(path, frame)
    parts = _by_symbol(path, frame, "open_time_ms")
    return CandleFile(path, tuple(_candles(path, s, part) for s, part in parts), _sources(parts))


def _texts(raw: pl.DataFrame, columns: dict[str, str]) -> list[pl.Series]:
    told = columns | ({"source": EXPORTED_SOURCE} if EXPORTED_SOURCE in raw.columns else {})
    named = {name: raw[told[name]] for name in ("symbol", "interval", "source") if name in told}
    return [series.cast(pl.String).alias(name) for name, series in named.items()]


def _sources(parts: list[tuple[str, pl.DataFrame]]) -> tuple[pl.Series, ...]:
    return tuple(part["source"].fill_null("file") for _, part in parts if "source" in part.columns)


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


def _point_file(
    path: Path, raw: pl.DataFrame, columns: dict[str, str], name: str, stated: StatedTimes
) -> PointFile:
    times = times_ms(path, raw, columns["time"], stated)
    values = numbers(path, raw, columns[name])
    column = "rate_hourly" if name == "rate" else "open_interest_base"
    texts = {text.name: text for text in _texts(raw, columns)}
    intervals = texts.pop("interval", pl.Series([], dtype=pl.String)).drop_nulls().unique().to_list()
    frame = pl.DataFrame([raw[ROW], times.alias("time_ms"), values.alias(column), *texts.values()])
    if name == "rate":
        check_hourly(path, [*intervals, *filter(_HOURS.match, _tokens(path)[1:])])
        frame = on_the_hour(path, frame)
    parts = _by_symbol(path, frame, "time_ms")
    series = tuple(_points(path, symbol, part, column) for symbol, part in parts)
    return PointFile(path, "funding" if name == "rate" else "open_interest", series, _sources(parts))


def _points(path: Path, symbol: str, frame: pl.DataFrame, column: str) -> PointSeries:
    check_unique(path, frame, "time_ms")
    if column == "rate_hourly":
        check_rates(path, frame)
    else:
        check_open_interest(path, frame)
    return PointSeries(symbol, frame.select("time_ms", column))


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
    if len(groups) == 1:
        _refuse_other_name(path, next(iter(groups)))
    return [(symbol, pl.concat(parts).sort(time)) for symbol, parts in groups.items()]


def _refuse_other_name(path: Path, symbol: str) -> None:
    """``BTC-5m`` with ETH in its only series is one of the two, and nobody can tell which."""
    first, *others = _tokens(path) or [""]
    is_series = any(_INTERVAL.match(part) or part == "funding" for part in others)
    if is_series and _SYMBOL.match(first) and not any(t.startswith(symbol) for t in (first, *others)):
        raise refusal(
            path,
            f"its name begins with {first}, the rows are of {symbol}",
            "correct the name or the column, whichever is wrong",
        )


def _symbol(path: Path, text: str) -> str:
    symbol = _QUOTE.sub("", text.strip())
    if not _SYMBOL.match(symbol) or _PAIR.search(symbol):
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
    return _symbol(path, tokens[0])
