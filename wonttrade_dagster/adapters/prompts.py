"""Prompt directories on disk: ``prompts/<name>/{system.md.j2, user.md.j2, schema.json}``.

Belongs here: reading and hashing them. The program never writes there.
Does not belong here: rendering (``core.context``).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from wonttrade_dagster.core.context import PromptTemplate
from wonttrade_dagster.core.errors import ConfigurationError

FILES = ("system.md.j2", "user.md.j2", "schema.json")


def load_prompt(prompts_dir: Path, name: str) -> PromptTemplate:
    """The prompt called ``name``, e.g. ``trader/v1``, with the hashes that records carry.

    Raises:
        ConfigurationError: the directory or a file is missing, unreadable, not UTF-8, lies outside
            ``prompts_dir``, or its schema is not a JSON object.
    """
    folder = _folder(prompts_dir, name)
    return template_of(name, [(file, _read(folder / file)) for file in FILES], folder)


def template_of(name: str, files: Sequence[tuple[str, str]], folder: Path = Path()) -> PromptTemplate:
    """The prompt that these files make, hashed anew: from disk, or from a record.

    Args:
        name: as configured.
        files: name and text of each of ``FILES``.
        folder: where they were read, for the sentence of an error.

    Raises:
        ConfigurationError: a file is missing, or the schema is not a JSON object.
    """
    texts = dict(files)
    for file in FILES:
        if file not in texts:
            raise ConfigurationError(f"the prompt lacks its file {folder / file}")
    system, user, schema = (texts[file] for file in FILES)
    return PromptTemplate(
        name=name,
        system_source=system,
        user_source=user,
        schema=_schema(schema, folder / FILES[2]),
        template_sha256=_sha256(f"{system}\0{user}"),
        schema_sha256=_sha256(schema),
        files=tuple(files),
    )


def _folder(prompts_dir: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    folder = prompts_dir / name
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise ConfigurationError(f"llm.prompt = {name!r} must name a directory inside {prompts_dir}")
    if not folder.is_dir():
        raise ConfigurationError(f"llm.prompt = {name!r}: there is no directory {folder}")
    return folder


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"the prompt lacks its file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the prompt file {path} cannot be read as UTF-8 text: {error}") from error


def _schema(text: str, path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"the prompt's schema {path} is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ConfigurationError(f'the prompt\'s schema {path} must be a JSON schema of "type": "object"')
    return schema


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
