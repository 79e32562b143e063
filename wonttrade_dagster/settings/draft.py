"""The file's content while it is being judged: field by field, so that every error is found at once.

Belongs here: which fields are there, what is wrong with each, and how that is said.
Does not belong here: rules between fields, reading the file.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from wonttrade_dagster.settings.fields import Expected
from wonttrade_dagster.settings.tables import SECRET_TABLES, TABLES, Table

_LOOKS_SECRET = re.compile(r"[0-9a-fA-F]{64}|sk-[\w-]{8,}|//[^/\s]*@", re.ASCII)
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """The raw tables by TOML name (``llm.azure`` flat), and what can be read from them so far."""

    tables: Mapping[str, Mapping[str, Any]]

    def value(self, path: str) -> Any:  # noqa: ANN401 (whatever kind the field has)
        """The field's valid value or default; None when it is absent or wrong."""
        table, key = path.rsplit(".", 1)
        field = TABLES[table].model_fields[key]
        raw = self.tables.get(table, {})
        if key not in raw:
            return None if field.is_required() else field.default
        try:
            return _adapter(table, key).validate_python(raw[key])
        except ValidationError:
            return None

    def has(self, path: str) -> bool:
        """Whether the file holds that field."""
        table, key = path.rsplit(".", 1)
        return key in self.tables.get(table, {})

    def problems(self) -> Iterator[str]:
        """One line per field that is wrong on its own."""
        for name, model in TABLES.items():
            if name in self.tables or name != "llm.azure":
                yield from self._table_problems(name, model, self.tables.get(name, {}))

    def _table_problems(self, name: str, model: type[Table], raw: Mapping[str, Any]) -> Iterator[str]:
        fields = [key for key in model.model_fields if f"{name}.{key}" not in TABLES]
        for key in raw:
            if key not in fields:
                yield f"{name}.{key}: found an unknown key, expected {_suggestion(key, fields)}"
        for key in fields:
            field = model.model_fields[key]
            if key not in raw and field.is_required():
                yield f"{name}.{key}: found nothing, expected {expectation(field)}"
            elif key in raw and not _is_valid(name, key, raw[key]):
                yield f"{name}.{key}: found {shown(name, raw[key])}, expected {expectation(field)}"


@lru_cache(maxsize=128)
def _adapter(table: str, key: str) -> TypeAdapter[Any]:
    field = TABLES[table].model_fields[key]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _is_valid(table: str, key: str, value: object) -> bool:
    try:
        _adapter(table, key).validate_python(value)
    except ValidationError:
        return False
    return True


def expectation(field: FieldInfo) -> str:
    """What a field wants, in words."""
    return _words(field.metadata, field.json_schema_extra) or _from_annotation(field.annotation)


def _words(metadata: list[Any], extra: object) -> str:
    for item in metadata:
        if isinstance(item, Expected):
            return item.text
    if isinstance(extra, dict) and isinstance(text := extra.get("expected"), str):
        return text
    return ""


def _from_annotation(annotation: Any) -> str:  # noqa: ANN401 (a typing construct)
    """For ``Kind | None``: the words of ``Kind``."""
    for part in getattr(annotation, "__args__", ()):
        for item in getattr(part, "__metadata__", ()):
            if text := _words([item], getattr(item, "json_schema_extra", None)):
                return text
    raise TypeError(f"a field of type {annotation!r} does not say what it expects")


def shown(table: str, value: object) -> str:
    """What was found, short; never anything that is or could be a secret."""
    if isinstance(value, Mapping):
        return "a table"
    if table in SECRET_TABLES:
        return (
            f"text of {len(value)} characters (not shown)"
            if isinstance(value, str)
            else "no text (not shown)"
        )
    text = f'"{value}"' if isinstance(value, str) else _toml(value)
    if _LOOKS_SECRET.search(text):
        return "something that looks like a secret (not shown)"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{close[0]} (did you mean that?)" if close else f"one of {', '.join(known)}"


def unknown_tables(document: Mapping[str, Any]) -> Iterator[str]:
    """One line per top-level name that is no table, or a table that is something else."""
    known = [name for name in TABLES if "." not in name]
    for name, value in document.items():
        if name not in known:
            what = "table" if isinstance(value, dict) else "key outside of any table"
            yield f"{name}: found an unknown {what}, expected {_suggestion(name, known)}"
        elif not isinstance(value, dict):
            yield f"{name}: found a single value, expected a table that starts with [{name}]"
