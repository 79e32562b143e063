"""One look at the published copies: a DuckDB session that can read them and nothing else.

Belongs here: opening the copies, shutting everything else, running one query, its errors.
Does not belong here: what the views show (``sql_views``), rendering.

The session lives in memory with the copies attached read-only. Before the query runs, file access is
switched off and the configuration is locked; only a single ``SELECT`` passes. Nobody who writes waits for
it: a copy is replaced, never written to.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from wonttrade_dagster.adapters import sql_views
from wonttrade_dagster.core.errors import StorageError, UsageError

_SHUT = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET temp_directory = ''",
    "SET memory_limit = '2GB'",
    "SET threads = 2",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Copies:
    """What a session shows.

    Attributes:
        market: the read copy of the market's history; absent reads as empty.
        ledger: the read copy of an account's ledger; absent or None reads as empty.
        results: ``backtest-results.ndjson`` of a backtest, in place of a ledger.
    """

    market: Path
    ledger: Path | None = None
    results: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns and rows; the rows are read as they are asked for."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def ask(copies: Copies, query: str) -> Iterator[Answer]:
    """Run one query over the views; the copies are open until the block ends.

    Raises:
        UsageError: the query is none, or more than one, or no ``SELECT``, or DuckDB does not accept it.
        StorageError: a copy cannot be read.
    """
    _refuse_but_select(query)
    with closing(_session(copies)) as connection:
        with _worded():
            answer = connection.execute(query)
        yield Answer(_unique([name for name, *_ in answer.description or ()]), _rows(connection))


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    with _worded():
        while rows := connection.fetchmany(_BATCH):
            yield from rows


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except duckdb.PermissionException:
        raise UsageError(
            f"the query may read {', '.join(sql_views.VIEWS)} and nothing else: no files, no settings"
        ) from None
    except duckdb.CatalogException as error:
        raise UsageError(f"{_first_line(error)} (views: {', '.join(sql_views.VIEWS)})") from None
    except duckdb.Error as error:
        raise UsageError(f"the query failed: {_first_line(error)}") from None


def _refuse_but_select(query: str) -> None:
    try:
        kinds = [statement.type for statement in duckdb.extract_statements(query)]
    except duckdb.Error as error:
        raise UsageError(f"that is no SQL: {_first_line(error)}") from None
    if kinds != [duckdb.StatementType.SELECT]:
        raise UsageError("give one SELECT: this command reads, and one query at a time")


def _session(copies: Copies) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    try:
        _attach_market(connection, copies.market)
        _attach_cycles(connection, copies)
        for macro in sql_views.MACROS:
            connection.execute(macro)
        for name, view in sql_views.VIEWS.items():
            connection.execute(f"CREATE VIEW {name} AS {view}")
        for setting in _SHUT:
            connection.execute(setting)
    except StorageError:
        connection.close()
        raise
    except duckdb.Error as error:
        connection.close()
        raise StorageError(
            f"the published copies cannot be read ({_first_line(error)}): the next write makes new ones"
        ) from error
    return connection


def _attach_market(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    if path.exists():
        connection.execute(f"ATTACH {_quoted(path)} AS market (READ_ONLY)")
    for name, table in sql_views.MARKET.items():
        if path.exists():
            connection.execute(f"CREATE VIEW {name}_stored AS FROM market.{name}")
        else:
            connection.execute(table)


def _attach_cycles(connection: duckdb.DuckDBPyConnection, copies: Copies) -> None:
    if copies.ledger is not None and copies.ledger.exists():
        connection.execute(f"ATTACH {_quoted(copies.ledger)} AS ledger (READ_ONLY)")
        connection.execute("CREATE VIEW stages AS FROM ledger.stages")
        connection.execute("CREATE VIEW opening AS SELECT time_ms, account_value_usd FROM ledger.equity")
        return
    connection.execute(sql_views.STAGES)
    connection.execute(sql_views.OPENING)
    if copies.results is not None:
        connection.execute(sql_views.LINES.format(path=_quoted(copies.results)))
        _refuse_damaged(connection, copies.results)
        connection.execute(sql_views.STAGES_OF_LINES)


def _refuse_damaged(connection: duckdb.DuckDBPyConnection, results: Path) -> None:
    """A sum over what is left would look like one over everything."""
    count, first = connection.execute(sql_views.MISSING_LINES).fetchone() or (0, None)
    if count:
        raise StorageError(
            f"{count} of the lines of {results} cannot be read, the first is line {first}: answers would "
            "lack them; bring the file back as it was, or run the backtest anew"
        )


def _quoted(path: Path) -> str:
    text = str(path).replace("'", "''")
    return f"'{text}'"


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Column names, the second ``a`` as ``a_2``: a row is shown as a mapping, too."""
    found = list[str]()
    for name in names:
        again, free = 1, name
        while free in found or (again > 1 and free in names):
            again += 1
            free = f"{name}_{again}"
        found.append(free)
    return tuple(found)


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().partition("\n")[0]
