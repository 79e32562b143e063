"""A cycle in which a part fails: exposure stands as it was, and protection is put back."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from desk import (
    BOTH_LEGS,
    DOWN,
    FLAT_NOW,
    KEPT,
    LONG_BTC,
    MOVED_STOP,
    STEP_MS,
    BookedVenue,
    D,
    Desk,
    holding_unprotected,
    refused,
)
from fakes import ScriptedModel
from trader_samples import CYCLE_MS, RULES, builder, reply, reply_target

from wonttrade_dagster.core.backtest import MemoryLedger
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
    ExecutionPlan,
    Leg,
    MarketSnapshot,
    ModelReply,
    Prompt,
    Refusal,
    Stage,
    StageFailure,
)

# --- failures travel on as values ------------------------------------------------------------------


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


def test_a_template_with_a_fault_refuses_its_cycles_by_name_and_protection_is_put_back() -> None:
    desk = holding_unprotected("prose", FLAT_NOW)
    assert desk.cycle(1).reason == "invalid_json"
    template = builder().template
    wrong = template.user_source + "\n{% if facts.refusal %}{{ facts.refusal.text }}{% endif %}"
    parts = replace(desk.parts(), context_builder=builder(replace(template, user_source=wrong)))
    desk.parts = lambda: parts
    desk.venue.orders.clear()
    desk.venue.log.clear()
    report = desk.cycle(2)
    refused(desk, report, "prompt_broken")
    assert "trader/v1" in report.detail
    assert "text" in report.detail
    assert len(desk.model.prompts) == 2, "there was nothing to ask"
    assert report.performance is not None
    assert desk.cycle(3).reason == "prompt_broken", "the loop goes on"


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
            if self.reads:
                self.opening -= self.value
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
