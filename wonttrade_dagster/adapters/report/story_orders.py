"""The chapters of the orders: what was planned, sent, filled and confirmed.

Belongs here: reading plan, execution and report into words. Does not belong here: the other chapters.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wonttrade_dagster.adapters.report.story_parts import (
    Chapter,
    StoryTable,
    amount,
    at,
    lasted,
    orders,
    positions,
    words,
)
from wonttrade_dagster.adapters.report.wording import ABSENT
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    CancelOrder,
    CycleReport,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    PlaceOrder,
    Stage,
)
from wonttrade_dagster.core.precision import wire

_ACTION_COLUMNS = ("symbol", "action", "side", "size", "price", "why")


def planned(records: Mapping[Stage, Any]) -> Chapter | None:
    """Each action with its reason, and what was left alone."""
    plan: ExecutionPlan | None = records.get(Stage.EXECUTION_PLANS)
    if plan is None:
        return None
    facts = [("actions", str(len(plan.actions)))]
    if plan.basis is not None:
        facts.append(("planned after", lasted(plan.basis.planned_at_ms - plan.cycle_ms)))
    if plan.refusal is not None:
        facts.append(("not applied", f"{plan.refusal.reason}: {plan.refusal.detail}"))
    tables = [StoryTable("Actions", _ACTION_COLUMNS, tuple(_action(action) for action in plan.actions))]
    if plan.skipped:
        rows = tuple((s.symbol, wire(s.delta_base), s.reason) for s in plan.skipped)
        tables.append(StoryTable("Differences left alone", ("symbol", "delta", "why"), rows))
    return Chapter("Planned", tuple(facts), tuple(tables), notes=plan.alerts)


def _action(action: Action) -> tuple[str, ...]:
    if isinstance(action, PlaceOrder):
        side, px = "buy" if action.is_buy else "sell", action.trigger_px or action.limit_px
        purpose = words(action.purpose.value)
        return action.symbol, purpose, side, wire(action.size_base), wire(px), action.reason
    if isinstance(action, CancelOrder):
        return action.symbol, "cancel", "", "", f"oid {action.oid}", action.reason
    mode = "cross" if action.is_cross else "isolated"
    return action.symbol, "leverage", "", f"{action.leverage}x", mode, action.reason


def sent(records: Mapping[Stage, Any]) -> Chapter | None:
    """What the venue said to each action."""
    execution: ExecutionReport | None = records.get(Stage.EXECUTIONS)
    if execution is None:
        return None
    columns = (
        "symbol",
        "action",
        "side",
        "size",
        "price",
        "status",
        "oid",
        "answered in",
        "the venue's word",
    )
    rows = tuple(
        (
            *_action(result.action)[:5],
            result.status.value,
            ABSENT if result.oid is None else str(result.oid),
            lasted(result.answered_at_ms - result.sent_at_ms) if result.answered_at_ms else ABSENT,
            result.message,
        )
        for result in execution.results
    )
    notes = () if rows else ("Nothing was sent.",)
    return Chapter("Sent", tables=(StoryTable("Results", columns, rows),) if rows else (), notes=notes)


def filled(records: Mapping[Stage, Any]) -> Chapter | None:
    """The fills of this cycle, and those since the report before."""
    report: CycleReport | None = records.get(Stage.CYCLE_REPORTS)
    execution: ExecutionReport | None = records.get(Stage.EXECUTIONS)
    if report is None and execution is None:
        return None
    cycle_ms = report.cycle_ms if report else 0
    known = {(fill.tid, fill.oid): fill for fill in (*(execution.fills if execution else ()),)}
    known |= {(fill.tid, fill.oid): fill for fill in (report.fills if report else ())}
    fills = sorted(known.values(), key=lambda fill: fill.time_ms)
    own = [fill for fill in fills if fill.time_ms >= cycle_ms]
    before = [fill for fill in fills if fill.time_ms < cycle_ms]
    tables = [_fills("Fills", own)] if own else []
    tables += [_fills("Fills since the report before", before)] if before else []
    return Chapter("Filled", tables=tuple(tables), notes=() if fills else ("Nothing was filled.",))


def _fills(title: str, fills: Sequence[Fill]) -> StoryTable:
    columns = ("time", "symbol", "what", "size", "price", "fee", "realised PnL")
    rows = tuple(
        (
            at(fill.time_ms),
            fill.symbol,
            fill.direction,
            wire(fill.size_base),
            wire(fill.px),
            amount(fill.fee_usd, 4),
            amount(fill.closed_pnl_usd),
        )
        for fill in fills
    )
    return StoryTable(title, columns, rows)


def confirmed(records: Mapping[Stage, Any]) -> Chapter | None:
    """What stood on the venue afterwards."""
    report: CycleReport | None = records.get(Stage.CYCLE_REPORTS)
    execution: ExecutionReport | None = records.get(Stage.EXECUTIONS)
    if report is None:
        return None
    seconds = execution.unprotected_seconds if execution else ()
    facts = [(f"{symbol} unprotected", f"{value:.3f} s") for symbol, value in seconds]
    after = AccountSnapshot(
        report.finished_at_ms,
        report.account_value_usd or Decimal(0),
        Decimal(0),
        Decimal(0),
        report.positions,
        report.protection,
    )
    facts += [("account value", amount(report.account_value_usd))]
    facts += [("alerts", str(len(report.alerts)))]
    return Chapter("Confirmed", tuple(facts), (positions(after), orders(after)), notes=report.alerts)
