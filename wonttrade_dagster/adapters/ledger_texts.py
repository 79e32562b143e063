"""Texts that many records repeat, stored once: the files of the prompt.

Belongs here: taking them out of a prompt's record into a table by their hash, and putting them back, byte for
byte. Does not belong here: when that happens, and every other stage (``adapters.ledger``).
"""

import hashlib
from typing import Any

import duckdb
from pydantic_core import from_json, to_json

DDL = """
CREATE TABLE IF NOT EXISTS texts (sha256 VARCHAR PRIMARY KEY, text VARCHAR NOT NULL);
"""

REFERENCE = "text_sha256"
"""The key that stands in a stored payload in place of a text."""


def fold(connection: duckdb.DuckDBPyConnection, payload: bytes) -> bytes:
    """The payload with references in place of its prompt files; itself when it is not written as ours are."""
    document = from_json(payload)
    if not _has_files(document) or to_json(document) != payload:
        return payload
    document["prompt_files"] = [[name, _kept(connection, text)] for name, text in document["prompt_files"]]
    return to_json(document)


def unfold(connection: duckdb.DuckDBPyConnection, payload: bytes) -> bytes:
    """The inverse of :func:`fold`; a payload without references passes through."""
    if REFERENCE.encode() not in payload:
        return payload
    document = from_json(payload)
    if not isinstance(document, dict) or not isinstance(document.get("prompt_files"), list):
        return payload
    document["prompt_files"] = [[name, _text(connection, kept)] for name, kept in document["prompt_files"]]
    return to_json(document)


def _has_files(document: Any) -> bool:  # noqa: ANN401 (any JSON)
    files = document.get("prompt_files") if isinstance(document, dict) else None
    if not isinstance(files, list) or not files:
        return False
    return all(isinstance(file, list) and list(map(type, file)) == [str, str] for file in files)


def _kept(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, str]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    connection.execute("INSERT INTO texts VALUES (?, ?) ON CONFLICT DO NOTHING", [digest, text])
    return {REFERENCE: digest}


def _text(connection: duckdb.DuckDBPyConnection, kept: Any) -> Any:  # noqa: ANN401 (a text, or a reference to one)
    if not isinstance(kept, dict):
        return kept
    row = connection.execute("SELECT text FROM texts WHERE sha256 = ?", [kept[REFERENCE]]).fetchone()
    return row[0] if row else kept  # a text that was taken out of the table stays a reference
