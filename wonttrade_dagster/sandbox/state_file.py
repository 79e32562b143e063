"""The venue's state on disk, so that it survives the death of its own process.

Belongs here: when it is written, and how. Does not belong here: what is in it (``snapshots``).

A request that changes anything is on disk before it is answered; what time alone brings about (a stop that
fires, funding) follows from the saved state and the seed, and happens again after a restart.
"""

import os
import threading
from pathlib import Path

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox import snapshots
from wonttrade_dagster.sandbox.venue import LoopbackVenue


class StateFile:
    """One venue's file. Safe to use from several threads.

    Args:
        venue: whose state it is.
        path: where; None keeps nothing.

    Raises:
        UsageError: the file is there and is no state of a sandbox with this seed, or cannot be read.
    """

    def __init__(self, venue: LoopbackVenue, path: Path | None) -> None:
        self._venue = venue
        self._path = path
        self._lock = threading.Lock()
        self._written = -1
        if path is not None and path.exists():
            self._restore(path)

    def write(self) -> None:
        """Put the state on disk, if anything has changed: whole or not at all. Raises ``OSError``."""
        if self._path is None:
            return
        with self._lock, self._venue.lock:
            if self._written == self._venue.revision:
                return
            data, revision = snapshots.save(self._venue), self._venue.revision
            beside = self._path.with_name(self._path.name + ".new")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            self._written = revision

    def _restore(self, path: Path) -> None:
        try:
            snapshots.restore(self._venue, path.read_bytes())
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read ({error.strerror}): choose another state file"
            ) from error
