"""What happened, kept outside the state so that a step never pays for the past.

Belongs here: the log of events of one account and the questions asked of it.
Does not belong here: storage.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from wonttrade_dagster.core.simulation.events import (
    Event,
    Execution,
    FundingPayment,
    OrderUpdate,
)
from wonttrade_dagster.core.simulation.records import ZERO


@dataclass(slots=True)
class History:
    """Grows with :meth:`record`; belongs to whoever steps the state and is used from one thread."""

    events: list[Event] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    fundings: list[FundingPayment] = field(default_factory=list)
    _updates: dict[int, list[OrderUpdate]] = field(default_factory=dict)
    _by_cloid: dict[str, int] = field(default_factory=dict)
    _fills: dict[int, list[Execution]] = field(default_factory=dict)

    def record(self, events: Iterable[Event]) -> None:
        """Keep ``events``, which happened after everything kept before."""
        for event in events:
            self.events.append(event)
            if isinstance(event, Execution):
                self.executions.append(event)
                self._fills.setdefault(event.oid, []).append(event)
            elif isinstance(event, FundingPayment):
                self.fundings.append(event)
            elif isinstance(event, OrderUpdate):
                self._updates.setdefault(event.order.oid, []).append(event)
                if event.order.request.cloid is not None:
                    self._by_cloid[event.order.request.cloid] = event.order.oid

    def fills_since(self, since_ms: int) -> tuple[Execution, ...]:
        """Fills at or after ``since_ms``, oldest first."""
        found: list[Execution] = []
        for execution in reversed(self.executions):
            if execution.time_ms < since_ms:
                break
            found.append(execution)
        return tuple(reversed(found))

    def fills_of(self, oid: int) -> Sequence[Execution]:
        """The fills of one order, oldest first."""
        return tuple(self._fills.get(oid, ()))

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Funding paid (+) or received (−) in ``[since_ms, until_ms)``."""
        due: list[Decimal] = []
        for payment in reversed(self.fundings):
            if payment.time_ms < since_ms:
                break
            if payment.time_ms < until_ms:
                due.append(payment.paid_usd)
        return sum(reversed(due), ZERO)

    def oid(self, cloid: str) -> int | None:
        """The latest order of a client order id, or None."""
        return self._by_cloid.get(cloid)

    def updates_of(self, oid: int) -> Sequence[OrderUpdate]:
        """Every status an order went through, oldest first; empty for an unknown one."""
        return tuple(self._updates.get(oid, ()))

    def last_update(self, oid: int) -> OrderUpdate | None:
        """The order as it is or as it ended, or None for an unknown one."""
        updates = self._updates.get(oid)
        return updates[-1] if updates else None
