"""A wall-clock deadline around a blocking call.

Belongs here: waiting no longer than allowed, whatever the call does.
Does not belong here: what is called. (Timeouts of HTTP clients count per read: a server that sends a byte
now and then outlives them for ever.)
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


class DeadlineExceededError(Exception):
    """The call had not returned in time; its thread has been told to give up."""


class Deadline:
    """A point in time that a call and whoever waits for it share.

    Args:
        seconds: from now, on the monotonic clock.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self.abandoned = threading.Event()

    def remaining_seconds(self) -> float:
        """What is left, never negative; 0 once the waiting side has given up."""
        return 0.0 if self.abandoned.is_set() else max(self._ends - time.monotonic(), 0.0)


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Result]):
    value: Result | None = None
    error: BaseException | None = None


def run_before(deadline: Deadline, call: Callable[[], Result]) -> Result:
    """The result of ``call``, which runs in a thread of its own.

    The thread is a daemon: one that cannot be stopped must not keep the program from ending.

    Raises:
        DeadlineExceededError: no result in time; ``deadline.abandoned`` is set then.
        Exception: whatever ``call`` raised.
    """
    outcomes: queue.SimpleQueue[_Outcome[Result]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcomes.put(_Outcome(value=call()))
        except BaseException as error:  # noqa: BLE001 (handed over: the waiting side raises it)
            outcomes.put(_Outcome(error=error))

    threading.Thread(target=work, name="deadline-call", daemon=True).start()
    try:
        outcome = outcomes.get(timeout=deadline.remaining_seconds())
    except BaseException as error:
        deadline.abandoned.set()
        if isinstance(error, queue.Empty):
            raise DeadlineExceededError from None
        raise
    if outcome.error is not None:
        raise outcome.error
    return outcome.value  # type: ignore[return-value]  # without an error it is the call's result


@contextmanager
def cutting_off(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Let ``cut`` end what the block waits for, from another thread, once it has run for ``seconds``.

    For a call that must not go on behind the back of whoever gave it up: unlike :func:`run_before` this
    returns only when the call has ended. ``cut`` is never called, nor still running, once the block is left.
    """
    lock, is_over = threading.Lock(), threading.Event()

    def fire() -> None:
        with lock:
            if not is_over.is_set():
                cut()

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            is_over.set()
        timer.cancel()
