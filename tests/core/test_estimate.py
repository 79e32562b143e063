"""What a backtest is expected to cost: by hand, and what is unknown stays unknown."""

from decimal import Decimal

import pytest

from wonttrade_dagster.core.estimate import CHARACTERS_PER_TOKEN, Pace, estimate_of, sample_of
from wonttrade_dagster.core.model import ModelPrice

PRICE = ModelPrice(Decimal(2), Decimal(1), Decimal(10))


def test_the_estimate_is_calls_times_tokens_times_price() -> None:
    """100 calls of 2,000 tokens (5,000 characters) and 300 back: 0.2 M × 2 + 0.03 M × 10 = 0.70 USD."""
    assert CHARACTERS_PER_TOKEN == 2.5
    found = estimate_of([25] * 4, 2, [4_000, 6_000], Pace(1_500.0, 300.0, "of backtest x"), PRICE, 2)
    assert (found.calls, found.prompt_tokens, found.reply_tokens) == (100, 200_000, 30_000)
    assert found.cost_usd == Decimal("0.70")
    assert found.seconds == 2 * 25 * 1.5
    words = dict(found.rows)
    assert "0.70 USD" in words["cost"]
    assert "1.50 s a call (of backtest x), 2 windows at a time" in words["time"]
    assert "200,000 (2 prompts rendered" in words["tokens in"]


def test_what_nobody_knows_is_said_and_never_zero() -> None:
    found = estimate_of([96], 4, [5_000], Pace(), None, 2)
    assert (found.cost_usd, found.seconds) == (None, None)
    assert found.side_by_side == 1
    words = dict(found.rows)
    assert "llm.prices names no price" in words["cost"]
    assert "no call of this model was recorded" in words["time"]
    assert "assumed" in words["tokens out"]
    blind = estimate_of([96], 1, [], Pace(), PRICE, 2)
    assert (blind.prompt_tokens, blind.cost_usd) == (None, None)
    assert "unknown" in blind.text


@pytest.mark.parametrize(("cap", "is_refused"), [(None, False), ("0.70", False), ("0.69", True)])
def test_only_an_estimate_above_the_cap_is_refused(cap: str | None, is_refused: bool) -> None:
    found = estimate_of([100], 1, [5_000], Pace(None, 300.0, "x"), PRICE, 2)
    why = found.above(None if cap is None else Decimal(cap))
    assert (why is not None) == is_refused
    if why:
        assert why == (
            "the 100 calls would cost about 0.70 USD by estimate, more than backtest.max_usd (0.69): "
            "raise it, or choose fewer days or a longer cadence"
        )
    assert estimate_of([100], 1, [5_000], Pace(), None, 2).above(Decimal("0.01")) is None


def test_first_middle_and_last_are_sampled_once_each() -> None:
    assert sample_of(range(0, 100, 10)) == (0, 50, 90)
    assert sample_of([7]) == (7,)
    assert sample_of([]) == ()
