"""What is wrong in the stored history, as rows for a person.

Belongs here: the judgement of stored candles and rates, each offence as one row of text.
Does not belong here: what is missing (``history_survey``), showing, gating (``core.plausibility``).
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from wonttrade_dagster.adapters.history import DAY_MS, HOUR_MS, MarketHistory
from wonttrade_dagster.core.candles import aggregate_candles, impossible, interval_ms
from wonttrade_dagster.core.plausibility import MAX_FUNDING_RATE_HOURLY
from wonttrade_dagster.core.utc import utc_minute

Row = tuple[str, ...]

MAX_AGE_MS = DAY_MS
"""Newest candles of a tracked symbol that are older than this are worth a warning."""

_SAME_PRICE, _SAME_VOLUME = 1e-12, 1e-9
"""Relative differences that are rounding: a volume is a sum."""
_COLUMNS = ("open", "high", "low", "close", "volume")


def future_candles(history: MarketHistory, now_ms: int) -> list[Row]:
    """Candles that had not closed by now: symbol, interval, open time."""

    def judge(symbol: str, interval: str, frame: pl.DataFrame) -> Iterator[Row]:
        early = frame.filter(pl.col("open_time_ms") + interval_ms(interval) > now_ms)
        yield from ((symbol, interval, utc_minute(ms)) for ms in early["open_time_ms"])

    return _of_candles(history, judge)


def disordered_prices(history: MarketHistory) -> list[Row]:
    """Candles whose prices cannot be: symbol, interval, open time, open, high, low, close, volume."""

    def judge(symbol: str, interval: str, frame: pl.DataFrame) -> Iterator[Row]:
        for ms, *values in impossible(frame).iter_rows():
            yield (symbol, interval, utc_minute(ms), *map(str, values))

    return _of_candles(history, judge)


def disagreeing_bars(history: MarketHistory) -> list[Row]:
    """Stored bars that differ from the finest stored ones that make them up, each bar by its own finest.

    Returns:
        Symbol, interval, open time, the finer interval, column, stored value, aggregated value.
    """
    rows = list[Row]()
    for symbol in _symbols(history):
        intervals = history.intervals(symbol)
        for place, longer in enumerate(intervals):
            judged = history.candles(symbol, longer)
            for finer in intervals[:place]:
                if interval_ms(longer) % interval_ms(finer) == 0:
                    made = aggregate_candles(history.candles(symbol, finer), longer, finer)
                    rows += _disagreeing(judged, made, symbol, longer, finer)
                    judged = judged.join(made, on="open_time_ms", how="anti")
    return rows


def absent_series(history: MarketHistory, symbols: Sequence[str], intervals: Sequence[str]) -> list[Row]:
    """Symbol and interval of what is tracked and neither stored nor made up by finer candles."""
    stored = {symbol: history.intervals(symbol) for symbol in symbols}
    return [
        (symbol, wanted)
        for symbol in symbols
        for wanted in intervals
        if not any(interval_ms(wanted) % interval_ms(name) == 0 for name in stored[symbol])
    ]


def old_series(
    history: MarketHistory, symbols: Sequence[str], intervals: Sequence[str], now_ms: int
) -> list[Row]:
    """Tracked series that lack a candle which closed over a day ago: symbol, interval, end of the newest.

    A series is as new as the newest candle that is its own or goes into its own; one that is not stored at
    all is none of this (``absent_series``).
    """
    last_ms = {(symbol, series): last for symbol, series, _, _, last, _ in history.coverage().iter_rows()}
    rows = list[Row]()
    for symbol in symbols:
        for wanted in intervals:
            sources = [n for n in history.intervals(symbol) if interval_ms(wanted) % interval_ms(n) == 0]
            newest_ms = max((last_ms[symbol, name] + interval_ms(name) for name in sources), default=None)
            # the next candle closes one interval later, and only that one can be late
            if newest_ms is not None and now_ms - newest_ms > MAX_AGE_MS + interval_ms(wanted):
                rows.append((symbol, wanted, utc_minute(newest_ms)))
    return rows


def rates_out_of_range(history: MarketHistory) -> list[Row]:
    """Funding beyond the venue's cap: symbol, hour, rate."""
    return [
        (symbol, utc_minute(ms), f"{rate:g}")
        for symbol in _symbols(history)
        for ms, rate in history.funding(symbol)
        .filter(pl.col("rate_hourly").abs() > MAX_FUNDING_RATE_HOURLY)
        .iter_rows()
    ]


def unfunded_candles(history: MarketHistory, symbols: Sequence[str]) -> list[tuple[str, int, int]]:
    """Tracked symbols with candles and without a single rate: symbol, first and last hour of its candles."""
    spans = dict[str, tuple[int, int]]()
    funded = set[str]()
    for symbol, series, _, first_ms, last_ms, _ in history.coverage().iter_rows():
        if series == "funding":
            funded.add(symbol)
        elif series != "open_interest":
            first, last = spans.get(symbol, (first_ms, last_ms))
            spans[symbol] = min(first, first_ms), max(last, last_ms)
    bare = [symbol for symbol in symbols if symbol in spans and symbol not in funded]
    return [
        (symbol, first // HOUR_MS * HOUR_MS, last // HOUR_MS * HOUR_MS)
        for symbol in bare
        for first, last in [spans[symbol]]
    ]


def _disagreeing(
    stored: pl.DataFrame, made: pl.DataFrame, symbol: str, longer: str, finer: str
) -> Iterator[Row]:
    both = stored.join(made, on="open_time_ms", suffix="_made")
    for column in _COLUMNS:
        same = _SAME_VOLUME if column == "volume" else _SAME_PRICE
        apart = (pl.col(column) - pl.col(f"{column}_made")).abs() > same * pl.col(column).abs()
        for ms, kept, summed in (
            both.filter(apart).select("open_time_ms", column, f"{column}_made").iter_rows()
        ):
            yield symbol, longer, utc_minute(ms), finer, column, str(kept), str(summed)


def _symbols(history: MarketHistory) -> list[str]:
    return sorted(set(history.coverage()["symbol"]))


def _of_candles(
    history: MarketHistory, judge: Callable[[str, str, pl.DataFrame], Iterator[Row]]
) -> list[Row]:
    return [
        row
        for symbol in _symbols(history)
        for interval in history.intervals(symbol)
        for row in judge(symbol, interval, history.candles(symbol, interval))
    ]
