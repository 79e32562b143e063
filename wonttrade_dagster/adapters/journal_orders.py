"""Which orders a journal proves to be somebody else's.

Belongs here: what counts as proof. Does not belong here: writing, other questions to a journal (``journal``).

An order of ours has its intent in the journal before it is sent. That one is missing proves nothing where
the journal began after the order, lost or damaged a line, or did not take a write around that time (a
``gap`` record says so).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wonttrade_dagster.core.model import OpenOrder

GAP = "gap"
"""The kind of a record that says between which times the journal took no write."""

CLOCK_TOLERANCE_MS = 60_000
"""The venue stamps an order by its own clock."""

_HEAD = re.compile(
    rb'\{"seq":(\d+),"kind":"([^"]*)","account":("(?:[^"\\]|\\.)*"),"cycle_ms":-?\d+,"recorded_at_ms":(\d+),"body":'
)
_TAIL = re.compile(rb'"sha256":"[0-9a-f]{64}"\}$')
_TAIL_BYTES = 80
_NAMING = frozenset({b"intent", b"plan", b"execution", b"protection"})


def strangers(
    lines_backwards: Iterable[bytes], account: str, orders: Sequence[OpenOrder]
) -> tuple[OpenOrder, ...]:
    """The orders that the program did not send, as far as its journal proves it.

    Args:
        lines_backwards: the journal's lines, newest first; read as far as needed.
        account: whose records count.
        orders: open orders with a client order id.
    """
    wanted = {str(order.cloid).lower().encode(): order for order in orders}
    began_ms, seq = None, None
    gaps: list[tuple[int, int]] = []
    for line in lines_backwards if wanted else ():
        head = _HEAD.match(line)
        if head is None or not _TAIL.search(line[-_TAIL_BYTES:]) or (seq not in (None, int(head[1]) + 1)):
            return ()  # damaged, or a line is missing
        seq = int(head[1])
        if json.loads(head[3]) != account:
            continue
        began_ms = int(head[4])
        gaps += _gap(line) if head[2] == GAP.encode() else ()
        for cloid in _named(line, wanted) if head[2] in _NAMING else ():
            del wanted[cloid]
        if not wanted:
            return ()
    if began_ms is None:
        return ()
    return tuple(order for order in wanted.values() if _is_covered(order.placed_at_ms, began_ms, gaps))


def _is_covered(placed_at_ms: int, began_ms: int, gaps: Iterable[tuple[int, int]]) -> bool:
    """Whether the journal was being written when the order was placed."""
    if placed_at_ms <= began_ms + CLOCK_TOLERANCE_MS:
        return False
    return not any(
        since_ms - CLOCK_TOLERANCE_MS <= placed_at_ms <= until_ms + CLOCK_TOLERANCE_MS
        for since_ms, until_ms in gaps
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
