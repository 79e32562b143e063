"""What differs between two records, for a person.

Belongs here: a short unified diff of JSON, and telling an older record from a changed one.
Does not belong here: which records are compared (``core.replay``).
"""

import difflib
from collections.abc import Iterator
from itertools import pairwise
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
    shown = _shortened(found[:MAX_DIFF_LINES])
    rest = len(found) - len(shown)
    return "\n".join([*shown, f"… {rest} lines more"] if rest > 0 else shown)


def is_older(stored: bytes, again: bytes) -> bool:
    """Whether a record says the same in fewer fields: it was written before the others were known."""
    try:
        before = from_json(stored)
    except ValueError:
        return False
    return to_json(before) == stored and _is_part(before, from_json(again))


def _is_part(before: Any, after: Any) -> bool:  # noqa: ANN401 (any JSON)
    if isinstance(before, dict) and isinstance(after, dict):
        known = [name for name in after if name in before]
        return known == list(before) and all(_is_part(before[name], after[name]) for name in known)
    if isinstance(before, list) and isinstance(after, list):
        pairs = zip(before, after, strict=False)
        return len(before) == len(after) and all(_is_part(old, new) for old, new in pairs)
    return type(before) is type(after) and bool(before == after)


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


def _shortened(lines: list[str]) -> list[str]:
    """Long lines cut; a pair that differs far to the right is cut on the left as well."""
    starts = [0] * len(lines)
    for number, (before, after) in enumerate(pairwise(lines)):
        if before[:1] == "-" and after[:1] == "+":
            pairs = enumerate(zip(before[1:], after[1:], strict=False))
            first = next((place for place, (old, new) in pairs if old != new), 0)
            starts[number] = starts[number + 1] = max(first - MAX_LINE_CHARACTERS // 2, 0)
    return [_cut(line, start) for line, start in zip(lines, starts, strict=True)]


def _cut(line: str, start: int) -> str:
    shown = f"{line[0]}…{line[start + 2 :]}" if start else line
    return shown if len(shown) <= MAX_LINE_CHARACTERS else shown[: MAX_LINE_CHARACTERS - 1] + "…"
