"""Replies to judge: how one is written and spoiled, and tables of broken ones with the rules they break."""

import json
from typing import Any

from trader_samples import ETH_FLAT, judgement, reply, reply_target

from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.model import Refusal

GOOD = reply()


def rules_of(text: str, inputs: JudgementInputs | None = None) -> list[str]:
    outcome = judge(text, inputs or judgement())
    return [v.rule for v in outcome.violations] if isinstance(outcome, Refusal) else []


def without(key: str, body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


def raw(field: str, literal: str) -> str:
    """A good reply in which one field of the first target is written as ``literal``."""
    return reply(reply_target(**{field: "@@"}), ETH_FLAT).replace('"@@"', literal)


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
