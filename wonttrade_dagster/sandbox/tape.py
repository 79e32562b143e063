"""The tape: the price of every coin at any time, with the scripted moves applied.

Belongs here: a price at a moment, minute bars over a range up to "now", moves by script.
Does not belong here: intervals, the book, mark and oracle.

Within a minute the price runs in straight lines open → first extreme → second extreme → close (a rising
minute makes its low first) and is quoted every 5 seconds, so that the forming candle always lies within
the closed one that it becomes.
"""

from bisect import bisect_right, insort_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from wonttrade_dagster.sandbox.walk import DAY_MINUTES, DAY_MS, MINUTE_MS, BarSource, Floats

Ints = NDArray[np.int64]

QUOTE_MS = 5_000
"""The price moves on this grid of time; the extremes of a minute, at 20 s and 40 s, lie on it."""


@dataclass(frozen=True, slots=True)
class ScriptedMove:
    """The mid was set: exactly ``px`` in ``[start_ms, hold_until_ms)``, then the walk goes on from there."""

    start_ms: int
    hold_until_ms: int
    px: float


@dataclass(slots=True, eq=False)
class MinuteWindow:
    """Minute bars over a range, oldest first; all arrays have one length. The last one may be forming."""

    start_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    trades: Floats


class Tape:
    """A bar source plus the scripted moves of one venue."""

    def __init__(self, source: BarSource) -> None:
        self._source = source
        self._moves: dict[str, list[ScriptedMove]] = {}

    def funding_rate(self, coin: str, hour: int) -> Decimal | None:
        """See :meth:`BarSource.funding_rate`."""
        return self._source.funding_rate(coin, hour)

    def anchors(self) -> dict[str, int]:
        """See :meth:`BarSource.anchors`."""
        return self._source.anchors()

    def anchor(self, days: Mapping[str, int]) -> None:
        """See :meth:`BarSource.anchor`."""
        self._source.anchor(days)

    def px(self, coin: str, time_ms: int) -> float:
        """Price at a moment, not rounded. Raises ``KeyError`` where there is no history."""
        move = self._move_at(coin, time_ms)
        if move is None:
            return self._raw_px(coin, time_ms)
        if time_ms < move.hold_until_ms:
            return move.px
        return self._factor(coin, move) * self._raw_px(coin, time_ms)

    def move(self, coin: str, time_ms: int, px: float, hold_ms: int) -> None:
        """Set the price from ``time_ms`` on, which may lie ahead, and hold it for ``hold_ms``."""
        insort_right(
            self._moves.setdefault(coin, []),
            ScriptedMove(time_ms, time_ms + hold_ms, px),
            key=lambda move: move.start_ms,
        )

    def edges(self, coin: str) -> list[int]:
        """The moments at which a scripted price of a coin starts, and at which its hold ends."""
        return [edge for move in self._moves.get(coin, []) for edge in (move.start_ms, move.hold_until_ms)]

    def moves(self) -> dict[str, list[ScriptedMove]]:
        """A copy of the scripted moves by coin, oldest first."""
        return {coin: list(moves) for coin, moves in self._moves.items()}

    def replace_moves(self, moves: dict[str, list[ScriptedMove]]) -> None:
        """Put back what :meth:`moves` returned."""
        self._moves = {coin: list(rows) for coin, rows in moves.items()}

    def minutes(self, coin: str, first_ms: int, now_ms: int) -> MinuteWindow | None:
        """Bars from the minute that contains ``first_ms`` to the one that contains ``now_ms``.

        The last one holds only what has happened by ``now_ms``. None where there is no history.
        """
        window = self._raw_window(coin, first_ms // MINUTE_MS * MINUTE_MS, now_ms)
        if window is None:
            return None
        moves = self._moves_in(coin, int(window.start_ms[0]), now_ms)
        if moves:
            self._apply_moves(coin, window, moves)
        if now_ms + 1 < int(window.start_ms[-1]) + MINUTE_MS:
            self._form_last(coin, window, now_ms)
        return window

    def _moves_in(self, coin: str, first_ms: int, last_ms: int) -> list[ScriptedMove]:
        """The move in force at ``first_ms`` and those up to ``last_ms``."""
        moves = self._moves.get(coin, [])
        first = bisect_right(moves, first_ms, key=lambda move: move.start_ms)
        last = bisect_right(moves, last_ms, key=lambda move: move.start_ms)
        return moves[max(first - 1, 0) : last]

    def _move_at(self, coin: str, time_ms: int) -> ScriptedMove | None:
        moves = self._moves.get(coin, [])
        index = bisect_right(moves, time_ms, key=lambda move: move.start_ms)
        return moves[index - 1] if index else None

    def _factor(self, coin: str, move: ScriptedMove) -> float:
        return move.px / self._raw_px(coin, move.hold_until_ms)

    def _raw_px(self, coin: str, time_ms: int) -> float:
        quoted_ms = time_ms // QUOTE_MS * QUOTE_MS
        day = self._source.day(coin, quoted_ms // DAY_MS)
        if day is None:
            raise KeyError(f"{coin} has no price at {time_ms}")
        minute = quoted_ms % DAY_MS // MINUTE_MS
        bar = (day.open[minute], day.high[minute], day.low[minute], day.close[minute])
        return _within_minute(*(float(px) for px in bar), part=quoted_ms % MINUTE_MS / MINUTE_MS)

    def _raw_window(self, coin: str, first_ms: int, now_ms: int) -> MinuteWindow | None:
        days = range(first_ms // DAY_MS, now_ms // DAY_MS + 1)
        found = [(day, bars) for day in days if (bars := self._source.day(coin, day)) is not None]
        if not found:
            return None
        minutes = np.arange(DAY_MINUTES, dtype=np.int64) * MINUTE_MS
        starts = np.concatenate([minutes + day * DAY_MS for day, _ in found])
        wanted = (starts >= first_ms) & (starts <= now_ms)
        columns = ("open", "high", "low", "close", "volume", "trades")
        joined = (np.concatenate([getattr(bars, name) for _, bars in found])[wanted] for name in columns)
        return MinuteWindow(starts[wanted], *joined) if wanted.any() else None

    def _apply_moves(self, coin: str, window: MinuteWindow, moves: list[ScriptedMove]) -> None:
        ends = [move.start_ms for move in moves[1:]] + [int(window.start_ms[-1]) + MINUTE_MS]
        for move, end_ms in zip(moves, ends, strict=True):
            held_until_ms = min(move.hold_until_ms, end_ms)
            _scale(window, held_until_ms, end_ms, self._factor(coin, move))
            _pin(window, move.start_ms, held_until_ms, move.px)
        for edge_ms in {edge for move in moves for edge in (move.start_ms, move.hold_until_ms)}:
            self._sample_minute(coin, window, edge_ms // MINUTE_MS * MINUTE_MS)

    def _sample_minute(self, coin: str, window: MinuteWindow, minute_ms: int, until_ms: int = 0) -> None:
        index = int((minute_ms - int(window.start_ms[0])) // MINUTE_MS)
        if not 0 <= index < len(window.start_ms):
            return
        last_ms = until_ms or minute_ms + MINUTE_MS - 1
        prices = [self.px(coin, moment) for moment in self._moments(coin, minute_ms, last_ms)]
        window.open[index], window.close[index] = prices[0], prices[-1]
        window.high[index], window.low[index] = max(prices), min(prices)

    def _moments(self, coin: str, minute_ms: int, last_ms: int) -> Iterator[int]:
        moves = self._moves_in(coin, minute_ms, last_ms)
        edges = {e for move in moves for e in (move.start_ms, move.hold_until_ms)}
        grid = set(range(minute_ms, last_ms + 1, QUOTE_MS)) | {last_ms}
        yield from sorted(grid | {edge for edge in edges if minute_ms <= edge <= last_ms})

    def _form_last(self, coin: str, window: MinuteWindow, now_ms: int) -> None:
        minute_ms = int(window.start_ms[-1])
        self._sample_minute(coin, window, minute_ms, until_ms=now_ms)
        part = min(1.0, (now_ms - minute_ms + 1) / MINUTE_MS)
        window.volume[-1] *= part
        window.trades[-1] = np.ceil(window.trades[-1] * part)


def _within_minute(open_px: float, high: float, low: float, close: float, *, part: float) -> float:
    corners = (open_px, low, high, close) if close >= open_px else (open_px, high, low, close)
    leg = min(int(part * 3), 2)
    return corners[leg] + (corners[leg + 1] - corners[leg]) * (part * 3 - leg)


def _inside(window: MinuteWindow, from_ms: int, to_ms: int) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (window.start_ms >= from_ms) & (window.start_ms + MINUTE_MS <= to_ms)
    return inside


def _scale(window: MinuteWindow, from_ms: int, to_ms: int, factor: float) -> None:
    inside = _inside(window, from_ms, to_ms)
    for column in (window.open, window.high, window.low, window.close):
        column[inside] *= factor


def _pin(window: MinuteWindow, from_ms: int, to_ms: int, px: float) -> None:
    inside = _inside(window, from_ms, to_ms)
    for column in (window.open, window.high, window.low, window.close):
        column[inside] = px
