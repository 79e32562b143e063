"""A journal that is kept open: locked for the others, and still not fooled by a file that goes away."""

import shutil
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


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_folder_that_goes_away_meanwhile_is_begun_anew(tmp_path: Path, *, is_moved: bool) -> None:
    path = tmp_path / "deep" / "journal.ndjson"
    with Journal(path) as kept:
        kept.append("a", 1, {"n": 0})
        if is_moved:
            path.parent.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(path.parent)
        kept.append("a", 1, {"n": 1})
        assert bodies(path) == [1]
    if is_moved:
        assert bodies(tmp_path / "elsewhere" / "journal.ndjson") == [0]


def test_an_error_inside_the_block_still_puts_everything_on_disk_and_unlocks(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"

    def interrupted() -> None:
        with Journal(path, sync_every=10) as kept:
            kept.append("a", 1, {"n": 0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    Journal(path).append("a", 1, {"n": 1})
    assert bodies(path) == [0, 1]
