"""Technical indicators with TA-Lib's conventions, over whole polars columns.

Belongs here: EMA, MACD, RSI, ATR, and the engine that puts them beside the candles.
Does not belong here: how many candles there are, how the numbers are printed.

Conventions (TA-Lib's C library is the reference, the tests compare with it to 1e-9):

* Null before the first value; the first value is a simple mean (the seed); then the recursion
  ``y = y + alpha (x − y)``, ``alpha`` being ``2 / (period + 1)`` for EMA and Wilder's
  ``1 / period`` for RSI and ATR.
* MACD's fast EMA is seeded late, so that its first value falls on the slow EMA's first value; line, signal
  and histogram all begin with the signal's first value.
* RSI of a series that has not moved at all is null. TA-Lib says 0 there, which reads as "oversold".

Every value depends on its own and earlier rows alone, so one pass over a year gives the same numbers as a
pass per cycle over the same history.
"""

from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.model import (
    CandleSeries,
    IndicatorSnapshot,
    MarketSnapshot,
    SymbolIndicators,
    SymbolMarket,
)

INDICATOR_COLUMNS = (
    "ema_20",
    "ema_50",
    "macd",
    "macd_signal",
    "macd_histogram",
    "rsi_7",
    "rsi_14",
    "atr_3",
    "atr_14",
    "volume_mean_20",
)
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


def _columns(frame: pl.DataFrame) -> tuple[pl.Series, ...]:
    close = frame["close"]
    gain, loss, true_range = moves(frame).get_columns()
    convergence = macd(close)
    columns = (
        ema(close, 20),
        ema(close, 50),
        convergence.line,
        convergence.signal,
        convergence.histogram,
        rsi(gain, loss, 7),
        rsi(gain, loss, 14),
        atr(true_range, 3),
        atr(true_range, 14),
        moving_mean(frame["volume"], 20),
    )
    return tuple(column.alias(name) for name, column in zip(INDICATOR_COLUMNS, columns, strict=True))


class BrokenCandlesError(HistoryError, ValueError):
    """Candles hold a null, NaN or infinite number."""


def _refuse_broken(frame: pl.DataFrame) -> None:
    # One NaN would silently poison (here) or zero (TA-Lib's RSI) everything after it.
    broken = frame.select((~pl.col(*_PRICE_COLUMNS).is_finite()).fill_null(value=True).sum()).row(0)
    for column, count in zip(_PRICE_COLUMNS, broken, strict=True):
        if count:
            raise BrokenCandlesError(
                f"{count} candles have no finite {column}: repair the history (`wonttrade history gaps`)"
            )


@dataclass(frozen=True, slots=True)
class IndicatorEngine:
    """Puts indicators beside the candles of a snapshot.

    Attributes:
        points: how many of the last rows of each window are kept for the prompt.
    """

    points: int = 10

    def with_indicators(self, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` with ``INDICATOR_COLUMNS`` appended, for any number of rows in one pass.

        Args:
            frame: ``CANDLE_SCHEMA``, oldest first, without gaps.

        Returns:
            The same rows; null before each indicator's first value.

        Raises:
            BrokenCandlesError: a price or volume is null, NaN or infinite.
        """
        _refuse_broken(frame)
        return frame.with_columns(*_columns(frame))

    def compute(self, market: MarketSnapshot) -> IndicatorSnapshot:
        """Indicators of every symbol at the cycle time; ``BrokenCandlesError`` names the broken series."""
        symbols = tuple(self._of(symbol_market) for symbol_market in market.markets)
        return IndicatorSnapshot(market.cycle_ms, symbols)

    def _of(self, market: SymbolMarket) -> SymbolIndicators:
        return SymbolIndicators(
            market.symbol, self._last_points(market.intraday), self._last_points(market.long_term)
        )

    def _last_points(self, series: CandleSeries) -> pl.DataFrame:
        try:
            return self.with_indicators(series.frame).tail(self.points)
        except BrokenCandlesError as error:
            raise BrokenCandlesError(f"{series.symbol} {series.interval}: {error}") from error
