"""The indicators of a backtest's cycle are those of a live cycle that sees the same candles."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_samples import DAY_MS, random_candles, utc_ms

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.adapters.replay_windows import PlainRows
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import FURTHER, USUAL_INDICATORS, IndicatorSetting, IndicatorWindow

FROM = utc_ms(2025, 6, 12)
EVERY_COLUMN = replace(USUAL_INDICATORS, further=FURTHER)
LONG_MEMORY = replace(EVERY_COLUMN, ema_slow_bars=200, rsi_slow_bars=60)
MINUTES = range(0, 1440, 37)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> MarketHistory:
    stored = MarketHistory(Path(tmp_path_factory.mktemp("history")) / "market.duckdb")
    stored.add_candles("BTC", "5m", random_candles(FROM - 11 * DAY_MS, 12 * 288, seed=3), "test")
    return stored


def replay(
    history: MarketHistory, setting: IndicatorSetting | None, bars: int = 1_000
) -> BacktestReplayProvider:
    return BacktestReplayProvider(
        history,
        default_assets(["BTC"]),
        ("BTC",),
        intraday_interval="5m",
        long_interval="4h",
        history_bars=bars,
        from_ms=FROM,
        to_ms=FROM + DAY_MS,
        indicators=setting,
    )


def live(provider: BacktestReplayProvider, setting: IndicatorSetting, cycle_ms: int) -> bytes:
    return encode(IndicatorEngine(10, setting).compute(provider.snapshot(cycle_ms)))


@pytest.mark.parametrize(
    ("setting", "bars"),
    [(EVERY_COLUMN, 1_000), (LONG_MEMORY, 1_000), (EVERY_COLUMN, 120), (USUAL_INDICATORS, 60)],
    ids=["usual lengths", "long lengths", "short history", "shortest history"],
)
def test_every_cycle_has_the_bytes_of_a_live_one(
    history: MarketHistory, setting: IndicatorSetting, bars: int
) -> None:
    provider = replay(history, setting, bars)
    for minute in MINUTES:
        cycle_ms = FROM + minute * 60_000
        assert encode(provider.indicators(cycle_ms)) == live(provider, setting, cycle_ms), minute


def test_one_pass_alone_would_not_do_for_long_lengths(history: MarketHistory) -> None:
    """Why a cycle is computed from its own window there."""
    cycle_ms = FROM + DAY_MS
    whole = IndicatorEngine(10, LONG_MEMORY).with_indicators(history.candles("BTC", "5m"))
    window = replay(history, LONG_MEMORY).indicators(cycle_ms).of("BTC").intraday
    assert whole["ema_200"][-1] != window.newest("ema_200")
    assert whole["ema_200"][-1] == pytest.approx(window.newest("ema_200"), rel=1e-3)


def test_results_from_before_lengths_could_be_configured_are_always_cut_from_one_pass(
    history: MarketHistory,
) -> None:
    cycle_ms = FROM + DAY_MS
    whole = IndicatorEngine(10).with_indicators(history.candles("BTC", "5m").slice(11 * 288 - 120)).tail(10)
    old = replay(history, None, 120).indicators(cycle_ms).of("BTC").intraday
    assert str(old.columns) == str(IndicatorWindow.of(whole).columns)
    now = replay(history, USUAL_INDICATORS, 120).indicators(cycle_ms).of("BTC").intraday
    assert str(old.columns) != str(now.columns)


def test_the_usual_lengths_forget_within_the_usual_history_and_no_longer_ones_do() -> None:
    assert USUAL_INDICATORS.forgets_within(1_000 - 10)
    assert not USUAL_INDICATORS.forgets_within(500)
    for name, bars in (("ema_slow", 60), ("rsi_slow", 30), ("atr_slow", 30), ("macd_slow", 60)):
        assert not replace(USUAL_INDICATORS, **{f"{name}_bars": bars}).forgets_within(990), name
    windowed = {f"{role}_bars": 900 for role in FURTHER}
    assert replace(EVERY_COLUMN, volume_mean_bars=900, **windowed).forgets_within(990)


@given(
    st.lists(st.none() | st.floats(allow_infinity=False), min_size=1, max_size=30),
    st.integers(0, 29),
    st.integers(1, 30),
)
def test_the_bits_of_a_window_are_those_of_its_numbers(
    values: list[float | None], start: int, count: int
) -> None:
    times = range(1_748_736_000_000, 1_748_736_000_000 + len(values))
    frame = pl.DataFrame({"open_time_ms": times, "close": values}, schema_overrides={"close": pl.Float64})
    first = min(start, len(values) - 1)
    window = PlainRows(frame).window(first, min(first + count, len(values)))
    assert window.bits == IndicatorWindow(window.columns).bits
