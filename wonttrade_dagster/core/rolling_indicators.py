"""Indicators of a moving window: each value knows the last ``period`` bars and nothing before them.

Belongs here: volatility, rate of change, VWAP, Bollinger width, volume z-score.
Does not belong here: what remembers its whole past (``core.indicators``), gaps: a window is so many rows, and
candles with a gap never get here.

Null before the first value, as in TA-Lib; null as well where a formula has no value. What happens where
nothing happens (a halt is a row of bars without volume at one price):

============== ============================================ ========================= =====================
column          formula                                      price does not move       nothing is traded
============== ============================================ ========================= =====================
volatility      sample deviation of log returns, percent     0                         as the price says
rate of change  ``100 (close / close[period ago] − 1)``      0                         as the price says
VWAP            ``Σ typical·volume / Σ volume``              that price                null
Bollinger width ``100 (upper − lower) / middle``             0                         as the price says
volume z-score  ``(volume − mean) / deviation``              as the volume says        null
============== ============================================ ========================= =====================

Sums are taken anew for each window and in the same order: a running sum would carry what fell out of it long
ago, and a backtest would not see what a live cycle sees. Whether a window is flat is counted, not measured:
a deviation of rounding dust is not one.
"""

import math

import numpy as np
import numpy.typing as npt
import polars as pl

Values = npt.NDArray[np.float64]

_BOLLINGER_DEVIATIONS = 2.0


def rate_of_change(close: pl.Series, period: int) -> pl.Series:
    """Change against ``period`` bars ago in percent (TA-Lib's ROC); first value at row ``period``."""
    values = close.to_numpy()
    return _placed((values[period:] / values[: max(len(values) - period, 0)] - 1.0) * 100.0, len(close))


def volatility(close: pl.Series, period: int) -> pl.Series:
    """Realised volatility per bar in percent: sample deviation of the last ``period`` log returns.

    Not annualised: times the square root of the bars in a year of 365 days it would be (J. Hull, *Options,
    Futures, and Other Derivatives*, on estimating volatility from historical data). First value at row
    ``period``.
    """
    values = close.to_numpy()
    # Not numpy's log: its last digit depends on the processor, and a replay elsewhere would find another one.
    returns = np.array([math.log(ratio) for ratio in (values[1:] / values[:-1]).tolist()])
    return _placed(_deviations(returns, period, freedom=period - 1) * 100.0, len(close))


def vwap(frame: pl.DataFrame, period: int) -> pl.Series:
    """Volume-weighted average of the typical price (high + low + close) / 3 over the last ``period`` bars.

    Rolling, not anchored to a day: this market has no session. Null where nothing was traded in the window.
    First value at row ``period − 1``.

    Args:
        frame: ``CANDLE_SCHEMA``.
        period: bars.
    """
    high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
    traded = _sums(volume, period)
    turnover = _sums((high + low + close) / 3.0 * volume, period)
    average = np.divide(turnover, traded, out=np.full(traded.shape, np.nan), where=traded > 0.0)
    return _placed(average, frame.height)


def bollinger_width(close: pl.Series, period: int) -> pl.Series:
    """Distance of the Bollinger bands in percent of their middle; first value at row ``period − 1``.

    The bands of TA-Lib's BBANDS: simple mean ± 2 population deviations (J. Bollinger, *Bollinger on Bollinger
    Bands*, calls the width BandWidth).
    """
    values = close.to_numpy()
    middle = _sums(values, period) / period
    width = 2.0 * _BOLLINGER_DEVIATIONS * _deviations(values, period, freedom=period)
    return _placed(100.0 * width / middle, len(close))


def volume_z_score(volume: pl.Series, period: int) -> pl.Series:
    """How many population deviations a bar's volume lies above the mean of the last ``period`` bars.

    The bar itself is one of them, so that the score stays within ± √(period − 1). Null where all volumes are
    the same: nothing is unusual there, and nothing usual. First value at row ``period − 1``.
    """
    values = volume.to_numpy()
    mean, deviation = _sums(values, period) / period, _deviations(values, period, freedom=period)
    distance = values[period - 1 :] - mean
    score = np.divide(distance, deviation, out=np.full(mean.shape, np.nan), where=deviation > 0.0)
    return _placed(score, len(volume))


def _placed(values: Values, length: int) -> pl.Series:
    """``values`` at the end of a series of ``length`` rows; NaN and what stands before them as null."""
    before = np.full(length - len(values), np.nan)
    return pl.Series(np.concatenate([before, values]), nan_to_null=True)


def _sums(values: Values, period: int) -> Values:
    """Sum of each window, shape (n − period + 1,), empty for a shorter series."""
    count = max(len(values) - period + 1, 0)
    total = np.zeros(count)
    for start in range(period):
        total += values[start : start + count]
    return total


def _deviations(values: Values, period: int, freedom: int) -> Values:
    """Standard deviation of each window in two passes: the squares of BTC's price would drown it in one."""
    mean = _sums(values, period) / period
    count = len(mean)
    squares = np.zeros(count)
    for start in range(period):
        distance = values[start : start + count] - mean
        squares += distance * distance
    deviation = np.sqrt(squares / freedom)
    deviation[_is_flat(values, period)] = 0.0
    return deviation


def _is_flat(values: Values, period: int) -> npt.NDArray[np.bool_]:
    repeats = np.concatenate([[0], np.cumsum(values[1:] == values[:-1])])
    count = max(len(values) - period + 1, 0)
    flat: npt.NDArray[np.bool_] = repeats[period - 1 : period - 1 + count] - repeats[:count] == period - 1
    return flat
