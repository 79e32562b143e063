"""``/info`` requests about the market (protocol §2.1, §2.2, §2.6).

Belongs here: the JSON of market answers. Does not belong here: prices (``market``), users (``info_user``).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.sandbox import intervals, spot, universe
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_int
from wonttrade_dagster.sandbox.intervals import HOUR_MS
from wonttrade_dagster.sandbox.market import Book, FundingRate, Level, Market
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.walk import DAY_MS

OF_ONE_DEX = frozenset(
    {"meta", "metaAndAssetCtxs", "allMids", "clearinghouseState", "openOrders", "frontendOpenOrders"}
)
"""Requests that name a dex; there is only the venue's own here, whose name is empty."""
MAX_RANGE_ROWS = 500
RECENT_TRADES, RECENT_TRADES_MS = 31, 300_000
FUNDING_STARTS_MS = 1_672_531_200_000
"""2023-01-01, as the candles."""
IMPACT_USD = {"BTC": Decimal(20_000), "ETH": Decimal(20_000)}
DEFAULT_IMPACT_USD = Decimal(6_000)

Body = Mapping[str, Any]


class InternalVenueError(Exception):
    """The venue answers HTTP 500 with a JSON null."""


def answer(market: Market, body: Body) -> Json:
    """The answer to a market request. Raises ``KeyError`` for a type that is not one."""
    return _ANSWERS[str(body["type"])](market, body)


def types() -> frozenset[str]:
    """The request types answered here."""
    return frozenset(_ANSWERS)


def mids(market: Market) -> dict[str, str]:
    """``allMids``: everything with a book, spot pairs too."""
    return {coin: text(market.mid_px(coin)) for coin in sorted(market.books())}


def asset_context(market: Market, coin: str) -> dict[str, Any]:
    """One entry of ``metaAndAssetCtxs``; nulls where a coin has no book."""
    if coin not in market.coins():
        return _dead_context(coin)
    now_ms = market.now_ms()
    volume = Decimal(f"{market.day_volume_base(coin):.5f}")
    mid, oracle = market.mid_px(coin), market.oracle_px(coin)
    impact = [text(px) for px in impact_prices(market.book(coin))]
    return {
        "funding": text(market.running_rate(coin)),
        "openInterest": text(Decimal(f"{market.open_interest_base(coin):.5f}")),
        "prevDayPx": text(market.mark_px(coin, now_ms - DAY_MS)),
        "dayNtlVlm": text((volume * mid).quantize(Decimal("0.000001"))),
        "premium": text(((mid - oracle) / oracle).quantize(Decimal("0.0000000001"))),
        "oraclePx": text(oracle),
        "markPx": text(market.mark_px(coin)),
        "midPx": text(mid),
        "impactPxs": impact,
        "dayBaseVlm": text(volume),
    }


def book_json(book: Book) -> dict[str, Any]:
    """``l2Book``."""
    sides = [[level_json(level) for level in side] for side in (book.bids, book.asks)]
    return {"coin": book.coin, "time": book.time_ms, "levels": sides}


def level_json(level: Level) -> dict[str, Any]:
    """One price of a book."""
    return {"px": text(level.px), "sz": text(level.size_base), "n": level.orders}


def impact_prices(book: Book) -> tuple[Decimal, Decimal]:
    """Average prices of selling and buying the impact notional."""
    notional = IMPACT_USD.get(book.coin, DEFAULT_IMPACT_USD)
    return _impact_px(book.bids, notional), _impact_px(book.asks, notional)


def _impact_px(levels: tuple[Level, ...], notional_usd: Decimal) -> Decimal:
    left, base = notional_usd, Decimal(0)
    for level in levels:
        taken = min(left, level.px * level.size_base)
        base += taken / level.px
        left -= taken
    average = (notional_usd - left) / base
    return (
        average.quantize(levels[0].px) if levels[0].px.as_tuple().exponent else average.quantize(Decimal(1))
    )


def _dead_context(coin: str) -> dict[str, Any]:
    listed = {listing.coin: listing for listing in universe.LISTINGS}[coin]
    px = text(Decimal(str(listed.base_px)))
    nothing = dict.fromkeys(("premium", "midPx", "impactPxs"))
    still = dict.fromkeys(("funding", "openInterest", "dayNtlVlm", "dayBaseVlm"), "0.0")
    return {**still, "prevDayPx": px, "oraclePx": px, "markPx": px, **nothing}


def _meta(_market: Market, _body: Body) -> Json:
    return universe.meta()


def _meta_and_contexts(market: Market, _body: Body) -> Json:
    return [universe.meta(), [asset_context(market, listing.coin) for listing in universe.LISTINGS]]


def _l2_book(market: Market, body: Body) -> Json:
    coin = _coin(body)
    if coin in market.books():
        return book_json(market.book(coin))
    return {"coin": coin, "time": market.now_ms(), "levels": [[], []]} if _is_dead(coin) else None


def _candles(market: Market, body: Body) -> Json:
    wanted = body.get("req")
    if not isinstance(wanted, dict) or wanted.get("interval") not in intervals.INTERVAL_MS:
        raise SchemaError("candleSnapshot needs a req with a known interval")
    coin, interval = _coin(wanted), str(wanted["interval"])
    first_ms = read_int(wanted.get("startTime"), "startTime")
    last = wanted.get("endTime")
    last_ms = market.now_ms() if last is None else read_int(last, "endTime")
    if _is_dead(coin):
        return []
    if coin not in market.books():
        raise InternalVenueError(f"there is no coin {coin!r}")
    return market.candles(coin, interval, first_ms, last_ms)


def _funding_history(market: Market, body: Body) -> Json:
    coin, first_ms, last_ms = _coin(body), *time_range(body, market.now_ms())
    if _is_dead(coin):
        return []
    if coin not in market.coins():
        raise InternalVenueError(f"there is no coin {coin!r}")
    hour_ms = max(first_ms, FUNDING_STARTS_MS) // HOUR_MS * HOUR_MS
    rows: list[dict[str, Any]] = []
    while hour_ms <= last_ms and len(rows) < MAX_RANGE_ROWS:
        rate = market.funding_rate(coin, hour_ms)
        if first_ms <= rate.time_ms <= last_ms:
            rows.append(_funding_row(coin, rate))
        hour_ms += HOUR_MS
    return rows


def _funding_row(coin: str, rate: FundingRate) -> dict[str, Any]:
    return {
        "coin": coin,
        "fundingRate": text(rate.rate),
        "premium": text(rate.premium),
        "time": rate.time_ms,
    }


def time_range(body: Body, now_ms: int) -> tuple[int, int]:
    """``startTime`` and ``endTime`` (absent or null: now), never past now. Raises ``SchemaError``."""
    last = body.get("endTime")
    last_ms = now_ms if last is None else read_int(last, "endTime")
    return read_int(body.get("startTime"), "startTime"), min(last_ms, now_ms)


def _coin(body: Body) -> str:
    coin = body.get("coin")
    if not isinstance(coin, str):
        raise SchemaError("coin is missing")
    return coin


def _is_dead(coin: str) -> bool:
    """Whether a coin is listed and no longer traded."""
    return any(listing.coin == coin and listing.asset.is_delisted for listing in universe.LISTINGS)


def _recent_trades(market: Market, body: Body) -> Json:
    coin, now_ms = _coin(body), market.now_ms()
    if coin not in market.books():
        return [] if _is_dead(coin) else None
    return market.trades(coin, now_ms - RECENT_TRADES_MS, now_ms)[:-RECENT_TRADES:-1]


def _predicted(market: Market, _body: Body) -> Json:
    hour_ms = market.now_ms() // HOUR_MS * HOUR_MS + HOUR_MS
    return [
        [
            coin,
            [
                [
                    "HlPerp",
                    {
                        "fundingRate": text(market.running_rate(coin)),
                        "nextFundingTime": hour_ms,
                        "fundingIntervalHours": 1,
                    },
                ]
            ],
        ]
        for coin in market.coins()
    ]


_ANSWERS: Mapping[str, Callable[[Market, Body], Any]] = {
    "meta": _meta,
    "spotMeta": lambda _market, _body: spot.meta(),
    "spotMetaAndAssetCtxs": lambda market, _body: spot.meta_and_contexts(market),
    "recentTrades": _recent_trades,
    "predictedFundings": _predicted,
    "perpsAtOpenInterestCap": lambda _market, _body: [],
    "perpDexs": lambda _market, _body: universe.perp_dexs(),
    "metaAndAssetCtxs": _meta_and_contexts,
    "allMids": lambda market, _body: mids(market),
    "l2Book": _l2_book,
    "candleSnapshot": _candles,
    "fundingHistory": _funding_history,
    "exchangeStatus": lambda market, _body: {"time": market.now_ms(), "specialStatuses": None},
}
