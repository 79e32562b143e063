from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trader_samples import D, builder, context_inputs, market, symbol_market

from wonttrade_dagster.core.invalidation import (
    OPERATORS,
    WINDOW_SERIES,
    fired,
    problem_with,
    readings,
    sentence,
)
from wonttrade_dagster.core.model import Condition

INPUTS = context_inputs(snapshot=market(symbol_market(), symbol_market("ETH", "4000", 4)))


def held(*conditions: Condition) -> list[bool | None]:
    return [reading.holds for reading in readings(conditions, INPUTS.market, INPUTS.indicators)]


@pytest.mark.parametrize("interval", ["5m", "4h"])
@pytest.mark.parametrize("series", WINDOW_SERIES)
def test_a_windowed_series_is_read_at_its_newest_closed_bar(series: str, interval: str) -> None:
    windows = INPUTS.indicators.of("BTC")
    newest = (windows.intraday if interval == "5m" else windows.long_term).newest(series)
    (reading,) = readings((Condition("BTC", series, ">", D(0), interval),), INPUTS.market, INPUTS.indicators)
    assert reading.value == newest
    assert reading.holds is (newest > 0)


def test_price_is_the_reference_price_and_needs_no_interval() -> None:
    price = INPUTS.market.market("BTC").reference_px
    at, above = Condition("BTC", "price", ">=", price), Condition("BTC", "price", ">", price)
    assert held(at, above) == [True, False]
    assert fired(readings((above, at, at), INPUTS.market, INPUTS.indicators)) == (2, 3)


def test_funding_is_compared_in_the_percent_that_the_prompt_prints() -> None:
    market = replace(INPUTS.market.market("BTC"), funding_rate_hourly=0.0000125)
    snapshot = replace(INPUTS.market, markets=(market, *INPUTS.market.markets[1:]))
    printed = "0.001250%"
    assert f"funding +{printed} per hour" in builder().build(replace(INPUTS, market=snapshot)).user
    at = Condition("BTC", "funding_hourly", ">=", D(printed.strip("%")))
    above = replace(at, operator=">")
    assert [r.holds for r in readings((at, above), snapshot, INPUTS.indicators)] == [True, False]


def test_what_is_not_known_neither_holds_nor_fails() -> None:
    history = context_inputs(snapshot=market(symbol_market(mark=False)))
    unknown = (
        Condition("BTC", "open_interest", ">", D(0)),
        Condition("DOGE", "price", ">", D(0)),
        Condition("BTC", "rsi_14", ">", D(0), "1h"),
    )
    found = readings(unknown, history.market, history.indicators)
    assert [(r.value, r.holds) for r in found] == [(None, None)] * 3
    assert fired(found) == ()


def test_a_condition_is_told_in_one_line() -> None:
    assert sentence(Condition("BTC", "rsi_14", "<", D("40.50"), "4h")) == "BTC rsi_14 (4h) < 40.5"
    assert sentence(Condition("BTC", "price", ">=", D("1E+5"))) == "BTC price >= 100000"


@given(
    st.builds(
        Condition,
        st.sampled_from(["BTC", "ETH", "btc", ""]) | st.text(max_size=5),
        st.sampled_from(["price", "rsi_14", "close", "macd", "funding_hourly"]) | st.text(max_size=8),
        st.sampled_from(sorted(OPERATORS)) | st.text(max_size=2),
        st.decimals("-1E12", "1E12", places=6) | st.just(Decimal(0)),
        st.none() | st.sampled_from(["5m", "4h", "1h", ""]),
    )
)
def test_whatever_passes_the_judgement_can_be_read_and_nothing_raises(condition: Condition) -> None:
    (reading,) = readings((condition,), INPUTS.market, INPUTS.indicators)
    if problem_with(condition, INPUTS.market) is not None:
        assert reading.holds is None
    else:
        assert reading.holds is OPERATORS[condition.operator](reading.value, float(condition.value))
