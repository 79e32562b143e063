"""The venue's clock: the host's, moved ahead by script.

Belongs here: what time it is on the venue. Does not belong here: what happens when time passes (``venue``).

A script that moves the market's time does not move its clients' clocks, so nonces and expiries are judged by
the host's time and everything else (candles, funding, stamps of fills) by the venue's.
"""

import time
from collections.abc import Callable


def host_ms() -> int:
    """Milliseconds of UTC epoch on this machine."""
    return time.time_ns() // 1_000_000


class VenueClock:
    """The host's clock plus an offset that only grows."""

    def __init__(self, host: Callable[[], int] = host_ms, offset_ms: int = 0) -> None:
        self._host = host
        self.offset_ms = offset_ms

    def host_ms(self) -> int:
        """What the clients' clocks say."""
        return self._host()

    def now_ms(self) -> int:
        """What the venue's stamps say."""
        return self._host() + self.offset_ms

    def advance(self, milliseconds: int) -> int:
        """Move ahead; the new time. Raises ``ValueError`` for a step back."""
        if milliseconds < 0:
            raise ValueError("the venue's clock does not run backwards: advance_ms must not be negative")
        self.offset_ms += milliseconds
        return self.now_ms()
