"""Candles and engines for the tests of the indicators."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wonttrade_dagster.core.candles import aggregate_candles
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import CANDLE_SCHEMA, FURTHER, USUAL_INDICATORS

MARKET_DATA = Path(__file__).parents[3] / "shared" / "market-data"
EVERY_COLUMN = replace(USUAL_INDICATORS, further=FURTHER)
ENGINE = IndicatorEngine(setting=EVERY_COLUMN)


def random_walk(bars: int, px: float = 100_000.0, seed: int = 7) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = px * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    before = np.concatenate([[px], close[:-1]])
    return pl.DataFrame(
        {
            "open_time_ms": np.arange(bars) * 60_000,
            "open": before,
            "high": np.maximum(before, close) * (1 + rng.uniform(0, 0.001, bars)),
            "low": np.minimum(before, close) * (1 - rng.uniform(0, 0.001, bars)),
            "close": close,
            "volume": rng.uniform(0, 50, bars),
        },
        schema=CANDLE_SCHEMA,
    )


def flat(bars: int, px: float = 5.0, volume: float = 0.0) -> pl.DataFrame:
    """A halt: bars at one price."""
    prices = {name: pl.lit(px) for name in ("open", "high", "low", "close")}
    return random_walk(bars).with_columns(**prices, volume=pl.lit(volume))


def real_candles(interval: str, symbol: str = "BTC") -> pl.DataFrame:
    path = MARKET_DATA / f"{symbol}-5m.parquet"
    if not path.exists():
        pytest.skip("the real candles are not beside this checkout")
    bars = pl.read_parquet(path).with_columns(pl.col("open_time").dt.epoch("ms").alias("open_time_ms"))
    bars = bars.select(list(CANDLE_SCHEMA))
    return bars if interval == "5m" else aggregate_candles(bars, interval, "5m")
