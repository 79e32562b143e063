"""The ledger's tables and every query on them.

Belongs here: SQL, on a connection that somebody else opened.
Does not belong here: locks, the spool, the journal (``adapters.ledger``).
"""

from collections.abc import Sequence
from decimal import Decimal

import duckdb
import polars as pl
from pydantic_core import from_json

from wonttrade_dagster.adapters import ledger_texts, snapshot_candles
from wonttrade_dagster.adapters.spool import SpooledStage
from wonttrade_dagster.core.model import EquityPoint, Stage

DDL = """
CREATE TABLE IF NOT EXISTS stages (
    cycle_ms BIGINT NOT NULL, stage VARCHAR NOT NULL, attempt INTEGER NOT NULL DEFAULT 1,
    recorded_at_ms BIGINT NOT NULL, payload JSON NOT NULL, PRIMARY KEY (cycle_ms, stage));
CREATE TABLE IF NOT EXISTS equity (
    time_ms BIGINT NOT NULL, account_value_usd DECIMAL(38, 12) NOT NULL,
    kind VARCHAR NOT NULL DEFAULT 'opening' PRIMARY KEY);
"""
"""``attempt`` is 1: stored stages are never overwritten. ``equity`` holds the opening, written once."""

_NOT_A_RECORD = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, pl.exceptions.PolarsError)
"""What taking a file apart raises when it is not the record its name says."""

_APPLIED = """
WITH recent AS (
    SELECT cycle_ms FROM stages WHERE stage = 'decisions' AND cycle_ms < ? ORDER BY cycle_ms DESC LIMIT 64)
SELECT d.cycle_ms, d.payload ->> '$.outcome.kind' = 'decision'
       AND json_type(p.payload, '$.refusal') IS NOT DISTINCT FROM 'NULL'
FROM stages d LEFT JOIN stages p ON p.cycle_ms = d.cycle_ms AND p.stage = 'execution_plans'
WHERE d.stage = 'decisions' AND d.cycle_ms IN (SELECT cycle_ms FROM recent)
ORDER BY d.cycle_ms DESC
"""


def exist(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the tables are there; they are not when the process that made the file was killed doing so."""
    # Looking is 35 ms a cycle cheaper than asking the catalogue what there is.
    try:
        connection.execute("SELECT 1 FROM stages, equity, snapshot_candles LIMIT 0")
    except duckdb.CatalogException:
        return False
    return True


def stages(connection: duckdb.DuckDBPyConnection, cycle_ms: int) -> frozenset[str]:
    """Names of the stages stored for a cycle."""
    rows = connection.execute("SELECT stage FROM stages WHERE cycle_ms = ?", [cycle_ms]).fetchall()
    return frozenset(name for (name,) in rows)


def payload(connection: duckdb.DuckDBPyConnection, cycle_ms: int, stage: Stage) -> bytes | None:
    """The JSON of a stage, byte for byte as it was recorded."""
    query = "SELECT payload FROM stages WHERE cycle_ms = ? AND stage = ?"
    row = connection.execute(query, [cycle_ms, stage.value]).fetchone()
    if row is None:
        return None
    stored: bytes = row[0].encode()
    if stage is Stage.MARKET_SNAPSHOTS:
        return snapshot_candles.unfold(connection, cycle_ms, stored)
    return ledger_texts.unfold(connection, stored) if stage is Stage.LLM_CONTEXTS else stored


def cycles(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Every cycle that has a stage, oldest first."""
    rows = connection.execute("SELECT DISTINCT cycle_ms FROM stages ORDER BY cycle_ms").fetchall()
    return [cycle_ms for (cycle_ms,) in rows]


def newest_cycle(connection: duckdb.DuckDBPyConnection, stage: Stage, before_ms: int) -> int | None:
    """The newest cycle before ``before_ms`` that has a stage."""
    query = "SELECT max(cycle_ms) FROM stages WHERE stage = ? AND cycle_ms < ?"
    row = connection.execute(query, [stage.value, before_ms]).fetchone()
    return row[0] if row else None


def newest_applied(connection: duckdb.DuckDBPyConnection, before_ms: int) -> int | None:
    """The newest cycle before ``before_ms`` whose decision was planned without a refusal."""
    while rows := connection.execute(_APPLIED, [before_ms]).fetchall():
        for cycle_ms, is_applied in rows:
            if is_applied:
                return int(cycle_ms)
        before_ms = rows[-1][0]
    return None


def account_values(connection: duckdb.DuckDBPyConnection) -> dict[int, Decimal]:
    """Account value by cycle, where the cycle's report knew it."""
    query = (
        "SELECT cycle_ms, payload ->> '$.account_value_usd' FROM stages "
        "WHERE stage = 'cycle_reports' ORDER BY cycle_ms"
    )
    rows = connection.execute(query).fetchall()
    return {cycle_ms: Decimal(value) for cycle_ms, value in rows if value is not None}


def opening(connection: duckdb.DuckDBPyConnection) -> EquityPoint | None:
    """The opening equity, or None before the first report."""
    row = connection.execute("SELECT time_ms, account_value_usd::VARCHAR FROM equity").fetchone()
    return EquityPoint(row[0], Decimal(row[1]).normalize()) if row else None


def report_facts(payload: bytes) -> tuple[Decimal | None, EquityPoint | None]:
    """Account value and opening equity in the JSON of a cycle report, where it holds them."""
    report = from_json(payload)
    value, so_far = report.get("account_value_usd"), report.get("performance")
    carried = EquityPoint(so_far["started_at_ms"], Decimal(so_far["opening_equity_usd"])) if so_far else None
    return None if value is None else Decimal(value), carried


def insert(connection: duckdb.DuckDBPyConnection, spooled: Sequence[SpooledStage]) -> set[tuple[int, Stage]]:
    """Store records, oldest first, in one transaction if DuckDB takes them all.

    Returns:
        Cycle and stage of those that were not taken: DuckDB refuses the content, or another record is stored
        for that stage. They never keep the others from being stored.
    """
    connection.execute(DDL + snapshot_candles.DDL + ledger_texts.DDL)
    try:
        return _insert_together(connection, spooled)
    except (duckdb.OperationalError, duckdb.FatalException):
        raise  # the disk, not the content: a full one is an IOException or, at the commit, another of these
    except (duckdb.Error, *_NOT_A_RECORD):
        if len(spooled) == 1:
            return {(spooled[0].cycle_ms, spooled[0].stage)}
    return set[tuple[int, Stage]]().union(*(insert(connection, [one]) for one in spooled))


def _insert_together(
    connection: duckdb.DuckDBPyConnection, spooled: Sequence[SpooledStage]
) -> set[tuple[int, Stage]]:
    connection.execute("BEGIN")
    try:
        refused = {(s.cycle_ms, s.stage) for s in spooled if not _insert_one(connection, s)}
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return refused


def _insert_one(connection: duckdb.DuckDBPyConnection, spooled: SpooledStage) -> bool:
    stored = payload(connection, spooled.cycle_ms, spooled.stage)
    if stored is not None:  # the same one: a kill came between an earlier commit and the removal of the file
        return stored == spooled.payload
    text = spooled.payload
    if spooled.stage is Stage.MARKET_SNAPSHOTS:
        text = snapshot_candles.fold(connection, spooled.cycle_ms, text)
    if spooled.stage is Stage.LLM_CONTEXTS:
        text = ledger_texts.fold(connection, text)
    row = [spooled.cycle_ms, spooled.stage.value, spooled.recorded_at_ms, text.decode()]
    connection.execute(
        "INSERT INTO stages (cycle_ms, stage, recorded_at_ms, payload) VALUES (?, ?, ?, ?)", row
    )
    if spooled.stage is Stage.CYCLE_REPORTS and (point := report_facts(spooled.payload)[1]):
        query = "INSERT INTO equity (time_ms, account_value_usd) VALUES (?, ?) ON CONFLICT DO NOTHING"
        connection.execute(query, [point.time_ms, round(point.account_value_usd, 12)])
    return True
