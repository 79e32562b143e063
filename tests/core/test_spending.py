from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trader_samples import CYCLE_MS, D

from wonttrade_dagster.core.model import (
    NO_CAPS,
    NOTHING_SPENT,
    ModelPrice,
    ModelReply,
    Prompt,
    Spending,
    SpendingCaps,
    TokenUsage,
)
from wonttrade_dagster.core.spending import after_calls, assumed_cost_usd, capped, cost_usd, replies_cost_usd

PRICE = ModelPrice(input_usd=D("1.25"), cached_input_usd=D("0.125"), output_usd=D(10))
DAY_MS = 86_400_000


def test_cached_input_is_cheap_and_reasoning_is_output() -> None:
    usage = TokenUsage(
        prompt_tokens=10_000, completion_tokens=2_000, cached_tokens=4_000, reasoning_tokens=1_500
    )
    assert cost_usd(usage, PRICE) == (6_000 * D("1.25") + 4_000 * D("0.125") + 2_000 * D(10)) / 1_000_000


def test_a_server_that_counts_more_cached_than_sent_tokens_earns_nothing() -> None:
    usage = TokenUsage(prompt_tokens=10, cached_tokens=10_000)
    assert cost_usd(usage, PRICE) == 10 * D("0.125") / 1_000_000


def reply(usage: TokenUsage) -> ModelReply:
    return ModelReply("{}", "m", None, "stop", usage, 0, 1)


def test_a_cost_that_nobody_knows_is_not_zero() -> None:
    assert replies_cost_usd((reply(TokenUsage(5, 5)),), None) is None
    assert replies_cost_usd((reply(TokenUsage()),), PRICE) is None
    assert replies_cost_usd((), PRICE) is None
    spent = after_calls(NOTHING_SPENT, CYCLE_MS, None, 1)
    assert (spent.total_usd, spent.unpriced_calls) == (0, 1)
    assert after_calls(NOTHING_SPENT, CYCLE_MS, None, 0).unpriced_calls == 0


def test_tokens_that_the_server_did_not_count_are_assumed_by_the_length_of_the_text() -> None:
    prompt = Prompt("s" * 250, "u" * 1_001, "t", "", "", "")
    counted, silent = reply(TokenUsage(400, 100)), replace(reply(TokenUsage()), text="r" * 26)
    once = (501 * D("1.25") + 11 * D(10)) / 1_000_000  # 1,251 and 26 characters at 2.5 a token, rounded up
    assert assumed_cost_usd((silent,), prompt, PRICE) == once
    assert assumed_cost_usd((counted, silent), prompt, PRICE) == once + cost_usd(counted.usage, PRICE)
    assert assumed_cost_usd((counted,), prompt, PRICE) is None
    assert assumed_cost_usd((), prompt, PRICE) is None
    assert assumed_cost_usd((silent,), prompt, None) is None


def test_an_assumed_cost_counts_for_the_caps_and_stays_of_unknown_cost() -> None:
    spent = after_calls(NOTHING_SPENT, CYCLE_MS, None, 2, D("0.4"))
    assert (spent.day_usd, spent.total_usd, spent.last_usd) == (D("0.4"), D("0.4"), D("0.2"))
    assert spent.unpriced_calls == 2
    assert after_calls(NOTHING_SPENT, CYCLE_MS, D("0.1"), 1, D("0.4")).total_usd == D("0.1")


def test_the_day_begins_anew_at_midnight_utc_and_the_total_does_not() -> None:
    spent = after_calls(NOTHING_SPENT, CYCLE_MS, D("0.4"), 1)
    spent = after_calls(spent, CYCLE_MS + 60_000, D("0.2"), 1)
    assert (spent.day_usd, spent.total_usd, spent.last_usd) == (D("0.6"), D("0.6"), D("0.2"))
    caps = SpendingCaps(per_day_usd=D("0.7"))
    refused = capped(spent, caps, CYCLE_MS + 120_000)
    assert refused is not None
    assert (refused.reason, "0.6000 USD today" in refused.detail) == ("spending_cap", True)
    assert capped(spent, caps, CYCLE_MS + DAY_MS) is None
    spent = after_calls(spent, CYCLE_MS + DAY_MS, D("0.1"), 1)
    assert (spent.day_usd, spent.total_usd) == (D("0.1"), D("0.7"))


def test_a_call_dearer_than_the_cap_of_a_day_is_made_once_a_day_and_never_for_the_last_time() -> None:
    caps, spent = SpendingCaps(per_day_usd=D("0.05")), NOTHING_SPENT
    for day in (0, 1, 30, 365):
        morning_ms = CYCLE_MS // DAY_MS * DAY_MS + day * DAY_MS
        assert capped(spent, caps, morning_ms) is None
        spent = after_calls(spent, morning_ms, D("0.06"), 1)
        assert capped(spent, caps, morning_ms + 60_000) is not None
    spent = after_calls(spent, CYCLE_MS + 400 * DAY_MS, D("0.01"), 1)
    assert capped(spent, caps, CYCLE_MS + 400 * DAY_MS + 60_000) is None, "the price has fallen"


def test_a_cycle_with_a_repair_made_two_calls_and_the_next_is_expected_to_cost_one() -> None:
    spent = after_calls(NOTHING_SPENT, CYCLE_MS, D("0.06"), 2)
    assert (spent.day_usd, spent.total_usd, spent.last_usd) == (D("0.06"), D("0.06"), D("0.03"))
    assert capped(spent, SpendingCaps(per_day_usd=D("0.09")), CYCLE_MS + 60_000) is None
    assert capped(spent, SpendingCaps(per_day_usd=D("0.08")), CYCLE_MS + 60_000) is not None


@pytest.mark.parametrize(("total", "is_capped"), [("0.8", False), ("0.79", True)])
def test_the_cap_of_a_backtest_counts_everything_and_the_call_to_come(total: str, is_capped: bool) -> None:
    spent = Spending(day=0, total_usd=D("0.6"), last_usd=D("0.2"))
    assert (capped(spent, SpendingCaps(in_all_usd=D(total)), CYCLE_MS) is not None) is is_capped
    assert capped(spent, NO_CAPS, CYCLE_MS) is None


@given(st.lists(st.decimals("0.001", "0.1", places=4), max_size=60))
def test_calls_that_cost_what_the_one_before_did_never_pass_the_cap(costs: list[Decimal]) -> None:
    cap, spent = SpendingCaps(per_day_usd=D(1)), NOTHING_SPENT
    highest = max(costs, default=D(0))
    for number, cost in enumerate(costs):
        at_ms = CYCLE_MS // DAY_MS * DAY_MS + number * 60_000
        if capped(spent, cap, at_ms) is None:
            spent = after_calls(spent, at_ms, cost, 1)
    assert spent.day_usd <= 1 + highest
