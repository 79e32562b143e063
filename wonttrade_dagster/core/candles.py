"""Candles as frames: intervals, aggregation, gaps, and what had closed by a given time.

Belongs here: arithmetic on ``CANDLE_SCHEMA`` frames (ascending unique ``open_time_ms``).
Does not belong here: where candles come from, indicators.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from wonttrade_dagster.core.errors import ConfigurationError

_MINUTE_MS = 60_000
_DAY_MS = 1_440 * _MINUTE_MS
_LOTS_PER_UNIT = 1e8
_EXACT_INTEGERS = 2.0**53

# The venue also knows 1M: a calendar month has no fixed length, so it cannot be a window of bars here.
INTERVALS_MS: Mapping[str, int] = MappingProxyType(
    {
        "1m": _MINUTE_MS,
        "3m": 3 * _MINUTE_MS,
        "5m": 5 * _MINUTE_MS,
        "15m": 15 * _MINUTE_MS,
        "30m": 30 * _MINUTE_MS,
        "1h": 60 * _MINUTE_MS,
        "2h": 120 * _MINUTE_MS,
        "4h": 240 * _MINUTE_MS,
        "8h": 480 * _MINUTE_MS,
        "12h": 720 * _MINUTE_MS,
        "1d": 1_440 * _MINUTE_MS,
        "3d": 4_320 * _MINUTE_MS,
        "1w": 10_080 * _MINUTE_MS,
    }
)


SERVED_CANDLES = 5_000
"""Only so many of the most recent candles of an interval can be had (Hyperliquid docs, "Info endpoint")."""


def oldest_served_ms(interval: str, now_ms: int) -> int:
    """Open time of the oldest candle that the venue still serves; the forming one is one of them."""
    step_ms = interval_ms(interval)
    return now_ms // step_ms * step_ms - (SERVED_CANDLES - 1) * step_ms


def interval_ms(interval: str) -> int:
    """Length of one bar in milliseconds.

    Raises:
        ConfigurationError: the venue has no such interval (or it is ``1M``, which has no fixed length).
    """
    try:
        return INTERVALS_MS[interval]
    except KeyError:
        known = ", ".join(INTERVALS_MS)
        raise ConfigurationError(f"unknown candle interval {interval!r}: use one of {known}") from None


def _bars_per_bucket(to_interval: str, from_interval: str) -> int:
    to_ms, from_ms = interval_ms(to_interval), interval_ms(from_interval)
    if to_ms % from_ms:
        raise ConfigurationError(f"{to_interval} bars cannot be built from {from_interval} bars")
    return to_ms // from_ms


def aggregate_candles(
    frame: pl.DataFrame, to_interval: str, from_interval: str, *, include_partial: bool = False
) -> pl.DataFrame:
    """Longer bars from shorter ones, aligned to the UTC epoch like the venue's.

    Args:
        frame: ``CANDLE_SCHEMA``, ascending unique ``open_time_ms``.
        to_interval: interval of the result, a whole multiple of ``from_interval``.
        from_interval: interval of ``frame``.
        include_partial: keep buckets of which bars are missing; by default only whole ones are kept.

    Returns:
        ``CANDLE_SCHEMA``: first open, highest high, lowest low, last close, summed volume of each bucket.
        Volumes of at most eight decimals are summed as decimals: 0.1 + 0.2 is 0.3, as in the venue's own
        longer bar.

    Raises:
        ConfigurationError: an unknown interval, or one that is not a multiple of the other.
    """
    bars = _bars_per_bucket(to_interval, from_interval)
    bucket_ms = interval_ms(to_interval)
    start_ms = pl.col("open_time_ms") // bucket_ms * bucket_ms
    buckets = (
        _with_lots(frame)
        .group_by(start_ms, maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            pl.col("lots").sum(),
            pl.col("in_lots").all(),
            pl.len().alias("bars"),
        )
    )
    whole = buckets if include_partial else buckets.filter(pl.col("bars") == bars)
    return whole.with_columns(_summed_volume(whole)).drop("lots", "in_lots", "bars")


def _with_lots(frame: pl.DataFrame) -> pl.DataFrame:
    """``lots``: the volume in units of 1e-8, and ``in_lots``: whether it is a whole number of them."""
    volume = frame["volume"].to_numpy()
    lots = np.round(volume * _LOTS_PER_UNIT)
    # Divided by numpy: polars multiplies by the reciprocal of a constant, which is not the same float.
    in_lots = lots / _LOTS_PER_UNIT == volume
    return frame.with_columns(pl.Series("lots", lots), pl.Series("in_lots", in_lots))


def _summed_volume(buckets: pl.DataFrame) -> pl.Series:
    """Exact where it can be: whole numbers below 2**53 add up without a rounding error."""
    lots = buckets["lots"].to_numpy()
    is_exact = buckets["in_lots"].to_numpy() & (lots < _EXACT_INTEGERS)
    return pl.Series("volume", np.where(is_exact, lots / _LOTS_PER_UNIT, buckets["volume"].to_numpy()))


def day_volume_usd(frame: pl.DataFrame, interval: str) -> float | None:
    """What was traded in the 24 hours before the last bar closed: volume × close of each bar, summed.

    The same figure to the last digit wherever the bars come from, so that a backtest and a live cycle tell
    the model the same. The venue's own figure runs up to the moment and has no past.

    Args:
        frame: ``CANDLE_SCHEMA``, contiguous.
        interval: of ``frame``.

    Returns:
        None where the bars do not reach back a whole day.
    """
    bars = _DAY_MS // interval_ms(interval)
    return next(reversed(day_volumes_usd(frame.tail(bars), interval)), None)


def day_volumes_usd(frame: pl.DataFrame, interval: str) -> list[float]:
    """:func:`day_volume_usd` at each bar, from the first that has a whole day behind it."""
    bars = _DAY_MS // interval_ms(interval)
    if bars == 0 or frame.height < bars:
        return []
    notional_usd = (frame["volume"] * frame["close"]).to_numpy()
    # numpy's sum depends on the values alone: the same for a day on its own and for one of many.
    sums: list[float] = sliding_window_view(notional_usd, bars).sum(axis=1).tolist()
    return sums


def impossible(frame: pl.DataFrame) -> pl.DataFrame:
    """The candles that cannot be: no price, a volume below zero, open or close outside of low and high."""
    inside = [pl.col(name).is_between(pl.col("low"), pl.col("high")) for name in ("open", "close")]
    return frame.filter(~pl.all_horizontal(pl.col("low") > 0, pl.col("volume") >= 0, *inside))


def prices_text(candle: Mapping[str, float]) -> str:
    """A candle in a sentence, e.g. ``open 1.0, high 2.0, low 0.5, close 1.5, volume 10.0``."""
    return ", ".join(f"{name} {candle[name]}" for name in ("open", "high", "low", "close", "volume"))


def missing_open_times(frame: pl.DataFrame, interval: str) -> list[int]:
    """Open times that should lie between the first and the last bar of ``frame`` and do not, ascending."""
    if frame.is_empty():
        return []
    times = frame["open_time_ms"]
    step = interval_ms(interval)
    expected = pl.int_range(times[0], times[-1] + 1, step, eager=True)
    return expected.filter(~expected.is_in(times.implode())).to_list()


def closed_at(frame: pl.DataFrame, interval: str, cycle_ms: int, bars: int) -> pl.DataFrame:
    """The last ``bars`` bars that had closed at or before ``cycle_ms``: the guard against look-ahead.

    A bar opened at ``t`` closes at ``t + interval``. Costs a binary search, whatever the frame's length.
    """
    last_open_ms = cycle_ms - interval_ms(interval)
    end = int(frame["open_time_ms"].search_sorted(last_open_ms, side="right"))
    start = max(end - bars, 0)
    return frame.slice(start, end - start)
