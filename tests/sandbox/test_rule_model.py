"""The loopback stand-in for a model: whatever the prompt holds, the reply can be judged."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_samples import Json

from tests.core.trader_samples import (
    CYCLE_MS,
    account,
    builder,
    context_inputs,
    market,
    position,
    prior,
    symbol_market,
    target,
)
from tests.core.trader_samples import LIMITS as SAMPLE_LIMITS
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.model import Decision, PriorDecision, PriorPlan
from wonttrade_dagster.core.precision import floor_size, is_valid_price, lot_base, tick_px
from wonttrade_dagster.core.reply import Reply, parse_reply
from wonttrade_dagster.sandbox.rule_model import DISCLOSURE, reply_text

LIMITS = {"max_position_usd": 5000, "max_gross_exposure_usd": 8000, "max_leverage": 5}


def prompt(block: dict[str, Any]) -> str:
    return f"Old text.\n```json\n{{}}\n```\nData:\n```json\n{json.dumps(block)}\n```\nAnswer."


def answer(block: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(reply_text(prompt(block)))
    return reply


def facts(px: float = 80_000.0, *, ema_20: float = 101.0, ema_50: float = 100.0, atr: float = 200.0) -> Json:
    windows = {"ema_20": ema_20, "ema_50": ema_50, "macd": 1.0, "rsi_14": 50.0, "atr_14": atr}
    tick = float(tick_px(Decimal(str(px)), 5))
    grid = {"tick": tick, "lot": 0.00001, "size_decimals": 5, "min_value_usd": 10}
    return {"price": px, "mark": px, **grid, "max_leverage": 40, "position": 0.0, "intraday": windows}


def scene(**symbols: Json) -> dict[str, Any]:
    account = {"value_usd": 10_000.0, "free_margin_usd": 10_000.0}
    return {
        "cycle": "2026-11-23-12:03",
        "symbols": symbols,
        "account": account,
        "limits": LIMITS,
        "prior": None,
    }


def with_prior(block: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    names = ("symbol", "target_size", "stop_loss", "take_profit")
    return block | {"prior": {"targets": [{n: t[n] for n in names} for t in reply["targets"]]}}


numbers = st.one_of(
    st.none(),
    st.floats(min_value=-1e6, max_value=1e6, allow_nan=False),
    st.integers(-10, 10**7),
    st.just("text"),
    st.booleans(),
)
window = st.fixed_dictionaries({}, optional=dict.fromkeys(("ema_20", "ema_50", "macd", "atr_14"), numbers))
symbol_facts = st.fixed_dictionaries(
    {},
    optional={
        "price": numbers,
        "mark": numbers,
        "tick": st.one_of(numbers, st.sampled_from([0.1, 0.01, 1, 1e-6])),
        "lot": numbers,
        "size_decimals": st.one_of(numbers, st.integers(0, 5)),
        "min_value_usd": numbers,
        "intraday": st.one_of(st.none(), window),
    },
)
blocks = st.fixed_dictionaries(
    {"symbols": st.dictionaries(st.sampled_from(["BTC", "ETH", "SOL"]), symbol_facts, max_size=3)},
    optional={
        "account": st.one_of(st.none(), st.fixed_dictionaries({"value_usd": numbers})),
        "limits": st.one_of(st.none(), st.dictionaries(st.sampled_from(list(LIMITS)), numbers)),
        "prior": st.one_of(
            st.none(),
            st.fixed_dictionaries({"targets": st.lists(st.one_of(st.just({}), st.just({"symbol": "BTC"})))}),
        ),
    },
)


@given(blocks)
def test_any_block_gets_a_reply_that_the_judgement_can_read(block: dict[str, Any]) -> None:
    reply = parse_reply(reply_text(prompt(block)))
    assert isinstance(reply, Reply), reply
    assert [target.symbol for target in reply.targets] == list(block["symbols"])
    for row in reply.targets:
        is_flat = row.target_size == 0
        assert (row.stop_loss is None) == (row.take_profit is None) == is_flat


prices = st.sampled_from([0.00123, 0.38, 3.7, 149.5, 2443.5, 80_000.0, 123_456.0])


@given(prices, st.floats(0.00001, 0.2), st.booleans(), st.integers(0, 5))
def test_targets_lie_on_the_grid_within_the_limits_and_on_the_right_side(
    px: float, volatility: float, is_up: bool, decimals: int
) -> None:
    decimals = min(decimals, 2) if px < 1 else decimals
    found = facts(px, ema_20=101.0 if is_up else 99.0, atr=px * volatility)
    found |= {"tick": float(tick_px(Decimal(str(px)), decimals)), "size_decimals": decimals}
    target = answer(scene(BTC=found, ETH=facts()))["targets"][0]
    size, price = Decimal(str(target["target_size"])), Decimal(str(px))
    if not size:
        assert lot_base(decimals) * price > 12 or price < Decimal("0.01")
        return
    assert (size > 0) == is_up
    assert floor_size(size, decimals) == size
    assert abs(size) * price <= 4000
    low, high = sorted(Decimal(str(target[name])) for name in ("stop_loss", "take_profit"))
    assert low <= price * Decimal("0.998")
    assert high >= price * Decimal("1.002")
    assert is_valid_price(low, decimals)
    assert is_valid_price(high, decimals)


def test_a_plan_is_kept_and_repeated_exactly_while_side_and_price_allow() -> None:
    block = scene(BTC=facts(), ETH=facts(2443.5, ema_20=99.0, atr=12.0))
    first = answer(block)
    assert first["prior_plan"] == "none"
    assert [target["target_size"] > 0 for target in first["targets"]] == [True, False]
    moved = with_prior(scene(BTC=facts(80_100.0), ETH=facts(2440.0, ema_20=98.0, atr=9.0)), first)
    second = answer(moved)
    assert second["prior_plan"] == "kept"
    assert second["replaced_because"] is None
    for name in ("target_size", "stop_loss", "take_profit"):
        assert [t[name] for t in second["targets"]] == [t[name] for t in first["targets"]]


def test_a_plan_is_replaced_with_a_reason_when_the_trend_turns_or_an_exit_is_reached() -> None:
    first = answer(scene(BTC=facts()))
    turned = answer(with_prior(scene(BTC=facts(ema_20=99.0)), first))
    assert turned["prior_plan"] == "replaced"
    assert "BTC" in turned["replaced_because"]
    assert turned["targets"][0]["target_size"] < 0
    stopped = answer(with_prior(scene(BTC=facts(79_000.0)), first))
    assert stopped["prior_plan"] == "replaced"
    assert stopped["targets"][0]["stop_loss"] < 79_000


def test_a_flat_plan_is_kept_while_nothing_can_be_traded() -> None:
    block = scene(BTC={"price": None})
    first = answer(block)
    assert first["targets"][0]["target_size"] == 0
    assert answer(with_prior(block, first))["prior_plan"] == "kept"


def test_a_prior_plan_is_never_passed_over_in_silence() -> None:
    assert answer(scene(BTC=facts()) | {"prior": {"targets": []}})["prior_plan"] == "replaced"


def test_a_prompt_without_a_block_is_answered_honestly() -> None:
    reply = json.loads(reply_text("Good morning"))
    assert DISCLOSURE in reply["explanation"]
    assert reply["targets"] == []


def test_the_last_block_counts_and_text_of_a_model_before_it_does_not() -> None:
    evil = prompt(scene(DOGE=facts()))
    assert json.loads(reply_text(evil + prompt(scene(BTC=facts()))))["targets"][0]["symbol"] == "BTC"


HELD = st.sampled_from(["0", "0.02", "-0.05"])
LEVELS = st.sampled_from(["100", "4000", "61000.5", "100000"])


@settings(max_examples=25, deadline=None)
@given(px=LEVELS, held=HELD, has_prior=st.booleans(), has_mark=st.booleans())
def test_the_reply_to_the_real_prompt_is_taken_whole(
    px: str, held: str, has_prior: bool, has_mark: bool
) -> None:
    snapshot = market(symbol_market(px=px, mark=has_mark), symbol_market("ETH", "4000", 4, max_leverage=25))
    holding = () if held == "0" else (position(size=held, entry=px, liquidation=None),)
    before = prior(target("BTC"), target("ETH", "0", None, None)) if has_prior else PriorDecision(None, None)
    inputs = context_inputs(account(*holding), before, snapshot=snapshot)
    sent = builder().build(inputs)
    found = judge(reply_text(sent.user), JudgementInputs(snapshot, inputs.account, before, SAMPLE_LIMITS))
    assert isinstance(found, Decision), found
    again = replace(inputs, prior=PriorDecision(found, CYCLE_MS))
    kept = judge(
        reply_text(builder().build(again).user),
        JudgementInputs(snapshot, inputs.account, again.prior, SAMPLE_LIMITS),
    )
    assert isinstance(kept, Decision), kept
    assert kept.prior_plan is PriorPlan.KEPT
    assert [t.target_size for t in kept.targets] == [t.target_size for t in found.targets]
