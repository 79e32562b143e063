"""A loopback venue in a process of its own whose time runs faster, and the faults that befall its stream.

Belongs here: the clock that both sides share, the process, the drawing of faults.
Does not belong here: what a fault must not do to the stream (``bench.stream``).
"""

import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import requests

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.sandbox.server import Sandbox

START_SECONDS = 60
KINDS = ("drop", "drop", "half_open", "silent", "outage", "drop_and_failing_reads")
MOST_AFTER_MS = 8_000
MOST_DURATION_MS = 15_000


class FastClock(Clock):
    """Time that runs ``speed`` times as fast from a moment on, the same in every process of the machine."""

    def __init__(self, speed: float, start_ms: int | None = None, began: float | None = None) -> None:
        self.speed = speed
        self.start_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self.began = time.monotonic() if began is None else began

    def now_ms(self) -> int:
        """Milliseconds of UTC epoch, simulated."""
        return self.start_ms + int((time.monotonic() - self.began) * 1000 * self.speed)

    def sleep(self, seconds: float) -> None:
        """Let simulated seconds pass."""
        if seconds > 0:
            time.sleep(seconds / self.speed)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, how long after the beginning of its slot, and for how long (simulated)."""

    kind: str
    after_ms: int
    duration_ms: int


def draw(draws: random.Random) -> Fault:
    """A fault; a drop is over when it has happened."""
    kind = draws.choice(KINDS)
    duration_ms = 0 if kind.startswith("drop") else draws.randint(1_000, MOST_DURATION_MS)
    return Fault(kind, draws.randint(0, MOST_AFTER_MS), duration_ms)


class VenueControl:
    """``/sandbox/…`` of the venue."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def befall(self, fault: Fault, speed: float) -> None:
        """Let it happen now."""
        real_ms = fault.duration_ms / speed
        match fault.kind:
            case "half_open" | "silent":
                self._queue({"on": "ws", "kind": f"ws_{fault.kind}", "duration_ms": real_ms})
            case "outage":
                self._queue({"on": "info:exchangeStatus", "kind": "refused", "duration_ms": real_ms})
                try:
                    self._session.post(f"{self._url}/info", json={"type": "exchangeStatus"}, timeout=5)
                except requests.RequestException:
                    return  # cut off, as everybody else
            case "drop_and_failing_reads":
                self._queue(
                    {"on": "info:candleSnapshot", "kind": "500", "times": 2}, {"on": "ws", "kind": "ws_drop"}
                )
            case _:
                self._queue({"on": "ws", "kind": "ws_drop"})

    def _queue(self, *faults: dict[str, object]) -> None:
        answer = self._session.post(f"{self._url}/sandbox/faults", json=list(faults), timeout=10)
        answer.raise_for_status()


@contextmanager
def venue_process(seed: int, clock: FastClock) -> Iterator[str]:
    """The venue's address; its clients' clock is ``clock``.

    Raises:
        UsageError: it did not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (seed, clock.speed, clock.start_ms, clock.began, theirs)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise UsageError("the loopback venue did not start: see its message above")
        yield str(ours.recv())
    finally:
        ours.send("stop")
        process.join(10)
        process.kill()


def _serve(seed: int, speed: float, start_ms: int, began: float, pipe: Connection) -> None:
    clock = FastClock(speed, start_ms, began)
    with Sandbox(seed=seed, clock_ms=clock.now_ms) as sandbox:
        pipe.send(sandbox.venue_url)
        pipe.recv()
