"""The documents: what they show can be typed, what they link exists, what they list is what the code has.

Belongs here: README, CHANGELOG, CONTRIBUTING and the pages of ``docs/`` against the code.
Does not belong here: ``docs/configuration.md`` against the settings and ``docs/prompt.md`` against the rules.
"""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from wonttrade_dagster.adapters import ledger_tables, ledger_texts, snapshot_candles
from wonttrade_dagster.adapters.metrics import COUNTERS, GAUGES
from wonttrade_dagster.cli.app import app, run
from wonttrade_dagster.cli.check import QUESTIONS
from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wonttrade_dagster"
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
README, OPERATIONS, ARCHITECTURE = PAGES[0], ROOT / "docs/operations.md", ROOT / "docs/architecture.md"
COMMANDS: Any = typer.main.get_command(app)
MAX_PICTURE_BYTES = 300_000

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SNAKE = re.compile(r"[a-z]+(_[a-z]+)+")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    return FENCE.sub("", text_of(page))


def fenced(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text_of(page)) if language in languages]


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


# --- commands --------------------------------------------------------------------------------------


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


# --- links and pictures ----------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return plain.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name} links {target}"
        if anchor:
            assert anchor in {slug(h) for h in HEADING.findall(prose_of(linked))}, f"{page.name}: {target}"


def test_every_picture_is_shown_and_small() -> None:
    shown = {Path(target).name for page in PAGES for target in LINK.findall(prose_of(page))}
    pictures = sorted((ROOT / "docs/images").iterdir())

    assert pictures
    for picture in pictures:
        assert picture.name in shown
        assert picture.stat().st_size < MAX_PICTURE_BYTES
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_one_title_and_no_path_of_somebodys_machine(page: Path) -> None:
    text = text_of(page)

    assert text.startswith("# ")
    assert len(re.findall(r"^# ", prose_of(page), re.MULTILINE)) == 1
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", text)


# --- README ----------------------------------------------------------------------------------------


def test_the_readme_begins_with_what_it_is_then_two_commands_then_a_picture() -> None:
    head = text_of(README).split("\n## ")[0]
    what = head.index("lets a large language model trade")
    commands = head.index("```bash\n")
    picture = head.index("![")

    assert head.startswith("# WontTrade\n")
    assert what < commands < picture
    assert 2 <= len(re.findall(r"\.(?:\s|$)", head.split("\n\n")[1])) <= 3
    assert fenced(README, "bash")[0].splitlines() == [
        "python3 -m pip install uv && uv run wonttrade demo",
        "python3 -m pip install uv && uv run pytest",
    ]


def test_the_readme_says_how_to_trade_before_what_to_read() -> None:
    sections = re.findall(r"^## (.+)$", text_of(README), re.MULTILINE)

    assert sections[:4] == ["Trade on testnet", "Trade on paper", "Trade on mainnet", "Backtest"]
    assert sections[-1] == "Where to read more"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_setting_that_a_page_names_exists(page: Path) -> None:
    tables = {
        name: set(getattr(field.annotation, "model_fields", {}))
        for name, field in Settings.model_fields.items()
    }
    named = re.findall(r"^(\w+)\.(\w+)(?: =.*)?$", "\n".join(INLINE.findall(prose_of(page))), re.MULTILINE)

    for table, key in named:
        if tables.get(table) and key not in {"duckdb", "md", "azure"}:
            assert key in tables[table], f"{page.name} names {table}.{key}"


# --- CHANGELOG -------------------------------------------------------------------------------------


def test_the_changelog_keeps_its_shape(checkout: Path) -> None:
    text = text_of(checkout / "CHANGELOG.md")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)

    assert text.startswith("# Changelog\n")
    assert "https://keepachangelog.com/en/1.1.0/" in text
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions[1:])
    assert kinds
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_licence_is_the_one_that_the_package_names(checkout: Path) -> None:
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))

    assert settings["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text_of(checkout / "LICENSE")
    assert "Version 2.0, January 2004" in text_of(checkout / "LICENSE")


# --- what the pages list ---------------------------------------------------------------------------


def reasons_in(tree: ast.Module) -> set[str]:
    """Reasons given to ``Refusal`` and ``StageFailure``: literals, or what a name in that function may be."""
    found: set[str] = set()
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.FunctionDef | ast.Module):
            continue
        for call in ast.walk(scope):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                continue
            position = {"Refusal": 0, "StageFailure": 1}.get(call.func.id)
            if position is None or len(call.args) <= position:
                continue
            reason = call.args[position]
            if isinstance(reason, ast.Constant):
                found.add(str(reason.value))
            elif isinstance(reason, ast.Name) and isinstance(scope, ast.FunctionDef):
                found |= _strings(scope)
    return found


def _strings(scope: ast.FunctionDef) -> set[str]:
    values = (node.value for node in ast.walk(scope) if isinstance(node, ast.Constant))
    return {value for value in values if isinstance(value, str) and SNAKE.fullmatch(value)}


def all_reasons() -> set[str]:
    modules = [*PACKAGE.glob("core/**/*.py"), *PACKAGE.glob("adapters/**/*.py"), *PACKAGE.glob("defs/*.py")]
    return set().union(*(reasons_in(ast.parse(text_of(module))) for module in modules))


def test_operations_explains_every_reason_of_a_refusal_and_no_other() -> None:
    explained = set(
        re.findall(
            r"^\| `([a-z_]+)` \|", text_of(OPERATIONS).split("## What a refusal means")[1], re.MULTILINE
        )
    )
    reasons = all_reasons()

    assert {"violations", "model_unavailable", "price_moved_past_stop", "venue_unavailable"} <= reasons
    assert reasons <= explained
    assert explained - reasons == {"actions_failed", "entry_not_sent"}  # how a cycle fails: core.report
    assert '"actions_failed"' in text_of(PACKAGE / "core/report.py")


def test_operations_lists_every_metric_and_no_other() -> None:
    listed = set(re.findall(r"`(wonttrade_\w+)", text_of(OPERATIONS)))

    assert listed == {f"{name}_total" for name in COUNTERS} | set(GAUGES)


def test_operations_lists_every_question_of_the_preflight() -> None:
    table = text_of(OPERATIONS).split("| question |")[1].split("\n\n")[0]

    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE) == ["settings", *(name for name, _ in QUESTIONS)]


def test_the_diagram_of_the_cycle_has_the_edges_of_the_code() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+)$", fenced(ARCHITECTURE, "mermaid")[0], re.MULTILINE)

    assert sorted(drawn) == sorted((up.value, stage.value) for stage, ups in EDGES.items() for up in ups)


def test_architecture_lists_the_layers_of_the_import_contract(checkout: Path) -> None:
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if "layers" in c)
    table = text_of(ARCHITECTURE).split("| layer |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == layers


def test_the_query_that_operations_shows_runs_on_the_ledgers_tables(tmp_path: Path) -> None:
    (block,) = fenced(OPERATIONS, "python")
    query = block.split('"""')[1]
    with duckdb.connect(str(tmp_path / "ledger.duckdb")) as connection:
        connection.execute(ledger_tables.DDL + snapshot_candles.DDL + ledger_texts.DDL)
        connection.execute(
            "INSERT INTO stages (cycle_ms, stage, recorded_at_ms, payload) VALUES (0, 'cycle_reports', 1, ?)",
            ['{"outcome": "refused", "reason": "market_stale", "account_value_usd": "10"}'],
        )

        rows = connection.execute(query).fetchall()
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}

    assert [row[1:] for row in rows] == [("refused", "market_stale", "10")]
    assert tables == {name for name in tables if f"`{name}`" in text_of(OPERATIONS)}


# --- the way of a newcomer -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example as its settings, and the prompts beside it."""
    example = text_of(ROOT / "wonttrade.toml.example")
    (tmp_path / "wonttrade.toml").write_text(example, encoding="utf-8")
    (tmp_path / "prompts").symlink_to(ROOT / "prompts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def candles_csv(bars: int) -> str:
    rows = (f"{1_748_736_000_000 + n * 300_000},100,102,99,{100 + n % 2},5" for n in range(bars))
    return "\n".join(["open_time_ms,open,high,low,close,volume", *rows])


def test_the_sandbox_says_in_one_line_where_it_is_and_ends_when_asked(tmp_path: Path) -> None:
    command = [str(BIN / "wonttrade"), "sandbox", "--port", "0", "--model-port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()

    assert set(json.loads(line)) == {"venue", "model"}
    assert rest == ""
    assert process.returncode == 0


def test_the_copied_example_passes_the_preflight_against_the_sandbox(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    with Sandbox(seed=7) as sandbox:
        text = text_of(path).replace("http://127.0.0.1:8600", sandbox.venue_url)
        path.write_text(text.replace("http://127.0.0.1:8601/v1", sandbox.model_url), encoding="utf-8")

        code = run(["check"])

    said = capsys.readouterr().out
    assert code == 0, said
    assert "problem" not in said


def test_history_is_imported_and_the_status_shown_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "BTC-5m.csv").write_text(candles_csv(60), encoding="utf-8")

    assert run(["history", "import", "BTC-5m.csv"]) == 0
    assert run(["history", "import", "BTC-5m.csv", "--json"]) == 0
    assert '"new": 0' in capsys.readouterr().out
    assert run(["status"]) == 0
    assert "no cycle has run yet" in capsys.readouterr().out


def test_paper_trading_is_refused_as_the_readme_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    path.write_text(text_of(path).replace('mode = "TESTNET"', 'mode = "PAPER"'), encoding="utf-8")

    assert run(["status"]) == 2
    assert "paper trading does not exist" in " ".join(capsys.readouterr().err.split())


def test_real_money_is_refused_without_its_second_yes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    text = text_of(path).replace('mode = "TESTNET"', 'mode = "LIVE"').replace('"local"', '"mainnet"', 1)
    path.write_text(
        re.sub(r'^base_url = "http://127.0.0.1:8600".*$', "", text, flags=re.MULTILINE), encoding="utf-8"
    )

    assert run(["status"]) == 2
    assert "second yes" in capsys.readouterr().err
