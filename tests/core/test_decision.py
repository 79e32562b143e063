import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trader_samples import (
    CYCLE_MS,
    ETH_FLAT,
    FLAT,
    LIMITS,
    NO_PRIOR,
    D,
    account,
    judgement,
    long_and_short,
    market,
    position,
    prior,
    reply,
    reply_target,
    symbol_market,
    target,
)

from wonttrade_dagster.core.breaker import PAUSED
from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.llm_engine import FINISH_REFUSALS
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Condition,
    Decision,
    DecisionRecord,
    PriorDecision,
    PriorPlan,
    Refusal,
)
from wonttrade_dagster.core.precision import is_valid_price
from wonttrade_dagster.core.spending import CAPPED

GOOD = reply()
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "prompt.md"


def rules_of(text: str, inputs: JudgementInputs | None = None) -> list[str]:
    outcome = judge(text, inputs or judgement())
    return [v.rule for v in outcome.violations] if isinstance(outcome, Refusal) else []


def without(key: str, body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


def raw(field: str, literal: str) -> str:
    """A good reply in which one field of the first target is written as ``literal``."""
    return reply(reply_target(**{field: "@@"}), ETH_FLAT).replace('"@@"', literal)


# --- replies that are taken ------------------------------------------------------------------------


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


# --- replies that are not strict JSON --------------------------------------------------------------

NOT_STRICT_JSON: list[tuple[str, str]] = [
    ("", "reply_empty"),
    (" \n\t ", "reply_empty"),
    (" " * 100_001, "reply_too_long"),
    (reply(explanation="x" * 100_001), "reply_too_long"),
    ("x" * 10_000_000, "reply_too_long"),
    (f"```json\n{GOOD}\n```", "markdown_fence"),
    (f"```\n{GOOD}\n```", "markdown_fence"),
    (f"{GOOD}\n```", "markdown_fence"),
    (f"Here is my decision: {GOOD}", "prose_around_json"),
    (f"{GOOD} I hope this helps.", "text_after_json"),
    (f"{GOOD}{GOOD}", "text_after_json"),
    (f"{GOOD}\n{GOOD}", "text_after_json"),
    (f"{GOOD},", "text_after_json"),
    (f"{GOOD}}}", "text_after_json"),
    (GOOD[:-1], "truncated_json"),
    (GOOD[: len(GOOD) // 2], "truncated_json"),
    (GOOD[:14], "truncated_json"),
    ("{", "truncated_json"),
    (GOOD.replace('"prior_plan"', "prior_plan"), "malformed_json"),
    (GOOD.replace('"', "'"), "malformed_json"),
    (GOOD[:-1] + ",}", "malformed_json"),
    (GOOD.replace("null", "None"), "malformed_json"),
    (GOOD.replace("0.5", "+0.5"), "malformed_json"),
    (GOOD.replace("0.5", ".5"), "malformed_json"),
    (GOOD.replace("0.5", "0x5"), "malformed_json"),
    (GOOD.replace("0.5", "00.5"), "malformed_json"),
    (GOOD.replace("0.5", "1_000"), "malformed_json"),
    (GOOD.replace("0.5", "0,5"), "malformed_json"),
    (GOOD.replace('"e"', '"a\nb"'), "malformed_json"),
    (GOOD.replace('"e"', '"\\x41"'), "malformed_json"),
    (f"// decision\n{GOOD}", "prose_around_json"),
    (GOOD.replace('"e",', '"e", // why\n'), "malformed_json"),
    ("\ufeff" + GOOD, "prose_around_json"),
    ("\x00" + GOOD, "prose_around_json"),
    ("\ud800", "prose_around_json"),
    (GOOD.replace("0.5", "NaN"), "not_a_number"),
    (GOOD.replace("0.5", "Infinity"), "not_a_number"),
    (GOOD.replace("0.5", "-Infinity"), "not_a_number"),
    (GOOD[:-1] + ', "explanation": "again"}', "duplicate_key"),
    (GOOD.replace('"confidence"', '"target_size": 1, "confidence"', 1), "duplicate_key"),
    (GOOD[:-1] + ', "\\u0065xplanation": "again"}', "duplicate_key"),
    ("null", "prose_around_json"),
    ("42", "prose_around_json"),
    ('"sell"', "prose_around_json"),
    ("<html><body>Bad gateway</body></html>", "prose_around_json"),
    (f"[{GOOD}]", "not_an_object"),
    ("[]", "not_an_object"),
    ("[" * 50_000, "nesting_too_deep"),
    ('{"a":' * 19_000, "nesting_too_deep"),
]


@pytest.mark.parametrize(("text", "rule"), NOT_STRICT_JSON, ids=range(len(NOT_STRICT_JSON)))
def test_anything_but_one_strict_json_object_is_refused_and_never_salvaged(text: str, rule: str) -> None:
    # A bare literal parses, so only its kind is wrong.
    expected = {"null": "not_an_object", "42": "not_an_object", '"sell"': "not_an_object"}.get(text, rule)
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, [v.rule for v in outcome.violations]) == ("invalid_json", [expected])
    assert len(outcome.detail) < 300


# --- replies of another shape ----------------------------------------------------------------------

WRONG_SHAPES: list[tuple[str, list[str]]] = [
    ("{}", ["missing_key"] * 4),
    (json.dumps(without("explanation", json.loads(GOOD))), ["missing_key"]),
    (json.dumps(without("invalidation_condition", json.loads(GOOD))), ["missing_key"]),
    (json.dumps(without("prior_plan", json.loads(GOOD))), ["missing_key"]),
    (json.dumps(without("targets", json.loads(GOOD))), ["missing_key"]),
    (reply(without("stop_loss", reply_target()), ETH_FLAT), ["missing_key"]),
    (reply(reply_target(), without("take_profit", ETH_FLAT)), ["missing_key"]),
    (reply(without("confidence", reply_target()), ETH_FLAT), ["missing_key"]),
    (reply(without("rationale", reply_target()), ETH_FLAT), ["missing_key"]),
    (reply(without("symbol", reply_target()), ETH_FLAT), ["missing_key"]),
    (reply(orders=[]), ["unknown_key"]),
    (reply(reply_target(leverage=5), ETH_FLAT), ["unknown_key"]),
    (reply(reply_target(size="0.5"), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(size=None), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(size=True), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(size=[0.5]), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(stop="95000"), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(confidence="high"), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(confidence=None), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(rationale=None), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(symbol=1), ETH_FLAT), ["wrong_type"]),
    (reply(reply_target(margin="100"), ETH_FLAT), ["wrong_type"]),
    (reply(explanation=None), ["wrong_type"]),
    (reply(explanation=["a"]), ["wrong_type"]),
    (reply(targets={"BTC": 1}), ["wrong_type"]),
    (reply(targets=None), ["wrong_type"]),
    (reply(targets=["BTC", "ETH"]), ["wrong_type"] * 2),
    (reply(prior_plan="KEPT"), ["unknown_value"]),
    (reply(prior_plan=None), ["unknown_value"]),
    (reply(prior_plan="hold"), ["unknown_value"]),
    (reply(explanation="x" * 4_001), ["text_too_long"]),
    (reply(invalidation_condition="x" * 2_001), ["text_too_long"]),
    (reply(reply_target(rationale="x" * 2_001), ETH_FLAT), ["text_too_long"]),
    (reply(reply_target(symbol="B" * 65), ETH_FLAT), ["text_too_long"]),
    (reply(explanation=" \n"), ["text_empty"]),
    (reply(invalidation_condition=""), ["text_empty"]),
    (reply(explanation="\ud800"), ["broken_text"]),
    (reply(invalidation_condition="a\udfff"), ["broken_text"]),
    (reply(replaced_because="\ud83d"), ["broken_text"]),
    (reply(reply_target(rationale="\ud800\ud800"), ETH_FLAT), ["broken_text"]),
    (reply(reply_target(symbol="\ud800"), ETH_FLAT), ["broken_text"]),
    (raw("target_size", "1e308"), ["number_out_of_range"]),
    (raw("target_size", "-1e999999999999999999999"), ["number_out_of_range"]),
    (raw("target_size", "1e13"), ["number_out_of_range"]),
    (raw("target_size", "1e-400"), ["number_out_of_range"]),
    (raw("stop_loss", "9" * 5_000), ["number_out_of_range"]),
    (raw("take_profit", "0." + "1" * 60), ["number_out_of_range"]),
    (raw("confidence", "1e999"), ["number_out_of_range"]),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_SHAPES, ids=range(len(WRONG_SHAPES)))
def test_a_reply_of_another_shape_is_refused_with_every_place_named(text: str, expected: list[str]) -> None:
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, [v.rule for v in outcome.violations]) == ("violations", expected)
    assert all(v.path and v.detail for v in outcome.violations)


# --- replies that break a rule of trading ----------------------------------------------------------


def first(**changes: object) -> str:
    return reply(reply_target(**changes), ETH_FLAT)


BROKEN_RULES: list[tuple[str, list[str]]] = [
    (reply(reply_target("SOL"), ETH_FLAT), ["unknown_symbol", "missing_symbol"]),
    (reply(reply_target("btc"), ETH_FLAT), ["unknown_symbol", "missing_symbol"]),
    (reply(reply_target("BTC "), ETH_FLAT), ["unknown_symbol", "missing_symbol"]),
    (reply(reply_target("ВTC"), ETH_FLAT), ["unknown_symbol", "missing_symbol"]),  # a Cyrillic letter
    (reply(reply_target("BTC\u200b"), ETH_FLAT), ["unknown_symbol", "missing_symbol"]),
    (reply(reply_target(), reply_target(), ETH_FLAT), ["duplicate_symbol"]),
    (reply(reply_target(), ETH_FLAT, ETH_FLAT), ["duplicate_symbol"]),
    (reply(reply_target()), ["missing_symbol"]),
    (reply(targets=[]), ["missing_symbol", "missing_symbol"]),
    (reply(reply_target(), ETH_FLAT, reply_target("SOL")), ["unknown_symbol"]),
    (first(confidence=1.0001), ["confidence_out_of_range"]),
    (first(confidence=-0.1), ["confidence_out_of_range"]),
    (first(stop=None), ["missing_stop_loss"]),
    (first(take=None), ["missing_take_profit"]),
    (first(stop=None, take=None), ["missing_stop_loss", "missing_take_profit"]),
    (first(size=0), ["protection_on_flat", "protection_on_flat"]),
    (first(size=0, stop=None), ["protection_on_flat"]),
    (first(size=0, stop=None, take=None, margin=100), ["margin_on_flat"]),
    (first(size=0.000001), ["size_below_lot"]),
    (first(size=-0.000009, stop=110_000, take=95_000), ["size_below_lot"]),
    (first(size=0.00009), ["below_minimum_value"]),
    (first(stop=0), ["price_not_positive"]),
    (first(stop=-95_000), ["price_not_positive"]),
    (first(take=-1), ["price_not_positive"]),
    (first(stop=1e-9), ["price_not_positive"]),  # above 0, but the nearest tick is 0
    (first(size=-0.5, stop=110_000, take=0.04), ["price_not_positive"]),
    (first(stop=100_000), ["stop_loss_wrong_side"]),
    (first(stop=100_001), ["stop_loss_wrong_side"]),
    (first(stop=99_999.6), ["stop_loss_wrong_side"]),
    (first(take=100_000), ["take_profit_wrong_side"]),
    (first(take=90_000), ["take_profit_wrong_side"]),
    (first(size=-0.5), ["stop_loss_wrong_side", "take_profit_wrong_side"]),
    (first(stop=110_000, take=95_000), ["stop_loss_wrong_side", "take_profit_wrong_side"]),
    (first(size=0.60001), ["position_limit"]),
    (first(size=1.2), ["position_limit", "gross_exposure_limit"]),
    (first(size=1000), ["position_limit", "gross_exposure_limit", "buying_power"]),
    (first(size=999_999_999_999), ["position_limit", "gross_exposure_limit", "buying_power"]),
    (reply(reply_target(size=0.6), reply_target("ETH", 10.1, 3_900, 4_100)), ["gross_exposure_limit"]),
    (reply(reply_target(size=0.6), reply_target("ETH", -10.1, 4_100, 3_900)), ["gross_exposure_limit"]),
    (first(margin=4_999), ["leverage_limit"]),
    (first(margin=0), ["margin_not_positive"]),
    (first(margin=-5_000), ["margin_not_positive"]),
    (first(margin=1e-9), ["leverage_limit"]),
    (reply(prior_plan="kept"), ["prior_plan_without_prior"]),
    (
        reply(prior_plan="replaced", replaced_because="the stop was hit"),
        ["prior_plan_without_prior"],
    ),
    (reply(prior_plan="replaced"), ["prior_plan_without_prior", "replaced_because_missing"]),
    (reply(replaced_because="I changed my mind"), ["replaced_because_unexpected"]),
]


def with_conditions(*conditions: object) -> str:
    body = json.loads(GOOD)
    return json.dumps({**body, "conditions": list(conditions)})


def condition(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {"symbol": "BTC", "series": "rsi_14", "operator": "<", "value": 40}
    return {**made, "interval": "4h", **changes}


BROKEN_CONDITIONS: list[tuple[dict[str, object], str]] = [
    (condition(symbol="DOGE"), "condition_unknown_symbol"),
    (condition(series="rsi_21"), "condition_unknown_series"),
    (condition(series="__class__"), "condition_unknown_series"),
    (condition(operator="=="), "condition_unknown_operator"),
    (condition(interval="1h"), "condition_unknown_interval"),
    (condition(interval=None), "condition_unknown_interval"),
    (condition(series="price"), "condition_unknown_interval"),
    (condition(value="40"), "wrong_type"),
    (condition(value=None), "wrong_type"),
    (condition(because="x"), "unknown_key"),
]
BROKEN_RULES += [(with_conditions(bad), [rule]) for bad, rule in BROKEN_CONDITIONS]
BROKEN_RULES += [
    (with_conditions(*[condition()] * 21), ["too_many_conditions"]),
    (with_conditions("price < 1"), ["wrong_type"]),
    (with_conditions(condition(), condition(symbol="XRP"), condition(operator="!")),
     ["condition_unknown_symbol", "condition_unknown_operator"]),
]  # fmt: skip


def test_conditions_that_can_be_checked_are_taken_as_they_are() -> None:
    text = with_conditions(condition(), condition(series="price", operator=">=", value=1.5, interval=None))
    outcome = judge(text, judgement())
    assert isinstance(outcome, Decision)
    assert outcome.conditions == (
        Condition("BTC", "rsi_14", "<", D(40), "4h"),
        Condition("BTC", "price", ">=", D("1.5"), None),
    )


@pytest.mark.parametrize(("said", "kept"), [(None, 1), ([], 0)])
def test_a_plan_that_is_kept_without_a_word_on_its_conditions_keeps_them(
    said: list[object] | None, kept: int
) -> None:
    first = judge(with_conditions(condition()), judgement())
    assert isinstance(first, Decision)
    body = json.loads(GOOD) | {"prior_plan": "kept", "conditions": said}
    again = judge(json.dumps(body), judgement(prior=PriorDecision(first, CYCLE_MS)))
    assert isinstance(again, Decision), again
    assert len(again.conditions) == kept


def test_what_the_model_wrote_stands_beside_what_the_grid_made_of_it() -> None:
    outcome = judge(reply(reply_target(size=0.123456789, stop=95_000.26), ETH_FLAT), judgement())
    assert isinstance(outcome, Decision)
    btc, eth = outcome.targets
    assert (btc.target_size, btc.stop_loss) == (D("0.12345"), D("95000"))
    assert btc.answered is not None
    assert (btc.answered.target_size, btc.answered.stop_loss) == (D("0.123456789"), D("95000.26"))
    assert eth.answered is None


@pytest.mark.parametrize(("text", "expected"), BROKEN_RULES, ids=range(len(BROKEN_RULES)))
def test_a_broken_rule_refuses_the_reply_whole_and_is_named(text: str, expected: list[str]) -> None:
    assert rules_of(text) == expected


def test_every_violation_is_collected_not_just_the_first() -> None:
    text = reply(
        reply_target(confidence=2, stop=None, take=1),
        reply_target("ETH", 0.00001, -1, None),
        reply_target("DOGE"),
        prior_plan="kept",
    )
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    assert [(v.rule, v.path) for v in outcome.violations] == [
        ("unknown_symbol", "targets[2].symbol"),
        ("confidence_out_of_range", "targets[0].confidence"),
        ("missing_stop_loss", "targets[0].stop_loss"),
        ("take_profit_wrong_side", "targets[0].take_profit"),
        ("size_below_lot", "targets[1].target_size"),
        ("price_not_positive", "targets[1].stop_loss"),
        ("missing_take_profit", "targets[1].take_profit"),
        ("prior_plan_without_prior", "prior_plan"),
    ]
    assert outcome.detail.startswith("8 violations: ")


@pytest.mark.parametrize(
    ("size", "stop", "take", "liquidation", "expected"),
    [
        (0.5, 80_000, 110_000, "80000", ["stop_beyond_liquidation"]),
        (0.5, 79_000, 110_000, "80000", ["stop_beyond_liquidation"]),
        (0.5, 80_001, 110_000, "80000", []),
        (-0.5, 121_000, 90_000, "120000", ["stop_beyond_liquidation"]),
        (-0.5, 119_999, 90_000, "120000", []),
        (0.5, 79_000, 110_000, None, []),
    ],
)
def test_a_stop_stands_before_the_liquidation_price(
    size: float, stop: int, take: int, liquidation: str | None, expected: list[str]
) -> None:
    held = account(position(size=str(size), liquidation=liquidation))
    assert rules_of(first(size=size, stop=stop, take=take), judgement(held)) == expected


def test_the_liquidation_price_of_a_position_that_is_turned_round_does_not_bind() -> None:
    held = account(position(size="-0.5", liquidation="120000"))
    assert rules_of(first(), judgement(held)) == []


def test_a_delisted_symbol_can_only_be_reduced() -> None:
    gone = market(symbol_market(is_delisted=True), symbol_market("ETH", "4000", 4))
    held = account(position())
    assert rules_of(first(), judgement(snapshot=gone)) == ["symbol_delisted"]
    assert rules_of(first(size=0.25), judgement(held, snapshot=gone)) == []
    assert rules_of(first(size=-0.25, stop=110_000, take=95_000), judgement(held, snapshot=gone)) == [
        "symbol_delisted"
    ]


def test_the_allowed_leverage_is_the_lowest_of_limit_asset_and_tier() -> None:
    asset = symbol_market(max_leverage=40).asset
    assert allowed_leverage(asset, D(1_000), replace(LIMITS, max_leverage=50)) == 40
    assert allowed_leverage(asset, D(150_000_000), replace(LIMITS, max_leverage=50)) == 20
    assert allowed_leverage(asset, D(1_000), LIMITS) == 10
    assert allowed_leverage(replace(asset, margin_tiers=()), D(1_000), replace(LIMITS, max_leverage=50)) == 40


def test_the_mark_is_what_a_target_is_measured_against_and_the_mid_only_without_it() -> None:
    torn = replace(symbol_market(), mid_px=D(120_000))
    eth = symbol_market("ETH", "4000", 4)
    assert rules_of(first(), judgement(snapshot=market(torn, eth))) == []
    no_mark = replace(torn, mark_px=None)
    assert rules_of(first(), judgement(snapshot=market(no_mark, eth))) == ["take_profit_wrong_side"]


# --- the prior plan --------------------------------------------------------------------------------

SAME = [reply_target(), reply_target("ETH", -2, 4_300, 3_500)]


def test_a_kept_plan_repeats_the_last_applied_targets_on_the_grid() -> None:
    kept = reply(reply_target(size=0.500009, stop=95_000.3), SAME[1], prior_plan="kept")
    decision = judge(kept, judgement(long_and_short(), prior()))
    assert isinstance(decision, Decision)
    assert decision.prior_plan is PriorPlan.KEPT
    assert decision.targets[0].target_size == D("0.5")


@pytest.mark.parametrize(
    "changed",
    [
        [reply_target(size=0.49), SAME[1]],
        [reply_target(stop=95_001), SAME[1]],
        [SAME[0], reply_target("ETH", -2, 4_300, 3_499.9)],
        [SAME[0], ETH_FLAT],
    ],
)
def test_a_plan_that_was_changed_is_not_kept(changed: list[dict[str, Any]]) -> None:
    inputs = judgement(long_and_short(), prior())
    assert rules_of(reply(*changed, prior_plan="kept"), inputs) == ["kept_but_changed"]
    replaced = reply(*changed, prior_plan="replaced", replaced_because="it weakened")
    decision = judge(replaced, inputs)
    assert isinstance(decision, Decision)
    assert (decision.prior_plan, decision.replaced_because) == (PriorPlan.REPLACED, "it weakened")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prior_plan": "none"}, ["prior_plan_ignored"]),
        ({"prior_plan": "replaced"}, ["replaced_because_missing"]),
        ({"prior_plan": "replaced", "replaced_because": " \n"}, ["replaced_because_missing"]),
        ({"prior_plan": "kept", "replaced_because": "but also"}, ["replaced_because_unexpected"]),
    ],
)
def test_a_prior_plan_must_be_answered_for(changes: dict[str, str], expected: list[str]) -> None:
    assert rules_of(reply(*SAME, **changes), judgement(long_and_short(), prior())) == expected


def test_a_symbol_that_was_not_tracked_yet_was_flat() -> None:
    before = prior(target())
    inputs = judgement(long_and_short(), before)
    assert rules_of(reply(SAME[0], ETH_FLAT, prior_plan="kept"), inputs) == []
    assert rules_of(reply(*SAME, prior_plan="kept"), inputs) == ["kept_but_changed"]


# --- properties ------------------------------------------------------------------------------------

numbers = st.one_of(
    st.decimals("-2", "2", places=7),
    st.decimals("-200000", "200000", places=3),
    st.sampled_from([D(0), D("1e-12"), D("9e11"), D("0.00001"), D(100_000)]),
).map(float)
prices = st.one_of(st.none(), st.floats(1, 200_000), numbers)
targets = st.builds(
    reply_target,
    symbol=st.sampled_from(["BTC", "ETH", "BTC", "ETH", "SOL", ""]),
    size=numbers,
    stop=prices,
    take=prices,
    confidence=st.floats(-0.2, 1.2),
    margin=st.one_of(st.none(), st.none(), st.floats(-1, 100_000)),
)
accounts = st.sampled_from([FLAT, long_and_short(), account(position(size="-0.5", liquidation="120000"))])
priors = st.sampled_from([NO_PRIOR, prior()])


@settings(max_examples=300, deadline=None)
@given(st.lists(targets, max_size=3), st.sampled_from(["kept", "replaced", "none"]), accounts, priors)
def test_whatever_is_taken_obeys_every_rule(
    chosen: list[dict[str, Any]], plan: str, held: object, before: object
) -> None:
    because = "x" if plan == "replaced" else None
    inputs = judgement(held, before)
    outcome = judge(reply(targets=chosen, prior_plan=plan, replaced_because=because), inputs)
    if isinstance(outcome, Refusal):
        assert outcome.violations
        return
    assert_obeys(outcome, inputs)


@settings(max_examples=300, deadline=None)
@given(
    st.floats(0.0002, 0.59), st.floats(1, 99_000), st.floats(101_000, 900_000),
    st.floats(-2, 2), st.floats(100, 3_900), st.floats(4_100, 40_000),
)  # fmt: skip
def test_a_sane_reply_is_taken_and_lies_on_the_grid(
    size: float, low: float, high: float, eth: float, eth_low: float, eth_high: float
) -> None:
    second = reply_target("ETH", eth, eth_low, eth_high) if eth > 0 else None
    second = second or reply_target("ETH", eth, eth_high, eth_low)
    second = second if abs(eth) > 0.01 else ETH_FLAT
    inputs = judgement()
    outcome = judge(reply(reply_target(size=size, stop=low, take=high), second), inputs)
    legs_usd = [round(size - 5e-6, 5) * low]
    if second is not ETH_FLAT:
        legs_usd.append(round(abs(eth) - 5e-5, 4) * eth_low)
    # The venue takes no order below 10 USD, valued 10 % below its trigger: such a stop would not stand.
    if min(legs_usd) < 9.9:
        assert isinstance(outcome, Refusal)
    if min(legs_usd) < 11.3 and isinstance(outcome, Refusal):
        assert {v.rule for v in outcome.violations} == {"protection_below_minimum"}
        return
    assert isinstance(outcome, Decision), outcome
    assert abs(outcome.targets[0].target_size) <= D(repr(size))
    assert_obeys(outcome, inputs)


def assert_obeys(decision: Decision, inputs: JudgementInputs) -> None:
    assert [t.symbol for t in decision.targets] == [m.symbol for m in inputs.market.markets]
    gross = D(0)
    for made in decision.targets:
        symbol = inputs.market.market(made.symbol)
        decimals, px = symbol.asset.size_decimals, symbol.reference_px
        assert made.target_size == round(made.target_size, decimals)
        assert 0 <= made.confidence <= 1
        gross += abs(made.target_size) * px
        if made.target_size == 0:
            assert made.stop_loss is made.take_profit is made.margin_usd is None
            continue
        assert made.stop_loss is not None
        assert made.take_profit is not None
        assert is_valid_price(made.stop_loss, decimals)
        assert is_valid_price(made.take_profit, decimals)
        long = made.target_size > 0
        assert (made.stop_loss < px < made.take_profit) if long else (made.take_profit < px < made.stop_loss)
        assert abs(made.target_size) * px <= inputs.limits.max_position_usd
        at_least_ten = abs(made.target_size) * px >= 10
        assert at_least_ten or made.target_size == inputs.account.size_base(made.symbol)
    assert gross <= inputs.limits.max_gross_exposure_usd


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | json_values.map(json.dumps))
def test_no_text_crashes_the_judge(text: str) -> None:
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    record = DecisionRecord(CYCLE_MS, outcome, None, None, CYCLE_MS)
    assert decode(DecisionRecord, encode(record)).outcome == outcome


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_one_changed_character_never_crashes_and_never_breaks_a_rule(at: int, char: str) -> None:
    outcome = judge(GOOD[:at] + char + GOOD[at + 1 :], judgement())
    if isinstance(outcome, Decision):
        assert_obeys(outcome, judgement())


@pytest.mark.parametrize("cut", [str.upper, str.lower, str.title])
def test_keys_and_values_are_case_sensitive(cut: Callable[[str], str]) -> None:
    assert isinstance(judge(cut(GOOD), judgement()), Refusal)


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
