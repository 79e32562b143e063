"""Candles of every interval, aggregated from the tape's minutes and printed like the venue.

Belongs here: aggregation and the row's text (protocol §2.6). Does not belong here: where prices come from.
"""

from typing import Any

import numpy as np

from wonttrade_dagster.sandbox import intervals
from wonttrade_dagster.sandbox.numbers import px_text, size_text
from wonttrade_dagster.sandbox.tape import Ints, MinuteWindow, Tape
from wonttrade_dagster.sandbox.universe import Listing

MAX_CANDLES = 5_000
"""Only so many of the most recent candles of an interval are available."""


def candle_rows(
    tape: Tape, listing: Listing, interval: str, *, first_ms: int, last_ms: int, now_ms: int
) -> list[dict[str, Any]]:
    """The answer to ``candleSnapshot``: from the candle that contains ``first_ms`` to that of ``last_ms``.

    Ascending; the last one is still forming when it contains ``now_ms``. Raises ``KeyError`` for an
    interval that the venue does not have.
    """
    newest_ms = intervals.start_ms(interval, now_ms)
    oldest_ms = newest_ms - (MAX_CANDLES - 1) * intervals.INTERVAL_MS[interval]
    from_ms = intervals.start_ms(interval, max(first_ms, oldest_ms, 0))
    until_ms = min(now_ms, intervals.next_start_ms(interval, intervals.start_ms(interval, last_ms)) - 1)
    window = tape.minutes(listing.coin, from_ms, until_ms) if from_ms <= until_ms else None
    return [] if window is None else _rows(listing, interval, window)


def _rows(listing: Listing, interval: str, window: MinuteWindow) -> list[dict[str, Any]]:
    starts = _candle_starts(interval, window.start_ms)
    firsts = np.flatnonzero(np.diff(starts, prepend=-1))
    columns = zip(
        starts[firsts].tolist(),
        window.open[firsts].tolist(),
        np.maximum.reduceat(window.high, firsts).tolist(),
        np.minimum.reduceat(window.low, firsts).tolist(),
        window.close[np.append(firsts[1:], len(starts)) - 1].tolist(),
        np.add.reduceat(window.volume, firsts).tolist(),
        np.add.reduceat(window.trades, firsts).tolist(),
        strict=True,
    )
    return [_row(listing, interval, *values) for values in columns]


def _candle_starts(interval: str, minute_starts: Ints) -> Ints:
    if interval == "1M":
        months = minute_starts.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)
    anchor = intervals.MONDAY_MS if interval == "1w" else 0
    length = intervals.INTERVAL_MS[interval]
    return (minute_starts - anchor) // length * length + anchor


def _row(listing: Listing, interval: str, start_ms: int, *values: float) -> dict[str, Any]:
    open_px, high, low, close, volume, trades = values
    decimals = 6 - listing.asset.size_decimals
    return {
        "t": start_ms,
        "T": intervals.next_start_ms(interval, start_ms) - 1,
        "s": listing.coin,
        "i": interval,
        "o": px_text(open_px, decimals),
        "c": px_text(close, decimals),
        "h": px_text(high, decimals),
        "l": px_text(low, decimals),
        "v": size_text(volume, listing.asset.size_decimals),
        "n": int(trades),
    }
