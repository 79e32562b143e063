"""The report of one cycle: how it ended, in one record a person reads first.

Belongs here: what a ``CycleReport`` says of the stages before it.
Does not belong here: reading them, keeping it, drawing it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypedDict

from wonttrade_dagster.core.breaker import UNANSWERED, after_cycle
from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import (
    NOTHING_SPENT,
    UNBROKEN,
    AccountSnapshot,
    ActionResult,
    ActionStatus,
    BreakerRules,
    CycleReport,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    OpenOrder,
    PerformanceSoFar,
    PlaceOrder,
    Position,
    Refusal,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.precision import wire
from wonttrade_dagster.core.spending import after_calls
from wonttrade_dagster.core.state import Activity

_ZERO = Decimal(0)
_FAILED = frozenset({ActionStatus.ERROR, ActionStatus.UNKNOWN})


def build_report(
    cycle_ms: int,
    stages: Mapping[Stage, Any],
    account: AccountSnapshot | None,
    performance: PerformanceSoFar | None,
    activity: Activity | None,
    last: CycleReport | None,
    now_ms: int,
) -> CycleReport:
    """Sum up a cycle.

    Args:
        cycle_ms: the cycle.
        stages: records of the stages that ``cycle_reports`` reads.
        account: the newest account known, None when every read failed.
        performance: totals, with this cycle's activity booked.
        activity: fills, funding and transfers since the last report; None when the venue could not be asked.
        last: the report before this one.
        now_ms: the time of the report.
    """
    plan: ExecutionPlan = stages[Stage.EXECUTION_PLANS]
    execution: ExecutionReport = stages[Stage.EXECUTIONS]
    record: DecisionRecord = stages[Stage.DECISIONS]
    happened = activity or Activity((), _ZERO, cycle_ms)
    return CycleReport(
        cycle_ms,
        *_verdict(record, plan, execution),
        actions_planned=len(plan.actions),
        actions_failed=sum([result.status in _FAILED for result in execution.results]),
        model_latency_ms=record.reply.latency_ms if record.reply else None,
        finished_at_ms=now_ms,
        alerts=plan.alerts + execution.alerts + happened.alerts,
        stage_failures=_failures(stages),
        **_holdings(account),
        fills=happened.fills,
        transfers=happened.transfers,
        activity_until_ms=_booked_until_ms(cycle_ms, activity, last),
        performance=performance,
    )


class _Holdings(TypedDict):
    """What the account held when the cycle ended, by the fields of ``CycleReport``."""

    account_value_usd: Decimal | None
    positions: tuple[Position, ...]
    protection: tuple[OpenOrder, ...]


def _holdings(account: AccountSnapshot | None) -> _Holdings:
    if account is None:
        return _Holdings(account_value_usd=None, positions=(), protection=())
    orders = account.open_orders
    protection = [order for order in orders if order.leg is not None]
    return _Holdings(
        account_value_usd=account.account_value_usd,
        positions=account.positions,
        protection=orders if len(protection) == len(orders) else tuple(protection),
    )


def _failures(stages: Mapping[Stage, Any]) -> tuple[StageFailure, ...]:
    """Each once, by the name of its stage: what failed early is carried on as the record of later stages."""
    failures = {record for record in stages.values() if isinstance(record, StageFailure)}
    return tuple(sorted(failures, key=lambda failure: failure.stage)) if failures else ()


def _verdict(
    record: DecisionRecord, plan: ExecutionPlan, execution: ExecutionReport
) -> tuple[Literal["applied", "refused", "failed"], str, str]:
    refusal = plan.refusal or (record.outcome if isinstance(record.outcome, Refusal) else None)
    if refusal is not None:
        return "refused", refusal.reason, refusal.detail
    failed = [result for result in execution.results if result.status in _FAILED]
    if failed:
        return "failed", "actions_failed", "; ".join(sorted({result.message for result in failed}))
    unsent = [result.message for result in execution.results if _is_unsent_entry(result)]
    if unsent:
        return "failed", "entry_not_sent", "; ".join(sorted(set(unsent)))
    short = "".join([_shortfall(result) for result in execution.results])
    return "applied", "applied", f"{len(execution.results)} actions done{short}"


def _is_unsent_entry(result: ActionResult) -> bool:
    """An entry that was held back: the decision was applied in part only."""
    order = result.action
    is_entry = isinstance(order, PlaceOrder) and order.purpose.increases_exposure
    return is_entry and result.status is ActionStatus.SKIPPED


def _shortfall(result: ActionResult) -> str:
    """What an order that filled in part left open, after a semicolon; "" for every other action."""
    order = result.action
    if not isinstance(order, PlaceOrder) or result.status is not ActionStatus.FILLED:
        return ""
    if order.leg is not None or result.filled_base >= order.size_base:
        return ""
    filled, wanted = wire(result.filled_base), wire(order.size_base)
    return f"; the {order.purpose} of {order.symbol} filled {filled} of {wanted}"


def _booked_until_ms(cycle_ms: int, activity: Activity | None, last: CycleReport | None) -> int:
    if activity is not None:
        return activity.until_ms
    return last.activity_until_ms if last else cycle_ms


def remembering(
    report: CycleReport, record: DecisionRecord, last: CycleReport | None, rules: BreakerRules | None
) -> CycleReport:
    """The report with what the next cycle must know of this one and all before it."""
    breaker = last.breaker if last else UNBROKEN
    spending = last.spending if last else NOTHING_SPENT
    calls = calls_made(record)
    failure = f"{report.reason}: {report.detail}" if report.outcome == "refused" else ""
    return replace(
        report,
        breaker=after_cycle(breaker, report.cycle_ms, failure, rules, was_asked=calls > 0),
        spending=after_calls(spending, report.cycle_ms, record.cost_usd, calls, record.assumed_cost_usd),
        held_since=_held_since(report, last),
        fired=record.fired,
        obeyed=record.obeyed,
    )


def calls_made(record: DecisionRecord) -> int:
    """How often the model was asked, as far as the record tells: one call that brought no reply counts."""
    outcome = record.outcome
    is_lost = isinstance(outcome, Refusal) and outcome.reason in UNANSWERED
    return len(record.replies) or int(is_lost)


def without_memory(report: CycleReport) -> CycleReport:
    """The report of a cycle that could not read those before it: to be read, not to be counted on from."""
    return replace(report, is_memory=False)


def recalling(newest: CycleReport, memory: CycleReport | None) -> CycleReport:
    """What the cycle after ``newest`` must know: how that ended, and everything that ``memory`` carries.

    Args:
        newest: the last report, which could not read the ones before it.
        memory: the last one that could; None when there is none, and totals begin with ``newest``.
    """
    if memory is None:
        return newest
    return replace(
        newest,
        activity_until_ms=memory.activity_until_ms,  # nothing was booked since
        performance=memory.performance,
        breaker=memory.breaker,
        spending=memory.spending,
        held_since=memory.held_since,
    )


def _held_since(report: CycleReport, last: CycleReport | None) -> tuple[tuple[str, int], ...]:
    """Since which report each side is held; where the account could not be read, what is known stays."""
    known = dict(last.held_since) if last else {}
    if report.account_value_usd is None:
        return tuple(known.items())
    before = {p.symbol: p.size_base for p in last.positions} if last else {}
    held = {}
    for position in report.positions:
        same_side = before.get(position.symbol, _ZERO) * position.size_base > _ZERO
        since_ms = known.get(position.symbol) if same_side or position.symbol not in before else None
        held[position.symbol] = report.cycle_ms if since_ms is None else since_ms
    return tuple(held.items())
