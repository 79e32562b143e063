"""The market: assets, candles, snapshots and indicators.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import chain
from struct import error as struct_error
from struct import pack
from typing import Annotated

import polars as pl

from wonttrade_dagster.core.codec import FrameCodec, WindowCodec
from wonttrade_dagster.core.quick_init import quick_init

Frame = Annotated[pl.DataFrame, FrameCodec]

CANDLE_SCHEMA: Mapping[str, pl.DataType] = {
    "open_time_ms": pl.Int64(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}


_CLOSE = [*CANDLE_SCHEMA].index("close")


@dataclass(frozen=True, slots=True)
class MarginTier:
    """From ``lower_bound_usd`` of notional on, at most ``max_leverage``."""

    lower_bound_usd: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """What the venue's ``meta`` says of one perpetual.

    ``asset_id`` is the index in ``meta.universe`` and differs between networks: never hard-code it.
    ``margin_tiers`` ascend by bound; the first bound is 0.
    """

    symbol: str
    asset_id: int
    size_decimals: int
    max_leverage: int
    margin_tiers: tuple[MarginTier, ...]
    is_delisted: bool = False
    only_isolated: bool = False

    def __hash__(self) -> int:
        """By the coin alone: it is the key of its maintenance tiers, looked up dozens of times a cycle."""
        return hash(self.symbol)


@dataclass(frozen=True, eq=False)  # without slots: a cached property lives in the instance's dict
class CandleSeries:
    """Closed candles of one symbol and interval, oldest first.

    Attributes:
        symbol: the coin.
        interval: the venue's name of the interval, e.g. ``5m``, ``4h``.
        frame: ``CANDLE_SCHEMA``; ascending unique ``open_time_ms``; no null, no NaN.
    """

    symbol: str
    interval: str
    frame: Frame

    @cached_property
    def newest(self) -> tuple[float, ...]:
        """The last candle's numbers; none without a candle."""
        return self.frame.row(-1) if self.frame.height else ()

    @cached_property
    def newest_text(self) -> str:
        """The last candle's numbers, every digit of them."""
        return repr(self.newest)

    @cached_property
    def last_close_px(self) -> Decimal:
        """Close of the last candle, in its shortest decimal form; asked for dozens of times a cycle."""
        return Decimal(repr(float(self.newest[_CLOSE])))


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class SymbolMarket:
    """Everything known of one symbol at the cycle time.

    What a source does not have (a backtest knows no mark, oracle or open interest) is None, is
    printed as absent, and is never invented. ``reference_px`` is what judgement and plan compare with.

    ``open_interest_mean_base`` is the mean of what the stream recorded minute by minute in the last 24
    hours; None before it has ten minutes, and where there is no stream.
    """

    asset: AssetSpec
    mid_px: Decimal | None
    mark_px: Decimal | None
    oracle_px: Decimal | None
    funding_rate_hourly: float | None
    open_interest_base: float | None
    day_volume_usd: float | None
    intraday: CandleSeries
    long_term: CandleSeries
    open_interest_mean_base: float | None = None

    @property
    def symbol(self) -> str:
        """The coin, e.g. ``BTC``."""
        return self.asset.symbol

    @property
    def last_close_px(self) -> Decimal:
        """Close of the last closed intraday candle, in its shortest decimal form."""
        return self.intraday.last_close_px

    @property
    def reference_px(self) -> Decimal:
        """Mark if known, else mid, else the last close."""
        return self.mark_px or self.mid_px or self.last_close_px


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class MarketSnapshot:
    """What was known at ``cycle_ms``: no candle in it closed after that.

    Attributes:
        cycle_ms: the decision time.
        taken_at_ms: when the last piece arrived.
        source: ``rest``, ``stream`` or ``history``.
        markets: one per tracked symbol, in the configured order.
        spread_ms: time between the first and the last piece.
        ages_ms: by piece (``BTC context``, ``BTC 5m``, …), how long before ``taken_at_ms`` it came.
        stream_miss: why the stream's window was not used, where there is a stream.
    """

    cycle_ms: int
    taken_at_ms: int
    source: str
    markets: tuple[SymbolMarket, ...]
    spread_ms: int = 0
    ages_ms: Mapping[str, int] = field(default_factory=dict)
    stream_miss: str = ""

    def market(self, symbol: str) -> SymbolMarket:
        """The market of ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for market in self.markets:
            if market.symbol == symbol:
                return market
        raise KeyError(symbol)


Columns = Mapping[str, tuple[float | None, ...]]
"""Name → values, oldest first: a few rows are quicker read in Python than out of a frame."""


@dataclass(frozen=True, eq=False)  # without slots: see ``CandleSeries``
class IndicatorWindow:
    """The last closed candles of one interval with indicators beside them, oldest first.

    Attributes:
        columns: those of ``CANDLE_SCHEMA`` and of ``IndicatorSetting.columns``, e.g. ``ema_20``, all of one
            length. None before an indicator's first value (TA-Lib's warm-up), and where it is not defined.
    """

    columns: Columns

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "IndicatorWindow":
        """All rows of a frame."""
        return cls({column.name: tuple(column.to_list()) for column in frame.iter_columns()})

    @property
    def height(self) -> int:
        """How many candles."""
        return len(self.columns["close"])

    @cached_property
    def bits(self) -> bytes:
        """Column after column as 64-bit floats, which hold times in ms exactly; a null is a NaN."""
        numbers = tuple(chain.from_iterable(self.columns.values()))
        try:
            return pack(f"{len(numbers)}d", *numbers)
        except struct_error:
            return pack(f"{len(numbers)}d", *(math.nan if value is None else value for value in numbers))

    def newest(self, name: str) -> float | None:
        """The last value of a column; None without a candle, too."""
        values = self.columns[name]
        return values[-1] if values else None


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class SymbolIndicators:
    """The last points of both windows of a symbol."""

    symbol: str
    intraday: Annotated[IndicatorWindow, WindowCodec]
    long_term: Annotated[IndicatorWindow, WindowCodec]

    @property
    def main_columns(self) -> tuple[str, ...]:
        """The close and what was computed, without MACD's signal and histogram and the mean volume."""
        computed = (name for name in self.intraday.columns if name not in CANDLE_SCHEMA)
        left_out = ("macd_signal", "macd_histogram", "volume_mean")
        return ("close", *(name for name in computed if not name.startswith(left_out)))


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class IndicatorSnapshot:
    """Indicators of every tracked symbol at the cycle time, in the configured order."""

    cycle_ms: int
    symbols: tuple[SymbolIndicators, ...]

    def of(self, symbol: str) -> SymbolIndicators:
        """The indicators of ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for indicators in self.symbols:
            if indicators.symbol == symbol:
                return indicators
        raise KeyError(symbol)
