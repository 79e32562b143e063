"""The execution: what the venue answered, and how the cycle ended.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from wonttrade_dagster.core.model.account import (
    AccountSnapshot,
    Fill,
    OpenOrder,
    PerformanceSoFar,
    Position,
    Transfer,
)
from wonttrade_dagster.core.model.basics import StageFailure
from wonttrade_dagster.core.model.decision import PriorDecision, Prompt
from wonttrade_dagster.core.model.guard import NOTHING_SPENT, UNBROKEN, BreakerState, Spending
from wonttrade_dagster.core.model.plan import Action
from wonttrade_dagster.core.model.rules import CycleSetting
from wonttrade_dagster.core.quick_init import quick_init


class ActionStatus(StrEnum):
    """What became of one action."""

    FILLED = "filled"
    RESTING = "resting"
    WAITING = "waiting"
    DONE = "done"
    """Cancels and leverage that the venue confirmed."""
    ERROR = "error"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@quick_init
@dataclass(frozen=True, slots=True)
class ActionResult:
    """What the venue answered to one action, normalised item by item."""

    action: Action
    status: ActionStatus
    message: str = ""
    oid: int | None = None
    filled_base: Decimal = Decimal(0)
    average_px: Decimal | None = None
    sent_at_ms: int = 0
    answered_at_ms: int = 0


@quick_init
@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """What the venue answered to each action, and the read-back.

    Attributes:
        cycle_ms: the cycle.
        results: one per action of the plan, in the order they were sent.
        fills: fills of this cycle's orders.
        account: the account after everything; None when the read-back failed.
        unprotected_seconds: per symbol, from the entry's fill to the stop's confirmation; the time so
            far when it still is not confirmed.
        alerts: sentences for the next prompt and the heartbeat, e.g. a rejected stop.
    """

    cycle_ms: int
    results: tuple[ActionResult, ...]
    fills: tuple[Fill, ...] = ()
    account: AccountSnapshot | None = None
    unprotected_seconds: tuple[tuple[str, float], ...] = ()
    alerts: tuple[str, ...] = ()


@quick_init
@dataclass(frozen=True, slots=True)
class CycleReport:
    """How one cycle ended; the row that a person reads first."""

    cycle_ms: int
    outcome: Literal["applied", "refused", "failed"]
    reason: str
    detail: str
    account_value_usd: Decimal | None
    actions_planned: int
    actions_failed: int
    model_latency_ms: int | None
    finished_at_ms: int
    alerts: tuple[str, ...] = ()
    positions: tuple[Position, ...] = ()
    protection: tuple[OpenOrder, ...] = ()
    stage_failures: tuple[StageFailure, ...] = ()
    fills: tuple[Fill, ...] = ()
    """The account's fills since the report before this one, whoever caused them."""
    activity_until_ms: int = 0
    """Up to when fills and funding are booked; the next report starts here."""
    performance: PerformanceSoFar | None = None
    """Running totals including this cycle; carried from report to report."""
    breaker: BreakerState = UNBROKEN
    spending: Spending = NOTHING_SPENT
    held_since: tuple[tuple[str, int], ...] = ()
    """Per position: the cycle in whose report its side was first seen."""
    fired: tuple[int, ...] = ()
    """Conditions of the prior plan that held, and whether the model gave the plan up then."""
    obeyed: bool | None = None
    transfers: tuple[Transfer, ...] = ()
    """Deposits, withdrawals and the like that this report books."""
    is_memory: bool = True
    """False: the reports before it could not be read, so that its running totals are not theirs, see
    ``core.report.recalling``."""


@quick_init
@dataclass(frozen=True, slots=True)
class LlmContext:
    """The ``llm_contexts`` stage: the prompt, and what went into it beside market and account."""

    cycle_ms: int
    prompt: Prompt
    performance: PerformanceSoFar
    prior: PriorDecision
    alerts: tuple[str, ...] = ()
    setting: CycleSetting | None = None
    """What the prompt was made under; None in records from before it was kept."""
    prompt_files: tuple[tuple[str, str], ...] = ()
    """Name and text of each file of the prompt's directory that was used; the ledger stores a text once."""
    breaker: BreakerState = UNBROKEN
    """Before this cycle, from the last report."""
    spending: Spending = NOTHING_SPENT
    held_since: tuple[tuple[str, int], ...] = ()
    fired: tuple[int, ...] = ()
    """Conditions of the prior plan, numbered from 1, that hold at this cycle."""
