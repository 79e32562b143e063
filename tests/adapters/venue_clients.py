"""Market data and history adapters for the tests that ask a venue by its URL."""

from typing import Any

from wonttrade_dagster.adapters.hyperliquid import HyperliquidMarketData
from wonttrade_dagster.core.ports import Clock


def market_data_at(url: str, clock: Clock, **changes: Any) -> HyperliquidMarketData:
    """Two symbols in windows of 5 minutes and 4 hours; each option can be changed."""
    options: dict[str, Any] = {
        "symbols": ("BTC", "ETH"),
        "intraday_interval": "5m",
        "long_interval": "4h",
        "history_bars": 100,
        "timeout_seconds": 5.0,
        "read_attempts": 1,
    }
    return HyperliquidMarketData(base_url=url, clock=clock, **(options | changes))
