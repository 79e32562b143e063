"""A journal that is kept open: locked for the others, and still not fooled by a file that goes away."""

import errno
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from wonttrade_dagster.adapters import append_only
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.errors import StorageError


def bodies(path: Path) -> list[int]:
    return [record.body["n"] for record in Journal(path).records("a")]


def test_what_is_kept_open_is_readable_while_it_grows_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.ndjson"
    with Journal(path, sync_every=100) as kept:
        for n in range(5):
            kept.append("a", 1, {"n": n})
            assert bodies(path) == list(range(n + 1))
    Journal(path).append("a", 1, {"n": 5})
    kept.append("a", 1, {"n": 6})
    assert bodies(path) == list(range(7))
    assert [record.seq for record in Journal(path).records()] == list(range(1, 8))


def test_nobody_else_writes_while_it_is_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_only, "LOCK_SECONDS", 0.05)
    path = tmp_path / "journal.ndjson"
    with Journal(path) as kept:
        kept.append("a", 1, {"n": 0})
        with pytest.raises(StorageError, match="another process"):
            Journal(path).append("a", 1, {"n": 1})
    Journal(path).append("a", 1, {"n": 2})
    assert bodies(path) == [0, 2]


@pytest.mark.parametrize("aside", [True, False])
@pytest.mark.parametrize("is_moved", [True, False])
def test_a_folder_that_goes_away_meanwhile_is_begun_anew(
    tmp_path: Path, *, is_moved: bool, aside: bool
) -> None:
    path = tmp_path / "deep" / "journal.ndjson"
    with Journal(path, sync_aside=aside) as kept:
        kept.append("a", 1, {"n": 0})
        if is_moved:
            path.parent.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(path.parent)
        kept.append("a", 1, {"n": 1})
        assert bodies(path) == [1]
    if is_moved:
        assert bodies(tmp_path / "elsewhere" / "journal.ndjson") == [0]


@pytest.mark.parametrize("aside", [True, False])
def test_an_error_inside_the_block_still_puts_everything_on_disk_and_unlocks(
    tmp_path: Path, *, aside: bool
) -> None:
    path = tmp_path / "journal.ndjson"

    def interrupted() -> None:
        with Journal(path, sync_every=10, sync_aside=aside) as kept:
            kept.append("a", 1, {"n": 0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    Journal(path).append("a", 1, {"n": 1})
    assert bodies(path) == [0, 1]


def synced_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the file was at each sync."""
    sizes = list[int]()
    fsync = os.fsync

    def spied(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spied)
    return sizes


@pytest.mark.parametrize(
    ("records", "sync_every", "synced"), [(20, 1, range(20)), (10, 4, (3, 7, 9))], ids=["each", "batches"]
)
def test_a_sync_aside_is_over_before_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, sync_every: int, synced: Sequence[int]
) -> None:
    path = tmp_path / "journal.ndjson"
    path.touch()
    sizes = synced_sizes(monkeypatch)
    with Journal(path, sync_every=sync_every, sync_aside=True) as kept:
        for n in range(records):
            kept.append("a", 1, {"n": n})
    ends = [offset + 1 for offset, byte in enumerate(path.read_bytes()) if byte == ord("\n")]
    if sync_every == 1:
        assert sizes == ends, "each record was synced, by itself and in order"
    assert len(sizes) == len(synced)
    assert all(size >= ends[last] for size, last in zip(sizes, synced, strict=True))


def test_a_file_that_goes_away_while_a_batch_is_synced_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "journal.ndjson", list[int]()
    fsync, may_go_on = os.fsync, threading.Event()

    def late(handle: int) -> None:
        may_go_on.wait(10)
        fsync(handle)
        synced.append(os.fstat(handle).st_ino)

    with Journal(path, sync_every=2, sync_aside=True) as kept:
        kept.append("a", 1, {"n": 0})
        monkeypatch.setattr(os, "fsync", late)
        monkeypatch.setattr(append_only, "sync_directory", lambda _: None)
        kept.append("a", 1, {"n": 1})
        first = path.stat().st_ino
        path.rename(path.with_name("elsewhere"))
        kept.append("a", 1, {"n": 2})
        may_go_on.set()
    assert synced == [first, path.stat().st_ino]
    assert (bodies(path.with_name("elsewhere")), bodies(path)) == ([0, 1], [2])


@pytest.mark.parametrize("appends", [1, 2])
def test_a_sync_aside_that_fails_is_told_by_the_next_append_or_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appends: int
) -> None:
    path = tmp_path / "journal.ndjson"

    def broken(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write() -> None:
        with Journal(path, sync_aside=True) as kept:
            kept.append("a", 1, {"n": 0})
            monkeypatch.setattr(os, "fsync", broken)
            for n in range(1, appends + 1):
                kept.append("a", 1, {"n": n})

    with pytest.raises(StorageError, match=r"did not take a write \(Input/output error\)"):
        write()
    monkeypatch.undo()
    Journal(path).append("a", 1, {"n": 9})
    assert bodies(path) == [0, 1, 9], "what was written stays, and the file is free"
