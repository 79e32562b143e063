"""Nothing that happens after t changes a byte of the prompt at t."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.core.context import ContextBuilder, ContextInputs
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ExecutionRules,
    PerformanceSoFar,
    PriorDecision,
    RiskLimits,
)

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
START_MS = 1_748_736_000_000  # 2025-06-01
DAYS = 14
SYMBOLS = ("BTC", "ETH")
FROM_MS, TO_MS = START_MS + 12 * DAY_MS, START_MS + DAYS * DAY_MS


def walk(seed: int, interval_minutes: int, first_px: float) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    bars = DAYS * 1440 // interval_minutes
    close = first_px * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    open_ = np.concatenate([[first_px], close[:-1]])
    return pl.DataFrame(
        {
            "open_time_ms": START_MS + np.arange(bars) * interval_minutes * MINUTE_MS,
            "open": open_,
            "high": np.maximum(open_, close) * 1.001,
            "low": np.minimum(open_, close) * 0.999,
            "close": close,
            "volume": rng.uniform(1, 100, bars),
        }
    )


def poisoned(frame: pl.DataFrame, interval_minutes: int, after_ms: int, seed: int) -> pl.DataFrame:
    """Every candle that closes after ``after_ms`` replaced by noise."""
    rng = np.random.default_rng(seed)
    future = frame["open_time_ms"].to_numpy() + interval_minutes * MINUTE_MS > after_ms
    noise = {
        name: np.where(
            future, frame[name].to_numpy() * rng.uniform(low, high, frame.height), frame[name].to_numpy()
        )
        for name, low, high in (
            ("open", 2, 3),
            ("high", 9, 10),
            ("low", 0.1, 0.2),
            ("close", 2, 3),
            ("volume", 5, 9),
        )
    }
    return frame.with_columns(**{name: pl.Series(values) for name, values in noise.items()})


@dataclass(frozen=True)
class Market:
    """Candles and funding of every symbol."""

    candles: dict[str, pl.DataFrame]
    funding: dict[str, pl.DataFrame]

    def poisoned(self, after_ms: int, seed: int) -> "Market":
        candles = {s: poisoned(frame, 5, after_ms, seed) for s, frame in self.candles.items()}
        later = pl.when(pl.col("time_ms") > after_ms).then(0.03).otherwise(pl.col("rate_hourly"))
        funding = {s: frame.with_columns(rate_hourly=later) for s, frame in self.funding.items()}
        return Market(candles, funding)

    def provider(self, path: Path) -> BacktestReplayProvider:
        path.unlink(missing_ok=True)
        history = MarketHistory(path)
        for symbol in SYMBOLS:
            history.add_candles(symbol, "5m", self.candles[symbol], "test")
            history.add_funding(symbol, self.funding[symbol], "test")
        return BacktestReplayProvider(
            history,
            default_assets(SYMBOLS),
            SYMBOLS,
            intraday_interval="5m",
            long_interval="4h",
            history_bars=1000,
            from_ms=FROM_MS,
            to_ms=TO_MS,
        )


@pytest.fixture(scope="module")
def market() -> Market:
    hours = pl.DataFrame({"time_ms": START_MS + np.arange(DAYS * 24) * 60 * MINUTE_MS})
    funding = hours.with_columns(rate_hourly=pl.lit(0.0000125))
    return Market({"BTC": walk(1, 5, 100_000.0), "ETH": walk(2, 5, 2_500.0)}, dict.fromkeys(SYMBOLS, funding))


@pytest.fixture(scope="module")
def clean(market: Market, tmp_path_factory: pytest.TempPathFactory) -> BacktestReplayProvider:
    return market.provider(tmp_path_factory.mktemp("clean") / "clean.duckdb")


@pytest.fixture(scope="module")
def builder(checkout: Path) -> ContextBuilder:
    limits = RiskLimits(Decimal(5000), Decimal(8000), 5)
    rules = ExecutionRules(Decimal(100), Decimal(5), 60_000, "close", Decimal("4.5"), "00000000")
    return ContextBuilder(load_prompt(checkout / "prompts", "trader/v1"), limits, rules, 15)


def prompt_at(provider: BacktestReplayProvider, builder: ContextBuilder, cycle_ms: int) -> str:
    account = AccountSnapshot(cycle_ms, Decimal(10_000), Decimal(10_000), Decimal(0), (), ())
    zero = Decimal(0)
    performance = PerformanceSoFar(Decimal(10_000), 0.0, None, zero, zero, FROM_MS, 1)
    prior = PriorDecision(None, None)
    snapshot, indicators = provider.snapshot(cycle_ms), provider.indicators(cycle_ms)
    inputs = ContextInputs(cycle_ms, snapshot, indicators, account, performance, prior, ())
    prompt = builder.build(inputs)
    return prompt.system + prompt.user


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cycle=st.integers(0, (TO_MS - FROM_MS) // (15 * MINUTE_MS) - 1), seed=st.integers(0, 2**32 - 1))
def test_noise_after_a_cycle_leaves_its_prompt_byte_identical(
    market: Market,
    clean: BacktestReplayProvider,
    builder: ContextBuilder,
    tmp_path: Path,
    cycle: int,
    seed: int,
) -> None:
    cycle_ms = FROM_MS + cycle * 15 * MINUTE_MS
    dirty = market.poisoned(cycle_ms, seed).provider(tmp_path / "dirty.duckdb")
    assert prompt_at(dirty, builder, cycle_ms) == prompt_at(clean, builder, cycle_ms)


def test_the_poison_does_reach_the_prompt_once_its_candle_has_closed(
    market: Market, clean: BacktestReplayProvider, builder: ContextBuilder, tmp_path: Path
) -> None:
    cycle_ms = FROM_MS + 40 * 15 * MINUTE_MS
    dirty = market.poisoned(cycle_ms, 3).provider(tmp_path / "dirty.duckdb")
    later_ms = cycle_ms + 15 * MINUTE_MS
    assert prompt_at(dirty, builder, later_ms) != prompt_at(clean, builder, later_ms)
