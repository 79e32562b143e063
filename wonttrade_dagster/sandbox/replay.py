"""A recorded market as the tape's source: candles and funding of files, shifted by whole days to now.

Belongs here: candles to minute bars, recorded rates by hour. Does not belong here: reading files.

The last recorded day becomes the venue's today, the days before it its past; after the recording, and for
coins that it does not hold, the walk goes on (scaled to the last recorded price).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import polars as pl

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.walk import DAY_MINUTES, DAY_MS, MINUTE_MS, BarSource, DayBars, Floats

_HOUR_MS = 60 * MINUTE_MS
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What was recorded of one coin.

    Attributes:
        candles: ``CANDLE_SCHEMA``, one frame an interval, finest first; a day comes from the first one that
            holds all of it.
        funding: ``time_ms`` on the hour and ``rate_hourly``; None where it was not recorded.
    """

    candles: tuple[pl.DataFrame, ...]
    funding: pl.DataFrame | None = None


class CandleReplay(BarSource):
    """Bars out of recorded candles.

    Args:
        recordings: by coin; the candles ascend by a whole number of minutes.
        now_ms: the venue's start; the recording's last whole day becomes its day.
        beyond: where prices come from before and after the recording.

    Raises:
        UsageError: a frame is empty, or its interval does not divide a day into minutes.
    """

    def __init__(self, recordings: Mapping[str, Recording], now_ms: int, beyond: BarSource) -> None:
        self._beyond = beyond
        self._days = {coin: _all_days(coin, recording) for coin, recording in recordings.items()}
        self._rates = {coin: _rates(recording) for coin, recording in recordings.items()}
        self._shifts = {coin: now_ms // DAY_MS - max(days) for coin, days in self._days.items()}

    def day(self, coin: str, day: int) -> DayBars | None:
        """See :class:`BarSource`; None before the recording."""
        days = self._days.get(coin)
        if days is None:
            return self._beyond.day(coin, day)
        recorded = day - self._shifts[coin]
        if recorded in days:
            return days[recorded]
        return self._after(coin, day, max(days)) if recorded > max(days) else None

    def funding_rate(self, coin: str, hour: int) -> Decimal | None:
        """See :class:`BarSource`."""
        return self._rates.get(coin, {}).get(hour - self._shifts.get(coin, 0) * _DAY_HOURS)

    def anchors(self) -> dict[str, int]:
        """See :class:`BarSource`."""
        return dict(self._shifts)

    def anchor(self, days: Mapping[str, int]) -> None:
        """See :class:`BarSource`. Raises ``UsageError`` for a recording of other coins."""
        if days.keys() != self._shifts.keys():
            held, missing = sorted(self._shifts), sorted(days)
            raise UsageError(f"the saved venue replays candles of {missing}, these files hold {held}")
        self._shifts = dict(days)

    def _after(self, coin: str, day: int, last_day: int) -> DayBars | None:
        bars, first = self._beyond.day(coin, day), self._beyond.day(coin, last_day + self._shifts[coin] + 1)
        if bars is None or first is None:
            return None
        factor = float(self._days[coin][last_day].close[-1]) / float(first.open[0])
        return replace(
            bars,
            open=bars.open * factor,
            high=bars.high * factor,
            low=bars.low * factor,
            close=bars.close * factor,
        )


def _all_days(coin: str, recording: Recording) -> dict[int, DayBars]:
    """Every day of which one of the frames holds all candles."""
    days: dict[int, DayBars] = {}
    for frame in reversed(recording.candles):
        days |= _by_day(coin, frame)
    return days


def _rates(recording: Recording) -> dict[int, Decimal]:
    """By hour of the epoch."""
    if recording.funding is None:
        return {}
    return {int(ms) // _HOUR_MS: Decimal(repr(float(rate))) for ms, rate in recording.funding.iter_rows()}


def _by_day(coin: str, frame: pl.DataFrame) -> dict[int, DayBars]:
    """Whole recorded days as minute bars; the first and last partial day are left out."""
    if frame.height < 2:
        raise UsageError(f"the recording of {coin} has {frame.height} candles: a replay needs at least a day")
    interval_ms = int(frame["open_time_ms"][1]) - int(frame["open_time_ms"][0])
    per_day = DAY_MS // interval_ms if interval_ms > 0 else 0
    if per_day == 0 or interval_ms % MINUTE_MS or DAY_MINUTES % per_day:
        raise UsageError(f"the recording of {coin} has candles of {interval_ms} ms: a replay needs minutes")
    days = frame.with_columns((pl.col("open_time_ms") // DAY_MS).alias("day")).partition_by(
        "day", as_dict=True
    )
    whole = {int(key[0]): _minutes(rows) for key, rows in days.items() if rows.height == per_day}
    if not whole:
        raise UsageError(f"the recording of {coin} holds no whole day of candles without a gap")
    return whole


def _minutes(rows: pl.DataFrame) -> DayBars:
    """Every candle as minutes that run open → one extreme → the other → close inside it."""
    per_candle = DAY_MINUTES // rows.height
    columns = (rows[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close"))
    opens, highs, lows, closes = columns
    rises = closes >= opens
    corners = np.stack([opens, np.where(rises, lows, highs), np.where(rises, highs, lows), closes])
    path = _along(corners, per_candle)
    starts, ends = path[:, :-1], path[:, 1:]
    high, low = np.maximum(starts, ends), np.minimum(starts, ends)
    high[np.arange(len(opens)), high.argmax(axis=1)] = highs
    low[np.arange(len(opens)), low.argmin(axis=1)] = lows
    volume = np.repeat(rows["volume"].to_numpy().astype(np.float64) / per_candle, per_candle)
    prices = (starts.ravel(), high.ravel(), low.ravel(), ends.ravel())
    return DayBars(*prices, volume, np.ceil(volume))


def _along(corners: Floats, per_candle: int) -> Floats:
    """Prices at the minute boundaries of every candle, shape ``(candles, per_candle + 1)``."""
    part = np.linspace(0.0, 3.0, per_candle + 1)
    leg = np.minimum(part.astype(np.int64), 2)
    share = part - leg
    path: Floats = (corners[leg] + (corners[leg + 1] - corners[leg]) * share[:, None]).T
    return path
