"""Volatility, rate of change, VWAP, Bollinger width, volume z-score: by definition, and in a halt."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indicator_samples import ENGINE, EVERY_COLUMN, flat, random_walk, real_candles

from wonttrade_dagster.core.indicators import BrokenCandlesError, IndicatorEngine
from wonttrade_dagster.core.model import FURTHER, USUAL_INDICATORS, IndicatorSetting
from wonttrade_dagster.core.rolling_indicators import bollinger_width

OTHER = replace(
    EVERY_COLUMN,
    volatility_bars=2,
    roc_bars=288,
    vwap_bars=100,
    bollinger_width_bars=7,
    volume_z_score_bars=50,
)
NAMES = {role: EVERY_COLUMN.names[role] for role in FURTHER}
Candle = dict[str, float]


def last(frame: pl.DataFrame) -> Candle:
    return {role: ENGINE.with_indicators(frame).row(-1, named=True)[name] for role, name in NAMES.items()}


# --- TA-Lib, where it has the function -------------------------------------------------------------


@pytest.mark.parametrize("setting", [EVERY_COLUMN, OTHER], ids=["usual", "other"])
@pytest.mark.parametrize("interval", ["5m", "4h"])
@pytest.mark.parametrize("symbol", ["BTC", "ETH", "SOL"])
def test_rate_of_change_and_bollinger_width_are_those_of_talib(
    symbol: str, interval: str, setting: IndicatorSetting
) -> None:
    talib = pytest.importorskip("talib", reason="the reference library has no wheel for this Python")
    frame = real_candles(interval, symbol)
    close = frame["close"].to_numpy()
    upper, middle, lower = talib.BBANDS(close, setting.bollinger_width_bars, 2.0, 2.0, 0)
    expected = {
        "roc": talib.ROC(close, setting.roc_bars),
        "bollinger_width": 100.0 * (upper - lower) / middle,
    }
    computed = IndicatorEngine(setting=setting).with_indicators(frame)
    for role, values in expected.items():
        ours = computed[setting.names[role]]
        assert ours.is_null().to_list() == np.isnan(values).tolist(), role
        np.testing.assert_allclose(ours.to_numpy(), values, rtol=0.0, atol=1e-9, err_msg=role)


@pytest.mark.parametrize("px", [1e-8, 1e-5, 3.5])
def test_the_width_of_a_cheap_coin_is_that_of_talib_as_well(px: float) -> None:
    talib = pytest.importorskip("talib", reason="the reference library has no wheel for this Python")
    close = random_walk(300, px=px)["close"]
    upper, middle, lower = talib.BBANDS(close.to_numpy(), 20, 2.0, 2.0, 0)
    expected = 100.0 * (upper - lower) / middle
    np.testing.assert_allclose(bollinger_width(close, 20).to_numpy(), expected, rtol=0.0, atol=1e-9)


# --- the definitions, in plain Python --------------------------------------------------------------

Window = Sequence[Candle]


def plain_volatility(window: Window) -> float:
    closes = [bar["close"] for bar in window]
    return 100.0 * statistics.stdev(math.log(b / a) for a, b in pairwise(closes))


def plain_vwap(window: Window) -> float | None:
    traded = math.fsum(bar["volume"] for bar in window)
    typical = (((bar["high"] + bar["low"] + bar["close"]) / 3.0, bar["volume"]) for bar in window)
    return math.fsum(px * volume for px, volume in typical) / traded if traded else None


def plain_z_score(window: Window) -> float | None:
    volumes = [bar["volume"] for bar in window]
    deviation = statistics.pstdev(volumes)
    return (volumes[-1] - statistics.fmean(volumes)) / deviation if deviation else None


PLAIN: dict[str, tuple[Callable[[Window], float | None], int]] = {
    "volatility": (plain_volatility, 1),
    "vwap": (plain_vwap, 0),
    "volume_z_score": (plain_z_score, 0),
}


@pytest.mark.parametrize("setting", [EVERY_COLUMN, OTHER], ids=["usual", "other"])
@pytest.mark.parametrize("interval", ["5m", "4h"])
def test_every_definition_holds_on_real_candles_from_the_first_value_on(
    interval: str, setting: IndicatorSetting
) -> None:
    frame = real_candles(interval)
    halt = frame.with_row_index().filter(pl.col("volume") == 0.0)["index"].to_list()
    computed, bars = IndicatorEngine(setting=setting).with_indicators(frame), frame.to_dicts()
    for role, (plain, beside) in PLAIN.items():
        column, length = computed[setting.names[role]], setting.further_bars(role) + beside
        assert column.null_count() == length - 1, role
        assert column.head(length - 1).null_count() == length - 1, role
        chosen = np.random.default_rng(5).integers(length - 1, frame.height, 300).tolist()
        for row in {length - 1, length, frame.height - 1, *chosen, *(h for h in halt if h >= length)}:
            expected = plain(bars[row + 1 - length : row + 1])
            scale = max(abs(expected or 0.0), 1.0)
            assert column[row] == pytest.approx(expected, abs=1e-9 * scale), (role, row)


# --- halts, flat series, broken candles ------------------------------------------------------------


def test_a_halt_has_no_movement_no_average_price_and_no_unusual_volume() -> None:
    assert last(flat(60)) == {
        "volatility": 0.0,
        "roc": 0.0,
        "vwap": None,
        "bollinger_width": 0.0,
        "volume_z_score": None,
    }


@given(px=st.floats(1e-6, 1e6), volume=st.floats(1e-8, 1e9), length=st.integers(2, 60))
@settings(max_examples=100, deadline=None)
def test_whatever_the_price_and_volume_that_never_change_are_rounding_is_no_movement(
    px: float, volume: float, length: int
) -> None:
    lengths = {f"{role}_bars": length for role in FURTHER}
    engine = IndicatorEngine(setting=replace(EVERY_COLUMN, **lengths))
    row = engine.with_indicators(flat(62, px, volume)).row(-1, named=True)
    found = {role: row[f"{role}_{length}"] for role in FURTHER}
    assert found["vwap"] == pytest.approx(px, rel=1e-12)
    assert (found["volatility"], found["roc"], found["bollinger_width"]) == (0.0, 0.0, 0.0)
    assert found["volume_z_score"] is None


def test_a_halt_inside_a_window_counts_as_bars_without_volume() -> None:
    frame = random_walk(60)
    halted = frame.with_columns(volume=pl.when(pl.int_range(pl.len()) >= 50).then(0.0).otherwise("volume"))
    traded = frame.slice(40, 10)
    found = last(halted)
    typical = (traded["high"] + traded["low"] + traded["close"]) / 3.0
    assert found["vwap"] == pytest.approx((typical * traded["volume"]).sum() / traded["volume"].sum())
    assert found["volume_z_score"] < 0.0


def test_the_halts_in_the_real_series_leave_every_column_with_a_value() -> None:
    frame = real_candles("5m")
    halted = ENGINE.with_indicators(frame).filter(pl.col("volume") == 0.0)
    assert halted.height >= 8
    assert halted.select(NAMES.values()).null_count().sum_horizontal().item() == 0
    assert halted["volume_z_score_20"].max() < 0.0


def test_a_close_of_nothing_is_refused_where_something_is_divided_by_it() -> None:
    frame = random_walk(60)
    broken = frame.with_columns(close=pl.when(pl.int_range(pl.len()) == 17).then(0.0).otherwise("close"))
    with pytest.raises(BrokenCandlesError, match="1 candles close at 0 or below"):
        ENGINE.with_indicators(broken)
    assert IndicatorEngine().with_indicators(broken).height == 60


# --- invariants ------------------------------------------------------------------------------------

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_the_average_price_lies_between_lowest_and_highest_and_the_score_within_its_bounds(
    seed: int, length: int
) -> None:
    setting = replace(EVERY_COLUMN, vwap_bars=length, volume_z_score_bars=length)
    frame = random_walk(90, seed=seed)
    computed = IndicatorEngine(setting=setting).with_indicators(frame).slice(length - 1)
    low, high = frame["low"].rolling_min(length), frame["high"].rolling_max(length)
    vwap, score = computed[f"vwap_{length}"], computed[f"volume_z_score_{length}"]
    assert (vwap >= low.slice(length - 1) * (1 - 1e-12)).all()
    assert (vwap <= high.slice(length - 1) * (1 + 1e-12)).all()
    assert score.abs().max() <= math.sqrt(length - 1) * (1 + 1e-9)


@given(seeds, st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_another_unit_of_price_changes_the_average_price_alone(seed: int, unit: float) -> None:
    frame = random_walk(60, seed=seed)
    scaled = frame.with_columns(pl.col("open", "high", "low", "close") * unit)
    here, there = last(frame), last(scaled)
    assert there.pop("vwap") == pytest.approx(here.pop("vwap") * unit)
    assert there == pytest.approx(here, rel=1e-6, abs=1e-9)


def test_a_template_that_shows_none_costs_none() -> None:
    assert USUAL_INDICATORS.further == ()
    assert not set(NAMES.values()) & set(IndicatorEngine().with_indicators(random_walk(60)).columns)
