"""Candles of market snapshots, stored once.

Belongs here: taking the candles out of a snapshot's JSON into a table, and putting them back, byte for byte.
Does not belong here: when that happens, and every other stage (``adapters.ledger``).

Two snapshots five minutes apart share 999 of 1,000 candles: whole payloads would cost 100 MB a day. A row
is added only for a candle that is new or changed; a snapshot sees the newest row that is no younger than it.
"""

from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl
from pydantic_core import from_json, to_json

from wonttrade_dagster.core.model import CANDLE_SCHEMA

DDL = """
CREATE TABLE IF NOT EXISTS snapshot_candles (
    symbol VARCHAR NOT NULL, interval VARCHAR NOT NULL, open_time_ms BIGINT NOT NULL,
    open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL,
    volume DOUBLE NOT NULL, first_seen_cycle_ms BIGINT NOT NULL,
    PRIMARY KEY (symbol, interval, open_time_ms, first_seen_cycle_ms));
"""

REFERENCE = "snapshot_candles"
"""The key that stands in a stored payload in place of a frame's columns."""

_SCHEMA = {name: str(dtype) for name, dtype in CANDLE_SCHEMA.items()}
_COLUMNS = ", ".join(CANDLE_SCHEMA)

# Both take symbol, interval, first and last open time, and the cycle as of which rows count.
_AS_OF = f"""
SELECT {_COLUMNS} FROM snapshot_candles
WHERE symbol = $symbol AND interval = $interval AND open_time_ms BETWEEN $first_ms AND $last_ms
  AND first_seen_cycle_ms <= $cycle_ms
QUALIFY row_number() OVER (PARTITION BY open_time_ms ORDER BY first_seen_cycle_ms DESC) = 1
"""  # noqa: S608 (the only thing filled in is our own list of columns)
_ADD_NEW = f"""
INSERT INTO snapshot_candles
SELECT $symbol, $interval, {_COLUMNS}, $cycle_ms FROM (SELECT {_COLUMNS} FROM incoming EXCEPT {_AS_OF})
ON CONFLICT DO NOTHING
"""  # noqa: S608 (as above)


def fold(connection: duckdb.DuckDBPyConnection, cycle_ms: int, payload: bytes) -> bytes:
    """Move the candles of a snapshot into the table.

    Returns:
        The payload with references in place of candles; the payload itself when it holds none, when a later
        snapshot is stored already, or when it could not be put back together byte for byte.
    """
    document = from_json(payload)
    if not _is_snapshot(document) or _has_later(connection, cycle_ms):
        return payload
    for series in _series(document):
        if _is_whole(series["frame"]):
            series["frame"] = _store(connection, cycle_ms, series)
    folded = to_json(document)
    return folded if unfold(connection, cycle_ms, folded) == payload else payload


def unfold(connection: duckdb.DuckDBPyConnection, cycle_ms: int, payload: bytes) -> bytes:
    """The inverse of :func:`fold`; a payload without references passes through."""
    if REFERENCE.encode() not in payload:
        return payload
    document = from_json(payload)
    for series in _series(document):
        if REFERENCE in series["frame"]:
            series["frame"] = _restore(connection, cycle_ms, series)
    return to_json(document)


def _store(connection: duckdb.DuckDBPyConnection, cycle_ms: int, series: dict[str, Any]) -> dict[str, Any]:
    frame = pl.DataFrame(series["frame"]["columns"], schema=dict(CANDLE_SCHEMA))
    first_ms, last_ms = frame["open_time_ms"][0], frame["open_time_ms"][-1]
    connection.register("incoming", frame.to_arrow())
    connection.execute(_ADD_NEW, _parameters(series, first_ms, last_ms, cycle_ms))
    connection.unregister("incoming")
    return {REFERENCE: {"first_ms": first_ms, "last_ms": last_ms, "rows": frame.height}}


def _restore(connection: duckdb.DuckDBPyConnection, cycle_ms: int, series: dict[str, Any]) -> dict[str, Any]:
    reference = series["frame"][REFERENCE]
    parameters = _parameters(series, reference["first_ms"], reference["last_ms"], cycle_ms)
    rows = connection.execute(f"{_AS_OF} ORDER BY open_time_ms", parameters).fetchall()
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in CANDLE_SCHEMA]
    return {"schema": dict(_SCHEMA), "columns": dict(zip(CANDLE_SCHEMA, columns, strict=True))}


def _parameters(series: dict[str, Any], first_ms: int, last_ms: int, cycle_ms: int) -> dict[str, Any]:
    window = {"first_ms": first_ms, "last_ms": last_ms, "cycle_ms": cycle_ms}
    return {"symbol": series["symbol"], "interval": series["interval"], **window}


def _has_later(connection: duckdb.DuckDBPyConnection, cycle_ms: int) -> bool:
    """A row added below a later snapshot could change what that one sees."""
    query = "SELECT 1 FROM stages WHERE stage = 'market_snapshots' AND cycle_ms > ? LIMIT 1"
    return connection.execute(query, [cycle_ms]).fetchone() is not None


def _is_snapshot(document: Any) -> bool:  # noqa: ANN401 (any JSON)
    return isinstance(document, dict) and isinstance(document.get("markets"), list)


def _series(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for market in document["markets"]:
        for window in ("intraday", "long_term"):
            yield market[window]


def _is_whole(frame: dict[str, Any]) -> bool:
    return frame.get("schema") == _SCHEMA and bool(frame["columns"]["open_time_ms"])
