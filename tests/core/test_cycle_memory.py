"""What one cycle hands to the next through its report: conditions that held, ages, failures, money spent."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from desk import FLAT_NOW, KEPT, LONG_BTC, STEP_MS, Desk
from fakes import ScriptedModel
from trader_samples import CYCLE_MS, D

from wonttrade_dagster.core.errors import ModelUnavailableError
from wonttrade_dagster.core.model import (
    BreakerRules,
    DecisionRecord,
    LlmContext,
    ModelPrice,
    SpendingCaps,
    Stage,
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


def test_the_cap_of_the_day_pauses_the_calls() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.price = ModelPrice(D(1000), D(1000), D(1000))
    desk.caps = SpendingCaps(per_day_usd=Decimal("0.5"))
    first = desk.cycle(0)
    assert first.spending.day_usd == decided(desk).cost_usd != 0
    assert (desk.cycle(1).reason, len(desk.model.prompts)) == ("spending_cap", 1)
    tomorrow = 24 * 3_600_000 // STEP_MS
    assert desk.cycle(tomorrow).outcome == "applied"
