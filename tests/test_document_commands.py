"""The commands, options and tasks that the documents show can be typed.

Belongs here: README, CHANGELOG, CONTRIBUTING and the pages of ``docs/`` against command line and tasks.
Does not belong here: what the pages link and list (``test_documents.py``); what the commands do.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from document_pages import BIN, INLINE, PAGES, README, ROOT, fenced, prose_of, text_of
from typer.core import TyperGroup
from typer.exceptions import TyperException

from wonttrade_dagster.cli.app import app

COMMANDS: Any = typer.main.get_command(app)


def shell_commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of a shell block, as page and words."""
    for page in PAGES:
        for block in fenced(page, "bash", "sh", "console", ""):
            for line in block.splitlines():
                for command in line.split("&&"):
                    if words := shlex.split(command, comments=True):
                        yield page.name, words


def inline_commands() -> Iterator[tuple[str, list[str]]]:
    """Commands in running text that begin like one that can be typed."""
    for page in PAGES:
        for span in INLINE.findall(prose_of(page)):
            if span.startswith(("uv run ", "wonttrade ")):
                yield page.name, shlex.split(span)


def below(command: Any) -> Mapping[str, Any]:
    """The subcommands of a group; nothing for a command."""
    return command.commands if isinstance(command, TyperGroup) else {}


def subcommand(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command of the tree that the words after ``wonttrade`` name, and its own arguments."""
    command, rest = COMMANDS, list(words)
    while rest and below(command):
        command = below(command)[rest.pop(0)]
    return command, rest


def parse(words: Sequence[str]) -> None:
    """Parse the arguments as typing them would; nothing is run. Raises what typer raises."""
    command, arguments = subcommand(words)
    assert not below(command), f"{words} is only a part of a command"
    command.make_context(command.name, arguments)


def tasks() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(settings["tool"]["poe"]["tasks"])


@pytest.mark.parametrize(("page", "words"), [pytest.param(*c, id=" ".join(c[1])) for c in shell_commands()])
def test_a_command_that_a_page_shows_can_be_typed(page: str, words: list[str]) -> None:
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    if words[0] == "wonttrade":
        parse(words[1:])
    elif words[0] == "poe":
        assert words[1] in tasks()
    elif words[0] == "cp":
        assert (ROOT / words[1]).is_file()
    elif words[0] in {"pytest", "dagster"}:
        assert (BIN / words[0]).exists()
    else:
        assert words in (["python3", "-m", "pip", "install", "uv"], ["uv", "sync"]), f"{page} shows {words}"


def test_the_pages_show_commands_at_all() -> None:
    shown = [words for _, words in shell_commands()]

    assert len(shown) > 12
    assert sum("wonttrade" in words for words in shown) > 8


def test_a_command_named_in_a_sentence_exists() -> None:
    named = list(inline_commands())

    assert named
    for _, words in named:
        program, *rest = words[2:] if words[0] == "uv" else words
        if program == "wonttrade":
            subcommand(rest)
        elif program == "poe":
            assert rest[0] in tasks()


def test_an_option_named_in_a_sentence_exists() -> None:
    def options(command: Any) -> set[str]:
        own = {name for parameter in command.params for name in parameter.opts}
        return own.union(*map(options, below(command).values()))

    named = {
        span.split()[0]
        for page in PAGES
        for span in INLINE.findall(prose_of(page))
        if span.startswith("--") and "mypy" not in span
    }

    assert named
    assert named <= options(COMMANDS)


def test_the_readme_mentions_every_command() -> None:
    names = set(below(COMMANDS))

    assert {"demo", "check", "up", "backtest", "history", "report", "status", "sandbox"} <= names
    assert not {name for name in names if f"wonttrade {name}" not in text_of(README)}


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for words in (["nope"], ["backtest", "--bogus"], ["history"], ["backtest", "--from"]):
        with pytest.raises((KeyError, AssertionError, TyperException)):
            parse(words)


def test_every_task_of_contributing_is_one(checkout: Path) -> None:
    named = set(re.findall(r"`uv run poe (\w+)`", text_of(checkout / "CONTRIBUTING.md")))

    assert named
    assert named <= tasks()
