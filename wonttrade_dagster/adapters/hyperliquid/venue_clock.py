"""How far the venue's clock is ahead of ours, as far as the times in its answers tell.

Belongs here: what an answer's time proves, given when it was asked for and when it came.
Does not belong here: asking, and what the answer is used for (``signer``).

An answer is written between question and receipt, by a node that may be behind: its time minus that of the
receipt is never more than the lead, its time minus that of the question is never less, unless the node is
behind. Latency and a node's lag are no skew, and no single answer is trusted to be without them.
"""

from collections import deque
from threading import Lock

ANSWERS_KEPT = 8
"""A live process lives for one cycle; one that lives for longer follows a clock that was set."""


class VenueClock:
    """The last answers' bounds on the lead; 0 before the first answer."""

    def __init__(self) -> None:
        self._leads_ms: deque[tuple[int, int]] = deque(maxlen=ANSWERS_KEPT)
        self._lock = Lock()

    def note(self, *, asked_ms: int, answered_ms: int, venue_ms: int) -> None:
        """Take in an answer that carries the venue's time."""
        with self._lock:
            self._leads_ms.append((venue_ms - answered_ms, venue_ms - asked_ms))

    @property
    def certain_lead_ms(self) -> int:
        """What the venue is ahead by at least; negative where it may be behind."""
        with self._lock:
            return max((least for least, _ in self._leads_ms), default=0)

    @property
    def possible_lead_ms(self) -> int:
        """What the venue may be ahead by, never less than 0."""
        with self._lock:
            return max((0, *(most for _, most in self._leads_ms)))
