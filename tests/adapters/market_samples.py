"""Random but valid candles for the tests of history and replay."""

import random
from datetime import UTC, datetime

import polars as pl

from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.model import CANDLE_SCHEMA

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def utc_ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def random_candles(first_ms: int, count: int, interval: str = "5m", seed: int = 0) -> pl.DataFrame:
    """A random walk around 100, every candle within its own low and high."""
    chance, px, rows = random.Random(seed), 100.0, []
    for i in range(count):
        opened, closed = px, px * (1 + chance.gauss(0, 0.002))
        high = max(opened, closed) * (1 + abs(chance.gauss(0, 0.001)))
        low = min(opened, closed) * (1 - abs(chance.gauss(0, 0.001)))
        rows.append((first_ms + i * interval_ms(interval), opened, high, low, closed, chance.uniform(0, 50)))
        px = closed
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def hourly_rates(first_ms: int, count: int, seed: int = 0) -> pl.DataFrame:
    chance = random.Random(seed)
    return pl.DataFrame(
        {
            "time_ms": [first_ms + i * HOUR_MS for i in range(count)],
            "rate_hourly": [chance.uniform(-1e-4, 1e-4) for _ in range(count)],
        }
    )
