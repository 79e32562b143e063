"""Whether a market snapshot can be believed enough to open a position on it.

Belongs here: what a snapshot must obey, each offence with its symbol and numbers.
Does not belong here: what follows (``core.state`` makes a named failure of it: protection still runs), the
stored history (``defs.checks``).

It gates new exposure only. Limits are generous on purpose: they are there for a price in the wrong unit or of
the wrong coin, for a bar from the future or a hole, not for a market that moves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl

from wonttrade_dagster.core.candles import interval_ms, prices_text
from wonttrade_dagster.core.model import CandleSeries, MarketSnapshot, SymbolMarket
from wonttrade_dagster.core.utc import utc_text

MAX_FUNDING_RATE_HOURLY = 0.04
"""The venue's own cap (Hyperliquid documentation, "Funding")."""

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Offence:
    """One thing in a snapshot that cannot be: a stable name, where, and a sentence with its numbers."""

    rule: str
    symbol: str
    detail: str


def offences(
    snapshot: MarketSnapshot, symbols: Sequence[str], max_price_jump_fraction: float
) -> tuple[Offence, ...]:
    """Everything in a snapshot that cannot be; empty for one that can be believed.

    Args:
        snapshot: the market at its cycle time.
        symbols: every one of these must be there, once.
        max_price_jump_fraction: how far mark, mid and oracle may be from the last close.
    """
    present = [market.symbol for market in snapshot.markets]
    absent = [
        Offence("symbol_absent", symbol, f"{symbol} is in the snapshot {present.count(symbol)} times")
        for symbol in symbols
        if present.count(symbol) != 1
    ]
    found = (
        Offence(rule, market.symbol, f"{market.symbol} {detail}")
        for market in snapshot.markets
        for rule, detail in _of_market(market, snapshot.cycle_ms, max_price_jump_fraction)
    )
    return (*absent, *found)


_Found = Iterator[tuple[str, str]]
"""Rule and detail."""


def _of_market(market: SymbolMarket, cycle_ms: int, max_jump: float) -> _Found:
    for series in (market.intraday, market.long_term):
        yield from _of_series(series, cycle_ms)
    rate = market.funding_rate_hourly
    if rate is not None and not abs(rate) <= MAX_FUNDING_RATE_HOURLY:
        yield "funding_out_of_range", f"pays {rate:g} an hour, the venue's cap is {MAX_FUNDING_RATE_HOURLY:g}"
    if not market.intraday.frame.is_empty():
        yield from _jumps(market, max_jump)


def _jumps(market: SymbolMarket, max_jump: float) -> _Found:
    close = market.last_close_px
    for name, px in (("mark", market.mark_px), ("mid", market.mid_px), ("oracle", market.oracle_px)):
        if px is None or not close.is_finite():
            continue
        if not (px.is_finite() and px > 0 and abs(px - close) <= close * Decimal(repr(max_jump))):
            limit = f"{max_jump:.0%} (resilience.max_price_jump_fraction)"
            yield "price_jump", f"{name} {px} is further than {limit} from the last close {close}"


def _of_series(series: CandleSeries, cycle_ms: int) -> _Found:
    frame, name, step_ms = series.frame, series.interval, interval_ms(series.interval)
    if frame.is_empty():
        yield "candles_absent", f"has no {name} candles"
        return
    times = frame["open_time_ms"].to_numpy()
    newest_ms, last_ms = int(times[-1]), cycle_ms // step_ms * step_ms - step_ms
    if newest_ms > last_ms:
        yield "candle_from_the_future", f"{name} candle of {utc_text(newest_ms)} had not closed at the cycle"
    elif newest_ms < last_ms:
        yield "candles_old", f"{name} candles end at {utc_text(newest_ms)}, {utc_text(last_ms)} has closed"
    irregular = np.diff(times) != step_ms
    if irregular.any():
        at = int(times[1:][irregular][0])
        yield "candles_not_contiguous", f"{name} candles have a hole or a step back before {utc_text(at)}"
    yield from _of_prices(frame, name)


def _of_prices(frame: pl.DataFrame, name: str) -> _Found:
    # numpy, not polars: a thousand rows take longer to plan than to compare. A null becomes NaN, and a
    # comparison with NaN is false: what must hold is asked for, never what must not.
    prices = [frame[column].to_numpy() for column in _PRICES]
    _, high, low, _ = prices
    volume = frame["volume"].to_numpy()
    holds = (volume >= 0) & (volume < np.inf)
    for px in prices:  # high and low as well: both are inside only where high >= low
        holds &= (px > 0) & (px < np.inf) & (px >= low) & (px <= high)
    if not holds.all():
        bad = frame.row(int(np.argmin(holds)), named=True)
        at = utc_text(bad["open_time_ms"])
        yield "prices_out_of_order", f"{name} candle of {at} cannot be: {prices_text(bad)}"
