"""What is stored, what is missing of it, and whether the venue still has what is missing.

Belongs here: the survey of a history. Does not belong here: fetching (``history_sync``), showing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.adapters.history import HOUR_MS, MarketHistory
from wonttrade_dagster.adapters.history_gaps import Gap, halts_in, missing_runs
from wonttrade_dagster.core.candles import interval_ms, oldest_served_ms

FUNDING, OPEN_INTEREST = "funding", "open_interest"
VENUE_OPENED_MS = 1_672_531_200_000
"""2023-01-01: Hyperliquid's mainnet opened in that year, and paid no funding before."""

Key = tuple[str, str]
"""Symbol and series: a candle interval, ``funding`` or ``open_interest``."""


@dataclass(frozen=True, slots=True)
class SeriesState:
    """One series as it is stored; ``rows`` is 0 for one that should be there and is not.

    Attributes:
        missing: candles or hours that lack in the range that was looked at.
        behind: closed candles or paid hours after the last stored one; 0 for open interest: it has no grid.
    """

    symbol: str
    series: str
    rows: int
    first_ms: int | None
    last_ms: int | None
    missing: int
    behind: int


@dataclass(frozen=True, slots=True)
class SeriesGap:
    """A run of missing candles or hours; ``at_venue`` of them can still be fetched."""

    symbol: str
    series: str
    gap: Gap
    at_venue: int


@dataclass(frozen=True, slots=True)
class Halt:
    """A run of candles without a trade: the market stood still, nothing is missing."""

    symbol: str
    series: str
    run: Gap


@dataclass(frozen=True, slots=True)
class Survey:
    """Every series, oldest gap first within each, halts apart."""

    series: tuple[SeriesState, ...]
    gaps: tuple[SeriesGap, ...]
    halts: tuple[Halt, ...]


def survey(
    history: MarketHistory,
    wanted: Iterable[Key],
    now_ms: int,
    from_ms: int | None = None,
    to_ms: int | None = None,
    only: Collection[str] = (),
) -> Survey:
    """Look at every series that is wanted or stored.

    Args:
        history: what is stored.
        wanted: series that should be there; those of other symbols are looked at as well.
        now_ms: nothing after the last candle closed by now is missed.
        from_ms: start of the range; by default each series' first stored row.
        to_ms: end of the range, excluded; by default each series' last stored row.
        only: symbols to look at; all when empty.
    """
    coverage = history.coverage()
    known = {
        (symbol, series): (rows, first, last) for symbol, series, rows, first, last, _ in coverage.rows()
    }
    states, gaps, halts = list[SeriesState](), list[SeriesGap](), list[Halt]()
    keys = sorted({key for key in (*wanted, *known) if not only or key[0] in only}, key=_order)
    for symbol, series in keys:
        rows, first_ms, last_ms = known.get((symbol, series), (0, None, None))
        frame = history.rows(symbol, series, from_ms, to_ms)
        holes = _holes(frame, series, now_ms, (from_ms, first_ms), (to_ms, last_ms))
        gaps += [SeriesGap(symbol, series, gap, _at_venue(gap, series, now_ms)) for gap in holes]
        if series not in (FUNDING, OPEN_INTEREST):
            halts += [Halt(symbol, series, run) for run in halts_in(frame, series)]
        behind = 0 if last_ms is None else behind_by(series, last_ms, now_ms)
        missing = sum(gap.count for gap in holes)
        states.append(SeriesState(symbol, series, rows, first_ms, last_ms, missing, behind))
    return Survey(tuple(states), tuple(gaps), tuple(halts))


def wanted_series(symbols: Iterable[str], intervals: Iterable[str]) -> tuple[Key, ...]:
    """What cycles and backtests of these symbols read."""
    series = (*intervals, FUNDING)
    return tuple((symbol, name) for symbol in symbols for name in series)


def step_ms_of(series: str) -> int:
    """Time between two rows of candles or funding."""
    return HOUR_MS if series == FUNDING else interval_ms(series)


def behind_by(series: str, last_ms: int, now_ms: int) -> int:
    """Closed candles or paid hours after the last stored one; 0 for open interest, which has no grid."""
    if series == OPEN_INTEREST:
        return 0
    return max(0, (end_ms(series, now_ms) - last_ms) // step_ms_of(series) - 1)


def end_ms(series: str, now_ms: int) -> int:
    """First time that cannot be there yet: of the forming candle, or of the coming payment."""
    step_ms = step_ms_of(series)
    return now_ms // step_ms * step_ms + (step_ms if series == FUNDING else 0)


def _order(key: Key) -> tuple[str, int]:
    symbol, series = key
    late = {FUNDING: 1 << 60, OPEN_INTEREST: 1 << 61}
    return symbol, late.get(series) or interval_ms(series)


def _holes(
    frame: pl.DataFrame,
    series: str,
    now_ms: int,
    start: tuple[int | None, int | None],
    end: tuple[int | None, int | None],
) -> tuple[Gap, ...]:
    """Runs that are missing between the stated bounds, else between what is stored."""
    first_ms, last_ms = (next((ms for ms in bound if ms is not None), None) for bound in (start, end))
    if series == OPEN_INTEREST or first_ms is None:
        return ()
    closed_ms = end_ms(series, now_ms)
    until_ms = closed_ms if last_ms is None else min(last_ms, closed_ms)
    return missing_runs(frame.to_series(0), step_ms_of(series), first_ms, until_ms)


def _at_venue(gap: Gap, series: str, now_ms: int) -> int:
    """How many of a gap the venue still has: all funding there ever was, each interval's newest candles."""
    if series == FUNDING:
        step_ms, oldest_ms = HOUR_MS, VENUE_OPENED_MS
    else:
        step_ms, oldest_ms = interval_ms(series), oldest_served_ms(series, now_ms)
    return min(gap.count, max(0, (gap.last_ms - oldest_ms) // step_ms + 1))
