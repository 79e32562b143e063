"""Candles of several symbols on one time axis, as plain columns.

Belongs here: the candle, stretches of one symbol's candles, aligning them.
Does not belong here: what a candle does to an account (``bars``, ``watch``), slippage.

Plain tuples of floats, because the walk compares one bar after the other and most segments between two
decisions are short: an access costs a few tens of nanoseconds, a vectorised call some ten microseconds. Not
lists: the garbage collector looks through a list of millions again and again, and lets a tuple of floats be.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from wonttrade_dagster.core.quick_init import quick_init

PRICES = ("open", "high", "low", "close")


@quick_init
@dataclass(frozen=True, slots=True)
class Bar:
    """One candle of one symbol; a volume of 0 where nobody traded, or nobody told."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume_base: float = 0.0


@quick_init
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

    def cut(self, start: int, stop: int) -> "BarColumns":
        """The candles ``[start, stop)`` alone; as tuples where one bar after the other is looked at."""
        rows = slice(start, stop)
        volume = None if self.volume is None else self.volume[rows]
        high, low = tuple(self.high[rows]), tuple(self.low[rows])
        return BarColumns(self.open[rows], high, low, self.close[rows], volume)


@dataclass(slots=True, eq=False)  # ten are made in a cycle: frozen, each takes twice as long
class BarStretch:
    """The rows ``[start, stop)`` of one symbol's candles, ``CANDLE_SCHEMA`` with ascending unique times.

    A backtest looks at a row or two of a long history, again and again: asked of a frame, each number takes
    as long as all that is done with it. The columns are views of the memory of the whole frame.
    """

    frame: pl.DataFrame
    open_time_ms: Sequence[int]
    columns: BarColumns
    start: int
    stop: int

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "BarStretch":
        """All rows of ``frame``."""
        told = frame["volume"] if "volume" in frame.columns else None
        volume = told if told is None or told.null_count() else _view(told)
        open_, high, low, close = (_view(frame[name]) for name in PRICES)
        columns = BarColumns(open_, high, low, close, volume)
        return cls(frame, _view(frame["open_time_ms"]), columns, 0, frame.height)

    def opened_before(self, time_ms: int) -> int:
        """The row behind the last one that opens before then."""
        return bisect_left(self.open_time_ms, time_ms, self.start, self.stop)

    def rows(self, start: int, stop: int) -> "BarStretch":
        """The rows ``[start, stop)`` of the same candles."""
        if start == self.start and stop == self.stop:
            return self
        return BarStretch(self.frame, self.open_time_ms, self.columns, start, stop)

    def between(self, from_ms: int, to_ms: int) -> "BarStretch":
        """Those that open in ``[from_ms, to_ms)``."""
        return self.rows(self.opened_before(from_ms), self.opened_before(to_ms))

    def bar(self, row: int) -> Bar:
        """One of them."""
        return self.columns.bar(row, self.open_time_ms[row])


@quick_init
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

    @classmethod
    def over(cls, stretches: Mapping[str, BarStretch]) -> "BarTable":
        """As :meth:`of`; rows at the same times, which is the usual, are cut out of their columns."""
        filled = {symbol: stretch for symbol, stretch in stretches.items() if stretch.start < stretch.stop}
        if not filled:
            return cls((), {})
        axis, *others = [each.open_time_ms[each.start : each.stop] for each in filled.values()]
        for other in others:
            if other != axis:
                return cls.of({name: each.frame[each.start : each.stop] for name, each in filled.items()})
        cut = {symbol: each.columns.cut(each.start, each.stop) for symbol, each in filled.items()}
        return cls(tuple(axis), cut)


def _view(column: pl.Series) -> Sequence[Any]:
    """The plain numbers of a column without nulls, where they are."""
    return column.to_numpy().data


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
