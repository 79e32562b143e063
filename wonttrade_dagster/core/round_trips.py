"""Round trips: fills put together into trades, from flat to flat.

Belongs here: how executions of one symbol become trades with an entry, an exit and a result.
Does not belong here: statistics over them (``core.performance``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

_FLAT = 1e-9
"""Share of the largest size below which what is left is float rounding of exact decimals."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One trade: everything between being flat and being flat again. A flip ends one and starts one.

    Attributes:
        symbol: the coin.
        is_long: which way.
        opened_ms: the first fill.
        closed_ms: the last fill, None while the position is open.
        max_size_base: the largest size held, unsigned.
        entry_px: mean price of what increased it, by size.
        exit_px: mean price of what reduced it, None before the first reduction.
        pnl_usd: what was realised, without fees and funding.
        fees_usd: fees of all its fills, a flip's fee shared by size.
        closed_by: purpose of its last reducing fill, None while open.
        fills: how many executions it took.
    """

    symbol: str
    is_long: bool
    opened_ms: int
    closed_ms: int | None
    max_size_base: float
    entry_px: float
    exit_px: float | None
    pnl_usd: float
    fees_usd: float
    closed_by: str | None
    fills: int

    @property
    def holding_ms(self) -> int | None:
        """From the first to the last fill, None while open."""
        return None if self.closed_ms is None else self.closed_ms - self.opened_ms

    @property
    def net_pnl_usd(self) -> float:
        """Realised result after fees, before funding."""
        return self.pnl_usd - self.fees_usd


@dataclass(frozen=True, slots=True)
class _Piece:
    """A fill, or the part of one on its side of zero."""

    time_ms: int
    px: float
    size_base: float
    fee_usd: float
    pnl_usd: float
    purpose: str


@dataclass(frozen=True, slots=True)
class _Open:
    """A trade being built; ``size_base`` is signed, ``entered`` and ``left`` are unsigned totals."""

    symbol: str
    opened_ms: int
    size_base: float = 0.0
    max_size_base: float = 0.0
    entered_base: float = 0.0
    entered_usd: float = 0.0
    left_base: float = 0.0
    left_usd: float = 0.0
    pnl_usd: float = 0.0
    fees_usd: float = 0.0
    fills: int = 0

    def is_reduced_by(self, size_base: float) -> bool:
        return self.size_base * size_base < 0

    def is_flat_after(self, size_base: float) -> bool:
        return abs(self.size_base + size_base) <= _FLAT * max(self.max_size_base, abs(size_base))

    def add(self, piece: _Piece) -> "_Open":
        reduces, size = self.is_reduced_by(piece.size_base), abs(piece.size_base)
        now = self.size_base + piece.size_base
        entered, left = (0.0, size) if reduces else (size, 0.0)
        return replace(
            self,
            size_base=now,
            max_size_base=max(self.max_size_base, abs(now)),
            entered_base=self.entered_base + entered,
            entered_usd=self.entered_usd + entered * piece.px,
            left_base=self.left_base + left,
            left_usd=self.left_usd + left * piece.px,
            pnl_usd=self.pnl_usd + piece.pnl_usd,
            fees_usd=self.fees_usd + piece.fee_usd,
            fills=self.fills + 1,
        )

    def trip(self, closed_ms: int | None, closed_by: str | None, *, is_long: bool) -> RoundTrip:
        return RoundTrip(
            symbol=self.symbol,
            is_long=is_long,
            opened_ms=self.opened_ms,
            closed_ms=closed_ms,
            max_size_base=self.max_size_base,
            entry_px=self.entered_usd / self.entered_base,
            exit_px=self.left_usd / self.left_base if self.left_base else None,
            pnl_usd=self.pnl_usd,
            fees_usd=self.fees_usd,
            closed_by=closed_by,
            fills=self.fills,
        )


def round_trips(fills: pl.DataFrame) -> tuple[RoundTrip, ...]:
    """The trades that ``fills`` make, by opening time, open ones included.

    Args:
        fills: ``core.performance.FILL_SCHEMA``, ascending in time, of an account that was flat before.
    """
    columns = ["time_ms", "px", "size_base", "fee_usd", "closed_pnl_usd", "purpose"]
    trips: list[RoundTrip] = []
    for symbol in fills["symbol"].unique(maintain_order=True):
        rows = fills.filter(pl.col("symbol") == symbol).select(columns).iter_rows()
        trips.extend(_trips_of(symbol, rows))
    return tuple(sorted(trips, key=lambda trip: (trip.opened_ms, trip.symbol)))


def _trips_of(symbol: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[RoundTrip]:
    trade: _Open | None = None
    for row in rows:
        fill = _Piece(*row)
        if fill.size_base == 0:
            continue
        trade = _Open(symbol, fill.time_ms) if trade is None else trade
        for piece in _split(trade, fill):
            trade = _Open(symbol, piece.time_ms) if trade is None else trade
            if trade.is_flat_after(piece.size_base):
                yield trade.add(piece).trip(piece.time_ms, piece.purpose, is_long=trade.size_base > 0)
                trade = None
            else:
                trade = trade.add(piece)
    if trade is not None:
        yield trade.trip(None, None, is_long=trade.size_base > 0)


def _split(trade: _Open, fill: _Piece) -> tuple[_Piece, ...]:
    """A fill that goes through zero, cut there: its profit belongs to the part that closes."""
    crosses = trade.is_reduced_by(fill.size_base) and abs(fill.size_base) > abs(trade.size_base)
    if not crosses or trade.is_flat_after(fill.size_base):
        return (fill,)
    share = abs(trade.size_base / fill.size_base)
    closing = replace(fill, size_base=-trade.size_base, fee_usd=fill.fee_usd * share)
    rest_base, rest_fee_usd = fill.size_base + trade.size_base, fill.fee_usd * (1.0 - share)
    return closing, replace(fill, size_base=rest_base, fee_usd=rest_fee_usd, pnl_usd=0.0)


def time_in_market_ms(trips: Sequence[RoundTrip], from_ms: int, to_ms: int) -> int:
    """Milliseconds of ``[from_ms, to_ms]`` during which at least one trade was open."""
    spans = sorted(
        (max(trip.opened_ms, from_ms), min(to_ms if trip.closed_ms is None else trip.closed_ms, to_ms))
        for trip in trips
    )
    covered_ms, reached_ms = 0, from_ms
    for start_ms, end_ms in spans:
        covered_ms += max(0, end_ms - max(start_ms, reached_ms))
        reached_ms = max(reached_ms, end_ms)
    return covered_ms
