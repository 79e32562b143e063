"""Technical indicators with TA-Lib's conventions, over whole polars columns.

Belongs here: EMA, MACD, RSI, ATR, and the engine that puts them and the further columns beside the candles.
Does not belong here: the further columns' formulas (``core.rolling_indicators``), how many candles there are,
how the numbers are printed.

Conventions (TA-Lib's C library is the reference, the tests compare with it to 1e-9):

* Null before the first value; the first value is a simple mean (the seed); then the recursion
  ``y = y + alpha (x − y)``, ``alpha`` being ``2 / (period + 1)`` for EMA and Wilder's
  ``1 / period`` for RSI and ATR.
* MACD's fast EMA is seeded late, so that its first value falls on the slow EMA's first value; line, signal
  and histogram all begin with the signal's first value.
* RSI of a series that has not moved at all is null. TA-Lib says 0 there, which reads as "oversold".

Every value depends on its own and earlier rows alone, so one pass over a year gives the same numbers as a
pass per cycle over the same history. A pass over a window that begins later gives them as well once the
recursions have forgotten their seeds (``IndicatorSetting.forgets_within``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    CandleSeries,
    IndicatorSetting,
    IndicatorSnapshot,
    IndicatorWindow,
    MarketSnapshot,
    SymbolIndicators,
    SymbolMarket,
)
from wonttrade_dagster.core.rolling_indicators import (
    bollinger_width,
    rate_of_change,
    volatility,
    volume_z_score,
    vwap,
)

INDICATOR_COLUMNS = USUAL_INDICATORS.columns
"""With the usual lengths, without further columns."""
_PRICE_COLUMNS = ("open", "high", "low", "close", "volume")
# TA-Lib's own test for "no movement" (TA_IS_ZERO), which keeps rounding dust from becoming an RSI.
_NO_MOVEMENT = 1e-14


def _nulls(length: int) -> pl.Series:
    return pl.Series([None] * length, dtype=pl.Float64)  # 20 times faster than pl.repeat(eager=True)


def _seeded_mean(x: pl.Series, period: int, first: int, alpha: float) -> pl.Series:
    # ewm_mean starts its recursion at the first non-null row: put the seed there and nulls before it.
    if len(x) <= first:
        return _nulls(len(x))
    seed = pl.Series([x.slice(first - period + 1, period).mean()], dtype=pl.Float64)
    tail = pl.concat([seed, x.slice(first + 1)]).ewm_mean(alpha=alpha, adjust=False, min_samples=1)
    return pl.concat([_nulls(first), tail], rechunk=True)


def ema(x: pl.Series, period: int, first: int | None = None) -> pl.Series:
    """Exponential moving average; the first value, the seed, stands at row ``first``.

    Args:
        x: shape (n,).
        period: ``alpha = 2 / (period + 1)``.
        first: row of the mean of the ``period`` values up to it; ``period − 1`` when None.
    """
    start = period - 1 if first is None else first
    return _seeded_mean(x, period, start, 2.0 / (period + 1))


def moving_mean(x: pl.Series, period: int) -> pl.Series:
    """Mean of the last ``period`` values, of them alone; null before row ``period − 1``."""
    # Without weights polars keeps a running sum, whose last digits depend on where the series begins: a
    # backtest would not see what a live cycle sees.
    return x.rolling_mean(period, weights=[1.0] * period)


@dataclass(frozen=True, slots=True, eq=False)
class Macd:
    """The three series of MACD, each of shape (n,); all null before the signal's first value."""

    line: pl.Series
    signal: pl.Series
    histogram: pl.Series


def macd(x: pl.Series, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Moving average convergence/divergence; first values at row ``slow + signal − 2``."""
    first_line, first_signal = slow - 1, slow + signal - 2
    line = ema(x, fast, first_line) - ema(x, slow)
    signal_line = ema(line, signal, first_signal)
    shown = pl.concat([_nulls(min(first_signal, len(x))), line.slice(first_signal)], rechunk=True)
    return Macd(shown, signal_line, shown - signal_line)


def moves(frame: pl.DataFrame) -> pl.DataFrame:
    """What RSI and ATR average, from ``CANDLE_SCHEMA``.

    Returns:
        ``gain`` and ``loss``: change of the close, split by its sign, both >= 0. ``true_range``: from the
        lowest to the highest of high, low and the close before. The first row is null.
    """
    before, change = pl.col("close").shift(1), pl.col("close").diff()
    reach = pl.max_horizontal("high", before) - pl.min_horizontal("low", before)
    return frame.select(
        change.clip(lower_bound=0.0).alias("gain"),
        (-change).clip(lower_bound=0.0).alias("loss"),
        pl.when(before.is_not_null()).then(reach).alias("true_range"),
    )


def rsi(gain: pl.Series, loss: pl.Series, period: int) -> pl.Series:
    """Wilder's relative strength index, 0..100; first value at row ``period``; null where nothing moved."""
    gains = _seeded_mean(gain, period, period, 1.0 / period)
    losses = _seeded_mean(loss, period, period, 1.0 / period)
    movement = gains + losses
    return (100.0 * gains / movement).set(movement < _NO_MOVEMENT, None)


def atr(true_range: pl.Series, period: int) -> pl.Series:
    """Wilder's average true range in price units; first value at row ``period``."""
    return _seeded_mean(true_range, period, period, 1.0 / period)


def _columns(frame: pl.DataFrame, setting: IndicatorSetting) -> tuple[pl.Series, ...]:
    close = frame["close"]
    gain, loss, true_range = moves(frame).get_columns()
    convergence = macd(close, setting.macd_fast_bars, setting.macd_slow_bars, setting.macd_signal_bars)
    columns = (
        ema(close, setting.ema_fast_bars),
        ema(close, setting.ema_slow_bars),
        convergence.line,
        convergence.signal,
        convergence.histogram,
        rsi(gain, loss, setting.rsi_fast_bars),
        rsi(gain, loss, setting.rsi_slow_bars),
        atr(true_range, setting.atr_fast_bars),
        atr(true_range, setting.atr_slow_bars),
        moving_mean(frame["volume"], setting.volume_mean_bars),
        *(_FURTHER[role](frame, setting.further_bars(role)) for role in setting.further),
    )
    return tuple(column.alias(name) for name, column in zip(setting.columns, columns, strict=True))


_FURTHER: Mapping[str, Callable[[pl.DataFrame, int], pl.Series]] = MappingProxyType(
    {
        "volatility": lambda frame, bars: volatility(frame["close"], bars),
        "roc": lambda frame, bars: rate_of_change(frame["close"], bars),
        "vwap": vwap,
        "bollinger_width": lambda frame, bars: bollinger_width(frame["close"], bars),
        "volume_z_score": lambda frame, bars: volume_z_score(frame["volume"], bars),
    }
)


class BrokenCandlesError(HistoryError, ValueError):
    """Candles hold a null, NaN or infinite number, or a price that nothing can be divided by."""


def _refuse_broken(frame: pl.DataFrame) -> None:
    # One NaN would silently poison (here) or zero (TA-Lib's RSI) everything after it.
    broken = frame.select((~pl.col(*_PRICE_COLUMNS).is_finite()).fill_null(value=True).sum()).row(0)
    for column, count in zip(_PRICE_COLUMNS, broken, strict=True):
        if count:
            raise BrokenCandlesError(
                f"{count} candles have no finite {column}: repair the history (`wonttrade history gaps`)"
            )


def _refuse_worthless(frame: pl.DataFrame) -> None:
    # Returns and widths are fractions of a close: of 0 or less there are none.
    count = (frame["close"] <= 0.0).sum()
    if count:
        raise BrokenCandlesError(
            f"{count} candles close at 0 or below: repair the history (`wonttrade history gaps`)"
        )


@dataclass(frozen=True, slots=True)
class IndicatorEngine:
    """Puts indicators beside the candles of a snapshot.

    Attributes:
        points: how many of the last rows of each window are kept for the prompt.
        setting: lengths, and which further columns are computed.
    """

    points: int = 10
    setting: IndicatorSetting = USUAL_INDICATORS

    def with_indicators(self, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` with ``setting.columns`` appended, for any number of rows in one pass.

        Args:
            frame: ``CANDLE_SCHEMA``, oldest first, without gaps.

        Returns:
            The same rows; null before each indicator's first value, and where it is not defined.

        Raises:
            BrokenCandlesError: a price or volume is null, NaN or infinite; or, with further columns, a close
                is not above 0.
        """
        _refuse_broken(frame)
        if self.setting.further:
            _refuse_worthless(frame)
        return frame.with_columns(*_columns(frame, self.setting))

    def compute(self, market: MarketSnapshot) -> IndicatorSnapshot:
        """Indicators of every symbol at the cycle time; ``BrokenCandlesError`` names the broken series."""
        symbols = tuple(self._of(symbol_market) for symbol_market in market.markets)
        return IndicatorSnapshot(market.cycle_ms, symbols)

    def _of(self, market: SymbolMarket) -> SymbolIndicators:
        return SymbolIndicators(
            market.symbol, self._last_points(market.intraday), self._last_points(market.long_term)
        )

    def _last_points(self, series: CandleSeries) -> IndicatorWindow:
        try:
            return IndicatorWindow.of(self.with_indicators(series.frame).tail(self.points))
        except BrokenCandlesError as error:
            raise BrokenCandlesError(f"{series.symbol} {series.interval}: {error}") from error
