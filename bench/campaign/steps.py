"""The steps of a trading process: every call to the venue, the journal, the records and the model.

Belongs here: counting steps and doing mischief at some of them, telling the harness what was acknowledged.
Does not belong here: which mischief (``draws``), starting and reaping the process (``trader``).

The real parts do the work; these stand between them and the cycle. A step lies before and after each call.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar, cast

from bench.campaign.draws import Event, Mischief
from wonttrade_dagster.adapters import files
from wonttrade_dagster.adapters.records import JournalledRecords
from wonttrade_dagster.core.cycle import Record
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    CancelOrder,
    CycleReport,
    Decision,
    Fill,
    ModelReply,
    OpenOrder,
    PlaceOrder,
    Prompt,
    SetLeverage,
    Stage,
    Transfer,
)
from wonttrade_dagster.core.ports import AuditSink, LanguageModel, Ledger, Venue

if TYPE_CHECKING:
    from wonttrade_dagster.adapters.journal import Journal
    from wonttrade_dagster.adapters.journal_line import JournalRecord

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Steps:
    """Counts the steps of this process and acts at some of them.

    Attributes:
        events: what is to happen.
        told_fd: a pipe to the harness.
        data_dir: what ``DELETE_DATA`` deletes.
        jump: moves a price on the venue.
    """

    events: Sequence[Event]
    told_fd: int
    data_dir: Path
    jump: Callable[[str, float], None]
    count: int = 0
    order_count: int = 0
    done: set[Event] = field(default_factory=set)

    def tell(self, **facts: object) -> None:
        """One line to the harness, in one write."""
        os.write(self.told_fd, json.dumps(facts).encode() + b"\n")

    def at(self, name: str, *, is_order: bool = False) -> None:
        """A step is reached."""
        self.count += 1
        self.order_count += is_order
        for event in self.events:
            reached = self.order_count if event.among_orders else self.count
            if event not in self.done and reached >= event.step and (is_order or not event.among_orders):
                self.done.add(event)
                self._act(event, name)

    def around(self, name: str, call: Callable[[], Answer], *, is_order: bool = False) -> Answer:
        """A call between its two steps."""
        self.at(f"before {name}", is_order=is_order)
        answer = call()
        self.at(f"after {name}", is_order=is_order)
        return answer

    def _act(self, event: Event, name: str) -> None:
        self.tell(did=event.what.value, at=name)
        match event.what:
            case Mischief.KILL:
                die()
            case Mischief.TEAR:
                files.write_whole = _torn  # a line cut by a power loss
            case Mischief.PAUSE:
                time.sleep(event.amount)
            case Mischief.JUMP:
                self.jump(event.symbol, event.amount)
            case Mischief.DELETE_DATA:
                shutil.rmtree(self.data_dir, ignore_errors=True)


def die() -> NoReturn:
    """As kill -9 does it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(1)  # not reached


def _torn(file: BinaryIO, content: bytes, size: int) -> None:
    del size
    file.write(content[: len(content) // 2])
    os.fsync(file.fileno())
    die()


class SteppedVenue(Venue):
    """Another venue, with steps around each call."""

    def __init__(self, venue: Venue, steps: Steps) -> None:
        self._venue, self._steps = venue, steps

    def account(self) -> AccountSnapshot:
        """Read."""
        return self._steps.around("account", self._venue.account)

    def place(self, order: PlaceOrder) -> ActionResult:
        """Written."""
        name = f"place {order.purpose} {order.symbol}"
        result = self._steps.around(name, lambda: self._venue.place(order), is_order=True)
        self._steps.tell(placed=order.cloid, status=result.status.value, message=result.message[:200])
        return result

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        """Written."""
        name = f"cancel {cancel.symbol} {cancel.oid}"
        return self._steps.around(name, lambda: self._venue.cancel(cancel), is_order=True)

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        """Written."""
        name = f"leverage {change.symbol}"
        return self._steps.around(name, lambda: self._venue.set_leverage(change), is_order=True)

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """Read."""
        return self._steps.around("fills", lambda: self._venue.fills(since_ms))

    def find(self, cloid: str) -> ActionResult | None:
        """Read."""
        return self._steps.around("find", lambda: self._venue.find(cloid), is_order=True)

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        """Read."""
        return self._steps.around("leverages", lambda: self._venue.leverages(symbols))

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Read."""
        return self._steps.around("funding", lambda: self._venue.funding_paid_usd(since_ms, until_ms))

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        """Read."""
        return self._steps.around("transfers", lambda: self._venue.transfers(since_ms, until_ms))


class SteppedAudit(AuditSink):
    """Another journal, with steps around each write; tells what it acknowledged, before the next step."""

    def __init__(self, audit: AuditSink, steps: Steps) -> None:
        self._audit, self._steps = audit, steps

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        """Written."""

        def write() -> None:
            self._audit.intent(cycle_ms, order)
            self._steps.tell(kept="intent", cycle_ms=cycle_ms, cloid=order.cloid)

        self._steps.around("intent", write, is_order=True)

    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any]) -> None:
        """Written."""

        def write() -> None:
            self._audit.append(kind, cycle_ms, body)
            self._steps.tell(kept=kind, cycle_ms=cycle_ms)

        self._steps.around(f"append {kind}", write)

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        """Written."""

        def write() -> None:
            self._audit.applied(cycle_ms, decision)
            self._steps.tell(kept="applied", cycle_ms=cycle_ms)

        self._steps.around("applied", write, is_order=True)

    def last_applied(self) -> tuple[int, Decision] | None:
        """Read."""
        return self._steps.around("last_applied", self._audit.last_applied)

    def newest(self, kind: str) -> "Iterator[JournalRecord]":
        """Read, of the journal that stands behind it."""
        return cast("Journal", self._audit).newest(kind)

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        """Read."""
        return self._steps.around("strangers", lambda: self._audit.strangers(orders))


class SteppedRecords(JournalledRecords):
    """The real sink, with steps around each record."""

    def __init__(self, audit: AuditSink, ledger: Ledger, steps: Steps) -> None:
        super().__init__(cast("Journal", audit), ledger)
        self._steps = steps

    def keep(self, cycle_ms: int, stage: Stage, record: Record) -> None:
        """Written; a report that neither journal nor ledger took is told as lost."""
        faults, keep = len(self.faults), super().keep

        def write() -> None:
            keep(cycle_ms, stage, record)
            if isinstance(record, CycleReport):
                self._tell_report(record, copies=2 - (len(self.faults) - faults))

        self._steps.around(f"keep {stage.value}", write)

    def _tell_report(self, report: CycleReport, copies: int) -> None:
        tids, until_ms = [fill.tid for fill in report.fills], report.activity_until_ms
        self._steps.tell(reported=report.cycle_ms, copies=copies, tids=tids, until_ms=until_ms)


class SteppedModel(LanguageModel):
    """Another model, with steps around its call."""

    def __init__(self, model: LanguageModel, steps: Steps) -> None:
        self._model, self._steps = model, steps

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        """Asked."""
        return self._steps.around("model", lambda: self._model.complete(prompt, schema, deadline_ms))
