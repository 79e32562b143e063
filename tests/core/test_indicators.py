import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indicator_samples import ENGINE, EVERY_COLUMN, flat, random_walk, real_candles
from polars.testing import assert_frame_equal
from trader_samples import candles, market

from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.indicators import INDICATOR_COLUMNS, IndicatorEngine
from wonttrade_dagster.core.model import (
    CANDLE_SCHEMA,
    FURTHER,
    USUAL_INDICATORS,
    CandleSeries,
    IndicatorSetting,
)

talib = pytest.importorskip("talib", reason="the reference library has no wheel for this Python")

OTHER_LENGTHS = IndicatorSetting(
    ema_fast_bars=2, ema_slow_bars=200, macd_fast_bars=5, macd_slow_bars=35, macd_signal_bars=5,
    rsi_fast_bars=2, rsi_slow_bars=21, atr_fast_bars=2, atr_slow_bars=100, volume_mean_bars=7,
)  # fmt: skip


def reference(frame: pl.DataFrame, n: IndicatorSetting) -> Mapping[str, np.ndarray]:
    high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
    line, signal, histogram = talib.MACD(close, n.macd_fast_bars, n.macd_slow_bars, n.macd_signal_bars)
    return {
        "ema_fast": talib.EMA(close, n.ema_fast_bars),
        "ema_slow": talib.EMA(close, n.ema_slow_bars),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "rsi_fast": talib.RSI(close, n.rsi_fast_bars),
        "rsi_slow": talib.RSI(close, n.rsi_slow_bars),
        "atr_fast": talib.ATR(high, low, close, n.atr_fast_bars),
        "atr_slow": talib.ATR(high, low, close, n.atr_slow_bars),
        "volume_mean": talib.SMA(volume, n.volume_mean_bars),
    }


def assert_equals_reference(frame: pl.DataFrame, setting: IndicatorSetting = USUAL_INDICATORS) -> None:
    computed = IndicatorEngine(setting=setting).with_indicators(frame)
    for role, expected in reference(frame, setting).items():
        values = computed[setting.names[role]]
        assert values.is_null().to_list() == np.isnan(expected).tolist(), role
        np.testing.assert_allclose(values.to_numpy(), expected, rtol=1e-13, atol=1e-9, err_msg=role)


@pytest.mark.parametrize("px", [1e-5, 0.02, 3.5, 100_000.0])
def test_every_indicator_equals_the_reference_from_its_first_value_on(px: float) -> None:
    assert_equals_reference(random_walk(1_000, px))


@pytest.mark.parametrize("setting", [USUAL_INDICATORS, OTHER_LENGTHS], ids=["usual", "other"])
@pytest.mark.parametrize("interval", ["5m", "4h"])
def test_every_indicator_equals_the_reference_on_real_bitcoin(
    interval: str, setting: IndicatorSetting
) -> None:
    assert_equals_reference(real_candles(interval), setting)


@pytest.mark.parametrize("bars", [1, 2, 3, 4, 7, 8, 14, 15, 19, 20, 25, 26, 33, 34, 49, 50, 51])
def test_short_histories_warm_up_like_the_reference(bars: int) -> None:
    assert_equals_reference(random_walk(bars))


def test_no_candles_give_no_indicators() -> None:
    computed = ENGINE.with_indicators(random_walk(1).clear())
    assert computed.columns == [*CANDLE_SCHEMA, *EVERY_COLUMN.columns]
    assert computed.is_empty()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(0, 5))
def test_one_pass_over_a_range_equals_a_pass_per_cycle(bars: int, seed: int) -> None:
    frame = random_walk(120, seed=seed)
    whole = ENGINE.with_indicators(frame).head(bars).tail(10)
    assert_frame_equal(ENGINE.with_indicators(frame.head(bars)).tail(10), whole, check_exact=True)


@pytest.mark.parametrize("source", ["real", "walk"])
def test_one_pass_over_months_equals_a_thousand_cycles_that_see_a_thousand_bars_each(source: str) -> None:
    """Exactly: what a backtest computes in one pass is what a live cycle computes from its own window."""
    frame = real_candles("5m") if source == "real" else random_walk(20_000, seed=3)
    whole, chance = ENGINE.with_indicators(frame), np.random.default_rng(11)
    for end in chance.integers(1_000, frame.height + 1, 1_000).tolist():
        window = ENGINE.with_indicators(frame.slice(end - 1_000, 1_000))
        assert window.tail(10).equals(whole.slice(end - 10, 10)), end


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 99), st.floats(0.1, 1e6), st.integers(2, 60))
def test_the_future_does_not_change_the_past(known: int, poison: float, bars: int) -> None:
    lengths = dict.fromkeys((f"{role}_bars" for role in FURTHER), bars)
    engine = IndicatorEngine(setting=replace(EVERY_COLUMN, **lengths))
    frame = random_walk(100)
    poisoned = frame.with_columns(
        pl.when(pl.int_range(pl.len()) < known).then(pl.col(name)).otherwise(poison).alias(name)
        for name in ("open", "high", "low", "close", "volume")
    )
    past = engine.with_indicators(poisoned).head(known)
    assert_frame_equal(past, engine.with_indicators(frame).head(known), check_exact=True)


def test_the_rsi_of_a_series_that_never_moves_is_unknown_and_not_oversold() -> None:
    last = ENGINE.with_indicators(flat(60)).row(-1, named=True)
    assert last["rsi_7"] is None
    assert last["rsi_14"] is None
    assert (last["atr_14"], last["macd"], last["ema_20"]) == (0.0, 0.0, 5.0)


def test_the_rsi_of_a_series_that_only_rises_is_100_and_of_one_that_only_falls_0() -> None:
    for step, expected in ((1.0, 100.0), (-1.0, 0.0)):
        close = [200.0 + step * i for i in range(60)]
        frame = random_walk(60).with_columns(pl.Series("close", close))
        assert ENGINE.with_indicators(frame)["rsi_14"][-1] == expected


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_candles_with_holes_in_them_are_refused_by_name(column: str, broken: float | None) -> None:
    frame = candles(100.0, 60)
    values = frame[column].to_list()
    values[17] = broken
    snapshot = market()
    first = snapshot.markets[0]
    series = CandleSeries("BTC", "5m", frame.with_columns(pl.Series(column, values, dtype=pl.Float64)))
    hurt = replace(snapshot, markets=(replace(first, intraday=series), *snapshot.markets[1:]))
    with pytest.raises(HistoryError, match=f"BTC 5m: 1 candles have no finite {column}"):
        ENGINE.compute(hurt)


def test_a_snapshot_keeps_the_last_points_of_both_windows_of_every_symbol() -> None:
    snapshot = market()
    computed = IndicatorEngine(points=4).compute(snapshot)
    assert [s.symbol for s in computed.symbols] == ["BTC", "ETH"]
    for symbol in computed.symbols:
        series = snapshot.market(symbol.symbol).long_term.frame
        assert symbol.intraday.height == 4
        assert list(symbol.long_term.columns["close"]) == series["close"][-4:].to_list()
        assert [*symbol.long_term.columns] == [*CANDLE_SCHEMA, *INDICATOR_COLUMNS]


def test_indicators_are_fast_enough_for_every_cycle_and_for_a_year() -> None:
    """The fastest of many: what else the machine does is not what is measured."""
    thousand, year = random_walk(1_000), random_walk(525_600)
    assert _fastest_of(40, lambda: [ENGINE.with_indicators(thousand) for _ in range(4)]) < 0.02
    assert _fastest_of(2, lambda: [ENGINE.with_indicators(year) for _ in range(2)]) < 3.0


def _fastest_of(times: int, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
