"""What differs between two records, for a person.

Belongs here: a short unified diff of JSON. Does not belong here: which records are compared
(``core.replay``).
"""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json, to_json

MAX_DIFF_LINES = 12
MAX_LINE_CHARACTERS = 200


def difference(stored: bytes, again: bytes) -> str:
    """A short unified diff of two records, a line for each value, named by its place."""
    try:
        before, after = list(_lines(from_json(stored))), list(_lines(from_json(again)))
    except ValueError:
        return "the record is damaged: it cannot be read"
    found = list(difflib.unified_diff(before, after, "stored", "computed now", lineterm="", n=0))
    if not found:
        return "the same values, written in other bytes"
    shown = [_shortened(line) for line in found[:MAX_DIFF_LINES]]
    rest = len(found) - len(shown)
    return "\n".join([*shown, f"… {rest} lines more"] if rest > 0 else shown)


def _lines(value: Any, place: str = "") -> Iterator[str]:  # noqa: ANN401 (any JSON)
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _lines(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _lines(item, f"{place}[{number}]")
    elif isinstance(value, str) and "\n" in value:
        yield from (f"{place}: {line}" for line in value.split("\n"))
    else:
        yield f"{place}: {to_json(value).decode()}"


def _shortened(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARACTERS else line[: MAX_LINE_CHARACTERS - 1] + "…"
