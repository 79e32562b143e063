from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from wonttrade_dagster.core.candles import (
    aggregate_candles,
    closed_at,
    day_volume_usd,
    interval_ms,
    missing_open_times,
)
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import CANDLE_SCHEMA

FIVE_MINUTES = 300_000
HOUR = 3_600_000


def five_minute_bars(first_ms: int, count: int) -> pl.DataFrame:
    rows = [
        (first_ms + i * FIVE_MINUTES, 10.0 + i, 12.0 + i, 9.0 + i, 11.0 + i, 1.0 + i) for i in range(count)
    ]
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def test_an_interval_has_the_venues_name_and_a_length() -> None:
    assert interval_ms("5m") == FIVE_MINUTES
    assert interval_ms("4h") == 4 * HOUR
    assert interval_ms("1w") == 7 * 24 * HOUR


@pytest.mark.parametrize("interval", ["", "7m", "1M", "5", "5M"])
def test_an_unknown_interval_names_the_known_ones(interval: str) -> None:
    with pytest.raises(ConfigurationError, match="1m, 3m, 5m"):
        interval_ms(interval)


def test_an_hour_of_five_minute_bars_becomes_one_bar() -> None:
    bars = five_minute_bars(10 * HOUR, 12)
    assert aggregate_candles(bars, "1h", "5m").rows() == [(10 * HOUR, 10.0, 23.0, 9.0, 22.0, 78.0)]


def test_an_hour_with_a_missing_bar_is_left_out_unless_asked_for() -> None:
    bars = five_minute_bars(10 * HOUR, 30)
    holed = bars.filter(pl.col("open_time_ms") != 10 * HOUR + FIVE_MINUTES)
    assert aggregate_candles(holed, "1h", "5m")["open_time_ms"].to_list() == [11 * HOUR]
    partial = aggregate_candles(holed, "1h", "5m", include_partial=True)
    assert partial["open_time_ms"].to_list() == [10 * HOUR, 11 * HOUR, 12 * HOUR]


def test_aggregation_in_two_steps_equals_one_step() -> None:
    bars = five_minute_bars(0, 2_000)
    hours = aggregate_candles(bars, "1h", "5m")
    assert_frame_equal(aggregate_candles(hours, "4h", "1h"), aggregate_candles(bars, "4h", "5m"))
    assert dict(hours.schema) == dict(CANDLE_SCHEMA)


def test_aggregation_to_the_same_interval_changes_nothing() -> None:
    bars = five_minute_bars(0, 7)
    assert_frame_equal(aggregate_candles(bars, "5m", "5m"), bars)


@pytest.mark.parametrize(("to_interval", "from_interval"), [("5m", "1h"), ("5m", "3m")])
def test_bars_that_do_not_fit_into_each_other_are_refused(to_interval: str, from_interval: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be built"):
        aggregate_candles(five_minute_bars(0, 3), to_interval, from_interval)


@given(st.integers(2, 60), st.data())
def test_exactly_the_removed_bars_are_missing(count: int, data: st.DataObject) -> None:
    removed = data.draw(st.sets(st.integers(1, count - 1)).filter(lambda s: count - 1 not in s))
    bars = five_minute_bars(HOUR, count)
    holed = bars.filter(~pl.int_range(pl.len()).is_in(sorted(removed)))
    assert missing_open_times(holed, "5m") == [HOUR + i * FIVE_MINUTES for i in sorted(removed)]


def test_no_bars_miss_nothing() -> None:
    assert missing_open_times(five_minute_bars(0, 0), "5m") == []


@given(st.integers(-2 * FIVE_MINUTES, 25 * FIVE_MINUTES), st.integers(0, 30))
def test_only_bars_that_had_closed_are_seen(cycle_ms: int, bars: int) -> None:
    frame = five_minute_bars(0, 20)
    seen = closed_at(frame, "5m", cycle_ms, bars)
    closed = frame.filter(pl.col("open_time_ms") + FIVE_MINUTES <= cycle_ms)
    assert_frame_equal(seen, closed.tail(bars))


def test_a_bar_that_closes_at_the_cycle_time_is_seen() -> None:
    seen = closed_at(five_minute_bars(0, 3), "5m", 2 * FIVE_MINUTES, 1)
    assert seen["open_time_ms"].to_list() == [FIVE_MINUTES]


@given(st.lists(st.decimals(0, 5_000, places=5), min_size=48, max_size=48))
def test_volumes_of_the_venues_lots_add_up_to_the_very_float_that_the_venue_would_print(
    volumes: list[Decimal],
) -> None:
    bars = five_minute_bars(0, 48).with_columns(volume=pl.Series([float(volume) for volume in volumes]))
    assert aggregate_candles(bars, "4h", "5m")["volume"].to_list() == [float(sum(volumes))]
    hours = aggregate_candles(bars, "1h", "5m")
    assert aggregate_candles(hours, "4h", "1h")["volume"].to_list() == [float(sum(volumes))]


@pytest.mark.parametrize("volumes", [[1e10 + 1, 1e10 + 1], [1e-9, 3e-9], [9e15, 2.0], [0.1 + 1e-12, 0.2]])
def test_volumes_that_are_no_lots_are_summed_as_they_are(volumes: list[float]) -> None:
    bars = five_minute_bars(0, 2).with_columns(volume=pl.Series(volumes))
    made = aggregate_candles(bars, "15m", "5m", include_partial=True)
    assert made["volume"].to_list() == [volumes[0] + volumes[1]]


def test_the_volume_of_a_day_is_that_of_its_bars_and_absent_where_they_are_fewer() -> None:
    bars = five_minute_bars(0, 300)
    last = bars.tail(288)
    by_hand = sum(v * c for v, c in zip(last["volume"], last["close"], strict=True))
    assert day_volume_usd(bars, "5m") == pytest.approx(by_hand, rel=1e-12)
    assert day_volume_usd(bars.head(287), "5m") is None
    assert day_volume_usd(bars, "1m") is None
    assert day_volume_usd(bars, "1w") is None


def test_the_volume_of_a_day_does_not_depend_on_how_the_bars_lie_in_memory() -> None:
    rng = np.random.default_rng(3)
    bars = five_minute_bars(0, 700).with_columns(volume=pl.Series(rng.uniform(0, 9, 700)))
    pieces = pl.concat([bars.head(401), bars.slice(401, 13), bars.tail(286)], rechunk=False)
    assert pieces["volume"].n_chunks() == 3
    assert day_volume_usd(pieces, "5m") == day_volume_usd(bars.tail(288).clone(), "5m")
