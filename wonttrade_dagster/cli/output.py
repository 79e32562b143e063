"""How commands speak: tables for people on standard output, ``--json`` for machines, errors on stderr.

Belongs here: consoles and rendering. Does not belong here: what is said.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """Machine output: one JSON document, nothing else on standard output."""
    print(json.dumps(data, indent=2, default=str, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for a person. Cells are text: nothing in them is taken as markup."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def printable(text: str) -> str:
    """Text of a model or venue without what a terminal would obey: escapes and other control characters."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def progress() -> Progress:
    """A progress bar on stderr, so that it never mixes with ``--json``."""
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=False,
    )
