"""Whatever the reply: what is taken obeys every rule, and no text crashes the judge."""

import json
from typing import Any

from decision_samples import GOOD
from hypothesis import given, settings
from hypothesis import strategies as st
from trader_samples import (
    CYCLE_MS,
    ETH_FLAT,
    FLAT,
    NO_PRIOR,
    D,
    account,
    judgement,
    long_and_short,
    position,
    prior,
    reply,
    reply_target,
)

from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.model import Decision, DecisionRecord, Refusal
from wonttrade_dagster.core.precision import is_valid_price

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
