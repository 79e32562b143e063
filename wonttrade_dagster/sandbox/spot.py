"""Spot as the perpetuals' client meets it: tokens, pairs, their contexts, and one wallet of USDC.

Belongs here: the JSON of spot answers. Does not belong here: orders on spot pairs, which the loopback venue
quotes but does not take.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.market import Market
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.universe import SPOT_LISTINGS
from wonttrade_dagster.sandbox.walk import DAY_MS

USD_DECIMALS = Decimal("0.000001")
_PAIR_OFFSET = 10_000

_TOKENS: tuple[tuple[str, int, int, int, str, bool], ...] = (
    ("USDC", 0, 8, 8, "0x6d1e7cde53ba9467b783cb7c530ce054", True),
    ("PURR", 1, 0, 5, "0xc4bf3f870c0e9465323c0b6ed28096c2", True),
    ("HYPE", 150, 2, 8, "0x7317beb7cceed72ef0b346074cc8e7ab", False),
)
"""(name, index, size decimals, wei decimals, id, canonical)."""
_SUPPLY: Mapping[str, tuple[Decimal, int]] = {
    "PURR/USDC": (Decimal("596507867.6"), 1),
    "@107": (Decimal("961700000.5"), 150),
}
"""Total supply and base token of each pair."""


def meta() -> dict[str, Any]:
    """``spotMeta``: pairs and tokens."""
    return {"universe": [_pair(x.coin, x.asset.asset_id) for x in SPOT_LISTINGS], "tokens": _tokens()}


def meta_and_contexts(market: Market) -> list[Any]:
    """``spotMetaAndAssetCtxs``."""
    return [meta(), [context(market, listing.coin) for listing in SPOT_LISTINGS]]


def is_spot(coin: str) -> bool:
    """Whether a coin is the name of a spot pair."""
    return coin in _SUPPLY


def context(market: Market, coin: str) -> dict[str, Any]:
    """One pair's context; no funding, oracle or premium, but a supply."""
    supply, _ = _SUPPLY[coin]
    volume = Decimal(f"{market.day_volume_base(coin):.2f}")
    return {
        "prevDayPx": text(market.mark_px(coin, market.now_ms() - DAY_MS)),
        "dayNtlVlm": text((volume * market.mid_px(coin)).quantize(USD_DECIMALS)),
        "markPx": text(market.mark_px(coin)),
        "midPx": text(market.mid_px(coin)),
        "circulatingSupply": text(supply),
        "coin": coin,
        "totalSupply": text(supply),
        "dayBaseVlm": text(volume),
    }


def clearinghouse_state(account: Account, *, is_known: bool) -> dict[str, Any]:
    """``spotClearinghouseState``: the USDC of a used account, nothing for a never-used one."""
    usdc = {
        "coin": "USDC",
        "token": 0,
        "total": text(account.spot_usdc.quantize(USD_DECIMALS)),
        "hold": "0.0",
        "entryNtl": "0.0",
    }
    return {"balances": [usdc] if is_known else []}


def _pair(coin: str, asset_id: int) -> dict[str, Any]:
    index = asset_id - _PAIR_OFFSET
    base = _SUPPLY[coin][1]
    return {"tokens": [base, 0], "name": coin, "index": index, "isCanonical": not coin.startswith("@")}


def _tokens() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "szDecimals": size_decimals,
            "weiDecimals": wei_decimals,
            "index": index,
            "tokenId": token_id,
            "isCanonical": is_canonical,
            "evmContract": None,
            "fullName": None,
            "deployerTradingFeeShare": "0.0",
        }
        for name, index, size_decimals, wei_decimals, token_id, is_canonical in _TOKENS
    ]
