"""What one cycle hands to the next through its report: conditions that held, ages, failures, money spent."""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from desk import FLAT_NOW, KEPT, LONG_BTC, STEP_MS, Desk
from fakes import ScriptedModel
from trader_samples import CYCLE_MS, D

from wonttrade_dagster.core.backtest import MemoryLedger
from wonttrade_dagster.core.errors import ModelUnavailableError, StorageError
from wonttrade_dagster.core.model import (
    BreakerRules,
    CycleReport,
    DecisionRecord,
    EquityPoint,
    LlmContext,
    ModelPrice,
    SpendingCaps,
    Stage,
    TokenUsage,
)

DOWN = ModelUnavailableError("nobody there")


def with_condition(operator: str, value: float, text: str = LONG_BTC) -> str:
    condition = {"symbol": "BTC", "series": "price", "operator": operator, "value": value, "interval": None}
    return json.dumps({**json.loads(text), "conditions": [condition]})


def decided(desk: Desk) -> DecisionRecord:
    record = desk.stage(Stage.DECISIONS)
    assert isinstance(record, DecisionRecord)
    return record


@pytest.mark.parametrize(("answer", "obeyed"), [(KEPT, False), (FLAT_NOW, True)])
def test_a_condition_that_holds_is_told_and_whether_the_model_obeyed_is_recorded(
    answer: str, obeyed: bool
) -> None:
    desk = Desk(ScriptedModel(with_condition(">", 1), answer))
    desk.cycle(0)
    assert (decided(desk).fired, decided(desk).obeyed) == ((), None)
    report = desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert isinstance(context, LlmContext)
    assert "condition 1: BTC price > 1 (now" in context.prompt.user
    assert "TRUE NOW" in context.prompt.user
    assert (decided(desk).fired, report.fired, report.obeyed) == ((1,), (1,), obeyed)


def test_a_condition_that_does_not_hold_is_told_as_false() -> None:
    desk = Desk(ScriptedModel(with_condition("<", 1), KEPT))
    desk.cycle(0)
    report = desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert isinstance(context, LlmContext)
    assert "): false" in context.prompt.user
    assert (report.fired, report.obeyed) == ((), None)


def test_a_plan_kept_without_a_word_on_its_conditions_is_still_watched_by_them() -> None:
    desk = Desk(ScriptedModel(with_condition(">", 1), KEPT, KEPT))
    for number in range(3):
        report = desk.cycle(number)
    assert report.fired == (1,)


def test_the_age_of_a_position_counts_from_the_cycle_that_opened_it_and_anew_after_a_flip() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT, "prose"))
    desk.cycle(0)
    report = desk.cycle(2)
    assert report.held_since == (("BTC", CYCLE_MS),)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert isinstance(context, LlmContext)
    assert "held for 10 min" in context.prompt.user
    held = desk.venue.positions["BTC"]
    desk.venue.positions["BTC"] = replace(held, size_base=-held.size_base)
    assert desk.cycle(3).held_since == (("BTC", CYCLE_MS + 3 * STEP_MS),)
    desk.venue.positions.clear()
    assert desk.cycle(4).held_since == ()


def test_failures_in_a_row_pause_the_model_and_not_the_protection() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, DOWN, DOWN, KEPT))
    desk.breaker = BreakerRules(failures=2, first_pause_ms=2 * STEP_MS, max_pause_ms=8 * STEP_MS)
    desk.cycle(0)
    assert [desk.cycle(number).reason for number in (1, 2)] == ["model_unavailable"] * 2
    desk.venue.orders.clear()
    paused = desk.cycle(3)
    assert (paused.reason, len(desk.model.prompts)) == ("breaker_open", 3)
    assert {order.leg for order in desk.venue.orders} != set(), "the stop was put back all the same"
    probe = desk.cycle(4)
    assert (probe.outcome, len(desk.model.prompts)) == ("applied", 4)


def test_a_stale_market_within_the_pause_does_not_end_it() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, DOWN, DOWN, KEPT))
    desk.breaker = BreakerRules(failures=2, first_pause_ms=4 * STEP_MS, max_pause_ms=8 * STEP_MS)
    opened = [desk.cycle(number) for number in range(3)][-1].breaker
    desk.market.age_ms = 60_000
    assert desk.cycle(3).reason == "market_stale"
    desk.market.age_ms = 0
    paused = desk.cycle(4)
    assert (paused.reason, paused.breaker) == ("breaker_open", opened)
    assert desk.cycle(6).outcome == "applied"


def test_the_cap_of_the_day_pauses_the_calls() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.price = ModelPrice(D(1000), D(1000), D(1000))
    desk.caps = SpendingCaps(per_day_usd=Decimal("0.5"))
    first = desk.cycle(0)
    assert first.spending.day_usd == decided(desk).cost_usd != 0
    assert (desk.cycle(1).reason, len(desk.model.prompts)) == ("spending_cap", 1)
    tomorrow = 24 * 3_600_000 // STEP_MS
    assert desk.cycle(tomorrow).outcome == "applied"


def test_the_cap_holds_though_the_server_counts_no_tokens() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT, usage=TokenUsage()))
    desk.price = ModelPrice(D(1000), D(1000), D(1000))
    desk.caps = SpendingCaps(per_day_usd=Decimal("0.5"))
    first = desk.cycle(0)
    assert decided(desk).cost_usd is None, "what it cost is not known and not said"
    assert first.spending.day_usd == decided(desk).assumed_cost_usd
    assert first.spending.unpriced_calls == 1
    prompt = desk.model.prompts[0]
    tokens = (len(prompt.system) + len(prompt.user) + len(LONG_BTC)) / 2.5
    assert abs(first.spending.day_usd * 1000 - D(tokens)) <= 2
    assert (desk.cycle(1).reason, len(desk.model.prompts)) == ("spending_cap", 1)


class FaultyLedger(MemoryLedger):
    """A ledger whose disk answers nothing while the test says so."""

    reports_readable = True
    equity_readable = True

    def last_report(self, before_ms: int) -> CycleReport | None:
        if not self.reports_readable:
            raise StorageError("too many open files")
        return super().last_report(before_ms)

    def equity(self) -> Sequence[EquityPoint]:
        if not self.equity_readable:
            raise StorageError("too many open files")
        return super().equity()


def spending_desk() -> tuple[Desk, FaultyLedger]:
    ledger = FaultyLedger()
    desk = Desk(ScriptedModel(LONG_BTC, KEPT), ledger=ledger, price=ModelPrice(D(1000), D(1000), D(1000)))
    return desk, ledger


@pytest.mark.parametrize("unreadable", [(2,), (2, 3)])
def test_a_cycle_that_cannot_read_the_ones_before_does_not_make_them_forgotten(
    unreadable: tuple[int, ...],
) -> None:
    desk, ledger = spending_desk()
    desk.cycle(0)
    desk.venue.value = D(31_000)
    before = desk.cycle(1)
    for number in unreadable:
        ledger.reports_readable = False
        blind = desk.cycle(number)
        assert (blind.reason, blind.is_memory, blind.performance) == ("ledger_unreadable", False, None)
    ledger.reports_readable = True
    after = desk.cycle(4)
    assert after.is_memory
    assert before.performance is not None
    assert after.performance is not None
    assert after.performance.opening_equity_usd == before.performance.opening_equity_usd == 30_000
    assert after.performance.fees_usd == before.performance.fees_usd == D("1.5")
    assert after.performance.invocations == before.performance.invocations + 1
    assert after.spending.total_usd == before.spending.total_usd + (decided(desk).cost_usd or 0)
    assert after.spending.day_usd == after.spending.total_usd
    assert after.held_since == before.held_since


def test_what_was_filled_before_a_cycle_that_could_read_nothing_is_booked_by_the_next() -> None:
    desk, ledger = spending_desk()
    desk.cycle(0)
    desk.cycle(1)
    fired = replace(desk.venue.booked[0], time_ms=CYCLE_MS + 2 * STEP_MS - 60_000, tid=777)
    desk.venue.booked.append(fired)
    ledger.reports_readable = False
    assert desk.cycle(2).fills == ()
    ledger.reports_readable = True
    assert [fill.tid for fill in desk.cycle(3).fills] == [777]
    assert desk.cycle(4).fills == ()


def test_a_row_of_failures_goes_on_behind_a_cycle_that_could_read_nothing() -> None:
    desk, ledger = spending_desk()
    desk.model.script = [LONG_BTC, DOWN, DOWN]
    desk.breaker = BreakerRules(failures=2, first_pause_ms=4 * STEP_MS, max_pause_ms=8 * STEP_MS)
    for number in range(3):
        desk.cycle(number)
    ledger.reports_readable = False
    desk.cycle(3)
    ledger.reports_readable = True
    assert desk.cycle(4).reason == "breaker_open"


def test_a_curve_that_cannot_be_read_costs_one_sharpe_ratio_and_no_total() -> None:
    desk, ledger = spending_desk()
    desk.cycle(0)
    before = desk.cycle(1)
    assert before.performance is not None
    ledger.report = replace(before, performance=replace(before.performance, returns=None))
    ledger.equity_readable = False
    blind = desk.cycle(2)
    ledger.equity_readable = True
    after = desk.cycle(3)
    assert blind.performance is not None
    assert after.performance is not None
    assert (blind.is_memory, blind.performance.returns) == (True, None)
    assert (blind.performance.fees_usd, blind.spending.total_usd) == (
        before.performance.fees_usd,
        before.spending.total_usd + before.spending.last_usd,
    )
    assert after.performance.returns is not None
    assert after.performance.returns.last_at_ms == CYCLE_MS + 3 * STEP_MS


def test_a_repaired_reply_is_two_calls_and_the_next_is_expected_to_cost_one() -> None:
    desk, _ = spending_desk()
    desk.model.script = ["prose", LONG_BTC]
    parts = desk.parts()
    repairing = replace(parts, decision_engine=replace(parts.decision_engine, repairs=True))
    desk.parts = lambda: repairing
    spent = desk.cycle(0).spending
    assert len(desk.model.prompts) == 2
    assert (spent.day_usd, spent.last_usd) == (D("0.8"), D("0.4"))
