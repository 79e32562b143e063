"""What a cycle's report says of the stages before it."""

from dataclasses import replace
from decimal import Decimal

import pytest
from trader_samples import CYCLE_MS, FLAT, PERFORMANCE, long_and_short

from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    Leg,
    ModelReply,
    OrderPurpose,
    PlaceOrder,
    PriorPlan,
    Refusal,
    Stage,
    StageFailure,
    TokenUsage,
)
from wonttrade_dagster.core.report import build_report
from wonttrade_dagster.core.state import Activity, booked

D = Decimal
NOW_MS = CYCLE_MS + 9_000
DECISION = Decision("up", "below 90000", (), PriorPlan.NONE)
REFUSAL = Refusal("violations", "two rules were broken")
ORDER = PlaceOrder("BTC", OrderPurpose.OPEN, True, D(1), D(1), False, "0x1", "open")
REPLY = ModelReply("{}", "m", None, "stop", TokenUsage(), 1_000, 3_500)


def stages(
    outcome: Decision | Refusal = DECISION,
    plan: ExecutionPlan | None = None,
    execution: ExecutionReport | None = None,
    **others: object,
) -> dict[Stage, object]:
    made: dict[Stage, object] = {
        Stage.MARKET_SNAPSHOTS: object(),
        Stage.ACCOUNT_SNAPSHOTS: FLAT,
        Stage.DECISIONS: DecisionRecord(CYCLE_MS, outcome, None, REPLY, NOW_MS),
        Stage.EXECUTION_PLANS: plan or ExecutionPlan(CYCLE_MS, ()),
        Stage.EXECUTIONS: execution or ExecutionReport(CYCLE_MS, ()),
    }
    return made | {Stage(name): value for name, value in others.items()}


def build(made: dict[Stage, object], **changes: object) -> CycleReport:
    arguments = {"account": FLAT, "performance": PERFORMANCE, "activity": None, "last": None} | changes
    return build_report(
        CYCLE_MS,
        made,
        arguments["account"],
        arguments["performance"],
        arguments["activity"],
        arguments["last"],
        NOW_MS,
    )


def result(status: ActionStatus, message: str = "") -> ActionResult:
    return ActionResult(ORDER, status, message)


def test_a_cycle_whose_actions_were_all_done_is_applied() -> None:
    execution = ExecutionReport(CYCLE_MS, (result(ActionStatus.FILLED), result(ActionStatus.RESTING)))
    report = build(stages(execution=execution))
    assert (report.outcome, report.reason, report.actions_failed) == ("applied", "applied", 0)
    assert (report.model_latency_ms, report.finished_at_ms) == (2_500, NOW_MS)


@pytest.mark.parametrize("status", [ActionStatus.ERROR, ActionStatus.UNKNOWN])
def test_an_action_that_failed_or_is_unknown_makes_the_cycle_failed(status: ActionStatus) -> None:
    execution = ExecutionReport(CYCLE_MS, (result(status, "no margin"), result(ActionStatus.FILLED)))
    report = build(stages(execution=execution))
    assert (report.outcome, report.reason, report.detail) == ("failed", "actions_failed", "no margin")
    assert report.actions_failed == 1


def test_an_action_that_was_skipped_is_no_failure() -> None:
    stop = replace(ORDER, purpose=OrderPurpose.STOP_LOSS, reduce_only=True)
    skipped = ActionResult(stop, ActionStatus.SKIPPED, "the same protection stands")
    assert build(stages(execution=ExecutionReport(CYCLE_MS, (skipped,)))).outcome == "applied"


def test_an_entry_that_was_held_back_makes_the_cycle_failed_and_says_why() -> None:
    execution = ExecutionReport(CYCLE_MS, (result(ActionStatus.SKIPPED, "stale_decision: too old"),))
    report = build(stages(execution=execution))
    assert (report.outcome, report.reason) == ("failed", "entry_not_sent")
    assert report.detail == "stale_decision: too old"


def test_an_order_that_filled_in_part_is_named_with_what_it_filled() -> None:
    half = replace(result(ActionStatus.FILLED), filled_base=D("0.50"))
    report = build(stages(execution=ExecutionReport(CYCLE_MS, (half,))))
    assert report.outcome == "applied"
    assert report.detail == "1 actions done; the open of BTC filled 0.5 of 1"


@pytest.mark.parametrize(
    "made",
    [stages(REFUSAL), stages(plan=ExecutionPlan(CYCLE_MS, (), refusal=REFUSAL))],
    ids=["by the judgement", "by the plan"],
)
def test_a_refusal_of_either_stage_is_the_verdict(made: dict[Stage, object]) -> None:
    report = build(made)
    assert (report.outcome, report.reason, report.detail) == ("refused", REFUSAL.reason, REFUSAL.detail)


def test_a_refusal_is_the_verdict_even_when_its_protection_failed() -> None:
    plan = ExecutionPlan(CYCLE_MS, (), refusal=REFUSAL)
    execution = ExecutionReport(CYCLE_MS, (result(ActionStatus.ERROR),))
    report = build(stages(plan=plan, execution=execution))
    assert (report.outcome, report.actions_failed) == ("refused", 1)


def test_stage_failures_are_named_once_each() -> None:
    failure = StageFailure(Stage.MARKET_SNAPSHOTS, "market_stale", "too late")
    gone = StageFailure(Stage.ACCOUNT_SNAPSHOTS, "venue_unavailable", "no answer")
    report = build(stages(market_snapshots=failure, account_snapshots=gone))
    assert report.stage_failures == (gone, failure)


def test_alerts_of_plan_and_execution_come_together() -> None:
    plan = ExecutionPlan(CYCLE_MS, (), alerts=("a",))
    report = build(stages(plan=plan, execution=ExecutionReport(CYCLE_MS, (), alerts=("b",))))
    assert report.alerts == ("a", "b")


def test_positions_and_protection_are_those_of_the_newest_account() -> None:
    account = long_and_short()
    report = build(stages(), account=account)
    assert report.positions == account.positions
    assert [order.leg for order in report.protection] == [Leg.STOP_LOSS, Leg.TAKE_PROFIT] * 2
    assert report.account_value_usd == account.account_value_usd


def test_without_any_account_the_report_says_so_and_carries_performance_on() -> None:
    report = build(stages(), account=None)
    assert (report.account_value_usd, report.positions, report.protection) == (None, (), ())
    assert report.performance == PERFORMANCE


def test_fees_and_funding_of_the_window_are_added_to_the_totals() -> None:
    fills = tuple(Fill("BTC", NOW_MS, D(1), D(1), D(fee), D(0), 1, 1, "") for fee in ("0.2", "0.3"))
    activity = Activity(fills, D("-0.1"), NOW_MS + 1)
    totals = booked(PERFORMANCE, FLAT, activity)
    assert (totals.fees_usd, totals.funding_usd) == (D("3.71"), D("-0.6"))
    report = build(stages(), activity=activity, performance=totals)
    assert report.performance == totals
    assert (report.fills, report.activity_until_ms) == (fills, NOW_MS + 1)


def test_a_window_that_could_not_be_read_stays_open_where_the_last_report_ended() -> None:
    last = CycleReport(0, "applied", "", "", D(1), 0, 0, None, 0, activity_until_ms=777)
    report = build(stages(), last=last)
    assert (report.activity_until_ms, report.fills, report.performance) == (777, (), PERFORMANCE)


def test_the_first_window_opens_with_the_first_cycle() -> None:
    assert build(stages()).activity_until_ms == CYCLE_MS
