"""``wonttrade sql``: documented views over the published copies, nothing else, and nobody waits for it."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from loopback import DAY_MS, MINUTE_MS, Loopback, SetBackClock, run_stages, set_back, wave, write_config

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.sql_session import Copies, ask
from wonttrade_dagster.adapters.sql_views import VIEWS
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.cli.sql import copies_of
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000  # 2025-06-01
NOTHING = Copies(Path("none"))
PAGE = Path(__file__).parents[1] / "docs/history.md"


def rows(copies: Copies, query: str) -> list[tuple[Any, ...]]:
    with ask(copies, query) as answer:
        return list(answer.rows)


# --- what a query may do ---------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A market with a day of candles, and a file that must stay out of reach."""
    path = write_config(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9/v1")
    candles = wave(100.0, FIRST_MS, FIRST_MS + DAY_MS, 5 * MINUTE_MS)
    MarketHistory.of(load_settings(path).data_dir).add_candles("BTC", "5m", candles, "test")
    (tmp_path / "secret.csv").write_text("key\nhush\n")
    return path


HARMFUL = (
    "CREATE TABLE mine AS SELECT 1",
    "CREATE VIEW candles AS SELECT 1",
    "DROP VIEW candles",
    "INSERT INTO market.candles SELECT * FROM market.candles",
    "UPDATE market.candles SET close = 0",
    "DELETE FROM market.candles",
    "DETACH market",
    "ATTACH '{folder}/other.duckdb'",
    "ATTACH '{folder}/data/market.duckdb' AS live",
    "COPY candles TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.parquet'",
    "EXPORT DATABASE '{folder}/out'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "PREPARE x AS SELECT 1",
    "BEGIN",
    "SELECT 1; DROP VIEW candles",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_json('{folder}/secret.csv')",
    "SELECT * FROM read_parquet('{folder}/secret.csv')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM '{folder}/data/market.duckdb'",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM query('DROP VIEW candles')",
    "SELECT getenv('HOME')",
    "SELECT * FROM python_frame",
    "",
    "/* nothing */",
    "SELECT",
    "not SQL at all",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM candles",
    "SELECT 'a'::INTEGER",
)


@pytest.mark.parametrize("query", HARMFUL)
def test_whatever_is_no_plain_reading_is_refused_in_one_sentence(
    config: Path, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    python_frame = pl.DataFrame({"secret": ["hush"]})
    assert not python_frame.is_empty(), "DuckDB would find it by its name"
    folder = config.parent
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    code = run(["sql", query.format(folder=folder), "--config", str(config)])
    told = capsys.readouterr()
    assert code == 2, told
    assert told.err.startswith("wonttrade: ")
    assert told.err.count("\n") == 1
    assert "hush" not in told.out + told.err
    assert "Traceback" not in told.err
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) AS n FROM candles",
        "FROM candles SELECT count(*) AS n",
        "WITH c AS (FROM candles) SELECT count(*) AS n FROM c -- a comment",
        "SELECT n FROM (SELECT count(*) AS n FROM market.candles);",
    ],
)
def test_reading_in_any_form_is_answered(
    config: Path, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sql", query, "--format", "json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 288}]


def test_views_and_their_columns_can_be_asked_for(config: Path) -> None:
    copies = copies_of(load_settings(config), None)
    assert [row[0] for row in rows(copies, "DESCRIBE candles")][:3] == ["symbol", "interval", "open_time"]
    assert set(VIEWS) <= {row[0] for row in rows(copies, "SHOW TABLES")}


def test_the_page_names_every_view_with_its_columns() -> None:
    text = PAGE.read_text(encoding="utf-8")
    documented = {
        name: re.findall(r"`(\w+)`", columns)
        for name, columns in re.findall(r"^\| `(\w+)` \| (`.*?) \|", text, re.MULTILINE)
    }
    for view in VIEWS:
        with ask(NOTHING, f"SELECT * FROM {view}") as answer:
            assert documented[view] == list(answer.columns), view


def test_without_any_copy_every_view_is_there_and_empty() -> None:
    for view in VIEWS:
        assert rows(NOTHING, f"FROM {view}") == []


def test_the_three_formats_show_the_same_rows(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = "'a,\"b\"' AS text, NULL AS nothing, 'nan'::DOUBLE AS nan"
    query = f"SELECT open_time, close, {odd} FROM candles ORDER BY open_time LIMIT 2"

    def shown(form: str) -> str:
        assert run(["sql", query, "--format", form, "--config", str(config)]) == 0
        return capsys.readouterr().out

    objects = json.loads(shown("json"))
    lines = list(csv.DictReader(io.StringIO(shown("csv"))))
    assert [o["open_time"] for o in objects] == ["2025-06-01 00:00:00", "2025-06-01 00:05:00"]
    assert [float(line["close"]) for line in lines] == [o["close"] for o in objects]
    assert (objects[0]["nothing"], objects[0]["nan"], objects[0]["text"]) == (None, None, 'a,"b"')
    assert (lines[0]["nothing"], lines[0]["text"]) == ("", 'a,"b"')
    table = shown("table")
    assert "2025-06-01 00:05" in re.sub(r"\s+", " ", table)


def test_columns_of_one_name_are_told_apart(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "SELECT 1 AS a, 2 AS a", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "a_2": 2}]


def test_no_column_is_lost_to_a_name_that_was_made_up(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``a`` twice became ``a_2``, which stood there already: the mapping kept one of the two values."""
    assert run(["sql", "SELECT 1 a, 2 a, 3 a_2, 4 a", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}]


@pytest.mark.parametrize("cell", ["array_value('nan'::DOUBLE, 1.5)", "row('inf'::DOUBLE, 1.5::DOUBLE)"])
def test_what_json_has_no_number_for_is_null_in_arrays_and_structs_too(
    config: Path, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sql", f"SELECT {cell} AS cell", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"cell": [None, 1.5]}]


def test_a_backtest_that_does_not_exist_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "SELECT 1", "--backtest", "nope", "--config", str(config)]) == 2
    assert "there is no backtest 'nope'" in capsys.readouterr().err.replace("\n", " ")


def test_a_copy_that_is_no_database_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = load_settings(config).data_dir / "market.read.duckdb"
    copy.write_bytes(b"no database" * 500)
    assert run(["sql", "FROM candles", "--config", str(config)]) == 1
    assert "copies cannot be read" in capsys.readouterr().err.replace("\n", " ")


# --- while it trades -------------------------------------------------------------------------------


@dataclass
class Desk:
    config: Path
    clock: SetBackClock

    def trade(self) -> int:
        """The next cycle through all its stages."""
        live = compose_live_cycle(load_settings(self.config), Executors())
        return run_stages(live, self.clock).cycle_ms

    @property
    def copies(self) -> Copies:
        return copies_of(load_settings(self.config), None)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with set_back() as clock, Loopback.serving(clock) as loopback:
        yield Desk(loopback.config(tmp_path_factory.mktemp("sql")), clock)


@pytest.mark.e2e
def test_a_query_that_stays_open_for_ten_cycles_keeps_no_write_waiting(desk: Desk) -> None:
    """A write that had to wait would leave its records in the spool, or raise."""
    desk.trade()
    settings = load_settings(desk.config)
    history = MarketHistory.of(settings.data_dir)
    history.add_candles("BTC", "5m", wave(100.0, 0, DAY_MS, 5 * MINUTE_MS), "test")
    ledger = desk.copies.ledger
    assert ledger is not None
    with ask(desk.copies, "SELECT cycle FROM cycles UNION ALL SELECT open_time FROM candles") as held:
        first = next(held.rows)
        for i in range(1, 11):
            cycle_ms = desk.trade()
            assert list((ledger.parent / "spool").rglob("*.json")) == []
            history.add_candles("BTC", "5m", wave(100.0, i * DAY_MS, (i + 1) * DAY_MS, 5 * MINUTE_MS), "test")
            newest = "SELECT max(cycle_ms), (SELECT count(*) FROM candles) FROM stages"
            assert rows(desk.copies, newest) == [(cycle_ms, 288 * (i + 1))]
        assert 1 + len(list(held.rows)) == 1 + 288, "the view of when it was asked"
    assert first


def test_cycles_orders_fills_and_equity_are_those_of_the_records(desk: Desk) -> None:
    while len(rows(desk.copies, "FROM cycles")) < 2:
        desk.trade()
    copies = desk.copies
    assert rows(copies, "SELECT DISTINCT outcome FROM cycles") == [("applied",)]
    opened = rows(
        copies, "SELECT symbol, purpose, status FROM orders ORDER BY cycle, symbol, purpose LIMIT 6"
    )
    assert {(purpose, status) for _, purpose, status in opened} == {
        ("open", "filled"),
        ("stop_loss", "resting"),
        ("take_profit", "resting"),
    }
    assert {symbol for symbol, *_ in opened} == {"BTC", "ETH"}
    joined = """
        SELECT round(abs(sum(f.size_base)), 8), round(any_value(o.filled_base), 8)
        FROM fills f JOIN orders o USING (oid) WHERE o.purpose = 'open' GROUP BY oid"""
    assert len(rows(copies, joined)) >= 2
    assert all(filled == told for filled, told in rows(copies, joined))
    (first,) = rows(copies, "SELECT outcome, model, json_array_length(targets) FROM decisions LIMIT 1")
    assert first == ("decision", "loopback-rule", 2)
    values = rows(copies, "SELECT account_value_usd FROM equity")
    assert len(values) == len(rows(copies, "FROM cycles"))
    assert values[0] == (10_000.0,)


def test_the_live_file_itself_is_never_opened(desk: Desk) -> None:
    """Somebody holds the ledger for writing; the query reads its copy all the same."""
    copies = desk.copies
    assert copies.ledger is not None
    if not copies.ledger.exists():
        desk.trade()
    live = copies.ledger.with_name("ledger.duckdb")
    with duckdb.connect(str(live)):
        assert rows(copies, "SELECT count(*) > 0 FROM cycles") == [(True,)]
