"""Generated candles: a seeded random walk, the same for the same seed.

Belongs here: prices. Does not belong here: who trades them.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import polars as pl

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.core.model import CANDLE_SCHEMA

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FIRST_PX: Mapping[str, float] = MappingProxyType({"BTC": 84_000.0, "ETH": 2_900.0})
SYMBOLS = tuple(FIRST_PX)
MINUTE_VOLATILITY = 0.0005


def walk(symbol: str, from_ms: int, bars: int, minutes: int, seed: int) -> pl.DataFrame:
    """Candles of ``minutes`` in ``CANDLE_SCHEMA``, oldest first; the swings grow with the root of time."""
    rng = np.random.default_rng((seed, sum(symbol.encode())))
    deviation = MINUTE_VOLATILITY * minutes**0.5
    close = FIRST_PX[symbol] * np.exp(np.cumsum(rng.normal(0, deviation, bars)))
    opened = np.concatenate([[FIRST_PX[symbol]], close[:-1]])
    reach = np.abs(rng.normal(0, deviation / 2, (2, bars)))
    columns = {
        "open_time_ms": from_ms + np.arange(bars) * minutes * MINUTE_MS,
        "open": opened,
        "high": np.maximum(opened, close) * (1 + reach[0]),
        "low": np.minimum(opened, close) * (1 - reach[1]),
        "close": close,
        "volume": rng.uniform(1, 100, bars),
    }
    prices = {name: np.round(values, 2) for name, values in columns.items() if name != "open_time_ms"}
    return pl.DataFrame(columns | prices, schema=dict(CANDLE_SCHEMA))


def fill_history(history: MarketHistory, from_ms: int, to_ms: int, seed: int) -> None:
    """Five-minute candles and hourly funding of every symbol."""
    bars = (to_ms - from_ms) // (5 * MINUTE_MS)
    hours = pl.int_range(from_ms, to_ms + 1, HOUR_MS, eager=True)
    funding = pl.DataFrame({"time_ms": hours}).with_columns(rate_hourly=pl.lit(0.0000125))
    for symbol in SYMBOLS:
        history.add_candles(symbol, "5m", walk(symbol, from_ms, bars, 5, seed), "generated")
        history.add_funding(symbol, funding, "generated")
