"""What the loopback venue lists: perpetuals with their grid, leverage and margin tiers.

Belongs here: the listing and the answers that only repeat it (``meta``, ``spotMeta``, ``perpDexs``).
Does not belong here: prices.

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


_DELISTED = AssetSpec("MATIC", 5, 1, 20, _tiers((0, 20)), is_delisted=True)

LISTINGS: tuple[Listing, ...] = (
    Listing(_asset("SOL", 0, 2, _tiers((0, 20), (70_000_000, 10))), 54, 152.0, 0.0008, 250_000.0, 40_000.0),
    Listing(_asset("APT", 1, 2, _tiers((0, 10), (20_000_000, 5))), 52, 4.8, 0.0009, 30_000.0, 6_000.0),
    Listing(_asset("ATOM", 2, 2, _tiers((0, 5))), 5, 4.1, 0.0008, 12_000.0, 4_000.0),
    Listing(_asset("BTC", 3, 5, _tiers((0, 40), (150_000_000, 20))), 56, 84_000.0, 0.0005, 2e6, 90_000.0),
    Listing(_asset("ETH", 4, 4, _tiers((0, 25), (100_000_000, 15))), 55, 2_900.0, 0.0006, 1e6, 60_000.0),
    Listing(_DELISTED, 20, 0.38, 0.0008, 0.0, 0.0),
)


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
    return row | {name: True for name, is_set in flags.items() if is_set}


def _margin_table(listing: Listing) -> dict[str, Any]:
    tiers = [
        {"lowerBound": f"{tier.lower_bound_usd:.1f}", "maxLeverage": tier.max_leverage}
        for tier in listing.asset.margin_tiers
    ]
    return {"description": f"tiered {listing.asset.max_leverage}x", "marginTiers": tiers}


def spot_meta() -> dict[str, Any]:
    """The answer to ``{"type": "spotMeta"}``: the collateral token and no pairs; spot is not traded here."""
    usdc = {
        "name": "USDC",
        "szDecimals": 8,
        "weiDecimals": 8,
        "index": 0,
        "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
        "isCanonical": True,
        "evmContract": None,
        "fullName": None,
        "deployerTradingFeeShare": "0.0",
    }
    return {"universe": [], "tokens": [usdc]}


def perp_dexs() -> list[None]:
    """The answer to ``{"type": "perpDexs"}``: only the venue's own dex, which is printed as null."""
    return [None]
