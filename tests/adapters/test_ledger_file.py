"""The DuckDB file under the ledger: who holds it, its published copy, full disks and kills."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from cycle_samples import at
from ledger_samples import foreign_session, ledger

from wonttrade_dagster.adapters.duckdb_file import FREE_COPY_BYTES, connect, publish, read_copy_path
from wonttrade_dagster.adapters.ledger import Drained, DuckDBLedger
from wonttrade_dagster.core.errors import StorageLockedError
from wonttrade_dagster.core.model import Stage


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
