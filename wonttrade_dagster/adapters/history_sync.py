"""Filling the history from the venue: one code path for the assets, the schedule and the command.

Belongs here: which range is fetched of which series, and what adding it did.
Does not belong here: how the venue is asked (``hyperliquid.history``), the tables (``history``).

Each series is added as soon as it is there, in a transaction of its own: a sync that is cut off goes on where
it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.adapters.history import DAY_MS, ImportCounts, MarketHistory, SeriesRows
from wonttrade_dagster.adapters.history_gaps import missing_runs
from wonttrade_dagster.adapters.history_survey import FUNDING, OPEN_INTEREST, end_ms, step_ms_of
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.core.candles import oldest_served_ms

SOURCE = "venue"


@dataclass(frozen=True, slots=True)
class SeriesSync:
    """What fetching one series did; ``first_ms`` and ``last_ms`` of what came back, None for nothing."""

    symbol: str
    series: str
    first_ms: int | None
    last_ms: int | None
    counts: ImportCounts


@dataclass(frozen=True, slots=True)
class HistorySync:
    """The venue's past into the history.

    Attributes:
        venue: where from.
        history: where to.
        replace: overwrite stored values that differ; by default they are counted and left.
    """

    venue: VenueHistory
    history: MarketHistory
    replace: bool = False

    def candles(
        self, symbols: Sequence[str], intervals: Sequence[str], from_ms: int | None, to_ms: int
    ) -> Iterator[SeriesSync]:
        """Closed candles opened in ``[from_ms, to_ms)``.

        Without ``from_ms`` each series begins with the first candle that is missing and that the venue still
        has. Raises ``HistoryError``, ``VenueError``, ``StorageError``.
        """
        for symbol in symbols:
            for interval in intervals:
                start_ms = from_ms
                if start_ms is None:
                    oldest_ms = oldest_served_ms(interval, self.venue.now_ms())
                    start_ms = self._first_missing(symbol, interval, oldest_ms, to_ms)
                yield self._add(symbol, interval, self.venue.candles(symbol, interval, start_ms, to_ms))

    def funding(self, symbols: Sequence[str], from_ms: int | None, to_ms: int) -> Iterator[SeriesSync]:
        """Hourly rates paid in ``[from_ms, to_ms)``.

        Without ``from_ms`` from the first hour that is missing since the first of the symbol's finest stored
        candles, and for a symbol without candles the last day.
        """
        for symbol in symbols:
            start_ms = from_ms
            if start_ms is None:
                start_ms = self._first_missing(symbol, FUNDING, self._first_candle(symbol, to_ms), to_ms)
            yield self._add(symbol, FUNDING, self.venue.funding(symbol, start_ms, to_ms))

    def open_interest(self, symbols: Sequence[str], from_ms: int, to_ms: int) -> Iterator[SeriesSync]:
        """Open interest now, which must lie in the range: no request of the venue has its past."""
        for symbol, frame in self.venue.open_interest(symbols, from_ms, to_ms).items():
            yield self._add(symbol, OPEN_INTEREST, frame)

    def _add(self, symbol: str, series: str, frame: pl.DataFrame) -> SeriesSync:
        if frame.is_empty():
            return SeriesSync(symbol, series, None, None, ImportCounts(0, 0, 0))
        rows = SeriesRows(symbol, series, frame)
        (counts,) = self.history.add_all([rows], SOURCE, replace=self.replace)
        times = frame.to_series(0)
        return SeriesSync(symbol, series, times[0], times[-1], counts)

    def _first_missing(self, symbol: str, series: str, from_ms: int, to_ms: int) -> int:
        """Where fetching has to begin; ``to_ms`` when nothing is missing."""
        stored = self.history.rows(symbol, series, from_ms, to_ms).to_series(0)
        until_ms = min(to_ms, end_ms(series, self.venue.now_ms()))
        holes = missing_runs(stored, step_ms_of(series), from_ms, until_ms)
        return holes[0].first_ms if holes else to_ms

    def _first_candle(self, symbol: str, to_ms: int) -> int:
        """Of the finest stored candles: a backtest decides on them, and pays funding as long as it does."""
        for interval in self.history.intervals(symbol):
            return int(self.history.candles(symbol, interval)["open_time_ms"][0])
        return min(to_ms, self.venue.now_ms()) - DAY_MS
