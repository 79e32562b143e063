"""Time, behind the port ``Clock``: the machine's own, and one that a backtest sets.

Belongs here: reading and waiting. Does not belong here: the grid of cycles, time zones, formatting.
"""

import time

from wonttrade_dagster.core.ports import Clock


class SystemClock(Clock):
    """The machine's wall clock."""

    def now_ms(self) -> int:
        """Milliseconds of UTC epoch."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Block for ``seconds``; not at all for zero or less."""
        if seconds > 0:
            time.sleep(seconds)


class FixedClock(Clock):
    """A clock that stands still until it is set; sleeping moves it on and takes no time."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The time that was set last, and what was slept since."""
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Let it be ``now_ms``; a clock may be set back, because every backtest starts anew."""
        self._now_ms = now_ms

    def sleep(self, seconds: float) -> None:
        """Move on by ``seconds``, whole milliseconds; not at all for zero or less."""
        self._now_ms += max(round(seconds * 1000), 0)
