"""The JSON block of a prompt is what JSON's own encoder makes of the same numbers."""

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wonttrade_dagster.core.prompt_text import decimal_json, texts_of

_DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**17), max_value=10**17)


@given(_DECIMALS)
@example(Decimal("0.00001"))
@example(Decimal("-0.0000123"))
@example(Decimal("1E+3"))
@example(Decimal("-0"))
@example(Decimal("112904.470"))
@example(Decimal("0.1234567890123456789"))
@example(Decimal("1234567890.123456789"))
def test_a_decimal_is_a_whole_number_or_the_nearest_float(value: Decimal) -> None:
    number = int(value) if value == value.to_integral_value() else float(value)
    assert decimal_json(value) == json.dumps(number)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-2, 2), st.integers(0, 9))
@example(-0.0004, 3)
@example(0.00006, 5)
@example(113360.0, 2)
@example(99999.999, 2)
@example(123456789.987654321, 9)
@example(1e22, 1)
@example(7.5, 0)
@example(-0.004, 2)
@example(0.00149, 3)
@example(-0.0999, 1)
@example(0.5, 3)
def test_a_float_is_the_shortest_text_of_what_it_is_rounded_to(value: float, decimals: int) -> None:
    assert texts_of(decimals).json(value) == json.dumps(round(value, decimals))


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        decimal_json(Decimal(text))
    with pytest.raises(ValueError, match="Out of range float"):
        texts_of(2).json(float(text.removeprefix("s")))


def test_nothing_is_null() -> None:
    assert decimal_json(None) == texts_of(2).json(None) == "null"
