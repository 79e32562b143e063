"""What a backtest holds in memory: gapless candles per symbol, loaded once for a whole range.

Belongs here: choosing the finest candles that cover a range, and refusing ranges that have holes.
Does not belong here: snapshots (``replay``), how candles are stored (``history``).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np
import numpy.typing as npt
import polars as pl

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_gaps import Gap, gaps_in
from wonttrade_dagster.core.candles import aggregate_candles, impossible, interval_ms, prices_text
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.model import CANDLE_SCHEMA, CandleSeries, Columns, IndicatorWindow
from wonttrade_dagster.core.utc import utc_minute, utc_text

MIN_BARS = 60
"""Fewer closed candles than this at the first decision are no basis for an indicator."""

_GAPS_SHOWN = 3
_REMEDY = "add the missing candles with `wonttrade history sync` or `wonttrade history import FILE`"


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """Which part of history a backtest replays: decisions in ``[from_ms, to_ms)``, warm-up before it.

    Raises:
        HistoryError: it is empty.
    """

    from_ms: int
    to_ms: int
    history_bars: int

    def __post_init__(self) -> None:
        if self.from_ms >= self.to_ms:
            raise HistoryError(
                f"the range {utc_text(self.from_ms)} to {utc_text(self.to_ms)} is empty: give a later end"
            )

    def warm_up_ms(self, interval: str) -> int:
        """Open time of the first candle wanted: ``history_bars`` closed ones at ``from_ms``."""
        step_ms = interval_ms(interval)
        return self.from_ms // step_ms * step_ms - self.history_bars * step_ms


@dataclass(frozen=True, slots=True, eq=False)
class ReplayWindow:
    """Candles of one symbol and interval without a gap: row ``i`` opens at ``first_ms + i * step_ms``.

    Attributes:
        frame: ``CANDLE_SCHEMA``.
        enriched: the same rows with whatever columns were computed from them.
    """

    symbol: str
    interval: str
    first_ms: int
    step_ms: int
    frame: pl.DataFrame
    enriched: "PlainRows"
    rows: int = field(init=False)
    _cut: Callable[[int, int], CandleSeries] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.frame.height)
        # The long window is the same for hours.
        object.__setattr__(self, "_cut", lru_cache(maxsize=1)(self._series_of))

    def closed(self, cycle_ms: int) -> int:
        """How many candles had closed at or before ``cycle_ms``."""
        rows = (cycle_ms - self.first_ms) // self.step_ms
        return 0 if rows < 0 else min(rows, self.rows)

    def series(self, cycle_ms: int, bars: int) -> CandleSeries:
        """The last ``bars`` closed candles, a view."""
        end = self.closed(cycle_ms)
        return self._cut(max(end - bars, 0), end)

    def _series_of(self, start: int, end: int) -> CandleSeries:
        newest = self.enriched.row(end - 1)[: len(CANDLE_SCHEMA)] if end else ()
        return _LateSeries(self.symbol, self.interval, newest, partial(self.frame.slice, start, end - start))

    def points(self, cycle_ms: int, points: int) -> IndicatorWindow:
        """The last ``points`` closed candles with their computed columns."""
        end = self.closed(cycle_ms)
        return self.enriched.window(max(end - points, 0), end)

    def between(self, from_ms: int, to_ms: int) -> pl.DataFrame:
        """Candles opened in ``[from_ms, to_ms)``, a view."""
        start, end = self.opened_before(from_ms), self.opened_before(to_ms)
        return self.frame.slice(start, max(end - start, 0))

    def opened_before(self, time_ms: int) -> int:
        """How many candles open before ``time_ms``."""
        rows = -((self.first_ms - time_ms) // self.step_ms)
        return 0 if rows < 0 else min(rows, self.rows)


class _LateSeries(CandleSeries):
    """A series whose frame is cut when it is asked for: of most, a cycle reads the last candle only."""

    def __init__(
        self,
        symbol: str,
        interval: str,
        newest: tuple[float | None, ...],
        cut: Callable[[], pl.DataFrame],
    ) -> None:
        vars(self).update(symbol=symbol, interval=interval, newest=newest, _cut=cut)

    @cached_property
    def frame(self) -> pl.DataFrame:
        cut: Callable[[], pl.DataFrame] = vars(self)["_cut"]
        return cut()


class PlainRows:
    """The rows of a long frame as plain columns, read in blocks: a few rows are slow to get from a frame.

    Attributes:
        window: the rows from a first one to before a last one; the same window as long as the same are asked
            for, as the long ones are for hours.
    """

    _BLOCK_ROWS = 1024

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._block = _Block(range(0), {}, np.empty((0, 0)))
        self.window = lru_cache(maxsize=1)(self._window)

    def row(self, index: int) -> tuple[float | None, ...]:
        """Every column of a row."""
        block = self._block_with(index, index + 1)
        return tuple([values[index - block.rows.start] for values in block.columns.values()])

    def _window(self, start: int, end: int) -> IndicatorWindow:
        block = self._block_with(start, end)
        first, last = start - block.rows.start, end - block.rows.start
        window = IndicatorWindow({name: values[first:last] for name, values in block.columns.items()})
        # Cut out of the block in a tenth of the time that it takes to put them together number by number.
        vars(window)["bits"] = block.numbers[:, first:last].tobytes()
        return window

    def _block_with(self, start: int, end: int) -> "_Block":
        if start < self._block.rows.start or end > self._block.rows.stop:
            rows = range(start, max(end, start + self._BLOCK_ROWS))
            frame = self._frame.slice(start, len(rows))
            numbers = frame.cast(pl.Float64).to_numpy(order="fortran").T
            self._block = _Block(rows, IndicatorWindow.of(frame).columns, numbers)
        return self._block


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Some rows: their columns, and the same as floats, a row for each column; a null is a NaN there."""

    rows: range
    columns: Columns
    numbers: npt.NDArray[np.float64]


class SymbolHistory:
    """The stored candles of one symbol over a range and its warm-up, read once."""

    def __init__(
        self, history: MarketHistory, symbol: str, intervals: Iterable[str], span: ReplayRange
    ) -> None:
        self.symbol = symbol
        self.span = span
        wanted = tuple(intervals)
        longest_ms = max(interval_ms(interval) for interval in wanted)
        start_ms = min(span.warm_up_ms(interval) for interval in wanted)
        self._stored: Mapping[str, pl.DataFrame] = {
            interval: history.candles(symbol, interval, start_ms, span.to_ms)
            for interval in history.intervals(symbol)
            if interval_ms(interval) <= longest_ms
        }

    def digest(self) -> str:
        """SHA-256 of all candles read, so that a later look can tell whether they are still the same."""
        found = hashlib.sha256()
        for interval, frame in self._stored.items():
            found.update(f"{self.symbol} {interval} {frame.height}".encode())
            found.update(frame_bytes(frame))
        return found.hexdigest()

    def window(self, interval: str) -> ReplayWindow:
        """The finest candles that make up ``interval`` over the range, warm-up included.

        Each bucket comes from the finest stored candles that fill it: 5-minute ones aggregated where all
        of them are there, else hourly ones, else what is stored under ``interval`` itself.

        Raises:
            HistoryError: candles are missing in the range or its warm-up, or cannot be; a history that
                simply starts later than the warm-up is taken as long as ``MIN_BARS`` candles remain.
        """
        step_ms = interval_ms(interval)
        start_ms = self.span.warm_up_ms(interval)
        frame = self._finest(interval).filter(pl.col("open_time_ms") >= start_ms)
        first_ms = self._refuse_holes(frame, interval)
        self._refuse_impossible(frame, interval)
        return ReplayWindow(self.symbol, interval, first_ms, step_ms, frame, PlainRows(frame))

    def finest(self, intraday: ReplayWindow) -> ReplayWindow:
        """The finest stored candles that cover the traded range completely; ``intraday`` when none do.

        Raises:
            HistoryError: one of them cannot be.
        """
        for interval, stored in self._stored.items():
            step_ms = interval_ms(interval)
            if step_ms >= intraday.step_ms or intraday.step_ms % step_ms:
                continue
            # The bar before the range tells what the price is, and how much it moved.
            traded = stored.filter(pl.col("open_time_ms") >= self.span.from_ms - step_ms)
            if not gaps_in(traded, interval, self.span.from_ms, self.span.to_ms):
                self._refuse_impossible(traded, interval)
                first_ms = int(traded["open_time_ms"][0])
                return ReplayWindow(self.symbol, interval, first_ms, step_ms, traded, PlainRows(traded))
        return intraday

    def _finest(self, interval: str) -> pl.DataFrame:
        step_ms = interval_ms(interval)
        parts = [
            frame if name == interval else aggregate_candles(frame, interval, name)
            for name, frame in self._stored.items()
            if step_ms % interval_ms(name) == 0
        ]
        merged = pl.concat([pl.DataFrame(schema=CANDLE_SCHEMA), *parts])
        closed = merged.filter(pl.col("open_time_ms") + step_ms <= self.span.to_ms)
        return closed.unique("open_time_ms", keep="first", maintain_order=True).sort("open_time_ms")

    def _refuse_holes(self, frame: pl.DataFrame, interval: str) -> int:
        """Open time of the first candle of a window that has no gap up to the end of the range."""
        span, step_ms = self.span, interval_ms(interval)
        end_ms = span.to_ms // step_ms * step_ms
        start_ms = span.from_ms if frame.is_empty() else min(int(frame["open_time_ms"][0]), span.from_ms)
        gaps = gaps_in(frame, interval, start_ms, end_ms)
        if gaps:
            raise HistoryError(f"{self.symbol} {interval}: {_listed(gaps)}; {_REMEDY}")
        bars = (span.from_ms - start_ms) // step_ms
        if frame.is_empty() or bars < MIN_BARS:
            raise HistoryError(
                f"{self.symbol} {interval}: only {bars} candles had closed at {utc_text(span.from_ms)}, "
                f"indicators need {MIN_BARS}; begin the backtest later or {_REMEDY}"
            )
        return start_ms

    def _refuse_impossible(self, frame: pl.DataFrame, interval: str) -> None:
        """What gates a live snapshot (``core.plausibility``), once, before any call is paid."""
        broken = impossible(frame)
        if broken.is_empty():
            return
        first = broken.row(0, named=True)
        raise HistoryError(
            f"{self.symbol} {interval}: {broken.height} candles cannot be, the first of "
            f"{utc_text(first['open_time_ms'])}: {prices_text(first)}; replace them with "
            "`wonttrade history import FILE --replace`"
        )


def _listed(gaps: Sequence[Gap]) -> str:
    """How many candles are missing, and where."""
    missing = sum(gap.count for gap in gaps)
    spans = [f"{utc_minute(gap.first_ms)} to {utc_text(gap.last_ms)}" for gap in gaps[:_GAPS_SHOWN]]
    more = f" and {len(gaps) - _GAPS_SHOWN} more gaps (`wonttrade history gaps`)"
    return f"{missing} candles are missing, {', '.join(spans)}{more if len(gaps) > _GAPS_SHOWN else ''}"


def frame_bytes(frame: pl.DataFrame) -> bytes:
    """The numbers of a frame, column by column."""
    return b"".join(column.to_numpy().tobytes() for column in frame.get_columns())
