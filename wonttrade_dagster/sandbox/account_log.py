"""One user's account on the loopback venue: its state on the simulated exchange and what happened to it.

Belongs here: the account's memory and plain questions about it. Does not belong here: what an order does
(``core.simulation``), JSON of answers (``info_user``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.events import (
    Deposited,
    Event,
    Execution,
    FundingPayment,
    Liquidation,
    OrderUpdate,
)
from wonttrade_dagster.core.simulation.records import (
    ExchangeState,
    StandingOrder,
)
from wonttrade_dagster.sandbox.numbers import text

EQUITY_SAMPLE_MS = 60_000
CHILD_CANCELED = "siblingFilledCanceled"
OPEN = "open"
CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class StatusRow:
    """An order's status at a time, with the venue's word for it."""

    order: StandingOrder
    status: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class EquitySample:
    """Account value and what of it was earned, once a minute at most."""

    time_ms: int
    value_usd: Decimal
    pnl_usd: Decimal


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Money that moved without a trade: the ``delta`` of ``userNonFundingLedgerUpdates``."""

    time_ms: int
    delta: dict[str, Any]


@dataclass(slots=True)
class TpslGroup:
    """A ``normalTpsl`` bracket: what waits for its parent, then the orders that cancel each other."""

    parent_oid: int
    waiting: list[StandingOrder]
    child_oids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """An account: ``state`` is replaced by every step, the lists only grow (oldest first)."""

    address: str
    state: ExchangeState
    executions: list[Execution] = field(default_factory=list)
    statuses: list[StatusRow] = field(default_factory=list)
    fundings: list[FundingPayment] = field(default_factory=list)
    liquidations: list[Liquidation] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)
    equity: list[EquitySample] = field(default_factory=list)
    groups: list[TpslGroup] = field(default_factory=list)
    requests_used: int = 0
    traded_usd: Decimal = Decimal(0)
    spot_usdc: Decimal = Decimal(0)
    last_free_action_ms: int = 0
    """When the address budget, once spent, last let an action through."""
    cancel_all_at_ms: int | None = None
    """The dead-man switch (``scheduleCancel``), on the venue's clock."""
    cancel_all_fired_ms: list[int] = field(default_factory=list)

    def record(self, events: Iterable[Event]) -> None:
        """Remember what a step did."""
        for event in events:
            match event:
                case Execution():
                    self.executions.append(event)
                    self.traded_usd += event.px * event.size_base
                case OrderUpdate():
                    self.statuses.append(StatusRow(event.order, event.status.value, event.time_ms))
                case FundingPayment():
                    self.fundings.append(event)
                case Liquidation():
                    self._liquidated(event)
                case Deposited():
                    delta = {"type": "deposit", "usdc": text(event.amount_usd)}
                    self.ledger.append(LedgerRow(event.time_ms, delta))

    def waiting_children(self) -> list[StandingOrder]:
        """Bracket children that wait for their parent's fill, oldest first."""
        return [order for group in self.groups for order in group.waiting]

    def drop_waiting(self, order: StandingOrder, time_ms: int) -> None:
        """Cancel a child that still waits for its parent."""
        for group in self.groups:
            group.waiting = [other for other in group.waiting if other.oid != order.oid]
        self.statuses.append(StatusRow(order, CANCELED, time_ms))

    def _liquidated(self, event: Liquidation) -> None:
        self.liquidations.append(event)
        position = {"coin": event.symbol, "szi": text(event.size_base)}
        delta = {
            "type": "liquidation",
            "liquidatedNtlPos": text(abs(event.size_base) * event.mark_px),
            "accountValue": text(event.equity_usd.quantize(Decimal("0.000001"))),
            "leverageType": "Cross" if event.is_cross else "Isolated",
            "liquidatedPositions": [position],
        }
        self.ledger.append(LedgerRow(event.time_ms, delta))

    def sample_equity(self, time_ms: int, value_usd: Decimal) -> None:
        """Remember the account's value, at most once a minute."""
        if self.equity and time_ms - self.equity[-1].time_ms < EQUITY_SAMPLE_MS:
            return
        self.equity.append(EquitySample(time_ms, value_usd, value_usd - self.state.deposits_usd))

    def relabel(self, oid: int, status: str) -> None:
        """Give the last status of an order the venue's more exact word."""
        for index in range(len(self.statuses) - 1, -1, -1):
            row = self.statuses[index]
            if row.order.oid == oid:
                self.statuses[index] = StatusRow(row.order, status, row.time_ms)
                return

    def find(self, key: int | str) -> StatusRow | None:
        """The last status of an order, by oid or by client order id (of several, the latest order)."""
        for row in reversed(self.statuses):
            if key in (row.order.oid, row.order.request.cloid):
                latest = row.order.oid
                return next(r for r in reversed(self.statuses) if r.order.oid == latest)
        return None

    def volume_usd(self, since_ms: int = 0) -> Decimal:
        """Traded notional."""
        if not since_ms:
            return self.traded_usd
        traded = (e.px * e.size_base for e in self.executions if e.time_ms >= since_ms)
        return sum(traded, Decimal(0))

    @property
    def is_active(self) -> bool:
        """Whether a moving price can do anything to it."""
        return bool(self.state.positions or self.state.orders)
