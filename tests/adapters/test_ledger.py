"""The ledger's records: in and out through the spool, past held, damaged and missing files."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from cycle_samples import D, at, candles, decision, fill, report, snapshot, stages
from ledger_samples import REFUSED, foreign_session, journalled, keep, ledger

from wonttrade_dagster.adapters.duckdb_file import connect, read_copy_path
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import EquityPoint, PriorDecision, Stage


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
