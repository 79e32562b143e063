"""What one backtest leaves behind: a line a cycle, rows, its own DuckDB file, never overwritten."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cycle_samples import D, at, decision, fill, order, position, report, stop

from wonttrade_dagster.adapters.backtest_end import stored_end
from wonttrade_dagster.adapters.backtest_results import (
    DATABASE_NAME,
    RESULTS_NAME,
    SUMMARY_NAME,
    BacktestResults,
    backtest_folder,
    open_results,
)
from wonttrade_dagster.core.backtest import AccountEnd, MemoryRecords
from wonttrade_dagster.core.errors import StorageError, UsageError
from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    Leg,
    ModelReply,
    Prompt,
    Refusal,
    Stage,
    TokenUsage,
)
from wonttrade_dagster.core.performance import performance_figures

SECRET = "sk-a-canary-of-the-results"


def opened(folder: Path) -> BacktestResults:
    return open_results(folder, sync_every=2, secrets=(SECRET,))


def finished(cycle: int, decided: Decision | Refusal | None = None, **changes: Any) -> MemoryRecords:
    cycle_ms, records = at(cycle), MemoryRecords()
    prompt = Prompt("system", f"user {cycle} {SECRET}", "trader/v1", "t", "s", "p")
    reply = ModelReply("{}", "m", f"r-{cycle}", "stop", TokenUsage(100, 20), cycle_ms, cycle_ms + 900 + cycle)
    chosen = decided or decision()
    placed = ActionResult(order(), ActionStatus.FILLED)
    protection = (stop(), stop(leg=Leg.TAKE_PROFIT))
    told = report(cycle, fills=(fill(cycle),), positions=(position(),), protection=protection, **changes)
    records.keep(cycle_ms, Stage.DECISIONS, DecisionRecord(cycle_ms, chosen, prompt, reply, cycle_ms + 1_000))
    records.keep(cycle_ms, Stage.EXECUTION_PLANS, ExecutionPlan(cycle_ms, (order(),)))
    seconds = (("BTC", 1.5),) if cycle == 0 else ()
    execution = ExecutionReport(cycle_ms, (placed,), unprotected_seconds=seconds)
    records.keep(cycle_ms, Stage.EXECUTIONS, execution)
    records.keep(cycle_ms, Stage.CYCLE_REPORTS, told)
    return records


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RESULTS_NAME).read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return backtest_folder(tmp_path, "b-1")


def test_the_first_line_says_what_it_is_and_each_cycle_adds_one(folder: Path) -> None:
    results = opened(folder)
    with results.journal:
        results.begin({"model": "m"}, at(0))
        for cycle in range(3):
            results.cycle(finished(cycle), {"events": [funding("BTC", "0.25")]})
    lines = written(folder)
    assert [line["kind"] for line in lines] == ["backtest", "cycle", "cycle", "cycle"]
    assert [line["cycle_ms"] for line in lines[1:]] == [at(0), at(1), at(2)]
    body = lines[1]["body"]
    assert body["events"] == [funding("BTC", "0.25")]
    assert (body["reply"]["request_id"], body["prompt"]["system"], body["prior_plan"]) == (
        "r-0",
        "system",
        "replaced",
    )
    assert body["results"] == [["filled", ""]]


def test_no_secret_reaches_the_file(folder: Path) -> None:
    results = opened(folder)
    with results.journal:
        results.cycle(finished(0), {})
    assert SECRET not in (folder / RESULTS_NAME).read_text()
    assert "[redacted]" in written(folder)[0]["body"]["prompt"]["user"]


def test_a_refused_cycle_keeps_its_reason_and_has_no_prior_plan(folder: Path) -> None:
    results = opened(folder)
    refused = Refusal("violations", "two rules")
    with results.journal:
        results.cycle(finished(0, refused, outcome="refused", reason="violations"), {})
    body = written(folder)[0]["body"]
    assert (body["outcome"], body["reason"], body["prior_plan"]) == ("refused", "violations", None)
    assert results.frames().decisions.row(0)[-1] == "two rules"


def test_the_rows_are_those_of_the_cycles(folder: Path) -> None:
    results = opened(folder)
    results.open_account(at(-1), D(10_000))
    with results.journal:
        for cycle in range(3):
            results.cycle(finished(cycle), {})
    frames = results.frames()
    assert frames.equity.rows() == [(at(-1), 10_000.0), *((at(cycle), 1_000.0) for cycle in range(3))]
    assert frames.fills.height == 3
    assert frames.latency.rows()[2] == (at(2), 902, 100, 20)
    assert frames.protection.rows() == [(at(cycle), "BTC", 90.0, 90.0) for cycle in range(3)]
    assert results.unprotected().total_seconds == 1.5


def test_funding_is_added_up_by_symbol(folder: Path) -> None:
    results = opened(folder)
    fired = {"event": "TriggerFired", "symbol": "BTC"}
    with results.journal:
        results.cycle(finished(0), {"events": [funding("BTC", "0.25"), fired, funding("ETH", "-1.5")]})
        results.cycle(finished(1), {})
        results.remember(finished(2), [funding("BTC", "0.1")])
    assert results.funding_by_symbol_usd == {"BTC": D("0.35"), "ETH": D("-1.5")}


def test_a_liquidation_on_the_book_is_called_one_and_not_a_close(folder: Path) -> None:
    results = opened(folder)
    records = finished(0)
    sold = replace(fill(0), size_base=D("-0.5"), oid=9, cloid=None, direction="Close Long")
    told: CycleReport = records.records[Stage.CYCLE_REPORTS]
    records.records[Stage.CYCLE_REPORTS] = replace(told, fills=(fill(0), sold))
    events = [
        {"event": "Execution", "symbol": "BTC", "oid": 8, "liquidation_mark_px": None},
        {"event": "Execution", "symbol": "BTC", "oid": 9, "liquidation_mark_px": "40506"},
    ]
    with results.journal:
        results.cycle(records, {"events": events})
    frames = results.frames()
    assert frames.fills["purpose"].to_list() == ["open", "liquidation"]
    assert performance_figures(frames.equity, frames.fills).liquidations == 1


def test_the_end_is_a_line_and_rows_of_its_own_and_no_decision(folder: Path) -> None:
    results = opened(folder)
    stopped = replace(
        fill(1), time_ms=at(1) - 5, size_base=D("-0.5"), oid=9, cloid=None, direction="Close Long"
    )
    liquidated = {"event": "Execution", "symbol": "BTC", "oid": 9, "liquidation_mark_px": "40506"}
    end = AccountEnd(
        at(1),
        D("990.5"),
        (position(),),
        (stop(),),
        (stopped,),
        D("0.25"),
        (funding("BTC", "0.25"), liquidated),
    )
    with results.journal:
        results.begin({"model": "m"}, at(0))
        results.cycle(finished(0), {"events": [funding("BTC", "1")]})
        booked = results.funding_usd
        results.end(end, {"marks": {}})
    line = written(folder)[-1]
    assert (line["kind"], line["cycle_ms"], line["body"]["exchange"]) == ("end", at(1), {"marks": {}})
    assert stored_end(folder / RESULTS_NAME) == end == results.ended
    frames = results.frames()
    assert frames.equity.rows()[-1] == (at(1), 990.5)
    assert frames.fills.select("time_ms", "purpose").rows()[-1] == (at(1) - 5, "liquidation")
    assert frames.protection.rows()[-1] == (at(1), "BTC", 90.0, None)
    assert [frame.height for frame in (frames.decisions, frames.latency, frames.targets)] == [1, 1, 1]
    assert results.funding_usd - booked == D("0.25")
    assert results.funding_by_symbol_usd == {"BTC": D("1.25")}
    read_back = opened(folder.with_name("b-2"))
    read_back.remember(finished(0), [funding("BTC", "1")])
    read_back.remember_end(end)
    assert all(
        getattr(read_back.frames(), name).equals(getattr(frames, name))
        for name in ("equity", "fills", "protection")
    )


def test_an_end_that_was_cut_or_never_written_is_none(folder: Path) -> None:
    results = opened(folder)
    with results.journal:
        results.begin({"model": "m"}, at(0))
        results.cycle(finished(0), {})
        assert stored_end(folder / RESULTS_NAME) is None
        results.end(AccountEnd(at(1), D(1)), {})
    path = folder / RESULTS_NAME
    whole = path.read_bytes()
    assert stored_end(path) == AccountEnd(at(1), D(1))
    path.write_bytes(whole[:-40])
    assert stored_end(path) is None
    path.write_bytes(whole[:-1])
    assert stored_end(path) == AccountEnd(at(1), D(1)), "only its newline is missing"


def test_an_end_that_says_something_else_is_refused(folder: Path) -> None:
    results = opened(folder)
    with results.journal:
        results.cycle(finished(0), {})
        results.journal.append("end", at(1), {"account_value_usd": "much"})
    with pytest.raises(
        StorageError, match=r"the end in .* cannot be read: run the backtest from its beginning"
    ):
        stored_end(folder / RESULTS_NAME)


def funding(symbol: str, paid_usd: str) -> dict[str, str]:
    return {"event": "FundingPayment", "symbol": symbol, "paid_usd": paid_usd}


def test_a_cycle_without_account_or_reply_adds_neither_equity_nor_latency(folder: Path) -> None:
    results = opened(folder)
    records = finished(0, account_value_usd=None)
    gone = DecisionRecord(at(0), Refusal("model_unavailable", "gone"), None, None, at(0))
    records.records[Stage.DECISIONS] = gone
    with results.journal:
        results.cycle(records, {})
    frames = results.frames()
    assert (frames.equity.height, frames.latency.height, frames.decisions.height) == (0, 0, 1)


def test_the_rows_stand_in_the_backtests_own_database(folder: Path) -> None:
    results = opened(folder)
    with results.journal:
        results.cycle(finished(0), {})
    path = results.store(results.frames(), 1.0)
    assert path == folder / DATABASE_NAME
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
        assert tables == {"equity", "fills", "latency", "decisions", "targets", "protection"}
        assert connection.execute("select count(*) from fills").fetchone() == (1,)


def test_a_finished_backtest_is_refused_by_name(folder: Path) -> None:
    opened(folder)
    (folder / SUMMARY_NAME).write_text("{}")
    with pytest.raises(UsageError, match="backtest b-1 is finished: start a new one"):
        opened(folder)


def test_an_unfinished_attempt_is_moved_aside_each_time(folder: Path) -> None:
    for attempt in range(3):
        results = opened(folder)
        with results.journal:
            results.begin({"attempt": attempt}, at(0))
    kept = sorted(folder.glob(f"{RESULTS_NAME}.attempt-?"))
    assert [json.loads(path.read_text())["body"]["attempt"] for path in kept] == [0, 1]
    assert written(folder)[0]["body"]["attempt"] == 2
    assert written(folder)[0]["seq"] == 1


def test_targets_and_what_the_model_did_about_its_conditions_are_rows(folder: Path) -> None:
    results = opened(folder)
    records = finished(0)
    plain: DecisionRecord = records.records[Stage.DECISIONS]
    repaired = replace(
        plain,
        first_reply=replace(plain.reply, received_at_ms=at(0) + 500) if plain.reply else None,
        first_refusal=Refusal("invalid_json", "cut"),
        cost_usd=D("0.25"),
        fired=(1, 2),
    )
    records.records[Stage.DECISIONS] = repaired
    with results.journal:
        results.cycle(records, {})
        results.cycle(finished(1, Refusal("violations", "two rules"), outcome="refused"), {})
    frames = results.frames()
    assert frames.decisions.select("repaired", "fired", "obeyed", "cost_usd").rows() == [
        (True, 2, True, 0.25),
        (False, 0, None, None),
    ]
    assert frames.targets.rows() == [(at(0), "BTC", 0.5, 90.5, 120.0, 0.7, "because")]
    assert frames.latency["latency_ms"].to_list() == [500, 900, 901], "every call counts"


@pytest.mark.parametrize(
    "name", ["../up", "a/../b", "", "..", "/etc", "a/b/c", ".hidden", "a b", "ü", "x" * 101, "a\n"]
)
def test_an_id_that_would_leave_the_folder_names_no_backtest(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a backtest"):
        backtest_folder(tmp_path, name)


def test_ids_of_backfills_runs_and_shards_name_folders_inside(tmp_path: Path) -> None:
    for name in ("kvgfnxyz", "5f0c9b0e-58f2-4a36-9d3f-0d9a5d7e2c11", "my_test.2", "demo/2025-06-01"):
        assert backtest_folder(tmp_path, name).resolve().is_relative_to(tmp_path / "backtests")
