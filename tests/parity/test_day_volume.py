"""The 24 h volume of a live snapshot is that of its bars, as a backtest counts it, where there are enough."""

import polars as pl
import pytest

from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.parse import parse_context, symbol_market
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.model import AssetSpec, CandleSeries

FIRST_MS = 1_750_377_600_000
VENUES_OWN = "123456.7"
CONTEXT = parse_context(
    Row(
        {
            "markPx": "100",
            "oraclePx": "100",
            "midPx": "100",
            "funding": "0.0",
            "openInterest": "1.0",
            "dayNtlVlm": VENUES_OWN,
        },
        "assetCtx",
    )
)


def series(interval: str, bars: int) -> CandleSeries:
    """Bar n closes at n + 1 with a volume of 2."""
    opened = pl.int_range(bars, eager=True)
    prices = {name: (opened + 1).cast(pl.Float64) for name in ("open", "high", "low", "close")}
    times = FIRST_MS + opened * interval_ms(interval)
    frame = pl.DataFrame({"open_time_ms": times, **prices, "volume": [2.0] * bars})
    return CandleSeries("BTC", interval, frame)


@pytest.mark.parametrize(
    ("interval", "bars", "expected_usd"),
    [
        ("5m", 300, sum(2.0 * close for close in range(13, 301))),
        ("5m", 288, sum(2.0 * close for close in range(1, 289))),
        ("5m", 287, float(VENUES_OWN)),
        ("1m", 1000, float(VENUES_OWN)),
    ],
)
def test_a_window_shorter_than_a_day_leaves_the_venues_own_figure(
    interval: str, bars: int, expected_usd: float
) -> None:
    asset = AssetSpec("BTC", 3, 5, 40, ())
    market = symbol_market(asset, CONTEXT, series(interval, bars), series("4h", 60), None)
    assert market.day_volume_usd == expected_usd
