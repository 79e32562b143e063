"""Which orders a journal proves to be somebody else's.

Belongs here: what counts as proof. Does not belong here: writing, other questions to a journal (``journal``).

An order of ours has its intent in the journal before it is sent, unless the journal did not take it: then a
reduction or a stop goes out all the same. So a missing intent proves something only of a time in which the
journal can be seen to have taken everything:

* within one cycle, from its ``begun`` to its ``cycle_report``, for one process wrote both, and would have
  written a ``gap`` before its next record;
* between the ``cycle_report`` of a cycle and the ``begun`` of the very next one, when nothing was sent.

A cycle that was killed, one whose records are missing altogether, a gap, and the time before the first record
prove nothing: neither does a journal that lost or damaged a line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wonttrade_dagster.core.model import OpenOrder

GAP = "gap"
"""The kind of a record that says between which times the journal took no write."""

BEGUN = "begun"
"""The kind of a cycle's first record; its ``cycle_minutes`` say when the next cycle is due."""

ENDED = "cycle_report"
"""The kind of a cycle's last record."""

CLOCK_TOLERANCE_MS = 60_000
"""The venue stamps an order by its own clock."""

_FOREVER_MS = 1 << 62
_NO_MOMENT = frozenset({GAP, "torn"})
"""Kinds that belong to no cycle."""

_HEAD = re.compile(
    rb'\{"seq":(\d+),"kind":"([^"]*)","account":("(?:[^"\\]|\\.)*"),"cycle_ms":(-?\d+),"recorded_at_ms":(\d+),"body":'
)
_TAIL = re.compile(rb'"sha256":"[0-9a-f]{64}"\}$')
_TAIL_BYTES = 80
_NAMING = frozenset({b"intent", b"plan", b"execution", b"protection"})


@dataclass(frozen=True, slots=True)
class _Moment:
    """A record as a proof that the journal took writes.

    Attributes:
        kind: of the record.
        cycle_ms: the cycle; what is put back before the model is asked bears the millisecond before it.
        at_ms: when it was written.
        step_ms: from this cycle to the next, where a ``begun`` tells it; else 0.
    """

    kind: str
    cycle_ms: int
    at_ms: int
    step_ms: int = 0

    def continues(self, before: "_Moment") -> bool:
        """Whether an order of ours between the two would have had to be written down."""
        if self.kind == BEGUN:
            return before.kind == ENDED and 0 < self.cycle_ms - before.cycle_ms <= self.step_ms
        return before.kind != ENDED and abs(self.cycle_ms - before.cycle_ms) <= 1


def strangers(
    lines_backwards: Iterable[bytes], account: str, orders: Sequence[OpenOrder], *, is_witness: bool = False
) -> tuple[OpenOrder, ...]:
    """The orders that the program did not send, as far as its journal proves it.

    Args:
        lines_backwards: the journal's lines, newest first; read as far as needed.
        account: whose records count.
        orders: open orders with a client order id.
        is_witness: whoever asks wrote the newest line and knows that nothing was lost since. Without that
            the time after it proves nothing.
    """
    wanted = {str(order.cloid).lower().encode(): order for order in orders}
    seq: int | None = None
    past = _Past(is_witness)
    for line in lines_backwards if wanted else ():
        head = _HEAD.match(line)
        if head is None or not _TAIL.search(line[-_TAIL_BYTES:]) or (seq not in (None, int(head[1]) + 1)):
            return ()  # damaged, or a line is missing
        seq = int(head[1])
        if json.loads(head[3]) != account:
            continue
        past.meet(_moment(head, line), _gap(line) if head[2] == GAP.encode() else ())
        for cloid in _named(line, wanted) if head[2] in _NAMING else ():
            del wanted[cloid]
        if not wanted:
            return ()
    holes = past.all_holes()
    return tuple(order for order in wanted.values() if _is_covered(order.placed_at_ms, holes))


@dataclass(slots=True)
class _Past:
    """The times that prove nothing, while a journal is read backwards; pairs of since and until, in ms."""

    is_witness: bool
    holes: list[tuple[int, int]] = field(default_factory=list)
    later: _Moment | None = None
    later_begun: _Moment | None = None

    def meet(self, moment: _Moment, gaps: Iterable[tuple[int, int]]) -> None:
        """Take in the record before those met so far."""
        self.holes += gaps
        if moment.kind in _NO_MOMENT:
            return
        if self.later is None and not self.is_witness:
            self.holes.append((moment.at_ms, _FOREVER_MS))
        if self.later is not None and not self.later.continues(moment):
            self.holes.append((moment.at_ms, self.later.at_ms))
        if moment.kind == BEGUN:
            begun, self.later_begun = self.later_begun, moment
            if begun is not None and begun.step_ms != moment.step_ms:  # another grid's cycles lie between
                self.holes.append((moment.at_ms, begun.at_ms))
        self.later = moment

    def all_holes(self) -> list[tuple[int, int]]:
        """Them, and the time before the first record."""
        return [*self.holes, (0, self.later.at_ms if self.later else _FOREVER_MS)]


def _moment(head: re.Match[bytes], line: bytes) -> _Moment:
    kind = head[2].decode()
    minutes = json.loads(line)["body"].get("cycle_minutes", 0) if kind == BEGUN else 0
    return _Moment(kind, int(head[4]), int(head[5]), int(minutes) * 60_000)


def _is_covered(placed_at_ms: int, holes: Iterable[tuple[int, int]]) -> bool:
    """Whether the journal can be seen to have taken every write when the order was placed."""
    return not any(
        since_ms - CLOCK_TOLERANCE_MS <= placed_at_ms <= until_ms + CLOCK_TOLERANCE_MS
        for since_ms, until_ms in holes
    )


def _gap(line: bytes) -> Iterator[tuple[int, int]]:
    body = json.loads(line)["body"]
    yield int(body["since_ms"]), int(body["until_ms"])


def _named(line: bytes, wanted: Iterable[bytes]) -> list[bytes]:
    """Ids under which a record places orders; an account in it may hold others."""
    candidates = [cloid for cloid in wanted if cloid in line]
    if not candidates:
        return []
    placed = {str(order.get("cloid")).lower().encode() for order in _placed(json.loads(line)["body"])}
    return [cloid for cloid in candidates if cloid in placed]


def _placed(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    results = [result.get("action") for result in body.get("results", ())]
    for action in [body.get("order"), *body.get("actions", ()), *results]:
        if isinstance(action, dict) and action.get("kind", "place") == "place":
            yield action
