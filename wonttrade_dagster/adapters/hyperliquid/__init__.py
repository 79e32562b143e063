"""Hyperliquid behind the ports ``MarketData`` and ``Venue``, through the official SDK only."""
