"""Hyperliquid behind the ports ``MarketData`` and ``Venue``, through the official SDK only."""

from wonttrade_dagster.adapters.hyperliquid.exchange import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.info import HyperliquidMarketData
from wonttrade_dagster.adapters.hyperliquid.preflight import AgentApproval, HyperliquidPreflight, SignerRole

__all__ = ["AgentApproval", "HyperliquidMarketData", "HyperliquidPreflight", "HyperliquidVenue", "SignerRole"]
