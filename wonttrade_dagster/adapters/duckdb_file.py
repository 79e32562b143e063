"""One DuckDB file, held for as short as possible.

Belongs here: the file lock between our own processes, waiting for a foreign session, the sentence for both,
and the published copy that readers may hold open.
Does not belong here: tables and queries.

DuckDB lets one process write **or** several read a file; whoever holds it open, even read-only, stops every
writer. Our own processes queue on ``<name>.lock``; a foreign session (a user's ``duckdb``
shell) is waited for until the deadline.
"""

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from wonttrade_dagster.adapters.files import storage_error, sync_directory
from wonttrade_dagster.core.errors import StorageError, StorageLockedError

if sys.platform == "linux":
    import fcntl

FREE_COPY_BYTES = 16 << 20
"""A megabyte costs 0.3 ms of CPU: up to here after every cycle, beyond once a minute for each of these."""

_FICLONE = 0x40049409
"""Linux: ``ioctl_ficlone(2)``."""

_RETRY_SECONDS = 0.02


def read_copy_path(path: Path) -> Path:
    """Where the published copy of a DuckDB file stands."""
    return path.with_name(f"{path.stem}.read.duckdb")


@contextmanager
def connect(
    path: Path, lock_seconds: float, *, read_only: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Hold the file for the length of the block.

    Args:
        path: the DuckDB file; made with its folders unless ``read_only``.
        lock_seconds: how long to wait for whoever holds it.
        read_only: refuse writes.

    Raises:
        StorageLockedError: somebody else holds the file past the deadline.
        StorageError: the file is no database, or the disk refuses.
    """
    deadline = time.monotonic() + lock_seconds
    with _our_turn(path, lock_seconds):
        if not read_only:
            _made(path)
        connection = _opened(path, deadline, read_only=read_only)
        try:
            yield connection
        except duckdb.IOException as error:
            raise StorageError(
                f"{path} did not take a write ({_first_line(error)}): free the disk"
            ) from error
        finally:
            connection.close()  # rolls back what was not committed


def publish(path: Path, lock_seconds: float) -> Path:
    """Bring the read copy of ``path`` up to date; an open reader keeps its old view.

    A copy that is up to date stays. Where the file system cannot share blocks between files, the copy of a
    file above 16 MB is renewed once a minute for each 16 MB, so that a long history does not cost more
    processor time every minute.

    Returns:
        The copy's path, ``<name>.read.duckdb``.

    Raises:
        StorageLockedError: somebody else holds the file past the deadline.
        StorageError: the disk refuses.
    """
    target = read_copy_path(path)
    if not is_published(path):
        with connect(path, lock_seconds) as connection:
            publish_held(path, connection)
    return target


def publish_held(path: Path, connection: duckdb.DuckDBPyConnection, *, at_any_size: bool = False) -> None:
    """As :func:`publish`, by whoever holds the file already; raises ``StorageError``.

    Held open while it is copied: nobody else can write, and the checkpoint empties the log beside it.
    ``at_any_size`` renews the copy of a large file, too, however young it is: for files that rarely change.
    """
    connection.execute("CHECKPOINT")
    target = read_copy_path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        if is_published(path) or not _copied(path, temporary, target, at_any_size=at_any_size):
            return
        shutil.copystat(path, temporary)  # the time of the last change is how a copy is known as up to date
        temporary.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_published(path: Path) -> bool:
    """Whether the read copy of ``path`` shows its newest state."""
    copy = read_copy_path(path)
    if path.with_name(f"{path.name}.wal").exists() or not (path.exists() and copy.exists()):
        return False
    ours, theirs = path.stat(), copy.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _copied(path: Path, temporary: Path, standing: Path, *, at_any_size: bool) -> bool:
    """Copy the file; False, and nothing is copied, when that costs time and the standing copy is young."""
    with path.open("rb") as source, temporary.open("xb") as sink:
        if _shares_blocks(source.fileno(), sink.fileno()):
            return True
    size = path.stat().st_size
    if not at_any_size and size > FREE_COPY_BYTES and standing.exists():
        age_seconds = time.time() - standing.stat().st_mtime
        if 0 <= age_seconds < 60 * size / FREE_COPY_BYTES:
            return False
    shutil.copyfile(path, temporary)
    return True


def _shares_blocks(source: int, sink: int) -> bool:
    """Let two files share their blocks until one is written to (Btrfs, XFS): free at any size."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(sink, _FICLONE, source)
    except OSError:  # a file system that cannot
        return False
    return True


@contextmanager
def _our_turn(path: Path, lock_seconds: float) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=lock_seconds, poll_interval=_RETRY_SECONDS)
        lock.acquire()
    except Timeout:
        raise _locked(path, "another WontTrade process") from None
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _made(path: Path) -> None:
    """Make a new file whole, under another name, before anybody can see it; for the holder of the lock.

    DuckDB creates the file first and writes its head afterwards: a kill in between leaves one that it never
    opens again. A file without a byte is such a one, and holds nothing.
    """
    try:
        if path.exists() and path.stat().st_size > 0:
            return
        for stale in path.parent.glob(f".{path.name}.*.tmp*"):
            stale.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        duckdb.connect(str(temporary)).close()
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    except duckdb.Error as error:
        raise StorageError(_not_openable(path, error)) from error


def _opened(path: Path, deadline: float, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    # Attaching the file to a database that stands is 15 ms cheaper; one file did not survive a kill that way.
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            holder = _holder(error)
            if holder is None:
                raise StorageError(_not_openable(path, error)) from error
            if time.monotonic() >= deadline:
                raise _locked(path, holder) from None
        time.sleep(_RETRY_SECONDS)


def _holder(error: duckdb.Error) -> str | None:
    """Who holds the file, from DuckDB's message; None when the error is about something else."""
    text = str(error)
    if "Could not set lock" not in text:
        return None
    pid = re.search(r"PID (\d+)", text)
    return f"process {pid[1]}" if pid else "another process"


def _locked(path: Path, holder: str) -> StorageLockedError:
    copy = read_copy_path(path)
    return StorageLockedError(
        f"{path} is held open by {holder}: close the session that has it open, "
        f"or read the published copy {copy}"
    )


def _not_openable(path: Path, error: duckdb.Error) -> str:
    return f"{path} cannot be opened ({_first_line(error)}): move it away, a new one is made"


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
