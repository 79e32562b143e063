"""Closed candles in memory: one window for each series, exactly as long as configured.

Belongs here: what a window holds, what it lacks, and what a newer value does to it.
Does not belong here: sockets and requests (``stream_line``, ``stream_fill``), files (``stream_files``).

A push tells that a bar has closed; its values come by REST, one small request a bar (weight 20, against 36
for a whole window). No recording proves that the last push of a bar is its final state, and a push that was
lost with its connection would leave a bar with too little volume, which nobody would notice.
"""

from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.candles import interval_ms, missing_open_times
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import CANDLE_SCHEMA, CandleSeries

CLOSE_GRACE_MS = 2_000
"""A bar without a newer one counts as closed so long after its close: the venue's clock is not ours."""
CLOCK_TOLERANCE_MS = 30_000
"""A bar that opens further ahead of our clock than this is a mistake on one of the two sides."""


@dataclass(frozen=True, slots=True)
class SeriesName:
    """One symbol and interval."""

    symbol: str
    interval: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval}"


@dataclass(frozen=True, slots=True)
class Ask:
    """The bars that a window needs: those that opened in ``[first_ms, last_ms]``."""

    series: SeriesName
    first_ms: int
    last_ms: int


class CandleWindow:
    """The last ``bars`` closed candles of one series: ascending, no gap, none twice.

    Not safe for several threads: one thread owns it.

    Args:
        series: which one.
        bars: how many it holds; fewer only where the venue has no more.
    """

    def __init__(self, series: SeriesName, bars: int) -> None:
        self.series = series
        self._bars = bars
        self._length_ms = interval_ms(series.interval)
        self._closed = pl.DataFrame(schema=dict(CANDLE_SCHEMA))
        self._forming_ms = -1
        self._doubted_ms: int | None = None
        self.taken_at_ms = 0
        self.has_all = False
        self.revised = 0

    @property
    def closed(self) -> CandleSeries:
        """The closed bars, oldest first."""
        return CandleSeries(self.series.symbol, self.series.interval, self._closed)

    @property
    def last_ms(self) -> int | None:
        """When the newest closed bar opened."""
        return None if self._closed.is_empty() else int(self._closed["open_time_ms"][-1])

    def pushed(self, open_ms: int, close_px: float, volume: float, now_ms: int) -> None:
        """A push about a bar: it closes those before it; about a closed one it is a reason to ask again.

        A push may be older than what REST said, so it never replaces a closed bar itself. One from the future
        is ignored: it would let the window wait for bars that are not there.
        """
        if open_ms > now_ms + CLOCK_TOLERANCE_MS:
            return
        self._forming_ms = max(self._forming_ms, open_ms)
        last_ms = self.last_ms
        if last_ms is None or open_ms > last_ms:
            return
        known = self._closed.filter(pl.col("open_time_ms") == open_ms)
        if known.height and (known["close"][0], known["volume"][0]) != (close_px, volume):
            self._doubted_ms = min(open_ms, self._doubted_ms or open_ms)

    def closed_ms(self, now_ms: int) -> int:
        """When the newest bar opened that has closed at the venue, as far as is known at ``now_ms``."""
        by_clock = (now_ms - CLOSE_GRACE_MS) // self._length_ms * self._length_ms
        return max(by_clock, self._forming_ms) - self._length_ms

    def needs(self, now_ms: int) -> Ask | None:
        """What is to be asked for; None while the window is whole.

        The newest known bar is asked for once more with its successor: had it been taken too early, it is
        corrected then.
        """
        due_ms, last_ms = self.closed_ms(now_ms), self.last_ms
        earliest_ms = due_ms - (self._bars - 1) * self._length_ms
        if last_ms is None:
            return Ask(self.series, earliest_ms, due_ms)
        if last_ms < due_ms:
            first_ms = min(last_ms, self._doubted_ms or last_ms)
            return Ask(self.series, max(first_ms, earliest_ms), due_ms)
        return None if self._doubted_ms is None else Ask(self.series, self._doubted_ms, last_ms)

    def put(self, ask: Ask, frame: pl.DataFrame, now_ms: int) -> None:
        """Take the answer to ``ask``; newer values replace older ones.

        Raises:
            VenueAnswerError: there would be a gap.
        """
        known = self._closed
        replaces_all = self.last_ms is None or ask.first_ms > self.last_ms + self._length_ms
        joined = frame if replaces_all else _joined(known, frame)
        window = joined.tail(self._bars)
        if missing_open_times(window, self.series.interval):
            raise VenueAnswerError(f"Hyperliquid's {self.series} candles do not join the ones before them")
        self.revised += 0 if replaces_all else _changed(known, frame)
        if replaces_all and frame.height < self._bars:
            self.has_all = ask.last_ms - ask.first_ms >= (self._bars - 1) * self._length_ms
        self._closed = window
        self._doubted_ms = None
        self.taken_at_ms = now_ms


def _joined(known: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    kept = known.join(newer, on="open_time_ms", how="anti")
    return pl.concat([kept, newer]).sort("open_time_ms").rechunk()


def _changed(known: pl.DataFrame, newer: pl.DataFrame) -> int:
    both = newer.join(known, on="open_time_ms", how="inner", suffix="_known")
    names = [name for name in CANDLE_SCHEMA if name != "open_time_ms"]
    return both.filter(pl.any_horizontal(pl.col(name) != pl.col(f"{name}_known") for name in names)).height
