"""What a live cycle makes of a dead venue, a dead model, a held database: values, one sentence each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback import BOTH_LEGS, Loopback, SetBackClock, failure_of, trade

from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.model import CycleReport, Stage
from wonttrade_dagster.defs.compose import account_lease, journal, ledger
from wonttrade_dagster.settings import Settings, load_settings

REFUSED_PORT = "http://127.0.0.1:9"
"""Nothing listens on the discard port."""


def report_of(settings: Settings, cycle_ms: int) -> CycleReport:
    payload = ledger(settings, journal(settings)).load(cycle_ms, Stage.CYCLE_REPORTS)
    assert payload is not None, "the report is written whatever happened"
    report = decode(STAGE_RECORDS[Stage.CYCLE_REPORTS], payload)
    assert isinstance(report, CycleReport)
    return report


def cycle(config: Path, cycle_ms: int) -> CycleReport:
    """One cycle that must end as a run that succeeded, and its report."""
    result = trade(config, cycle_ms)
    assert result.success, failure_of(result)
    return report_of(load_settings(config), cycle_ms)


@pytest.fixture(scope="module")
def held(loopback: Loopback, clock: SetBackClock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of an account that holds positions."""
    config = loopback.config(tmp_path_factory.mktemp("held"))
    assert cycle(config, clock.next_minute()).outcome == "applied"
    assert loopback.positions()
    return config


@pytest.mark.e2e
def test_a_dead_model_is_a_refusal_and_positions_stand(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    before = loopback.positions()
    loopback.model("faults", [{"kind": "500", "times": 50}])
    report = cycle(held, clock.next_minute())
    assert (report.outcome, report.reason) == ("refused", "model_unavailable")
    assert loopback.positions() == before
    assert set(loopback.triggers()) == set(before)


def test_a_reply_that_is_no_json_is_a_refusal(held: Path, loopback: Loopback, clock: SetBackClock) -> None:
    loopback.model("faults", [{"kind": "invalid_json", "times": 2}])
    report = cycle(held, clock.next_minute())
    assert (report.outcome, report.reason) == ("refused", "invalid_json")


def test_a_reply_that_is_no_json_once_is_repaired_within_its_cycle(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    loopback.model("faults", [{"kind": "invalid_json"}])
    cycle_ms = clock.next_minute()
    assert cycle(held, cycle_ms).outcome == "applied"
    journal = [json.loads(line) for line in load_settings(held).decision_log_path.read_text().splitlines()]
    of_cycle = [line for line in journal if line["cycle_ms"] == cycle_ms]
    kinds = [line["kind"] for line in of_cycle if line["kind"] in {"reply", "decision"}]
    assert kinds == ["reply", "reply", "decision"], "each raw reply is kept before it is judged"
    body = of_cycle[[line["kind"] for line in of_cycle].index("decision")]["body"]
    assert body["first_refusal"]["reason"] == "invalid_json"
    assert body["first_reply"]["text"] != body["reply"]["text"]


def test_protection_that_vanished_is_put_back_while_the_model_is_dead(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    symbol = next(iter(loopback.positions()))
    loopback.cancel_triggers(symbol)
    assert symbol not in loopback.triggers()
    loopback.model("faults", [{"kind": "500", "times": 50}])
    report = cycle(held, clock.next_minute())
    assert report.outcome == "refused"
    assert loopback.triggers()[symbol] == BOTH_LEGS


def test_a_dead_venue_still_ends_in_a_report(held: Path, loopback: Loopback, clock: SetBackClock) -> None:
    asked = loopback.model_calls
    loopback.refuse_requests()
    report = cycle(held, clock.next_minute())
    assert (report.outcome, report.reason) == ("refused", "venue_unavailable")
    assert any("PROTECTION WAS NOT CHECKED" in alert for alert in report.alerts)
    assert {failure.stage for failure in report.stage_failures} == {
        Stage.MARKET_SNAPSHOTS,
        Stage.ACCOUNT_SNAPSHOTS,
    }
    assert loopback.model_calls == asked, "nobody pays for a decision about nothing"


def test_a_venue_that_does_not_listen_at_all_still_ends_in_a_report(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    config = loopback.config(tmp_path, hyperliquid__base_url=REFUSED_PORT)
    report = cycle(config, clock.next_minute())
    assert (report.outcome, report.reason, report.account_value_usd) == ("refused", "venue_unavailable", None)
    heartbeat = json.loads(load_settings(config).heartbeat_path.read_text())
    assert heartbeat["last_outcome"] == "refused"


def test_a_symbol_that_the_venue_does_not_list_is_a_refusal_that_names_it(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    folder = held.parent
    before = loopback.positions()
    original = held.read_bytes()
    try:
        loopback.config(folder, symbols__tracked=["BTC", "ETH", "NOSUCH"])
        report = cycle(held, clock.next_minute())
    finally:
        held.write_bytes(original)
    assert report.outcome == "refused"
    assert "NOSUCH" in report.detail
    assert loopback.positions() == before
    assert not any("NOT CHECKED" in alert for alert in report.alerts)


@pytest.mark.e2e
def test_an_account_that_another_process_trades_is_refused_by_name(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    settings = load_settings(held)
    program = f"""
import sys
from pathlib import Path
from wonttrade_dagster.defs.compose import account_lease
from wonttrade_dagster.settings import load_settings
lease = account_lease(load_settings(Path({str(held)!r})))
lease.acquire()
print("held", flush=True)
sys.stdin.read()
"""
    with other_process(program) as process:
        loopback.refuse_requests()
        result = trade(held, clock.next_minute())
        assert not result.success
        assert f"process {process.pid}" in failure_of(result)
        assert loopback.refused_requests == 0
    account_lease(settings).acquire()


@pytest.mark.e2e
def test_a_database_held_by_somebody_else_never_stops_a_cycle_and_is_caught_up_later(
    held: Path, loopback: Loopback, clock: SetBackClock
) -> None:
    settings = load_settings(held)
    store = ledger(settings, journal(settings))
    program = f"""
import sys, duckdb
connection = duckdb.connect({str(store.path)!r}, read_only=True)
print("held", flush=True)
sys.stdin.read()
"""
    with other_process(program):
        first_ms = clock.next_minute()
        first = cycle(held, first_ms)
        second_ms = clock.next_minute()
        second = cycle(held, second_ms)
        assert (first.outcome, second.outcome) == ("applied", "applied")
        assert {key[0] for key in store.spool.waiting()} == {first_ms, second_ms}
        assert first.performance is not None
        assert second.performance is not None
        assert second.performance.opening_equity_usd == first.performance.opening_equity_usd
        assert second.performance.invocations == first.performance.invocations + 1
    third = cycle(held, clock.next_minute())
    assert third.outcome == "applied"
    assert store.spool.waiting() == []
    assert [p.time_ms for p in store.equity()][-3:] == [first_ms, second_ms, third.cycle_ms]


@contextmanager
def other_process(program: str) -> Iterator["subprocess.Popen[str]"]:
    """A real process that says ``held`` and holds until it is told to end."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        try:
            yield process
        finally:
            process.communicate("", timeout=20)
