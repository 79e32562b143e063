"""A file that any number of processes append to, one at a time.

Belongs here: the lock, opening, and staying open for a writer of many lines.
Does not belong here: what a line is, and what becomes of one that was cut (``journal``).
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from wonttrade_dagster.adapters.files import storage_error, sync_directory
from wonttrade_dagster.core.errors import StorageError

LOCK_SECONDS = 5.0
"""How long a writer waits for another one; each holds the lock for one write and one fsync."""


class AppendOnlyFile:
    """Opens ``path`` for reading and appending while it is locked against other writers.

    It is opened anew each time, or once between :meth:`keep_open` and :meth:`close`; either way it may be
    moved or deleted meanwhile, and the next writing begins another one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = os.fspath(path)
        self._lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
        self._is_kept_open = False
        self._kept = ExitStack()
        self._kept_file: BinaryIO | None = None

    def keep_open(self) -> None:
        """Stay open and locked from the next :meth:`opened` on."""
        self._is_kept_open = True

    def close(self) -> None:
        """Close and unlock what was kept open."""
        self._is_kept_open = False
        self._drop()

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, unbuffered. Raises ``StorageError``: locked by another process, or not writable."""
        try:
            if self._is_kept_open:
                yield self._still_open()
            else:
                with ExitStack() as stack:
                    yield self._entered(stack)
        except Timeout:
            message = f"{self.path} is being written by another process for more than {LOCK_SECONDS:g} s: "
            raise StorageError(f"{message}stop it") from None
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _still_open(self) -> BinaryIO:
        file = self._kept_file
        if file is None or _inode_at(self._name) != os.fstat(file.fileno()).st_ino:
            self._drop()
            file = self._kept_file = self._entered(self._kept)
        return file

    def _drop(self) -> None:
        self._kept_file = None
        self._kept.close()

    def _entered(self, stack: ExitStack) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(self._lock)
        is_new = not self.path.exists()
        file = stack.enter_context(self.path.open("a+b", buffering=0))
        if is_new:
            sync_directory(self.path.parent)
        return file


def _inode_at(name: str) -> int | None:
    try:
        return os.stat(name).st_ino  # noqa: PTH116 (before each line; a path's own way takes twice as long)
    except FileNotFoundError:
        return None
