"""Replies that are taken, what becomes of their numbers, and what the documentation says of them."""

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from decision_samples import (
    BROKEN_RULES,
    GOOD,
    NOT_STRICT_JSON,
    WRONG_SHAPES,
    condition,
    raw,
    rules_of,
    with_conditions,
    without,
)
from trader_samples import (
    CYCLE_MS,
    ETH_FLAT,
    D,
    account,
    judgement,
    long_and_short,
    position,
    reply,
    reply_target,
)

from wonttrade_dagster.core.breaker import PAUSED
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.llm_engine import FINISH_REFUSALS
from wonttrade_dagster.core.model import AccountSnapshot, Condition, Decision, DecisionRecord, PriorPlan
from wonttrade_dagster.core.spending import CAPPED

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "prompt.md"


def test_a_good_reply_becomes_a_decision_in_the_configured_order() -> None:
    decision = judge(reply(ETH_FLAT, reply_target()), judgement())
    assert isinstance(decision, Decision)
    assert [t.symbol for t in decision.targets] == ["BTC", "ETH"]
    btc, eth = decision.targets
    assert (btc.target_size, btc.stop_loss, btc.take_profit) == (D("0.5"), D(95_000), D(110_000))
    assert (eth.target_size, eth.stop_loss, eth.take_profit) == (D(0), None, None)
    assert (decision.prior_plan, decision.replaced_because) == (PriorPlan.NONE, None)


@pytest.mark.parametrize(
    "text",
    [
        f"\n\t  {GOOD}  \r\n",
        json.dumps(json.loads(GOOD), indent=4),
        json.dumps(dict(reversed(json.loads(GOOD).items()))),
        json.dumps(json.loads(GOOD), separators=(",", ":")),
        reply(without("margin", reply_target()), ETH_FLAT),
        json.dumps(without("replaced_because", json.loads(GOOD))),
        reply(replaced_because="  "),
        reply(reply_target(confidence=1), reply_target("ETH", 0, None, None, confidence=0)),
        raw("target_size", "5e-1"),
        reply(reply_target(size="@@", stop=None, take=None), ETH_FLAT).replace(
            '"@@"', "-0.00000000000000000"
        ),
        raw("stop_loss", "95000.000000"),
        reply(explanation="x" * 4_000, invalidation_condition="y" * 2_000),
        reply(reply_target(rationale=""), reply_target("ETH", 0, None, None, margin=0)),
        reply(explanation="ünïcödé 🚀 <script>alert(1)</script> ```json {} ```"),
        reply(reply_target(), reply_target("ETH", -0.0, None, None)),
        GOOD.replace('"BTC"', '"\\u0042TC"'),
    ],
)
def test_unusual_spacing_order_and_spelling_of_a_valid_reply_are_taken(text: str) -> None:
    decision = judge(text, judgement())
    assert isinstance(decision, Decision), decision


def test_sizes_go_toward_zero_and_prices_to_the_nearest_tick() -> None:
    longs = reply(
        reply_target(size=0.123459, stop=95_000.4, take=110_000.6),
        reply_target("ETH", -1.99999, 4_300.06, 3_500.04),
    )
    decision = judge(longs, judgement())
    assert isinstance(decision, Decision)
    btc, eth = decision.targets
    assert (btc.target_size, btc.stop_loss, btc.take_profit) == (D("0.12345"), D(95_000), D(110_001))
    assert (eth.target_size, eth.stop_loss, eth.take_profit) == (D("-1.9999"), D("4300.1"), D("3500.0"))


def test_numbers_keep_every_digit_of_the_text() -> None:
    decision = judge(raw("target_size", "0.30000000000000004"), judgement())
    assert isinstance(decision, Decision)
    assert decision.targets[0].target_size == D("0.30000")


def test_a_holding_that_became_worth_less_than_the_minimum_may_be_kept() -> None:
    held = account(position(size="0.00009", liquidation=None))
    assert rules_of(reply(reply_target(size=0.00009), ETH_FLAT), judgement(held)) == []
    assert rules_of(reply(reply_target(size=0.00009), ETH_FLAT)) == ["below_minimum_value"]


def test_keeping_positions_needs_no_free_margin() -> None:
    broke = replace(long_and_short(), account_value_usd=D(1), free_margin_usd=D(0))
    same = reply(reply_target(), reply_target("ETH", -2, 4_300, 3_500))
    assert rules_of(same, judgement(broke)) == []
    more = reply(reply_target(size=0.51), reply_target("ETH", -2, 4_300, 3_500))
    assert rules_of(more, judgement(broke)) == ["buying_power"]


def worth(value: str, *, leverage: int | None = None) -> AccountSnapshot:
    told = () if leverage is None else (("BTC", leverage),)
    return replace(account(value=value), leverages=told)


@pytest.mark.parametrize(
    ("value", "leverage", "expected"),
    [
        ("5000", None, []),  # 0.5 BTC are worth 50,000 USD, the limit of leverage is 10
        ("4999.99", None, ["buying_power"]),
        ("5000", 10, []),
        ("5000", 5, ["buying_power"]),  # what the venue will really ask for: 10,000 USD
        ("10000", 5, []),
        ("2500", 20, []),  # no margin is given: leverage stays as it is, and 2,500 USD carry it
        ("2499.99", 20, ["buying_power"]),
        ("0", None, ["buying_power"]),
    ],
)
def test_buying_power_is_the_account_value_at_the_leverage_in_force(
    value: str, leverage: int | None, expected: list[str]
) -> None:
    assert rules_of(GOOD, judgement(worth(value, leverage=leverage))) == expected


def test_buying_power_pays_the_entry_before_it_carries_it() -> None:
    inputs = replace(judgement(worth("5029.99")), entry_cost_bps=D(6))
    assert rules_of(GOOD, inputs) == ["buying_power"]
    assert rules_of(GOOD, replace(inputs, account=worth("5030"))) == []


def test_buying_power_leaves_other_positions_their_margin() -> None:
    other = replace(position("SOL", size="10"), margin_used_usd=D(100))
    inputs = judgement(replace(worth("5000"), positions=(other,)))
    assert rules_of(GOOD, inputs) == ["buying_power"]
    assert rules_of(GOOD, replace(inputs, account=replace(inputs.account, account_value_usd=D(5100)))) == []


def test_an_isolated_position_keeps_its_margin_and_pays_for_what_is_added() -> None:
    held = replace(
        position(size="0.4", liquidation=None), is_cross=False, margin_used_usd=D(9_000), leverage=10
    )
    assert rules_of(GOOD, judgement(replace(worth("10000"), positions=(held,)))) == []
    assert rules_of(GOOD, judgement(replace(worth("9999"), positions=(held,)))) == ["buying_power"]


def test_a_leverage_above_the_tier_of_the_target_must_be_named() -> None:
    assert rules_of(GOOD, judgement(worth("30000", leverage=100))) == ["leverage_limit"]
    named = reply(reply_target(margin=10_000), ETH_FLAT)
    assert rules_of(named, judgement(worth("30000", leverage=100))) == []


@pytest.mark.parametrize(("stop", "expected"), [(30, []), (20, ["protection_below_minimum"])])
def test_protection_that_the_venue_would_refuse_as_too_small_refuses_the_decision(
    stop: float, expected: list[str]
) -> None:
    small = reply(reply_target(size=0.5, stop=stop), ETH_FLAT)
    assert rules_of(small) == expected  # 0.5 x 20 USD, less the slippage of the stop's own order
    held = judgement(account(position(size="0.5", liquidation=None)))
    assert rules_of(small, held) == []


def test_conditions_that_can_be_checked_are_taken_as_they_are() -> None:
    text = with_conditions(condition(), condition(series="price", operator=">=", value=1.5, interval=None))
    outcome = judge(text, judgement())
    assert isinstance(outcome, Decision)
    assert outcome.conditions == (
        Condition("BTC", "rsi_14", "<", D(40), "4h"),
        Condition("BTC", "price", ">=", D("1.5"), None),
    )


def test_what_the_model_wrote_stands_beside_what_the_grid_made_of_it() -> None:
    outcome = judge(reply(reply_target(size=0.123456789, stop=95_000.26), ETH_FLAT), judgement())
    assert isinstance(outcome, Decision)
    btc, eth = outcome.targets
    assert (btc.target_size, btc.stop_loss) == (D("0.12345"), D("95000"))
    assert btc.answered is not None
    assert (btc.answered.target_size, btc.answered.stop_loss) == (D("0.123456789"), D("95000.26"))
    assert eth.answered is None


def test_a_decision_survives_the_codec() -> None:
    decision = judge(GOOD, judgement())
    assert isinstance(decision, Decision)
    record = DecisionRecord(CYCLE_MS, decision, None, None, CYCLE_MS)
    assert decode(DecisionRecord, encode(record)) == record
    assert isinstance(decision.targets[0].target_size, Decimal)


def test_the_documentation_names_exactly_the_rules_that_there_are() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    tried = {rule for _, rule in NOT_STRICT_JSON}
    tried |= {rule for _, rules in [*WRONG_SHAPES, *BROKEN_RULES] for rule in rules}
    tried |= {"not_an_object", "stop_beyond_liquidation", "symbol_delisted", "buying_power"}
    tried |= {"prior_plan_ignored", "kept_but_changed", "protection_below_minimum"}
    reasons = {"invalid_json", "violations", "model_unavailable", "model_answer"}
    reasons |= {refusal.reason for refusal in FINISH_REFUSALS.values()} | {PAUSED, CAPPED}
    assert sorted(documented) == sorted(tried | reasons)


def test_the_documented_reply_is_taken() -> None:
    example = DOCUMENTATION.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    assert isinstance(judge(example, judgement()), Decision)
