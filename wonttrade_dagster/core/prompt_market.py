"""The market part of a prompt's facts.

Belongs here: price, indicators and venue rules of a symbol, already in words.
Does not belong here: the account and the prior decision (``core.prompt_account``).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.invalidation import FUNDING_PERCENT_DECIMALS
from wonttrade_dagster.core.model import FURTHER, RiskLimits, SymbolIndicators, SymbolMarket
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, lot_base, tick_px, wire
from wonttrade_dagster.core.prompt_text import ABSENT, PriceFormat, number, percent, series, usd

_HOURS_PER_YEAR = 24 * 365
_PLAIN = ("open", "high", "low", "close", "volume")
_DATA = ("ema_fast", "ema_slow", "macd", "rsi_fast", "rsi_slow", "atr_slow")
_SCORE_DECIMALS = 2
_PERCENT_DECIMALS = 4


class Printed(Mapping[str, str]):
    """Columns of a window as text, each made when the template asks for it: by its name or by its role."""

    __slots__ = ("_columns", "_frame", "_write")

    def __init__(
        self, frame: pl.DataFrame, columns: Mapping[str, str], write: Callable[[pl.Series, str], str]
    ) -> None:
        """``columns``: what may be asked for → column; ``write``: column, as what it was asked for → text."""
        self._frame, self._columns, self._write = frame, columns, write

    def __getitem__(self, key: str) -> str:
        """The text; ``KeyError`` for what is not there."""
        return self._write(self._frame[self._columns[key]], key)

    def __iter__(self) -> Iterator[str]:
        """Whatever may be asked for."""
        return iter(self._columns)

    def __len__(self) -> int:
        """How much that is."""
        return len(self._columns)


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """One window of closed candles.

    Attributes:
        interval: of each bar, e.g. ``5m``.
        bars: how many points the series hold.
        latest: newest value of each column, by role (``ema_fast``) or by name (``ema_20``).
        series: each column, oldest → newest, likewise.
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
    market: SymbolMarket,
    indicators: SymbolIndicators,
    limits: RiskLimits,
    leverage: int | None,
    names: Mapping[str, str],
) -> SymbolFacts:
    """Everything the prompt says of one symbol; ``names``: role → column of its indicators."""
    fmt, asset = price_format(market), market.asset
    funding = market.funding_rate_hourly
    written = _Written(columns_by_key(names), _decimals(fmt, asset.size_decimals, names))
    return SymbolFacts(
        symbol=market.symbol,
        price=fmt.px(market.reference_px),
        mid=fmt.px(market.mid_px),
        mark=fmt.px(market.mark_px),
        oracle=fmt.px(market.oracle_px),
        open_interest=number(market.open_interest_base, min(asset.size_decimals, 3)),
        open_interest_mean=number(market.open_interest_mean_base, min(asset.size_decimals, 3)),
        day_volume=ABSENT if market.day_volume_usd is None else usd(market.day_volume_usd),
        funding_hourly=ABSENT if funding is None else percent(funding, FUNDING_PERCENT_DECIMALS),
        funding_annual=ABSENT if funding is None else percent(funding * _HOURS_PER_YEAR),
        tick=wire(fmt.tick),
        lot=wire(lot_base(asset.size_decimals)),
        min_value_usd=wire(MIN_ORDER_VALUE_USD),
        max_leverage=allowed_leverage(asset, limits.max_position_usd, limits),
        leverage=ABSENT if leverage is None else f"{leverage}x",
        intraday=_window(market.intraday.interval, indicators.intraday, written),
        long_term=_window(market.long_term.interval, indicators.long_term, written),
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """How the columns of a symbol's windows are asked for and printed."""

    columns: Mapping[str, str]
    decimals: Mapping[str, int]

    def latest(self, column: pl.Series, key: str) -> str:
        return number(column[-1] if len(column) else None, self.decimals[self.columns[key]])

    def series(self, column: pl.Series, key: str) -> str:
        return series(column.to_list(), self.decimals[self.columns[key]])


def _window(interval: str, frame: pl.DataFrame, written: _Written) -> WindowFacts:
    latest, shown = (Printed(frame, written.columns, write) for write in (written.latest, written.series))
    return WindowFacts(interval, frame.height, latest, shown)


def columns_by_key(names: Mapping[str, str]) -> dict[str, str]:
    """What a template may ask for → column: candles, columns by name, columns by role."""
    return {column: column for column in (*_PLAIN, *names.values())} | dict(names)


def _decimals(fmt: PriceFormat, size_decimals: int, names: Mapping[str, str]) -> dict[str, int]:
    """Column → decimals."""
    volume = min(size_decimals, 3)
    by_stem = {
        "ema": fmt.average_decimals,
        "macd": fmt.difference_decimals,
        "rsi": _SCORE_DECIMALS,
        "atr": fmt.difference_decimals,
        "volume_mean": volume,
        "volatility": _PERCENT_DECIMALS,
        "roc": _PERCENT_DECIMALS,
        "vwap": fmt.average_decimals,
        "bollinger_width": _PERCENT_DECIMALS,
        "volume_z_score": _SCORE_DECIMALS,
    }
    plain = dict.fromkeys(_PLAIN, fmt.px_decimals) | {"volume": volume}
    return plain | {names[role]: by_stem[_STEMS.get(role, role)] for role in names}


_STEMS = {
    "ema_fast": "ema",
    "ema_slow": "ema",
    "macd_signal": "macd",
    "macd_histogram": "macd",
    "rsi_fast": "rsi",
    "rsi_slow": "rsi",
    "atr_fast": "atr",
    "atr_slow": "atr",
}


def window_data(frame: pl.DataFrame, market: SymbolMarket, names: Mapping[str, str]) -> dict[str, Any]:
    """The newest indicators of a window as numbers, rounded as the prose prints them; None when absent.

    Under the columns' names: those of every prompt, and the further ones that this prompt shows.
    """
    shown = [names[role] for role in names if role in _DATA or role in FURTHER]
    decimals = _decimals(price_format(market), market.asset.size_decimals, names)
    if frame.is_empty():
        return dict.fromkeys(shown)
    newest = frame.row(-1, named=True)
    return {name: None if newest[name] is None else round(newest[name], decimals[name]) for name in shown}
