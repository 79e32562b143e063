from decimal import Decimal

import pytest
from hyperliquid.utils.signing import float_to_wire
from hypothesis import given
from hypothesis import strategies as st

from wonttrade_dagster.core.precision import (
    PriceRounding,
    floor_size,
    is_below_minimum,
    is_valid_price,
    is_valid_size,
    marketable_px,
    round_price,
    tick_px,
    trigger_limit_px,
    wire,
)

size_decimals = st.integers(0, 5)
prices = st.decimals("0.00001", "999999", places=8).filter(lambda px: px > 0)
sizes = st.decimals("-100000", "100000", places=9)


@pytest.mark.parametrize(
    ("px", "decimals", "valid"),
    [
        ("123456", 0, True),
        ("12345.6", 0, False),
        ("1234.5", 5, True),
        ("1234.56", 0, False),
        ("0.001234", 0, True),
        ("0.0012345", 0, False),
        ("0.01234", 1, True),
        ("0.012345", 1, False),
        ("100000.5", 5, False),
        ("0", 5, False),
        ("-1", 5, False),
        ("NaN", 5, False),
    ],
)
def test_the_venues_own_examples_of_ticks(px: str, decimals: int, valid: bool) -> None:
    assert is_valid_price(Decimal(px), decimals) is valid


@given(prices, size_decimals, st.sampled_from(PriceRounding))
def test_a_rounded_price_is_valid_near_and_on_the_asked_side(
    px: Decimal, decimals: int, rounding: PriceRounding
) -> None:
    rounded = round_price(px, decimals, rounding)
    assert rounded == 0 or is_valid_price(rounded, decimals)
    assert abs(rounded - px) <= tick_px(px, decimals)
    assert rounding is not PriceRounding.UP or rounded >= px
    assert rounding is not PriceRounding.DOWN or rounded <= px


@given(prices, size_decimals)
def test_what_is_on_the_grid_stays_where_it_is(px: Decimal, decimals: int) -> None:
    once = round_price(px, decimals, PriceRounding.UP)
    assert all(round_price(once, decimals, rounding) == once for rounding in PriceRounding)


@given(sizes, size_decimals)
def test_a_size_is_never_rounded_up(size: Decimal, decimals: int) -> None:
    floored = floor_size(size, decimals)
    assert abs(floored) <= abs(size)
    assert floored == 0 or (floored > 0) == (size > 0)
    assert floored == 0 or is_valid_size(abs(floored), decimals)


@given(prices, size_decimals, st.booleans(), st.decimals("0", "1000", places=2))
def test_a_market_limit_lies_past_the_reference_and_on_the_grid(
    px: Decimal, decimals: int, is_buy: bool, slippage_bps: Decimal
) -> None:
    limit = marketable_px(px, decimals, is_buy=is_buy, slippage_bps=slippage_bps)
    asked = px * (1 + (slippage_bps if is_buy else -slippage_bps) / 10_000)
    assert is_valid_price(limit, decimals)
    assert limit >= asked if is_buy else limit <= max(asked, tick_px(asked, decimals))


@given(prices, size_decimals, st.booleans())
def test_a_trigger_limit_is_never_on_the_wrong_side_of_its_trigger(
    px: Decimal, decimals: int, is_buy: bool
) -> None:
    trigger = max(round_price(px, decimals, PriceRounding.NEAREST), tick_px(px, decimals))
    limit = trigger_limit_px(trigger, decimals, is_buy=is_buy)
    assert is_valid_price(limit, decimals)
    assert limit >= trigger if is_buy else limit <= trigger


@given(prices, sizes, size_decimals)
def test_the_sdk_sends_the_digits_that_were_meant(px: Decimal, size: Decimal, decimals: int) -> None:
    for value in (round_price(px, decimals, PriceRounding.UP), abs(floor_size(size, decimals))):
        assert float_to_wire(float(value)) == wire(value)


@pytest.mark.parametrize("px", ["0", "-3", "NaN", "Infinity"])
def test_a_price_that_is_none_is_refused(px: str) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        round_price(Decimal(px), 2, PriceRounding.UP)


def test_a_slippage_that_eats_the_price_is_refused() -> None:
    with pytest.raises(ValueError, match="eats all of it"):
        marketable_px(Decimal(5), 2, is_buy=False, slippage_bps=Decimal(10_000))


def test_ten_dollars_are_enough_and_a_cent_less_is_not() -> None:
    assert not is_below_minimum(Decimal("-0.1"), Decimal(100))
    assert is_below_minimum(Decimal("0.1"), Decimal("99.9"))


@pytest.mark.parametrize(
    ("value", "text"), [("-0.0", "0"), ("0E+3", "0"), ("1100.0", "1100"), ("1E+3", "1000"), ("0.50", "0.5")]
)
def test_wire_text_has_no_exponent_and_no_trailing_zero(value: str, text: str) -> None:
    assert wire(Decimal(value)) == text
