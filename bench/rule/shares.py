"""Where the CPU time of a run goes: walking, orders, funding, identities.

Belongs here: a stopwatch around the exchange's steps. Does not belong here: the run whose speed is told:
reading the clock costs time, so the shares come from a run of their own.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from bench.rule import trader
from wonttrade_dagster.core.simulation import bars, marks, orders

STEPS = {"walk_bars": "walking", "place_order": "orders", "pay_funding": "funding"}
CHECK = "identities"
CHECKED_IN = (trader, bars, marks, orders)

P = ParamSpec("P")
Found = TypeVar("Found")


@dataclass(slots=True)
class Stopwatch:
    """CPU nanoseconds by part; what a part calls is not counted twice."""

    spent_ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*STEPS.values(), CHECK), 0))
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*STEPS.values(), CHECK), 0))
    _inner_ns: int = 0

    def timed(self, part: str, call: Callable[P, Found]) -> Callable[P, Found]:
        """``call`` with its time booked on ``part``."""

        def run(*arguments: P.args, **named: P.kwargs) -> Found:
            outer_ns, self._inner_ns = self._inner_ns, 0
            began_ns = time.process_time_ns()
            found = call(*arguments, **named)
            taken_ns = time.process_time_ns() - began_ns
            self.spent_ns[part] += taken_ns - self._inner_ns
            self.calls[part] += 1
            self._inner_ns = outer_ns + taken_ns
            return found

        return run

    def shares(self, total_ns: int) -> dict[str, float]:
        """Of ``total_ns``; the rest is the rule's own loop."""
        found = {part: spent / total_ns for part, spent in self.spent_ns.items()}
        return found | {"rule": 1 - sum(found.values())}


@contextmanager
def watched() -> Iterator[Stopwatch]:
    """Within the block every step of the exchange that the rule takes is timed."""
    watch = Stopwatch()
    places = [(trader, name, part) for name, part in STEPS.items()]
    places += [(module, "check_identities", CHECK) for module in CHECKED_IN]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, part in places:
        setattr(module, name, watch.timed(part, getattr(module, name)))
    try:
        yield watch
    finally:
        for module, name, call in before:
            setattr(module, name, call)
