"""The documents: what they link exists, what they list is what the code has, their shape stays.

Belongs here: README, CHANGELOG, CONTRIBUTING and the pages of ``docs/`` against the code.
Does not belong here: the commands shown (``test_document_commands.py``), ``docs/configuration.md`` against
the settings (``test_settings_documents.py``), ``docs/prompt.md`` against the rules.
"""

import ast
import re
import tomllib
from pathlib import Path

import duckdb
import pytest
from document_pages import ARCHITECTURE, INLINE, OPERATIONS, PAGES, README, ROOT, fenced, prose_of, text_of

from wonttrade_dagster.adapters import ledger_tables, ledger_texts, snapshot_candles
from wonttrade_dagster.adapters.metrics import COUNTERS, GAUGES
from wonttrade_dagster.cli.check import QUESTIONS
from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.settings import Settings

PACKAGE = ROOT / "wonttrade_dagster"
MAX_PICTURE_BYTES = 300_000
LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SNAKE = re.compile(r"[a-z]+(_[a-z]+)+")


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
