"""MarketHistory: candles, funding and open interest in ``market.duckdb``.

Belongs here: the tables, and how series are added and read.
Does not belong here: file formats (``history_files``), the venue, what a backtest makes of it (``replay``).

Connections are short-lived and locked (``duckdb_file``): nothing is held between two calls. A file that
does not exist reads as empty and is created by the first write. A write ends with a published copy
(``market.read.duckdb``), which readers may hold open.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from wonttrade_dagster.adapters.duckdb_file import connect, is_published, publish_held
from wonttrade_dagster.adapters.history_gaps import Gap, gaps_in
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.errors import HistoryError, StorageError
from wonttrade_dagster.core.model import CANDLE_SCHEMA

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

FUNDING_SCHEMA = {"time_ms": pl.Int64(), "rate_hourly": pl.Float64()}
OPEN_INTEREST_SCHEMA = {"time_ms": pl.Int64(), "open_interest_base": pl.Float64()}

_TABLES = """
CREATE TABLE IF NOT EXISTS candles (
    symbol VARCHAR NOT NULL, interval VARCHAR NOT NULL, open_time_ms BIGINT NOT NULL,
    open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL,
    volume DOUBLE NOT NULL, source VARCHAR NOT NULL,
    PRIMARY KEY (symbol, interval, open_time_ms));
CREATE TABLE IF NOT EXISTS funding_rates (
    symbol VARCHAR NOT NULL, time_ms BIGINT NOT NULL, rate_hourly DOUBLE NOT NULL, source VARCHAR NOT NULL,
    PRIMARY KEY (symbol, time_ms));
CREATE TABLE IF NOT EXISTS open_interest (
    symbol VARCHAR NOT NULL, time_ms BIGINT NOT NULL, open_interest_base DOUBLE NOT NULL,
    source VARCHAR NOT NULL,
    PRIMARY KEY (symbol, time_ms));
"""

_COVERAGE = """
SELECT symbol, interval AS series, count(*) AS rows, min(open_time_ms) AS first_ms,
       max(open_time_ms) AS last_ms, string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM candles GROUP BY symbol, interval
UNION ALL
SELECT symbol, 'funding', count(*), min(time_ms), max(time_ms),
       string_agg(DISTINCT source, ', ' ORDER BY source) FROM funding_rates GROUP BY symbol
UNION ALL
SELECT symbol, 'open_interest', count(*), min(time_ms), max(time_ms),
       string_agg(DISTINCT source, ', ' ORDER BY source) FROM open_interest GROUP BY symbol
ORDER BY symbol, series
"""

_COVERAGE_SCHEMA = {
    "symbol": pl.String(),
    "series": pl.String(),
    "rows": pl.Int64(),
    "first_ms": pl.Int64(),
    "last_ms": pl.Int64(),
    "sources": pl.String(),
}


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What adding rows did: ``changed`` rows exist with other values, and were left unless replaced."""

    new: int
    unchanged: int
    changed: int
    first_changed_ms: int | None = field(default=None, compare=False)
    """Time of the first of the changed rows."""

    @property
    def rows(self) -> int:
        """All rows that were offered."""
        return self.new + self.unchanged + self.changed

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        changed_ms = [ms for ms in (self.first_changed_ms, other.first_changed_ms) if ms is not None]
        return ImportCounts(
            self.new + other.new,
            self.unchanged + other.unchanged,
            self.changed + other.changed,
            min(changed_ms, default=None),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows:
    """Rows of one table: ``frame`` holds its time and value columns, and ``source`` where rows differ."""

    symbol: str
    series: str
    """A candle interval, ``funding`` or ``open_interest``."""
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    time: str
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.time, *self.values)


_CANDLES = _Table("candles", "open_time_ms", ("open", "high", "low", "close", "volume"))
_FUNDING = _Table("funding_rates", "time_ms", ("rate_hourly",))
_OPEN_INTEREST = _Table("open_interest", "time_ms", ("open_interest_base",))


class MarketHistory:
    """The history of every symbol in one DuckDB file.

    Attributes:
        path: ``market.duckdb``.
        lock_seconds: how long a call waits for a file that another process uses; past it
            ``StorageLockedError`` is raised.
    """

    def __init__(self, path: Path, lock_seconds: float = 10.0) -> None:
        self.path = path
        self.lock_seconds = lock_seconds

    @classmethod
    def of(cls, data_dir: Path) -> "MarketHistory":
        """The history of a data directory."""
        return cls(data_dir / "market.duckdb")

    def add_candles(
        self, symbol: str, interval: str, frame: pl.DataFrame, source: str, *, replace: bool = False
    ) -> ImportCounts:
        """Add candles; what is there already is compared, and overwritten only with ``replace``.

        Args:
            symbol: the coin.
            interval: the venue's name of the interval.
            frame: ``CANDLE_SCHEMA``.
            source: where the rows come from; stored beside them.
            replace: overwrite rows that have other values.

        Raises:
            HistoryError: a time occurs twice, or a value is null or NaN.
            StorageError: the file did not take the rows; it is as it was before.
        """
        return self.add_all([SeriesRows(symbol, interval, frame)], source, replace=replace)[0]

    def add_funding(
        self, symbol: str, frame: pl.DataFrame, source: str, *, replace: bool = False
    ) -> ImportCounts:
        """Add hourly funding rates (``FUNDING_SCHEMA``), times floored to their hour."""
        return self.add_all([SeriesRows(symbol, "funding", frame)], source, replace=replace)[0]

    def add_open_interest(
        self, symbol: str, frame: pl.DataFrame, source: str, *, replace: bool = False
    ) -> ImportCounts:
        """Add open interest (``OPEN_INTEREST_SCHEMA``)."""
        return self.add_all([SeriesRows(symbol, "open_interest", frame)], source, replace=replace)[0]

    def add_all(
        self, rows: Sequence[SeriesRows], source: str, *, replace: bool = False
    ) -> tuple[ImportCounts, ...]:
        """Add several series in one transaction: all of them or none.

        ``source`` is stored beside every row whose frame does not name its own.
        """
        prepared = [(series, _prepared(series)) for series in rows]
        with self._writing() as connection:
            return tuple(
                _upsert(connection, series, frame, source, replace=replace) for series, frame in prepared
            )

    def rows(
        self, symbol: str, series: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> pl.DataFrame:
        """Stored rows of any series in ``[from_ms, to_ms)``, ascending: time, values and ``source``."""
        table = _table(series)
        key = (symbol, series) if table is _CANDLES else (symbol,)
        return self._read(table, key, from_ms, to_ms, with_source=True)

    def candles(
        self, symbol: str, interval: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> pl.DataFrame:
        """Candles opened in ``[from_ms, to_ms)``, ascending, in ``CANDLE_SCHEMA``; None is unbounded."""
        return self._read(_CANDLES, (symbol, interval), from_ms, to_ms)

    def funding(self, symbol: str, from_ms: int | None = None, to_ms: int | None = None) -> pl.DataFrame:
        """Hourly rates in ``[from_ms, to_ms)``, ascending, in ``FUNDING_SCHEMA``."""
        return self._read(_FUNDING, (symbol,), from_ms, to_ms)

    def open_interest(
        self, symbol: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> pl.DataFrame:
        """Open interest in ``[from_ms, to_ms)``, ascending, in ``OPEN_INTEREST_SCHEMA``."""
        return self._read(_OPEN_INTEREST, (symbol,), from_ms, to_ms)

    def intervals(self, symbol: str) -> tuple[str, ...]:
        """Intervals of which candles are stored, finest first."""
        coverage = self.coverage().filter(
            (pl.col("symbol") == symbol) & ~pl.col("series").is_in(["funding", "open_interest"])
        )
        return tuple(sorted(coverage["series"].to_list(), key=interval_ms))

    def days(self, symbol: str, interval: str) -> pl.DataFrame:
        """UTC days that have candles: ``day`` (Date), ``candles``, ``is_complete``, ascending."""
        per_day = max(1, DAY_MS // interval_ms(interval))
        day = pl.from_epoch("open_time_ms", time_unit="ms").dt.date().alias("day")
        counts = self.candles(symbol, interval).group_by(day, maintain_order=True)
        return counts.agg(pl.len().cast(pl.Int64).alias("candles")).with_columns(
            (pl.col("candles") >= per_day).alias("is_complete")
        )

    def coverage(self) -> pl.DataFrame:
        """What is stored: ``symbol, series, rows, first_ms, last_ms, sources``, one row a series."""
        if not self.path.exists():
            return pl.DataFrame(schema=_COVERAGE_SCHEMA)
        with self._reading() as connection:
            return _frame(connection, _COVERAGE).cast(pl.Schema(_COVERAGE_SCHEMA))

    def gaps(self, symbol: str, interval: str, from_ms: int, to_ms: int) -> tuple[Gap, ...]:
        """Runs of missing candles among the open times in ``[from_ms, to_ms)``, oldest first."""
        return gaps_in(self.candles(symbol, interval, from_ms, to_ms), interval, from_ms, to_ms)

    def _read(
        self,
        table: _Table,
        key: tuple[str, ...],
        from_ms: int | None,
        to_ms: int | None,
        *,
        with_source: bool = False,
    ) -> pl.DataFrame:
        schema = pl.Schema({**_schema(table), "source": pl.String()}) if with_source else _schema(table)
        if not self.path.exists():
            return pl.DataFrame(schema=schema)
        columns, names = ", ".join(schema), ("symbol", "interval")[: len(key)]
        where = [f"{name} = ?" for name in names]
        where += [f"{table.time} >= ?"] * (from_ms is not None) + [f"{table.time} < ?"] * (to_ms is not None)
        query = f"SELECT {columns} FROM {table.name} WHERE {' AND '.join(where)} ORDER BY {table.time}"  # noqa: S608 (constants of this module; values are parameters)
        bounds = [bound for bound in (from_ms, to_ms) if bound is not None]
        with self._reading() as connection:
            return _frame(connection, query, [*key, *bounds]).cast(schema)

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Read-only, so that a user's own read-only session is not in the way."""
        with connect(self.path, self.lock_seconds, read_only=True) as connection:
            try:
                yield connection
            except duckdb.Error as error:
                raise StorageError(
                    f"{self.path} could not be read ({_first_line(error)}): import the history again"
                ) from error

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: all that is written in the block, or nothing."""
        with connect(self.path, self.lock_seconds) as connection:
            try:
                connection.begin()
                connection.execute(_TABLES)
                yield connection
                connection.commit()
            except duckdb.Error as error:
                raise StorageError(
                    f"{self.path} did not take the rows ({_first_line(error)}): it is as it was before; "
                    "free the disk or restore the file and try again"
                ) from error
            self._publish(connection)

    def _publish(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Whatever its size: history is written rarely, and whoever imports wants to read what is new."""
        if is_published(self.path):
            return
        try:
            publish_held(self.path, connection, at_any_size=True)
        except duckdb.Error as error:
            raise StorageError(
                f"{self.path} took the rows, but its read copy is old ({_first_line(error)}): free the disk"
            ) from error


def _schema(table: _Table) -> pl.Schema:
    if table is _CANDLES:
        return pl.Schema(CANDLE_SCHEMA)
    return pl.Schema(FUNDING_SCHEMA if table is _FUNDING else OPEN_INTEREST_SCHEMA)


def _table(series: str) -> _Table:
    if series == "funding":
        return _FUNDING
    if series == "open_interest":
        return _OPEN_INTEREST
    interval_ms(series)
    return _CANDLES


def _prepared(rows: SeriesRows) -> pl.DataFrame:
    """The rows in the table's own columns and types, sorted, funding on the hour."""
    table, name = _table(rows.series), f"{rows.symbol} {rows.series}"
    absent = [column for column in table.columns if column not in rows.frame.columns]
    if absent:
        raise HistoryError(f"{name}: column {absent[0]!r} is missing: pass {', '.join(table.columns)}")
    frame = rows.frame.select(table.columns).cast(_schema(table))
    if "source" in rows.frame.columns:
        frame = frame.with_columns(rows.frame["source"])
    if table is _FUNDING:
        frame = frame.with_columns(pl.col("time_ms") // HOUR_MS * HOUR_MS)
    broken = frame.filter(
        pl.any_horizontal(pl.all().is_null()) | pl.any_horizontal(~pl.col(table.values).is_finite())
    )
    if not broken.is_empty():
        raise HistoryError(f"{name}: a value at {broken[table.time][0]} is missing or not finite: repair it")
    duplicated = frame.filter(pl.col(table.time).is_duplicated())
    if not duplicated.is_empty():
        raise HistoryError(f"{name}: {duplicated[table.time][0]} occurs twice: keep one row for each time")
    return frame.sort(table.time)


def _upsert(
    connection: duckdb.DuckDBPyConnection,
    rows: SeriesRows,
    frame: pl.DataFrame,
    source: str,
    *,
    replace: bool,
) -> ImportCounts:
    """Count against what is stored, then insert what is new and, if asked, replace what changed."""
    table = _table(rows.series)
    keys = {"symbol": rows.symbol} | ({"interval": rows.series} if table is _CANDLES else {})
    offered = frame.with_columns(*(pl.lit(value).alias(key) for key, value in keys.items()))
    compared = _compared(connection, table, keys, frame)
    is_new, is_changed = compared["is_new"], compared["is_changed"]
    new, changed = int(is_new.sum()), int(is_changed.sum())
    if "source" not in offered.columns:
        offered = offered.with_columns(pl.lit(source).alias("source"))
    _insert(connection, table, offered.filter(is_new | is_changed if replace else is_new))
    first_changed_ms = int(frame[table.time].filter(is_changed)[0]) if changed else None
    return ImportCounts(new, frame.height - new - changed, changed, first_changed_ms)


def _compared(
    connection: duckdb.DuckDBPyConnection, table: _Table, keys: dict[str, str], frame: pl.DataFrame
) -> pl.DataFrame:
    """One row per offered row, in its order: ``is_new``, ``is_changed``."""
    where = " AND ".join(f"{key} = ?" for key in keys)
    query = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where}"  # noqa: S608 (constants)
    stored = _frame(connection, query, list(keys.values())).cast(_schema(table))
    marked = stored.with_columns(pl.lit(value=True).alias("is_stored"))
    joined = frame.join(marked, on=table.time, how="left", suffix="_stored", maintain_order="left")
    differs = pl.any_horizontal(pl.col(value) != pl.col(f"{value}_stored") for value in table.values)
    return joined.select(
        pl.col("is_stored").is_null().alias("is_new"), differs.fill_null(value=False).alias("is_changed")
    )


def _insert(connection: duckdb.DuckDBPyConnection, table: _Table, rows: pl.DataFrame) -> None:
    if rows.is_empty():
        return
    connection.register("new_rows", rows)
    connection.execute(f"INSERT OR REPLACE INTO {table.name} BY NAME SELECT * FROM new_rows")  # noqa: S608 (a constant)
    connection.unregister("new_rows")


def _frame(
    connection: duckdb.DuckDBPyConnection, query: str, params: Iterable[str | int] = ()
) -> pl.DataFrame:
    relation = connection.sql(query, params=list(params))
    if relation is None:
        raise StorageError(f"DuckDB returned no relation for {query!r}")
    frame: pl.DataFrame = relation.pl()
    return frame


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
