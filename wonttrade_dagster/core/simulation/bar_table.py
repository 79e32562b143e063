"""Candles of several symbols on one time axis, as plain columns.

Belongs here: the candle, aligning frames.
Does not belong here: what a candle does to an account (``bars``, ``watch``), slippage.

Plain tuples of floats, because the walk compares one bar after the other and most segments between two
decisions are short: an access costs a few tens of nanoseconds, a vectorised call some ten microseconds. Not
lists: the garbage collector looks through a list of millions again and again, and lets a tuple of floats be.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle of one symbol; a volume of 0 where nobody traded, or nobody told."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume_base: float = 0.0


@dataclass(frozen=True, slots=True)
class BarColumns:
    """One symbol's candles, oldest first, as long as the table's time axis.

    ``volume`` is read only where something happens: it stays a column of the frame, null or None where it is
    not known.
    """

    open: Sequence[float]
    high: Sequence[float]
    low: Sequence[float]
    close: Sequence[float]
    volume: Sequence[float | None] | pl.Series | None = None

    def bar(self, index: int, open_time_ms: int) -> Bar:
        """One candle of the column."""
        volume = self.volume[index] if self.volume is not None else None
        prices = (self.open[index], self.high[index], self.low[index], self.close[index])
        return Bar(open_time_ms, *prices, float(volume or 0.0))


@dataclass(frozen=True, slots=True)
class BarTable:
    """Candles of several symbols with common, ascending open times."""

    open_time_ms: Sequence[int]
    columns: Mapping[str, BarColumns]

    def index_of(self, time_ms: int) -> int:
        """The first bar that opens at or after ``time_ms``."""
        return bisect_left(self.open_time_ms, time_ms)

    @classmethod
    def of(cls, frames: Mapping[str, pl.DataFrame]) -> "BarTable":
        """Align candle frames (``CANDLE_SCHEMA``, ascending unique times).

        A symbol without a bar at some time stands still at its last close there; before its first bar it
        stands at that bar's open, which nothing can depend on: it had no price to trade at.
        """
        filled = {symbol: frame for symbol, frame in frames.items() if frame.height}
        if not filled:
            return cls((), {})
        times = _common_times(tuple(filled.values()))
        axis = tuple(times.to_list())
        return cls(axis, {symbol: _columns(frame, times) for symbol, frame in filled.items()})


def _common_times(frames: Sequence[pl.DataFrame]) -> pl.Series:
    times = frames[0]["open_time_ms"]
    for frame in frames[1:]:
        if not times.equals(frame["open_time_ms"]):
            stacked = pl.concat([each["open_time_ms"] for each in frames])
            return stacked.unique().sort()
    return times


def _columns(frame: pl.DataFrame, times: pl.Series) -> BarColumns:
    if frame.height != times.len():
        axis = times.to_frame("open_time_ms")
        frame = axis.join(frame, on="open_time_ms", how="left", maintain_order="left")
        stand = pl.col("close").forward_fill().fill_null(pl.col("open").backward_fill())
        frame = frame.with_columns(pl.col(name).fill_null(stand) for name in PRICES)
    volume = frame["volume"] if "volume" in frame.columns else None
    open_, high, low, close = (tuple(frame[name].to_list()) for name in PRICES)
    return BarColumns(open_, high, low, close, volume)
