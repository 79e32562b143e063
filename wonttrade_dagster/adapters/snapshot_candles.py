"""Candles of market snapshots, stored once.

Belongs here: taking the candles out of a snapshot's JSON into a table, and putting them back, byte for byte.
Does not belong here: when that happens, and every other stage (``adapters.ledger``).

Two snapshots five minutes apart share 999 of 1,000 candles: whole payloads would cost 100 MB a day. A row
is added only for a candle that is new or changed; a snapshot sees the newest row that is no younger than it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray
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
_TYPES: Mapping[str, type] = {name: int if name == "open_time_ms" else float for name in CANDLE_SCHEMA}
_DTYPES = {name: np.int64 if kind is int else np.float64 for name, kind in _TYPES.items()}

# Takes symbol, interval, first and last open time, and the cycle as of which rows count.
_VERSIONS = f"""
SELECT {_COLUMNS}, first_seen_cycle_ms FROM snapshot_candles
WHERE symbol = $symbol AND interval = $interval AND open_time_ms BETWEEN $first_ms AND $last_ms
  AND first_seen_cycle_ms <= $cycle_ms
ORDER BY open_time_ms, first_seen_cycle_ms
"""  # noqa: S608 (the only thing filled in is our own list of columns)
_ADD = """
INSERT INTO snapshot_candles
SELECT $symbol, $interval, unnest($open_time_ms::BIGINT[]), unnest($open::DOUBLE[]), unnest($high::DOUBLE[]),
       unnest($low::DOUBLE[]), unnest($close::DOUBLE[]), unnest($volume::DOUBLE[]), $cycle_ms
"""

_Columns = Mapping[str, NDArray[Any]]
"""A numpy array by column; all of one length."""


def fold(connection: duckdb.DuckDBPyConnection, cycle_ms: int, payload: bytes) -> bytes:
    """Move the candles of a snapshot into the table.

    Returns:
        The payload with references in place of those candles that the table gives back byte for byte; the
        payload itself when a later snapshot is stored already, or when it is not written as we write JSON.
    """
    document = from_json(payload)
    if not _is_snapshot(document) or to_json(document) != payload or _has_later(connection, cycle_ms):
        return payload
    keys = set[tuple[str, str]]()
    for series in _series(document):
        key = series["symbol"], series["interval"]
        if _is_whole(series["frame"]) and _store(connection, cycle_ms, series, may_add=key not in keys):
            keys.add(key)
            times = series["frame"]["columns"]["open_time_ms"]
            reference = {"first_ms": times[0], "last_ms": times[-1], "rows": len(times)}
            series["frame"] = {REFERENCE: reference}
    return to_json(document)


def unfold(connection: duckdb.DuckDBPyConnection, cycle_ms: int, payload: bytes) -> bytes:
    """The inverse of :func:`fold`; a payload without references passes through."""
    if REFERENCE.encode() not in payload:
        return payload
    document = from_json(payload)
    for series in _series(document):
        if REFERENCE in series["frame"]:
            series["frame"] = _restore(connection, cycle_ms, series)
    return to_json(document)


def _store(
    connection: duckdb.DuckDBPyConnection, cycle_ms: int, series: dict[str, Any], *, may_add: bool
) -> bool:
    """Add what the table lacks of a series; False, and nothing is added, when it could not give it back.

    ``may_add`` is False for a series that stands in the snapshot a second time: what it adds, the first
    one would see.
    """
    columns = series["frame"]["columns"]
    incoming = {name: np.array(columns[name], dtype=_DTYPES[name]) for name in CANDLE_SCHEMA}
    times = incoming["open_time_ms"]
    if (np.diff(times) <= 0).any():
        return False
    parameters = _parameters(series, int(times[0]), int(times[-1]), cycle_ms)
    lacking = _lacking(incoming, _as_of(connection, parameters), cycle_ms)
    if lacking is None or (lacking.any() and not may_add):
        return False
    if lacking.any():
        key = {name: parameters[name] for name in ("symbol", "interval", "cycle_ms")}
        connection.execute(_ADD, key | {name: values[lacking].tolist() for name, values in incoming.items()})
    return True


def _lacking(incoming: _Columns, stored: _Columns, cycle_ms: int) -> NDArray[np.bool_] | None:
    """Which candles are not in the table as they are; None when rows cannot make the table show them.

    That is so when the table has a candle that the series leaves out, or another one of this very cycle.
    """
    times = incoming["open_time_ms"]
    place = np.searchsorted(times, stored["open_time_ms"])
    if not np.array_equal(times[place], stored["open_time_ms"]):
        return None
    # Bit by bit: 0.0 and -0.0 are equal numbers and different text.
    differs = np.zeros(len(place), dtype=np.bool_)
    for name, values in incoming.items():
        differs |= values[place].view(np.int64) != stored[name].view(np.int64)
    if (stored["first_seen_cycle_ms"][differs] == cycle_ms).any():
        return None
    lacking = np.ones(len(times), dtype=np.bool_)
    lacking[place[~differs]] = False
    return lacking


def _as_of(connection: duckdb.DuckDBPyConnection, parameters: dict[str, Any]) -> _Columns:
    """The newest version of each candle, ascending in time."""
    versions = connection.execute(_VERSIONS, parameters).fetchnumpy()
    times = versions["open_time_ms"]
    newest = np.ones(len(times), dtype=np.bool_)
    newest[:-1] = times[1:] != times[:-1]
    return {name: values[newest] for name, values in versions.items()}


def _restore(connection: duckdb.DuckDBPyConnection, cycle_ms: int, series: dict[str, Any]) -> dict[str, Any]:
    reference = series["frame"][REFERENCE]
    stored = _as_of(connection, _parameters(series, reference["first_ms"], reference["last_ms"], cycle_ms))
    return {"schema": dict(_SCHEMA), "columns": {name: stored[name].tolist() for name in CANDLE_SCHEMA}}


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
    """Whether it is what :func:`_restore` makes of the table, down to the order of its keys."""
    if list(frame) != ["schema", "columns"] or list(frame["schema"].items()) != list(_SCHEMA.items()):
        return False
    columns = frame["columns"]
    if list(columns) != list(CANDLE_SCHEMA) or not columns["open_time_ms"]:
        return False
    if len({len(values) for values in columns.values()}) != 1:
        return False
    return all(set(map(type, columns[name])) == {_TYPES[name]} for name in CANDLE_SCHEMA)
