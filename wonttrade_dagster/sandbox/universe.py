"""What the loopback venue lists: perpetuals with their grid, leverage and margin tiers.

Belongs here: the listing and the answers that only repeat it (``meta``, ``perpDexs``).
Does not belong here: prices, spot (``spot``).

The order is that of the testnet (SOL 0, APT 1, ATOM 2, BTC 3, ETH 4), so that a client that hard-codes an
asset id of the mainnet trades the wrong coin here, in a test, and not there. Decimals, leverage and tiers
are the venue's real ones (protocol §2.1, §10.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.model import AssetSpec, MarginTier

SINGLE_TIER_TABLES = 50
"""Margin table ids below this mean one tier with that leverage and are not listed."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One perpetual of the loopback venue.

    Attributes:
        asset: what ``meta`` says of it.
        margin_table_id: its row in ``meta.marginTables``, or its leverage when it has one tier.
        base_px: the level that the seeded walk returns to, USD.
        minute_volatility: standard deviation of the log return of one minute.
        minute_volume_usd: mean traded value of one minute.
        top_level_usd: resting value at the best bid and the best ask.
    """

    asset: AssetSpec
    margin_table_id: int
    base_px: float
    minute_volatility: float
    minute_volume_usd: float
    top_level_usd: float

    @property
    def coin(self) -> str:
        """The coin's name."""
        return self.asset.symbol


def _tiers(*tiers: tuple[int, int]) -> tuple[MarginTier, ...]:
    return tuple(MarginTier(Decimal(bound), leverage) for bound, leverage in tiers)


def _asset(symbol: str, asset_id: int, size_decimals: int, tiers: tuple[MarginTier, ...]) -> AssetSpec:
    return AssetSpec(symbol, asset_id, size_decimals, tiers[0].max_leverage, tiers)


def _small(symbol: str, asset_id: int, size_decimals: int, leverage: int, px: float) -> Listing:
    """A market of one tier and moderate depth."""
    asset = _asset(symbol, asset_id, size_decimals, _tiers((0, leverage)))
    return Listing(asset, leverage, px, 0.0008, 60_000.0, 10_000.0)


_DELISTED = AssetSpec("MATIC", 5, 1, 20, _tiers((0, 20)), is_delisted=True)
_ISOLATED = AssetSpec("HPOS", 16, 0, 3, _tiers((0, 3)), only_isolated=True)

LISTINGS: tuple[Listing, ...] = (
    Listing(_asset("SOL", 0, 2, _tiers((0, 20), (70_000_000, 10))), 54, 152.0, 0.0008, 250_000.0, 40_000.0),
    Listing(_asset("APT", 1, 2, _tiers((0, 10), (20_000_000, 5))), 52, 4.8, 0.0009, 30_000.0, 6_000.0),
    Listing(_asset("ATOM", 2, 2, _tiers((0, 5))), 5, 4.1, 0.0008, 12_000.0, 4_000.0),
    Listing(_asset("BTC", 3, 5, _tiers((0, 40), (150_000_000, 20))), 56, 84_000.0, 0.0005, 2e6, 90_000.0),
    Listing(_asset("ETH", 4, 4, _tiers((0, 25), (100_000_000, 15))), 55, 2_900.0, 0.0006, 1e6, 60_000.0),
    Listing(_DELISTED, 20, 0.38, 0.0008, 0.0, 0.0),
    _small("HYPE", 6, 2, 10, 38.0),
    _small("BNB", 7, 3, 10, 890.0),
    _small("XRP", 8, 0, 20, 2.2),
    _small("DOGE", 9, 0, 10, 0.15),
    _small("AVAX", 10, 2, 10, 14.0),
    _small("LINK", 11, 1, 10, 13.0),
    _small("kPEPE", 12, 0, 10, 0.0046),
    _small("DYDX", 13, 1, 5, 0.24),
    _small("INJ", 14, 1, 10, 6.1),
    _small("SUI", 15, 1, 10, 1.6),
    Listing(_ISOLATED, 3, 0.06, 0.0009, 8_000.0, 3_000.0),
)

SPOT_LISTINGS: tuple[Listing, ...] = (
    Listing(_asset("PURR/USDC", 10_000, 0, _tiers((0, 1))), 1, 0.15, 0.0009, 4_000.0, 2_000.0),
    Listing(_asset("@107", 10_107, 2, _tiers((0, 1))), 1, 38.0, 0.0008, 60_000.0, 10_000.0),
)
"""Spot pairs by the name that books, candles and mids know them by. They are quoted, not traded here."""


def traded(listings: tuple[Listing, ...] = LISTINGS) -> tuple[Listing, ...]:
    """The listings that have a book."""
    return tuple(listing for listing in listings if not listing.asset.is_delisted)


def assets_by_symbol() -> Mapping[str, AssetSpec]:
    """Every perpetual that can be traded, by symbol."""
    return {listing.coin: listing.asset for listing in traded()}


def meta() -> dict[str, Any]:
    """The answer to ``{"type": "meta"}`` (protocol §2.1)."""
    tables = {x.margin_table_id: x for x in LISTINGS if x.margin_table_id >= SINGLE_TIER_TABLES}
    return {
        "universe": [_universe_row(listing) for listing in LISTINGS],
        "marginTables": [[key, _margin_table(tables[key])] for key in sorted(tables)],
        "collateralToken": 0,
    }


def _universe_row(listing: Listing) -> dict[str, Any]:
    asset = listing.asset
    row: dict[str, Any] = {
        "szDecimals": asset.size_decimals,
        "name": asset.symbol,
        "maxLeverage": asset.max_leverage,
        "marginTableId": listing.margin_table_id,
    }
    flags = {"isDelisted": asset.is_delisted, "onlyIsolated": asset.only_isolated}
    marked = row | {name: True for name, is_set in flags.items() if is_set}
    return marked | {"marginMode": "strictIsolated"} if asset.only_isolated else marked


def _margin_table(listing: Listing) -> dict[str, Any]:
    tiers = [
        {"lowerBound": f"{tier.lower_bound_usd:.1f}", "maxLeverage": tier.max_leverage}
        for tier in listing.asset.margin_tiers
    ]
    return {"description": f"tiered {listing.asset.max_leverage}x", "marginTiers": tiers}


def perp_dexs() -> list[None]:
    """The answer to ``{"type": "perpDexs"}``: only the venue's own dex, which is printed as null."""
    return [None]
