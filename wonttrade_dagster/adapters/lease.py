"""The lease: one process trades an account at a time.

Belongs here: an operating system's lock per account and network, and the sentence that names its holder.
Does not belong here: Dagster's concurrency limits (they see one instance only), what is done under the lease.

The lock dies with its process, so a lease is never stale. Who holds it stands beside it as JSON, for people.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.files import replace_atomically, storage_error
from wonttrade_dagster.core.errors import LeaseError
from wonttrade_dagster.core.ports import Clock


class AccountLease:
    """The right to trade one account on one network.

    Held until it is released, this object is dropped, or the process ends in whatever way: keep the object.

    Args:
        data_dir: where leases stand; the processes that must not meet share it.
        account_address: the account.
        network: ``mainnet``, ``testnet`` or ``local``.
        clock: tells since when it is held.
    """

    def __init__(
        self, data_dir: Path, account_address: str, network: str, clock: Clock | None = None
    ) -> None:
        self.path = data_dir / "leases" / f"{network}-{account_address.lower()}.lock"
        self._holder_path = self.path.with_suffix(".json")
        self._account = f"{account_address.lower()} on {network}"
        self._clock = clock or SystemClock()
        # thread_local=False: a lease is the process's, whichever of its threads took it.
        self._lock = FileLock(str(self.path), timeout=0, thread_local=False)
        self._held: tuple[int, int] | None = None  # device and inode of the lock file that we hold

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lease, or make sure that it is still ours.

        A deleted data directory takes the lock file with it: then the lease is taken anew, before somebody
        else holds another file of that name.

        Raises:
            LeaseError: another process holds it; names the process, its machine and the remedy.
            StorageError: the lease file cannot be written.
        """
        if self._held is not None and self._held == _identity(self.path):
            return
        self.release()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._held = _identity(self.path)
        except Timeout:
            raise LeaseError(self._taken()) from None
        except OSError as error:
            self.release()
            raise storage_error(self.path, error) from error
        # For people only: a full disk must not keep the holder from putting protection in order.
        with suppress(OSError):
            replace_atomically(self._holder_path, self._description())

    def release(self) -> None:
        """Give the lease back; nothing happens when it is not held."""
        self._held = None
        self._lock.release(force=True)

    @property
    def is_held(self) -> bool:
        """Whether this process holds it, as far as it knows without asking the disk."""
        return self._held is not None

    def _description(self) -> bytes:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since_ms": self._clock.now_ms()}
        return json.dumps({**holder, "account": self._account}).encode()

    def _taken(self) -> str:
        return (
            f"account {self._account} is being traded by {self._holder()}: stop that one first ({self.path})"
        )

    def _holder(self) -> str:
        try:
            holder = json.loads(self._holder_path.read_bytes())
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):  # just being written, or just deleted
            return "another process"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino
