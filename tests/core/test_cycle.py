"""The order of the parts: what travels on when one of them fails, and what is booked across cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from desk import (
    BOTH_LEGS,
    DOWN,
    FLAT,
    FLAT_NOW,
    HOUR_MS,
    KEPT,
    LONG_BTC,
    MOVED_STOP,
    STEP_MS,
    BookedVenue,
    D,
    Desk,
)
from fakes import BreakableAudit, ScriptedModel
from trader_samples import CYCLE_MS, RULES, reply, reply_target

from wonttrade_dagster.core.backtest import MemoryLedger, MemoryRecords
from wonttrade_dagster.core.cycle import EDGES, STAGE_RECORDS, CycleRun
from wonttrade_dagster.core.errors import (
    ModelAnswerError,
    ModelUnavailableError,
    StorageError,
    VenueUnavailableError,
)
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    CycleReport,
    DecisionRecord,
    EquityPoint,
    ExecutionPlan,
    ExecutionReport,
    Leg,
    MarketSnapshot,
    ModelReply,
    OpenOrder,
    PlaceOrder,
    Prompt,
    Refusal,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.performance import sharpe_ratio

# --- the order -------------------------------------------------------------------------------------


def test_every_stage_comes_after_the_stages_it_reads() -> None:
    order = list(EDGES)
    for stage, upstream in EDGES.items():
        assert all(order.index(read) < order.index(stage) for read in upstream), stage


def test_every_stage_has_edges_and_a_record_type() -> None:
    assert set(EDGES) == set(STAGE_RECORDS) == set(Stage)


def test_a_stage_reads_no_record_that_its_edges_do_not_name() -> None:
    class Watched(MemoryRecords):
        def read(self, cycle_ms: int, stage: Stage) -> object:
            reads.append(stage)
            return super().read(cycle_ms, stage)

    reads: list[Stage] = []
    desk = Desk()
    desk.clock.time_ms = CYCLE_MS + 500
    run = CycleRun(desk.parts(), CYCLE_MS, Watched())
    for stage in EDGES:
        reads.clear()
        run.run(stage)
        assert set(reads) <= set(EDGES[stage]), stage


# --- a cycle that goes well ------------------------------------------------------------------------


def test_an_applied_cycle_opens_the_position_and_leaves_it_protected() -> None:
    desk = Desk()
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("applied", "applied")
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}
    assert {order.leg for order in report.protection} == BOTH_LEGS
    assert report.stage_failures == ()
    assert report.model_latency_ms == 2_500
    assert [fill.symbol for fill in report.fills] == ["BTC"]


def test_the_next_prompt_is_told_of_the_decision_before_it_and_what_was_filled() -> None:
    desk = Desk()
    desk.cycle(0)
    desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert context.prior.decided_cycle_ms == CYCLE_MS
    assert [fill.size_base for fill in context.prior.fills] == [D("0.5")]
    assert context.performance.invocations == 2


def test_the_same_decision_again_sends_nothing() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    sent = len(desk.venue.log)
    report = desk.cycle(1)
    assert (report.outcome, report.actions_planned, len(desk.venue.log)) == ("applied", 0, sent)


def test_a_stored_record_is_never_overwritten() -> None:
    desk = Desk()
    desk.cycle()
    with pytest.raises(StorageError, match="stored already"):
        CycleRun(desk.parts(), CYCLE_MS, desk.records).run(Stage.MARKET_SNAPSHOTS)


# --- failures travel on as values ------------------------------------------------------------------


def holding_unprotected(*script: object) -> Desk:
    """An account whose decision was applied once, and whose protection has vanished since."""
    desk = Desk(ScriptedModel(LONG_BTC, *script))
    desk.cycle(0)
    desk.venue.orders.clear()
    desk.venue.log.clear()
    return desk


def refused(desk: Desk, report: CycleReport, reason: str) -> None:
    """The decision was refused by name, exposure stands as it was, and protection was put back."""
    assert (report.outcome, report.reason) == ("refused", reason)
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}
    assert len(desk.venue.log) == 2, "one stop-loss and one take-profit, each sent once"


def test_a_market_that_cannot_be_read_refuses_by_its_reason_and_protection_is_put_back() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.market.failure = DOWN
    report = desk.cycle(1)
    refused(desk, report, "venue_unavailable")
    assert report.detail == str(DOWN)
    assert isinstance(desk.stage(Stage.INDICATORS), StageFailure)
    record = desk.stage(Stage.DECISIONS)
    assert isinstance(record, DecisionRecord)
    assert (record.prompt, record.reply) == (None, None)
    assert len(desk.model.prompts) == 1, "the model was not asked about a market nobody has seen"
    assert [failure.stage for failure in report.stage_failures] == [Stage.MARKET_SNAPSHOTS]


def test_a_market_that_came_too_late_is_stale_by_name() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.market.age_ms = 30_001
    report = desk.cycle(1)
    refused(desk, report, "market_stale")
    assert "resilience.max_market_age_seconds" in report.detail


def test_indicators_that_cannot_be_computed_refuse_the_cycle() -> None:
    desk = holding_unprotected(FLAT_NOW)
    parts = desk.parts()

    def broken(snapshot: MarketSnapshot) -> None:
        raise ValueError("BTC: 3 candles are too few for EMA 50")

    desk.parts = lambda: replace(parts, indicators=broken)
    refused(desk, desk.cycle(1), "indicators_unavailable")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelUnavailableError("the model did not answer"), "model_unavailable"),
        (ModelAnswerError("the model's server answered HTML"), "model_answer"),
    ],
)
def test_a_model_that_fails_refuses_the_cycle_and_protection_is_put_back(
    error: Exception, reason: str
) -> None:
    desk = holding_unprotected(error)
    refused(desk, desk.cycle(1), reason)


def test_a_reply_that_breaks_the_rules_is_refused_whole() -> None:
    desk = holding_unprotected(reply(reply_target(size=99), reply_target("ETH", 0, None, None)))
    report = desk.cycle(1)
    refused(desk, report, "violations")
    assert desk.ledger.prior(CYCLE_MS + 2 * STEP_MS).last_refusal is not None


def test_a_ledger_that_cannot_be_read_refuses_the_cycle_and_protection_is_put_back() -> None:
    class Unreadable(MemoryLedger):
        def last_report(self, before_ms: int) -> CycleReport | None:
            raise StorageError("ledger.duckdb could not be read: restore or remove it")

        prior = equity = last_report

    desk = holding_unprotected(FLAT_NOW)
    desk.ledger = Unreadable()
    report = desk.cycle(1)
    refused(desk, report, "ledger_unreadable")
    assert report.performance is None, "totals that could not be read are not begun anew"


def test_an_account_that_cannot_be_read_sends_nothing_and_says_that_protection_was_not_checked() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.venue.is_readable = False
    sent = len(desk.venue.log)
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "venue_unavailable")
    assert len(desk.venue.log) == sent
    assert any("PROTECTION WAS NOT CHECKED" in alert for alert in report.alerts)
    assert report.account_value_usd is None
    plan = desk.stage(Stage.EXECUTION_PLANS)
    assert isinstance(plan, ExecutionPlan)
    assert (plan.actions, plan.account) == ((), None)


def test_an_account_that_fails_between_snapshot_and_plan_sends_nothing() -> None:
    desk = Desk()

    class GoneAfterOneRead(BookedVenue):
        def account(self) -> AccountSnapshot:
            self.is_readable = self.reads == 0
            return super().account()

    desk.venue = GoneAfterOneRead(desk.clock)
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("refused", "venue_unavailable")
    assert report.account_value_usd == D(30_000), "the last known account is what the report shows"
    assert desk.venue.log == []


def test_an_account_without_equity_is_refused_and_still_reported() -> None:
    desk = Desk()
    desk.venue.value = D(0)
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("refused", "account_without_equity")
    assert "deposit" in report.detail
    desk.venue.value = D(30_000)
    assert desk.cycle(1).performance.opening_equity_usd == D(30_000)


def test_an_account_without_equity_opens_nothing_and_keeps_its_protection() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.venue.value = D(0)
    refused(desk, desk.cycle(1), "account_without_equity")


def test_an_account_that_loses_its_equity_while_the_model_thinks_opens_nothing() -> None:
    desk = Desk()

    class Liquidated(BookedVenue):
        def account(self) -> AccountSnapshot:
            self.value = D(0) if self.reads else D(30_000)
            return super().account()

    desk.venue = Liquidated(desk.clock)
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("refused", "account_without_equity")
    assert desk.venue.log == []


def test_the_venue_failing_while_the_plan_is_made_is_a_refusal() -> None:
    desk = holding_unprotected(FLAT_NOW)
    parts = desk.parts()
    desk.parts = lambda: parts
    desk.market.assets_failure = DOWN
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "venue_unavailable")
    assert desk.venue.positions["BTC"].size_base == D("0.5")


def test_a_symbol_that_the_venue_does_not_list_never_keeps_the_others_from_protection() -> None:
    desk = holding_unprotected(FLAT_NOW)
    parts = replace(desk.parts(), symbols=("BTC", "NOSUCH"))
    desk.parts = lambda: parts
    desk.market.failure = VenueUnavailableError("Hyperliquid does not list 'NOSUCH'")
    refused(desk, desk.cycle(1), "venue_unavailable")


# --- the journal -----------------------------------------------------------------------------------


def test_a_journal_that_does_not_take_the_decision_refuses_it_and_opens_nothing() -> None:
    desk = Desk()
    desk.audit.takes_writes = False
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("refused", "journal_unavailable")
    assert desk.venue.log == []
    plan = desk.stage(Stage.EXECUTION_PLANS)
    assert isinstance(plan, ExecutionPlan)
    assert isinstance(plan.refusal, Refusal)


def test_a_journal_that_fails_later_keeps_the_position_and_puts_its_protection_back() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.audit.takes_writes = False
    refused(desk, desk.cycle(1), "journal_unavailable")


def test_a_journal_that_cannot_be_read_is_a_refusal_and_the_report_is_written() -> None:
    desk = holding_unprotected(FLAT_NOW)
    desk.audit.can_be_read = False
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "journal_unavailable")
    assert desk.venue.positions["BTC"].size_base == D("0.5")


# --- protection before the decision ----------------------------------------------------------------


def test_a_stop_that_vanished_stands_again_before_the_model_is_asked() -> None:
    desk = holding_unprotected()

    class Watching(ScriptedModel):
        def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
            seen.append(desk.standing())
            return super().complete(prompt, schema, deadline_ms)

    seen: list[object] = []
    desk.model = Watching(KEPT)
    report = desk.cycle(1)
    assert seen == [{"BTC": BOTH_LEGS}]
    assert (report.outcome, len(desk.venue.log)) == ("applied", 2), "the plan found nothing left to do"
    assert desk.audit.kinds == ["reply", "protection", "reply"]


def test_a_decision_that_moves_the_stop_in_the_cycle_that_put_it_back_leaves_one_of_each() -> None:
    """The stop put back has an id of its own: the moved one is new, and the old one goes afterwards."""
    desk = holding_unprotected()
    desk.model = ScriptedModel(MOVED_STOP)
    assert desk.cycle(1).outcome == "applied"
    stops = [order for order in desk.venue.orders if order.leg is Leg.STOP_LOSS]
    assert [stop.trigger_px for stop in stops] == [D(96_000)]
    assert desk.standing() == {"BTC": BOTH_LEGS}


# --- freshness -------------------------------------------------------------------------------------


def test_a_decision_that_took_too_long_expires_and_protection_is_put_back() -> None:
    desk = holding_unprotected(FLAT_NOW)

    class Slow(ScriptedModel):
        def complete(self, *arguments: object) -> object:
            desk.clock.sleep(RULES.max_decision_age_ms / 1000 + 1)
            return super().complete(*arguments)

    desk.model = Slow(FLAT_NOW)
    refused(desk, desk.cycle(1), "stale_decision")


def test_a_price_that_passed_the_stop_while_the_model_thought_refuses_the_decision() -> None:
    desk = Desk()

    class Crash(ScriptedModel):
        def complete(self, *arguments: object) -> object:
            desk.venue.marks["BTC"] = D(94_000)
            return super().complete(*arguments)

    desk.model = Crash(LONG_BTC)
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("refused", "price_moved_past_stop")
    assert desk.venue.log == []


# --- money across cycles ---------------------------------------------------------------------------


def test_the_opening_equity_is_written_once() -> None:
    desk = Desk(ScriptedModel(FLAT))
    values = [D(30_000), D(31_500), D(29_000)]
    reports = []
    for number, value in enumerate(values):
        desk.venue.value = value
        reports.append(desk.cycle(number))
    assert {report.performance.opening_equity_usd for report in reports} == {D(30_000)}
    assert reports[-1].performance.return_fraction == pytest.approx(29_000 / 30_000 - 1)
    assert reports[-1].performance.invocations == 3


class CountedLedger(MemoryLedger):
    """Counts how often the whole curve is asked for."""

    curves = 0

    def equity(self) -> Sequence[EquityPoint]:
        self.curves += 1
        return super().equity()


VALUES = [D(30_000), D(31_500), D(29_000), D(29_500), D(30_700)]


def test_the_sharpe_ratio_is_that_of_the_whole_curve_without_reading_it() -> None:
    desk = Desk(ScriptedModel(FLAT), ledger=CountedLedger())
    curve = list[tuple[int, float]]()
    for number, value in enumerate(VALUES):
        desk.venue.value, desk.venue.is_readable = value, number != 2
        report = desk.cycle(number)
        if number != 2:
            curve.append((report.cycle_ms, float(value)))
    assert report.performance is not None
    assert report.performance.sharpe == pytest.approx(sharpe_ratio(curve), rel=1e-9)
    assert desk.ledger.curves == 0


def test_a_run_whose_reports_lack_the_sums_reads_its_curve_once() -> None:
    desk = Desk(ScriptedModel(FLAT), ledger=CountedLedger())
    for number, value in enumerate(VALUES):
        desk.venue.value = value
        report = desk.cycle(number)
        assert report.performance is not None
        if number == 2:  # as the version before wrote it
            desk.ledger.report = replace(report, performance=replace(report.performance, returns=None))
    curve = [(CYCLE_MS + n * STEP_MS, float(value)) for n, value in enumerate(VALUES)]
    assert report.performance.sharpe == pytest.approx(sharpe_ratio(curve), rel=1e-9)
    assert desk.ledger.curves == 1


@pytest.mark.parametrize("failing", [{0}, {1}, {0, 1}, {1, 2}])
def test_the_opening_equity_survives_cycles_in_which_the_account_could_not_be_read(failing: set[int]) -> None:
    desk = Desk(ScriptedModel(FLAT))
    readable = [number for number in range(4) if number not in failing]
    for number in range(4):
        desk.venue.value = D(30_000 + 100 * number)
        desk.venue.is_readable = number not in failing
        report = desk.cycle(number)
    assert report.performance.opening_equity_usd == D(30_000 + 100 * readable[0])
    assert report.performance.started_at_ms == CYCLE_MS + readable[0] * STEP_MS
    assert report.performance.invocations == len(readable)


def test_the_opening_equity_survives_a_first_cycle_without_a_market() -> None:
    desk = Desk(ScriptedModel(FLAT))
    desk.market.failure = DOWN
    desk.cycle(0)
    desk.market.failure, desk.venue.value = None, D(31_000)
    report = desk.cycle(1)
    assert report.performance.opening_equity_usd == D(30_000)


def test_funding_is_asked_for_only_where_an_hour_has_passed() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    desk.venue.funding_asked = 0
    for number in range(1, 13):  # 12:08 to 13:03: the payment of 13:00 falls due once
        desk.cycle(number)
    assert desk.venue.funding_asked == 1


def test_a_fill_that_the_venue_stamps_before_our_clock_is_booked() -> None:
    """Our clock is ahead: the window ends at the venue's own time, or the fill would fall between two."""
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.venue.behind_ms = 300
    first = desk.cycle(0)
    late = replace(desk.venue.booked[0], time_ms=desk.clock.now_ms() - 100, tid=99)
    desk.venue.booked.append(late)  # between the venue's time of the report and ours
    report = desk.cycle(1)
    assert sorted(fill.tid for fill in (*first.fills, *report.fills)) == [99, 1000]
    assert report.performance.fees_usd == D("3.0")


@pytest.mark.parametrize("failing", [set[int](), {1}, {1, 2}])
def test_fees_and_funding_are_booked_once_across_failed_cycles(failing: set[int]) -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    fills = []
    for hour in range(4):
        desk.venue.is_readable = hour not in failing
        desk.venue.funding.append((CYCLE_MS // HOUR_MS * HOUR_MS + hour * HOUR_MS + 400, D("0.25")))
        fills += desk.cycle(hour * HOUR_MS // STEP_MS).fills
    report = desk.ledger.report
    assert [fill.size_base for fill in fills] == [D("0.5")]
    assert report.performance.fees_usd == D("1.5")
    # the first cycle, at 12:03, books from its own minute on: the payment of 12:00 is before its time
    assert report.performance.funding_usd == D("0.75")


def test_an_action_that_the_venue_refuses_makes_the_cycle_failed_and_names_it() -> None:
    desk = Desk()
    desk.venue.reject = {"open"}
    report = desk.cycle()
    assert (report.outcome, report.reason, report.actions_failed) == ("failed", "actions_failed", 1)
    assert "Insufficient margin" in report.detail


def test_a_rejected_stop_reaches_the_report_and_the_next_prompt() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.venue.reject = {"stop_loss"}
    first = desk.cycle(0)
    assert any("STOP-LOSS" in alert for alert in first.alerts)
    desk.venue.reject = set()
    desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert context.alerts == first.alerts
    assert desk.standing() == {"BTC": BOTH_LEGS}


def test_the_records_of_a_cycle_name_the_intended_orders() -> None:
    desk = Desk()
    desk.cycle()
    plan, execution = desk.stage(Stage.EXECUTION_PLANS), desk.stage(Stage.EXECUTIONS)
    assert isinstance(plan, ExecutionPlan)
    assert isinstance(execution, ExecutionReport)
    planned = {action.cloid for action in plan.actions if isinstance(action, PlaceOrder)}
    assert planned == {r.action.cloid for r in execution.results if isinstance(r.action, PlaceOrder)}


# --- another machine -------------------------------------------------------------------------------


class ProvingAudit(BreakableAudit):
    """A journal that proves the orders of those ids to be somebody else's."""

    def __init__(self, *oids: int) -> None:
        super().__init__()
        self.oids = oids
        self.asked: list[str | None] = []

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        self._require(self.can_be_read)
        self.asked += [order.cloid for order in orders]
        return tuple(order for order in orders if order.oid in self.oids)


def test_a_second_machine_stops_exposure_and_protection_is_put_back_all_the_same() -> None:
    desk = Desk()
    desk.cycle()
    (take_profit,) = [order for order in desk.venue.orders if order.leg is Leg.TAKE_PROFIT]
    desk.venue.orders = [take_profit]
    desk.model = ScriptedModel(FLAT_NOW)
    desk.audit = replace_audit(desk.audit, take_profit.oid)
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "second_machine")
    assert f"BTC order {take_profit.oid}" in report.detail
    assert any(alert.startswith("A SECOND MACHINE TRADES THIS ACCOUNT") for alert in report.alerts)
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}


def test_orders_of_other_programs_are_not_asked_about() -> None:
    desk = Desk()
    desk.cycle()
    foreign = replace(desk.venue.orders[0], oid=999, cloid="0x" + "ff" * 16)
    manual = replace(desk.venue.orders[0], oid=998, cloid=None)
    desk.venue.orders += [foreign, manual]
    desk.model = ScriptedModel(KEPT)
    desk.audit = audit = replace_audit(desk.audit, 998, 999)
    report = desk.cycle(1)
    assert report.outcome == "applied"
    assert audit.asked
    assert not {foreign.cloid, None} & set(audit.asked)


def test_a_refused_decision_keeps_its_reason_and_the_second_machine_its_alert() -> None:
    desk = Desk()
    desk.cycle()
    desk.model = ScriptedModel("no JSON")
    desk.audit = replace_audit(desk.audit, *(order.oid for order in desk.venue.orders))
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "invalid_json")
    assert any("SECOND MACHINE" in alert for alert in report.alerts)


def replace_audit(before: BreakableAudit, *oids: int) -> ProvingAudit:
    audit = ProvingAudit(*oids)
    audit.newest = before.newest
    return audit
