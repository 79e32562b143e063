"""``wonttrade sql``: one query over what is stored, while it trades.

Belongs here: which copies are meant, and how rows are shown.
Does not belong here: the views and what a query may do (``adapters.sql_session``).
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_shards import shards_hint
from wonttrade_dagster.adapters.duckdb_file import read_copy_path
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.sql_session import Answer, Copies, ask
from wonttrade_dagster.cli.output import err, print_table, printable
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.settings import Settings, load_settings

Format = Literal["table", "csv", "json"]

MOST_ROWS = 1_000
"""Of a table for a person; the other formats print every row."""


def run_sql(config: Path, query: str, backtest_id: str | None, shown_as: Format) -> None:
    """Run one query and print its rows.

    Raises:
        UsageError: the query is not one ``SELECT``, or wrong; or there is no such backtest.
        StorageError: a published copy cannot be read.
    """
    with ask(copies_of(load_settings(config), backtest_id), query) as answer:
        _SHOW[shown_as](answer)


def copies_of(settings: Settings, backtest_id: str | None) -> Copies:
    """The published copies of the live family, or the results of a backtest. Raises ``UsageError``."""
    market = read_copy_path(MarketHistory.of(settings.data_dir).path)
    if backtest_id is not None:
        results = backtest_folder(settings.data_dir, backtest_id) / RESULTS_NAME
        if not results.exists():
            if hint := shards_hint(results.parent):
                raise UsageError(hint)
            raise UsageError(f"there is no backtest {backtest_id!r} in {settings.data_dir / 'backtests'}")
        return Copies(market, results=results)
    if settings.runtime.mode is RuntimeMode.BACKTEST:
        return Copies(market)
    from wonttrade_dagster.defs.compose import journal, ledger  # noqa: PLC0415 (every part, a second of imports)

    return Copies(market, read_copy_path(ledger(settings, journal(settings)).path))


def _table(answer: Answer) -> None:
    rows = [[_cell(value) for value in row] for row in islice(answer.rows, MOST_ROWS)]
    print_table(f"{len(rows)} rows", answer.columns, rows)
    if next(answer.rows, None) is not None:
        err.print(f"the first {MOST_ROWS} rows: --format csv prints all", markup=False)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def _csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def _json(answer: Answer) -> None:
    print("[", end="")
    for place, text in enumerate(_objects(answer)):
        print(",\n" if place else "\n", text, sep="", end="")
    print("\n]")


def _objects(answer: Answer) -> Iterator[str]:
    for row in answer.rows:
        values = dict(zip(answer.columns, map(_finite, row), strict=True))
        yield json.dumps(values, default=str, allow_nan=False)


def _finite(value: Any) -> Any:  # noqa: ANN401 (a cell)
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):  # DuckDB's arrays and unnamed structs are tuples
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return value


_SHOW = {"table": _table, "csv": _csv, "json": _json}
