"""The ledger: records in and out through the spool, and what a cycle asks of the ones before."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from cycle_samples import at, candles, decision, fill, report, snapshot, stages
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.duckdb_file import FREE_COPY_BYTES, connect, publish, read_copy_path
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger import Drained, DuckDBLedger
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.errors import StorageError, StorageLockedError
from wonttrade_dagster.core.model import (
    CandleSeries,
    EquityPoint,
    PriorDecision,
    Refusal,
    Stage,
    StageFailure,
)

D = Decimal
REFUSED = Refusal("violations", "two rules were broken")
MOVED = Refusal("price_moved_past_stop", "the mark crossed the stop")


def ledger(folder: Path, journal: Journal | None = None, lock_seconds: float = 5.0) -> DuckDBLedger:
    return DuckDBLedger(folder / "a.duckdb", folder / "spool", lock_seconds, journal)


def keep(kept: DuckDBLedger, cycle: int, payloads: dict[Stage, bytes]) -> None:
    for stage, payload in payloads.items():
        kept.record(at(cycle), stage, payload)


@contextlib.contextmanager
def foreign_session(path: Path, *, read_only: bool = True) -> Iterator[None]:
    """Another program that holds the file open, as a user's DuckDB shell would."""
    script = "import duckdb; "
    script += f"c = duckdb.connect({str(path)!r}, read_only={read_only}); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    try:
        yield
    finally:
        process.communicate("\n")


# --- records ---


def test_a_record_is_there_at_once_and_the_same_after_the_drain(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payload = '{"a": 1.50,  "b": ["é\\u2028", 1e16]}'.encode()
    assert kept.load(at(1), Stage.DECISIONS) is None
    kept.record(at(1), Stage.DECISIONS, payload)
    assert kept.load(at(1), Stage.DECISIONS) == payload
    assert not kept.path.exists()
    assert kept.drain().drained == 1
    assert list(kept.spool.folder.iterdir()) == []
    assert kept.load(at(1), Stage.DECISIONS) == payload
    assert kept.load(at(1), Stage.EXECUTIONS) is None
    assert ledger(tmp_path).load(at(1), Stage.DECISIONS) == payload


@pytest.mark.parametrize("drained", [False, True])
def test_a_stored_stage_is_never_overwritten(tmp_path: Path, drained: bool) -> None:
    kept = ledger(tmp_path)
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    if drained:
        kept.drain()
    for other in (kept, ledger(tmp_path)):
        with pytest.raises(StorageError, match="stored stages are never overwritten"):
            other.record(at(1), Stage.DECISIONS, b"[2]")
    assert kept.load(at(1), Stage.DECISIONS) == b"[1]"
    kept.record(at(2), Stage.DECISIONS, b"[3]")


@pytest.mark.parametrize("payload", [b"", b"{", b'{"a": NaN}', b"\xff", b'"\\ud800"'])
def test_what_is_no_json_is_refused_before_it_can_block_the_drain(tmp_path: Path, payload: bytes) -> None:
    kept = ledger(tmp_path)
    with pytest.raises(StorageError, match="is no JSON"):
        kept.record(at(1), Stage.DECISIONS, payload)
    assert kept.drain().drained == 0


def test_secrets_are_in_no_file_of_the_ledger(tmp_path: Path) -> None:
    secret = "canary-4711-secret"
    kept = DuckDBLedger(tmp_path / "a.duckdb", tmp_path / "spool", secrets=[secret])
    refused = replace(REFUSED, detail=f"the server said: wrong key {secret}")
    keep(kept, 1, stages(1, refused))
    assert secret.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    kept.drain()
    kept.publish()
    assert secret.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    expected = replace(refused, detail="the server said: wrong key [redacted]")
    assert kept.prior(at(2)) == PriorDecision(None, None, expected)


def test_a_drain_without_records_makes_no_file(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    assert kept.drain().deferred is None
    assert not kept.path.exists()
    assert kept.publish() is not None


def test_a_foreign_session_defers_the_drain_and_loses_nothing(tmp_path: Path) -> None:
    kept = ledger(tmp_path, lock_seconds=0.2)
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    kept.drain()
    with foreign_session(kept.path):
        kept.record(at(2), Stage.DECISIONS, b"[2]")
        drained = kept.drain()
        assert drained.drained == 0
        assert str(kept.path) in str(drained.deferred)
        assert "close the session that has it open" in str(drained.deferred)
        assert kept.publish() is not None
        assert kept.load(at(2), Stage.DECISIONS) == b"[2]"
    assert kept.drain().drained == 1
    assert kept.publish() is None


def test_an_open_reader_of_the_published_copy_stops_nobody(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.record(at(0), Stage.DECISIONS, b"[0]")
    kept.drain()
    assert kept.publish() is None
    with foreign_session(read_copy_path(kept.path)):
        for cycle in range(1, 11):
            kept.record(at(cycle), Stage.DECISIONS, b"[1]")
            assert kept.drain().deferred is None
            assert kept.publish() is None
    with duckdb.connect(str(read_copy_path(kept.path)), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM stages").fetchone() == (11,)


def test_a_held_file_costs_one_wait_and_not_one_a_stage(tmp_path: Path) -> None:
    kept = ledger(tmp_path, Journal(tmp_path / "j.ndjson"), lock_seconds=2.0)
    kept.record(at(0), Stage.INDICATORS, b"[0]")
    kept.drain()
    filler = dict.fromkeys(Stage, b"[1]") | stages(1, REFUSED)
    with foreign_session(kept.path, read_only=False):
        started = time.monotonic()
        for stage in Stage:
            assert kept.load(at(1), stage) is None
            kept.record(at(1), stage, filler[stage])
        assert kept.prior(at(2)).last_refusal == REFUSED
        assert kept.last_report(at(2)) == report(1, "1001")
        assert len(kept.equity()) == 2
        assert time.monotonic() - started < 6  # one wait of two seconds, and what the reads themselves take


def test_a_record_that_differs_from_the_stored_one_is_set_aside_and_named(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    kept.drain()
    kept.spool.add(at(1), Stage.DECISIONS, b"[2]")  # as a process that could not ask DuckDB would
    kept.spool.add(at(1), Stage.EXECUTIONS, b"[3]")
    drained = kept.drain()
    assert drained.drained == 1
    assert [path.read_bytes() for path in drained.set_aside] == [b"[2]"]
    assert kept.drain().set_aside == ()
    assert ledger(tmp_path).load(at(1), Stage.DECISIONS) == b"[1]"


def test_one_damaged_file_does_not_keep_the_others_out(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    for cycle in range(4):
        kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(report(cycle)))
    kept.spool.path(at(1), Stage.CYCLE_REPORTS).write_bytes(b'{"cycle_ms": 1, "perf')
    kept.spool.path(at(2), Stage.CYCLE_REPORTS).write_bytes(b"[\xff]")
    drained = kept.drain()
    assert drained.drained == 2
    assert len(drained.set_aside) == 2
    assert ledger(tmp_path).load(at(3), Stage.CYCLE_REPORTS) == encode(report(3))


def test_a_kill_between_commit_and_removal_is_drained_again_without_harm(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payloads = {Stage.MARKET_SNAPSHOTS: snapshot(1, candles(1, 20)), Stage.DECISIONS: b"[1]"}
    keep(kept, 1, payloads)
    shutil.copytree(kept.spool.folder, tmp_path / "before")
    kept.drain()
    shutil.copytree(tmp_path / "before", kept.spool.folder, dirs_exist_ok=True)
    drained = kept.drain()
    assert (drained.drained, drained.deferred, drained.set_aside) == (2, None, ())
    assert {stage: ledger(tmp_path).load(at(1), stage) for stage in payloads} == payloads


def test_a_temporary_file_of_a_killed_writer_is_no_record(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    (kept.spool.folder / f".{at(2)}-decisions.json.77.ab.tmp").write_bytes(b"[")
    (kept.spool.folder / "notes.txt").write_bytes(b"mine")
    assert kept.drain().drained == 1
    assert kept.drain().drained == 0


_DRAINER = """
import sys
from pathlib import Path
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.model import Stage
ledger = DuckDBLedger(Path(sys.argv[1]) / "a.duckdb", Path(sys.argv[1]) / "spool", 20.0)
for n in range(int(sys.argv[2]), 10**6):
    for stage in Stage:
        ledger.record(n, stage, b'{"n": %d}' % n)
    print(n, flush=True)
    ledger.drain()
"""


def test_kills_at_any_moment_lose_no_record_that_was_written(tmp_path: Path) -> None:
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _DRAINER, str(tmp_path), str(attempt * 1000)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.013 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert ledger(tmp_path).drain().deferred is None
        with connect(tmp_path / "a.duckdb", 5.0) as connection:
            found = set(connection.execute("SELECT cycle_ms, stage, payload FROM stages").fetchall())
        first = attempt * 1000
        reported = itertools.product(range(first, first + 3), Stage)
        assert {(n, stage.value, f'{{"n": {n}}}') for n, stage in reported} <= found


def test_everything_works_after_the_data_directory_was_deleted(tmp_path: Path) -> None:
    kept = ledger(tmp_path / "data", Journal(tmp_path / "data" / "j.ndjson"))
    for cycle in range(3):
        keep(kept, cycle, stages(cycle, decision()))
        assert kept.drain().deferred is None
        assert kept.publish() is None
        shutil.rmtree(tmp_path / "data")
        assert kept.prior(at(9)) == PriorDecision(None, None)
        assert kept.last_report(at(9)) is None
        assert kept.equity() == []


def test_a_file_that_is_no_database_is_one_sentence_and_the_records_wait(tmp_path: Path) -> None:
    (tmp_path / "a.duckdb").write_bytes(b"garbage" * 1000)
    kept = ledger(tmp_path, Journal(tmp_path / "j.ndjson"))
    keep(kept, 1, stages(1, decision()))
    drained = kept.drain()
    assert drained.drained == 0
    assert "a.duckdb cannot be opened" in str(drained.deferred)
    assert kept.prior(at(2)).decision == decision()
    (tmp_path / "a.duckdb").unlink()
    assert kept.drain().drained == 4


@pytest.mark.parametrize("damage", [(0, 64), (4096, 4096), (8192, 4096), (12288, 10**7), (0, 10**7)])
def test_a_damaged_database_hides_nothing_that_the_journal_knows(
    tmp_path: Path, damage: tuple[int, int]
) -> None:
    journal = Journal(tmp_path / "j.ndjson")
    kept = ledger(tmp_path, journal)
    for cycle in range(3):
        journalled(journal, kept, cycle)
    kept.drain()
    start, length = damage
    content = bytearray(kept.path.read_bytes())
    content[start : start + length] = b"\xa5" * len(content[start : start + length])
    kept.path.write_bytes(content)
    again = ledger(tmp_path, journal)
    keep(again, 3, stages(3, REFUSED))
    assert again.prior(at(4)) == PriorDecision(decision("2"), at(2), REFUSED, (fill(2),))
    assert again.last_report(at(3)) is not None
    assert again.equity()[-1] == EquityPoint(at(3), D(1003))
    again.drain()
    assert {stage: again.load(at(3), stage) for stage in stages(3, REFUSED)} == stages(3, REFUSED)


# --- candles, stored once ---


def test_candles_of_following_snapshots_are_stored_once(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payloads = {cycle: snapshot(cycle, candles(cycle, 1000)) for cycle in range(5)}
    for cycle, payload in payloads.items():
        kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payload)
        kept.drain()
    assert {c: kept.load(at(c), Stage.MARKET_SNAPSHOTS) for c in payloads} == payloads
    with connect(kept.path, 1.0) as connection:
        rows = connection.execute("SELECT count(*) FROM snapshot_candles WHERE interval = '5m'").fetchone()
        assert rows == (1004,)
        (longest,) = connection.execute("SELECT max(length(payload)) FROM stages").fetchone() or (0,)
    assert 0 < longest < 2000 < len(payloads[0])


@settings(max_examples=12, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.integers(0, 6), st.integers(0, 8), st.integers(1, 6), st.sampled_from([0.0, 1e-9, -3.0])
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    together=st.booleans(),
)
def test_any_snapshots_in_any_order_come_back_byte_for_byte(
    plan: list[tuple[int, int, int, float]], together: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept, payloads = ledger(Path(folder)), dict[int, bytes]()
        for cycle, start, bars, change in plan:
            payloads[cycle] = snapshot(cycle, candles(start, bars, change), candles(start + 1, bars))
            kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payloads[cycle])
            if not together:
                assert kept.drain().deferred is None
        assert kept.drain().set_aside == ()
        assert {c: kept.load(at(c), Stage.MARKET_SNAPSHOTS) for c in payloads} == payloads


def drained_snapshot(kept: DuckDBLedger, cycle: int, *series: CandleSeries) -> int:
    """Store a snapshot, require it back byte for byte, and tell how many candles the table holds then."""
    payload = snapshot(cycle, *series)
    kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(cycle), Stage.MARKET_SNAPSHOTS) == payload
    with connect(kept.path, 1.0, read_only=True) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM snapshot_candles").fetchone() or (0,)
    return int(rows)


def with_volume(series: CandleSeries, volume: float) -> CandleSeries:
    return replace(series, frame=series.frame.with_columns(volume=pl.lit(volume)))


def test_a_candle_is_stored_again_only_where_its_bits_changed(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    zero, minus_zero = (with_volume(candles(0, 5), volume) for volume in (0.0, -0.0))
    before = drained_snapshot(kept, 0, zero)
    assert drained_snapshot(kept, 1, zero) == before
    assert drained_snapshot(kept, 2, minus_zero) == before + 5
    assert drained_snapshot(kept, 3, candles(0, 5, change=1e-9)) == before + 10
    assert drained_snapshot(kept, 4, candles(0, 5)) == before + 11


def test_a_window_without_a_candle_that_is_stored_keeps_its_own_text(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    before = drained_snapshot(kept, 0, candles(0, 6))
    gappy = candles(0, 6)
    assert drained_snapshot(kept, 1, replace(gappy, frame=gappy.frame[[0, 1, 4, 5]])) == before
    assert drained_snapshot(kept, 2, candles(0, 7)) == before + 1


def test_one_series_twice_in_a_snapshot_never_changes_what_the_first_one_sees(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    before = drained_snapshot(kept, 0, candles(0, 6))
    assert drained_snapshot(kept, 1, candles(0, 6), candles(0, 6)) == before
    assert drained_snapshot(kept, 2, candles(0, 6), candles(0, 6, change=1.0)) == before
    assert drained_snapshot(kept, 3, candles(0, 6, change=1.0), candles(0, 6)) == before + 1


@pytest.mark.parametrize(
    "text", ["candles in another order", "whole numbers", "spaces", "a twin", "no candle"]
)
def test_candles_that_are_written_in_another_way_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    kept = ledger(tmp_path)
    drained_snapshot(kept, 0, candles(0, 4))
    document = json.loads(snapshot(1, candles(0, 4)))
    columns = document["markets"][0]["intraday"]["frame"]["columns"]
    for name, values in columns.items():
        if text == "candles in another order":
            values.reverse()
        elif text == "a twin":
            values.append(values[-1])
        elif text == "no candle":
            values.clear()
        elif text == "whole numbers":
            columns[name] = [int(value) for value in values]
    payload = json.dumps(document, separators=None if text == "spaces" else (",", ":")).encode()
    kept.record(at(1), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(1), Stage.MARKET_SNAPSHOTS) == payload


def test_a_failed_market_stage_is_kept_as_it_is(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payload = encode(StageFailure(Stage.MARKET_SNAPSHOTS, "venue_unavailable", "no answer"))
    kept.record(at(1), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(1), Stage.MARKET_SNAPSHOTS) == payload


# --- what a cycle asks ---


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
def test_the_last_report_is_the_newest_before_the_cycle(tmp_path: Path, where: str) -> None:
    kept = ledger(tmp_path)
    for cycle in (3, 1, 2):
        kept.record(at(cycle), Stage.CYCLE_REPORTS, encode(report(cycle)))
        store(kept, where)
    assert kept.last_report(at(1)) is None
    assert kept.last_report(at(3)) == report(2)
    assert kept.last_report(at(9)) == report(3)


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


def journalled(journal: Journal, kept: DuckDBLedger, cycle: int) -> None:
    """A whole applied cycle, in the journal and the ledger, as the live loop writes it."""
    payloads = stages(cycle, decision(str(cycle)))
    journal.applied(at(cycle), decision(str(cycle)))
    journal.append("execution", at(cycle), json.loads(payloads[Stage.EXECUTIONS]))
    journal.append("cycle_report", at(cycle), json.loads(payloads[Stage.CYCLE_REPORTS]))
    keep(kept, cycle, payloads)


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


# --- the file itself ---


def test_our_own_processes_queue_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with (
        connect(path, 1.0) as connection,
        pytest.raises(StorageLockedError, match="another WontTrade process"),
        connect(path, 0.1),
    ):
        connection.execute("SELECT 1")
    with connect(path, 0.1) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_waiting_for_a_session_that_closes_in_time_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with connect(path, 1.0):
        pass
    script = f"import duckdb, time; c = duckdb.connect({str(path)!r}); print(1, flush=True); time.sleep(0.4)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with connect(path, 20.0) as connection:
        connection.execute("CREATE TABLE t (x INTEGER)")
    process.communicate()


def test_a_published_copy_is_whole_and_leaves_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with connect(path, 1.0) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS x FROM range(100000)")
    copy = publish(path, 1.0)
    assert copy == tmp_path / "x.read.duckdb"
    with connect(copy, 1.0, read_only=True) as connection:
        assert connection.execute("SELECT sum(x) FROM t").fetchone() == (4999950000,)
    assert not [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_a_disk_that_fills_up_at_the_commit_defers_the_records_and_sets_none_aside(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    ledger = DuckDBLedger(tmp_path / "ledger.duckdb", tmp_path / "spool")
    ledger.record(at(0), Stage.INDICATORS, b'{"a":1}')
    assert ledger.drain().deferred is None
    for cycle in range(1, 40):
        text = "".join(f"{cycle * 7919 + i:x}" for i in range(2_000))
        ledger.record(at(cycle), Stage.INDICATORS, f'{{"a":"{text}"}}'.encode())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        full = ledger.drain()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.deferred is not None
    assert (full.drained, full.set_aside) == (0, ())
    later = ledger.drain()
    assert (later.drained, later.deferred, later.set_aside) == (39, None, ())


def test_a_copy_that_is_up_to_date_is_left_alone_and_any_change_renews_it(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.record(at(0), Stage.DECISIONS, b"[0]")
    assert kept.settle()[1] is None
    copy = read_copy_path(kept.path)
    first = copy.stat()
    assert (kept.settle()[1], kept.publish()) == (None, None)
    assert copy.stat().st_ino == first.st_ino
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    assert kept.settle() == (Drained(1), None)
    with duckdb.connect(str(copy), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM stages").fetchone() == (2,)


def test_the_copy_of_a_large_file_is_renewed_in_minutes_unless_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with connect(path, 1.0) as connection:
        connection.execute("CREATE TABLE t AS SELECT random() AS x FROM range(3000000)")
    assert path.stat().st_size > FREE_COPY_BYTES
    copy = publish(path, 1.0)
    inode = copy.stat().st_ino
    with connect(path, 1.0) as connection:
        connection.execute("INSERT INTO t VALUES (2.0)")
    publish(path, 1.0)
    is_free = copy.stat().st_ino != inode  # a file system that shares blocks
    minutes_ago = time.time() - 60 * path.stat().st_size / FREE_COPY_BYTES - 1
    os.utime(copy, (minutes_ago, minutes_ago))
    publish(path, 1.0)
    assert is_free or copy.stat().st_ino != inode
    with connect(copy, 1.0, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3_000_001,)
    assert not [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_settling_a_held_file_defers_the_drain_and_says_why_the_copy_is_old(tmp_path: Path) -> None:
    kept = ledger(tmp_path, lock_seconds=0.1)
    kept.record(at(1), Stage.DECISIONS, b"[1]")
    assert kept.settle() == (Drained(1), None)
    kept.record(at(2), Stage.DECISIONS, b"[2]")
    with foreign_session(kept.path):
        drained, stale_copy = kept.settle()
    assert (drained.drained, kept.load(at(2), Stage.DECISIONS)) == (0, b"[2]")
    assert "close the session that has it open" in str(drained.deferred)
    assert drained.deferred == stale_copy
    assert kept.settle() == (Drained(1), None)


_FULL_DISK = """
import resource, sys
from pathlib import Path
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.model import Stage
ledger = DuckDBLedger(Path(sys.argv[1]) / "a.duckdb", Path(sys.argv[1]) / "spool", 1.0)
ledger.record(0, Stage.DECISIONS, b"[0]")
assert ledger.settle()[0].drained == 1
for n in range(1, 40):
    ledger.record(n, Stage.INDICATORS, b'["' + b"%d" % n * 99000 + b'"]')
most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.path.stat().st_size + 4096, most[1]))
drained, stale_copy = ledger.settle()
assert drained.drained == 0 and drained.deferred, drained
assert len(ledger.spool.waiting()) == 39
resource.setrlimit(resource.RLIMIT_FSIZE, most)
drained, stale_copy = ledger.settle()
assert (drained.drained, drained.deferred, stale_copy) == (39, None, None), drained
assert ledger.load(39, Stage.INDICATORS) == b'["' + b"39" * 99000 + b'"]'
"""


def test_a_process_goes_on_with_the_file_after_the_disk_was_full(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_of_one_process_use_several_files_at_once(tmp_path: Path) -> None:
    def count_up(path: Path) -> int:
        for number in range(20):
            with connect(path, 20.0) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS t (x INTEGER)")
                connection.execute("INSERT INTO t VALUES (?)", [number])
        with connect(path, 20.0, read_only=True) as connection:
            return len(connection.execute("SELECT x FROM t").fetchall())

    paths = [tmp_path / "a.duckdb", tmp_path / "b 'quoted'.duckdb", tmp_path / "a.duckdb"]
    with ThreadPoolExecutor(len(paths)) as pool:
        counts = list(pool.map(count_up, paths))
    assert counts[1] == 20
    with connect(paths[0], 1.0, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (40,)


def test_a_file_that_a_kill_left_without_a_byte_is_made_anew(tmp_path: Path) -> None:
    """DuckDB creates its file and writes the head afterwards; a kill in between must not need a person."""
    store = DuckDBLedger(tmp_path / "ledger.duckdb", tmp_path / "spool")
    (tmp_path / "ledger.duckdb").touch()
    (tmp_path / ".ledger.duckdb.1.ab.tmp").write_bytes(b"half a head")
    store.record(60_000, Stage.DECISIONS, b"{}")
    assert store.drain().deferred is None
    assert store.load(60_000, Stage.DECISIONS) == b"{}"
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob(".*.tmp"))
