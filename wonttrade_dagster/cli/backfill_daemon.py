"""Dagster's daemons with a backfill loop that looks as soon as a backfill has something to do.

Belongs here: every name that is private to Dagster. Does not belong here: a process, or what happens when a
later Dagster lacks one of these names (``daemon``).

Dagster's loop looks for backfills every 30 s, a constant, by waiting on the event that ends it. Here that
event also asks the run storage twice a second, and ends the wait when a backfill came or was cancelled, or
when its runs were made or have all ended. Looking as often instead would cost more than time: every look at a
running backfill writes ten lines of log, and one of five tries when something fails.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, RunsFilter
from dagster._cli.utils import get_instance_for_cli
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import (
    DagsterDaemonController,
    create_daemon_of_type,
    daemon_controller_from_instance,
)
from dagster._daemon.daemon import BackfillDaemon, DaemonIterator, DagsterDaemon
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

LOOK_SECONDS = 0.5
"""Between two questions to the run storage, of 2 ms of CPU each, or 6 ms while a backfill runs."""
_PENDING = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]

Pending = frozenset[tuple[str, str, bool]]
"""Each backfill that has not ended: its id, its status, whether one of its runs has not ended."""


def pending_backfills(instance: DagsterInstance) -> Pending:
    """What Dagster's loop would find; a change of it is a reason to look."""
    found = instance.get_backfills(filters=BulkActionsFilter(statuses=_PENDING))
    return frozenset(
        (b.backfill_id, b.status.value, _has_unfinished_run(instance, b.backfill_id)) for b in found
    )


def _has_unfinished_run(instance: DagsterInstance, backfill_id: str) -> bool:
    unfinished = RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={BACKFILL_ID_TAG: backfill_id})
    return bool(instance.get_run_ids(filters=unfinished, limit=1))


class WakingEvent(threading.Event):
    """``ends`` as Dagster's loop sees it: the same, but a wait is over when there is a reason to look.

    A storage that cannot be asked is no reason: then the wait is as long as Dagster's own.
    """

    def __init__(
        self, ends: threading.Event, instance: DagsterInstance, look_seconds: float = LOOK_SECONDS
    ) -> None:
        super().__init__()
        self._look_seconds = look_seconds
        self._ends = ends
        self._instance = instance
        self._seen: Pending = frozenset()

    def is_set(self) -> bool:
        """Whether the daemon ends."""
        return self._ends.is_set()

    def set(self) -> None:
        """End the daemon."""
        self._ends.set()

    def clear(self) -> None:
        """Take the end back."""
        self._ends.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait ``timeout`` seconds at most; whether the daemon ends."""
        until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
        while (left := until - time.monotonic()) > 0:
            if self._ends.wait(min(left, self._look_seconds)):
                return True
            if self._is_news():
                return False
        return self._ends.is_set()

    def _is_news(self) -> bool:
        try:
            pending = pending_backfills(self._instance)
        except Exception:  # noqa: BLE001 (a locked database, or a later Dagster: the loop itself will tell)
            return False
        seen, self._seen = self._seen, pending
        return pending != seen and bool(pending)


class PromptBackfillDaemon(BackfillDaemon):
    """Dagster's own, with a ``WakingEvent`` in place of the event that it waits on."""

    def __init__(self, instance: DagsterInstance) -> None:
        super().__init__(settings=instance.get_backfill_settings())
        self._instance = instance

    def core_loop(self, *args: Any, **kwargs: Any) -> DaemonIterator:  # noqa: ANN401 (passed on as they come)
        """Dagster's loop; whatever a later version calls it with reaches it."""
        named = {name: self._waking(value) for name, value in kwargs.items()}
        yield from super().core_loop(*map(self._waking, args), **named)

    def _waking(self, value: Any) -> Any:  # noqa: ANN401 (see core_loop)
        return WakingEvent(value, self._instance) if isinstance(value, threading.Event) else value


def daemons_of(instance: DagsterInstance) -> list[DagsterDaemon[Any]]:
    """The daemons that Dagster would run on this instance, the one for backfills exchanged."""
    return [
        PromptBackfillDaemon(instance)
        if daemon_type == BackfillDaemon.daemon_type()
        else create_daemon_of_type(daemon_type, instance)
        for daemon_type in instance.get_required_daemon_types()
    ]


@contextmanager
def running_daemons(workspace: Path) -> Iterator[DagsterDaemonController]:
    """Threads of all daemons of ``DAGSTER_HOME``'s instance while the block runs, which gets every signal."""
    setup_interrupt_handlers()
    with capture_interrupts(), get_instance_for_cli() as instance:
        pending_backfills(instance)
        with daemon_controller_from_instance(
            instance,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
            gen_daemons=daemons_of,
            code_server_log_level="warning",
        ) as controller:
            yield controller
