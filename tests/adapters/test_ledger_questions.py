"""What a cycle asks of the ones before: prior decision, last report and equity, whoever holds the file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cycle_samples import D, at, decision, fill, report, stages
from ledger_samples import MOVED, REFUSED, foreign_session, journalled, keep, ledger

from wonttrade_dagster.adapters.duckdb_file import connect
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.errors import StorageLockedError
from wonttrade_dagster.core.model import EquityPoint, PriorDecision, Spending, Stage
from wonttrade_dagster.core.report import without_memory


def store(kept: DuckDBLedger, where: str) -> None:
    if where != "spool":
        assert kept.drain().deferred is None
    if where == "published":
        assert kept.publish() is None


@pytest.mark.parametrize("where", ["spool", "duckdb"])
def test_the_prior_decision_is_the_last_one_that_was_applied(tmp_path: Path, where: str) -> None:
    kept = ledger(tmp_path)
    assert kept.prior(at(0)) == PriorDecision(None, None)
    keep(kept, 0, stages(0, REFUSED))
    store(kept, where)
    assert kept.prior(at(1)) == PriorDecision(None, None, REFUSED)
    keep(kept, 1, stages(1, decision("first")))
    store(kept, where)
    assert kept.prior(at(2)) == PriorDecision(decision("first"), at(1), None, (fill(1),))
    keep(kept, 2, stages(2, REFUSED))
    keep(kept, 3, stages(3, decision("not taken on"), refusal=MOVED))
    store(kept, where)
    assert kept.prior(at(4)) == PriorDecision(decision("first"), at(1), MOVED, (fill(1),))
    assert kept.prior(at(3)) == PriorDecision(decision("first"), at(1), REFUSED, (fill(1),))
    assert kept.prior(at(1)) == PriorDecision(None, None, REFUSED)


def test_a_cycle_that_was_killed_after_its_decision_did_not_apply_it(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    keep(kept, 1, {Stage.DECISIONS: stages(1, decision())[Stage.DECISIONS]})
    prior = kept.prior(at(2))
    assert prior.decision is None
    assert prior.last_refusal is not None
    assert prior.last_refusal.reason == "cycle_interrupted"


def test_a_cycle_that_was_killed_after_it_took_the_decision_on_is_known_from_the_journal(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal)
    keep(kept, 1, stages(1, decision("old")))
    keep(kept, 2, {Stage.DECISIONS: stages(2, decision("new"))[Stage.DECISIONS]})
    journal.applied(at(2), decision("new"))
    assert kept.prior(at(3)) == PriorDecision(decision("new"), at(2), None, ())
    assert kept.prior(at(2)) == PriorDecision(decision("old"), at(1), None, (fill(1),))


def test_many_refusals_in_a_row_do_not_hide_the_last_applied_decision(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    keep(kept, 0, stages(0, decision("long ago")))
    for cycle in range(1, 80):
        keep(kept, cycle, stages(cycle, REFUSED))
    kept.drain()
    assert kept.prior(at(80)) == PriorDecision(decision("long ago"), at(0), REFUSED, (fill(0),))


@pytest.mark.parametrize("where", ["spool", "duckdb"])
def test_the_prior_decision_is_the_same_after_the_report_was_asked_for(tmp_path: Path, where: str) -> None:
    """Both are read while the file is open once; what is applied meanwhile is seen when it is asked again."""
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal)
    keep(kept, 1, stages(1, decision("first")))
    store(kept, where)
    assert kept.last_report(at(2)) == report(1, "1001")
    assert kept.prior(at(2)) == ledger(tmp_path, journal).prior(at(2))
    assert kept.last_report(at(3)) == report(1, "1001")
    journal.applied(at(2), decision("late"))
    assert kept.prior(at(3)).decision == decision("first"), "one cycle decides on one state of the ledger"
    assert kept.prior(at(3)).decision == decision("late")
    assert kept.last_report(at(4)) == report(1, "1001")
    keep(kept, 3, stages(3, decision("new")))
    assert kept.prior(at(4)).decision == decision("new")


def test_a_cycle_that_asked_for_its_first_stage_knows_what_its_prompt_asks_for(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    keep(kept, 1, stages(1, decision("first")))
    store(kept, "duckdb")
    assert kept.load(at(2), Stage.MARKET_SNAPSHOTS) is None
    kept.path.unlink()
    assert kept.last_report(at(2)) == report(1, "1001")
    assert kept.prior(at(2)).decision == decision("first")
    assert kept.last_report(at(3)) is None, "another cycle asks anew"


@pytest.mark.parametrize("where", ["spool", "duckdb"])
def test_the_last_report_is_the_newest_before_the_cycle(tmp_path: Path, where: str) -> None:
    kept = ledger(tmp_path)
    for cycle in (3, 1, 2):
        kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(report(cycle)))
        store(kept, where)
    assert kept.last_report(at(1)) is None
    assert kept.last_report(at(3)) == report(2)
    assert kept.last_report(at(9)) == report(3)


@pytest.mark.parametrize("where", ["spool", "duckdb", "published", "journal"])
def test_a_report_that_could_not_read_the_ones_before_is_told_with_what_they_knew(
    tmp_path: Path, where: str
) -> None:
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal)
    spent = Spending(day=3, day_usd=D("0.4"), total_usd=D(7))
    told = {1: replace(report(1), spending=spent, activity_until_ms=at(1) + 700)}
    for cycle in (2, 3):
        told[cycle] = without_memory(replace(report(cycle), performance=None, activity_until_ms=at(cycle)))
    for cycle, one in told.items():
        if where == "journal":
            journal.append("cycle_report", at(cycle), json.loads(encode(one)))
        else:
            kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(one))
            store(kept, where)
    last = kept.last_report(at(9))
    assert last is not None
    assert (last.cycle_ms, last.account_value_usd, last.is_memory) == (at(3), D(1000), False)
    assert (last.performance, last.spending) == (told[1].performance, spent)
    assert last.activity_until_ms == at(1) + 700
    if where != "journal":
        stored = kept.load(at(3), Stage.CYCLE_REPORTS)
        assert stored == encode(told[3]), "the record itself stays as it was written"


def test_a_first_report_that_could_read_nothing_is_all_there_is(tmp_path: Path) -> None:
    kept, alone = ledger(tmp_path), without_memory(replace(report(0), performance=None))
    kept.record(at(0), Stage.CYCLE_REPORTS, encode(alone))
    assert kept.last_report(at(1)) == alone


@pytest.mark.parametrize("where", ["spool", "duckdb"])
def test_equity_is_one_point_a_cycle_with_the_opening_first(tmp_path: Path, where: str) -> None:
    kept = ledger(tmp_path)
    for cycle, value in enumerate(["1000", None, "1001.25", "990"]):
        kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(report(cycle, value)))
        store(kept, where)
    assert kept.equity() == [
        EquityPoint(at(0), D("999.5")),
        EquityPoint(at(2), D("1001.25")),
        EquityPoint(at(3), D(990)),
    ]


def test_the_opening_equity_is_written_once(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    for cycle, opening in enumerate(["999.5", "7"]):
        changed = report(cycle)
        assert changed.performance is not None
        changed = replace(changed, performance=replace(changed.performance, opening_equity_usd=D(opening)))
        kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(changed))
        kept.drain()
    assert kept.equity()[0] == EquityPoint(at(0), D("999.5"))
    with connect(kept.path, 1.0, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM equity").fetchone() == (1,)


@pytest.mark.parametrize("published", [False, True])
def test_a_held_file_hides_nothing_from_the_next_cycle(tmp_path: Path, published: bool) -> None:
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal, lock_seconds=0.2)
    for cycle in range(3):
        journalled(journal, kept, cycle)
    kept.drain()
    if published:
        kept.publish()
    free = (kept.prior(at(3)), kept.last_report(at(3)), [p.account_value_usd for p in kept.equity()][1:])
    with foreign_session(kept.path, read_only=False):
        held = (kept.prior(at(3)), kept.last_report(at(3)), [p.account_value_usd for p in kept.equity()][-2:])
        assert held == free
        journalled(journal, kept, 3)
        assert kept.prior(at(4)).decision == decision("3")
        assert kept.equity()[-1] == EquityPoint(at(3), D(1003))


def test_a_held_file_and_an_old_copy_hide_nothing_that_the_journal_knows(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal, lock_seconds=0.2)
    journalled(journal, kept, 0)
    kept.drain()
    kept.publish()
    journalled(journal, kept, 1)
    refused = stages(2, REFUSED)
    for kind, stage in (("decision", Stage.DECISIONS), ("plan", Stage.EXECUTION_PLANS)):
        journal.append(kind, at(2), json.loads(refused[stage]))
    keep(kept, 2, {stage: refused[stage] for stage in (Stage.DECISIONS, Stage.EXECUTION_PLANS)})
    assert kept.drain().deferred is None
    free = (kept.prior(at(3)), kept.last_report(at(3)), kept.equity())
    assert free[0] == PriorDecision(decision("1"), at(1), REFUSED, (fill(1),))
    with foreign_session(kept.path, read_only=False):
        assert (kept.prior(at(3)), kept.last_report(at(3)), kept.equity()) == free


def test_without_copy_and_journal_a_held_file_is_named(tmp_path: Path) -> None:
    kept = ledger(tmp_path, lock_seconds=0.1)
    keep(kept, 1, stages(1, decision()))
    kept.drain()
    with (
        foreign_session(kept.path, read_only=False),
        pytest.raises(StorageLockedError, match=r"held open by process \d+: close"),
    ):
        kept.prior(at(2))
