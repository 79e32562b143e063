"""The trading process: forked for each cycle, made of the real parts, killed for real.

Belongs here: fork, what the child runs, how it ended. Does not belong here: judging it (``audit``).

The parent has imported everything and opened nothing, so that a child is at work within milliseconds and
still starts from the disk and the venue alone.
"""

import importlib
import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from pydantic import ValidationError

from bench.campaign.draws import Event
from bench.campaign.steps import SteppedAudit, SteppedModel, SteppedRecords, SteppedVenue, Steps
from bench.meters import in_place_of
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import EDGES, STAGE_RECORDS
from wonttrade_dagster.core.errors import StorageError, WontTradeError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
    PlaceOrder,
    StageFailure,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, MarketData, Venue
from wonttrade_dagster.core.request_weight import RequestRoom
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.settings import Settings

LONGEST_SECONDS = 90.0
"""A child that takes longer hangs: no product limit allows for as much."""
_ALONE = (DecisionRecord | StageFailure, ExecutionPlan | StageFailure, ExecutionReport | StageFailure)
"""What the ledger reads back, besides the records of the stages."""
_LATE_IMPORTS = ("openai.resources.chat.completions", "openai.lib.streaming.chat", "jiter", "pyarrow")
"""What the SDK and DuckDB import when they are first used."""
HURRY = 0.2
"""Pauses between two questions are made so much shorter: the loopback venue's answers do not lag."""


@dataclass(frozen=True, slots=True)
class Job:
    """One cycle for one process."""

    settings: Settings
    cycle_ms: int
    events: Sequence[Event] = ()
    disk_bytes: int | None = None
    is_resumed: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: what it told, and its wait status.

    Attributes:
        told: every line, oldest first.
        signal: what killed it, 0 when nothing did.
        seconds: how long it took.
    """

    told: list[dict[str, Any]] = field(default_factory=list)
    signal: int = 0
    seconds: float = 0.0

    def all(self, key: str) -> list[dict[str, Any]]:
        """The lines that have a key."""
        return [line for line in self.told if key in line]

    def last(self, key: str) -> dict[str, Any] | None:
        """The last line that has a key."""
        return next(iter(reversed(self.all(key))), None)


@dataclass(frozen=True, slots=True)
class Process:
    """A trading process at work."""

    pid: int
    reading: int
    started: float

    def ending(self) -> Ending:
        """Read what it tells until it is gone."""
        told = _told(self.reading, self.pid)
        _, status = os.waitpid(self.pid, 0)
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ending(told, killer, time.monotonic() - self.started)


def start(job: Job, jump: Callable[[str, float], None]) -> Process:
    """Fork, and let the child run the cycle."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(job, writing, jump)
    os.close(writing)
    return Process(pid, reading, time.monotonic())


def _told(reading: int, pid: int) -> list[dict[str, Any]]:
    data = bytearray()
    deadline = time.monotonic() + LONGEST_SECONDS
    with open(reading, "rb", buffering=0) as pipe:
        while chunk := _chunk(pipe.fileno(), deadline):
            data += chunk
        if chunk is None:
            os.kill(pid, signal.SIGKILL)
            data += b'{"hung": true}\n'
    return [json.loads(line) for line in data.splitlines()]


def _chunk(descriptor: int, deadline: float) -> bytes | None:
    left = deadline - time.monotonic()
    if left <= 0 or not select.select([descriptor], [], [], left)[0]:
        return None
    return os.read(descriptor, 65_536)


def _child(job: Job, writing: int, jump: Callable[[str, float], None]) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a full disk makes the product complain there
    steps = Steps(job.events, writing, job.settings.data_dir, jump)
    try:
        if job.disk_bytes is not None:
            _fill_disk(job)
        with in_place_of(SystemClock, "sleep", _hurried):
            _trade(job, steps)
    except WontTradeError as error:
        steps.tell(refused=type(error).__name__, message=str(error))
    except BaseException:  # noqa: BLE001 (told, and judged there; a fork must not go on as its parent)
        steps.tell(crashed=traceback.format_exc())
    os._exit(0)


def warm_up(settings: Settings) -> None:
    """Import and compile what every child would have to, and open nothing."""
    compose_live_cycle(settings, Executors())
    for name in _LATE_IMPORTS:
        importlib.import_module(name)
    for kind in (*STAGE_RECORDS.values(), Decision, PlaceOrder, *_ALONE):
        with suppress(ValidationError):
            decode(kind, "null")


def _hurried(_self: SystemClock, seconds: float) -> None:
    time.sleep(seconds * HURRY)


def _fill_disk(job: Job) -> None:
    """No file of this process grows beyond the journal's size and so many bytes."""
    size = 0
    with suppress(OSError):
        size = job.settings.decision_log_path.stat().st_size
    limit = size + (job.disk_bytes or 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _trade(job: Job, steps: Steps) -> None:
    live = composed(job.settings, steps)
    for stage in EDGES:
        steps.at(f"stage {stage.value}")
        try:
            record = live.run(stage, job.cycle_ms, None)
        except StorageError as error:
            if job.is_resumed and "stored already" in str(error):
                steps.tell(stored=stage.value)
                continue
            raise
        if isinstance(record, CycleReport):
            steps.tell(ended=record.outcome, reason=record.reason, detail=record.detail[:400])
            steps.tell(alerts=list(record.alerts), steps=steps.count, order_steps=steps.order_count)


def composed(settings: Settings, steps: Steps) -> LiveCycle:
    """The product's own composition, with steps between the parts."""
    live = compose_live_cycle(settings, _Executors(steps))
    audit = SteppedAudit(live.journal, steps)
    state, engine = live.parts.state, live.parts.decision_engine
    live.parts = replace(
        live.parts,
        state=replace(state, venue=SteppedVenue(state.venue, steps)),
        decision_engine=replace(engine, model=SteppedModel(engine.model, steps)),
        audit=audit,
    )
    live.records = SteppedRecords(audit, live.ledger, steps)
    return live


class _Executors(Executors):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def for_live(
        self,
        venue: Venue,
        audit: AuditSink,
        clock: Clock,
        rules: ExecutionRules,
        data: MarketData,
        room: Callable[[], RequestRoom],
    ) -> ExecutionService:
        """Orders go to the venue, step by step."""
        stepped = SteppedVenue(venue, self._steps)
        return super().for_live(stepped, SteppedAudit(audit, self._steps), clock, rules, data, room)
