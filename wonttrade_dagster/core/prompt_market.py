"""The market part of a prompt's facts.

Belongs here: price, indicators and venue rules of a symbol, already in words.
Does not belong here: the account and the prior decision (``core.prompt_account``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.model import RiskLimits, SymbolIndicators, SymbolMarket
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, lot_base, tick_px, wire
from wonttrade_dagster.core.prompt_text import ABSENT, PriceFormat, number, percent, series, usd

_HOURS_PER_YEAR = 24 * 365
_RSI_DECIMALS = 2
_LATEST = ("ema_20", "ema_50", "macd", "rsi_7", "rsi_14", "atr_3", "atr_14", "volume", "volume_mean_20")
_SERIES = ("close", "ema_20", "macd", "rsi_7", "rsi_14")


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """One window of closed candles.

    Attributes:
        interval: of each bar, e.g. ``5m``.
        bars: how many points the series hold.
        latest: newest value of each indicator.
        series: each series, oldest → newest.
    """

    interval: str
    bars: int
    latest: Mapping[str, str]
    series: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """One symbol: prices, positioning of the market, the venue's rules, both windows."""

    symbol: str
    price: str
    mid: str
    mark: str
    oracle: str
    open_interest: str
    open_interest_mean: str
    day_volume: str
    funding_hourly: str
    funding_annual: str
    tick: str
    lot: str
    min_value_usd: str
    max_leverage: int
    leverage: str
    intraday: WindowFacts
    long_term: WindowFacts


def price_format(market: SymbolMarket) -> PriceFormat:
    """The symbol's formats at its reference price."""
    px = market.reference_px
    return PriceFormat.of(tick_px(px, market.asset.size_decimals), px)


def symbol_facts(
    market: SymbolMarket, indicators: SymbolIndicators, limits: RiskLimits, leverage: int | None
) -> SymbolFacts:
    """Everything the prompt says of one symbol."""
    fmt, asset = price_format(market), market.asset
    funding = market.funding_rate_hourly
    return SymbolFacts(
        symbol=market.symbol,
        price=fmt.px(market.reference_px),
        mid=fmt.px(market.mid_px),
        mark=fmt.px(market.mark_px),
        oracle=fmt.px(market.oracle_px),
        open_interest=number(market.open_interest_base, min(asset.size_decimals, 3)),
        open_interest_mean=number(market.open_interest_mean_base, min(asset.size_decimals, 3)),
        day_volume=ABSENT if market.day_volume_usd is None else usd(market.day_volume_usd),
        funding_hourly=ABSENT if funding is None else percent(funding, 6),
        funding_annual=ABSENT if funding is None else percent(funding * _HOURS_PER_YEAR),
        tick=wire(fmt.tick),
        lot=wire(lot_base(asset.size_decimals)),
        min_value_usd=wire(MIN_ORDER_VALUE_USD),
        max_leverage=allowed_leverage(asset, limits.max_position_usd, limits),
        leverage=ABSENT if leverage is None else f"{leverage}x",
        intraday=_window(market.intraday.interval, indicators.intraday, fmt, asset.size_decimals),
        long_term=_window(market.long_term.interval, indicators.long_term, fmt, asset.size_decimals),
    )


def _window(interval: str, frame: pl.DataFrame, fmt: PriceFormat, size_decimals: int) -> WindowFacts:
    columns = frame.to_dict(as_series=False)
    decimals = _decimals(fmt, size_decimals)
    latest = {name: number(columns[name][-1] if columns[name] else None, decimals[name]) for name in _LATEST}
    shown = {name: series(columns[name], decimals[name]) for name in _SERIES}
    return WindowFacts(interval, frame.height, latest, shown)


def _decimals(fmt: PriceFormat, size_decimals: int) -> dict[str, int]:
    volume = min(size_decimals, 3)
    return {
        "close": fmt.px_decimals,
        "ema_20": fmt.average_decimals,
        "ema_50": fmt.average_decimals,
        "macd": fmt.difference_decimals,
        "atr_3": fmt.difference_decimals,
        "atr_14": fmt.difference_decimals,
        "rsi_7": _RSI_DECIMALS,
        "rsi_14": _RSI_DECIMALS,
        "volume": volume,
        "volume_mean_20": volume,
    }


_DATA = ("ema_20", "ema_50", "macd", "rsi_7", "rsi_14", "atr_14")


def window_data(frame: pl.DataFrame, market: SymbolMarket) -> dict[str, Any]:
    """The newest indicators of a window as numbers, rounded as the prose prints them; None when absent."""
    decimals = _decimals(price_format(market), market.asset.size_decimals)
    if frame.is_empty():
        return dict.fromkeys(_DATA)
    newest = frame.row(-1, named=True)
    return {name: None if newest[name] is None else round(newest[name], decimals[name]) for name in _DATA}
