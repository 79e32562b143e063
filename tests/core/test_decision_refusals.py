"""Replies that are refused: not strict JSON, another shape, a broken rule of trading; whole and by name."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from decision_samples import BROKEN_RULES, GOOD, NOT_STRICT_JSON, WRONG_SHAPES, first, rules_of
from trader_samples import LIMITS, D, account, judgement, market, position, reply, reply_target, symbol_market

from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.model import Refusal


@pytest.mark.parametrize(("text", "rule"), NOT_STRICT_JSON, ids=range(len(NOT_STRICT_JSON)))
def test_anything_but_one_strict_json_object_is_refused_and_never_salvaged(text: str, rule: str) -> None:
    # A bare literal parses, so only its kind is wrong.
    expected = {"null": "not_an_object", "42": "not_an_object", '"sell"': "not_an_object"}.get(text, rule)
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, [v.rule for v in outcome.violations]) == ("invalid_json", [expected])
    assert len(outcome.detail) < 300


@pytest.mark.parametrize(("text", "expected"), WRONG_SHAPES, ids=range(len(WRONG_SHAPES)))
def test_a_reply_of_another_shape_is_refused_with_every_place_named(text: str, expected: list[str]) -> None:
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, [v.rule for v in outcome.violations]) == ("violations", expected)
    assert all(v.path and v.detail for v in outcome.violations)


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


@pytest.mark.parametrize("cut", [str.upper, str.lower, str.title])
def test_keys_and_values_are_case_sensitive(cut: Callable[[str], str]) -> None:
    assert isinstance(judge(cut(GOOD), judgement()), Refusal)
