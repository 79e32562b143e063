"""The record of what no request gives back: prices, funding and open interest, minute by minute.

Belongs here: which minutes are recorded, and the mean of the last day's open interest.
Does not belong here: the files (``stream_files``), where the figures come from (``stream_board``).
"""

from collections import deque
from collections.abc import Mapping

from wonttrade_dagster.adapters.hyperliquid.stream_board import Heard, StreamBoard
from wonttrade_dagster.adapters.hyperliquid.stream_files import MINUTE_MS, Minute, StreamFiles

DAY_MINUTES = 24 * 60
WAIT_MS = 55_000
MIN_MEAN_MINUTES = 10
"""Fewer minutes than this are no average."""


class MinuteRecorder:
    """Writes one line for each minute and symbol, and keeps the last day's open interest in memory.

    Args:
        files: where lines go; what is there already is read.
        board: the newest figures.
        symbols: those that are recorded.
        now_ms: the time of the start.
    """

    def __init__(self, files: StreamFiles, board: StreamBoard, symbols: tuple[str, ...], now_ms: int) -> None:
        self._files = files
        self._board = board
        self._interest: Mapping[str, deque[tuple[int, float]]] = {
            symbol: deque(maxlen=DAY_MINUTES) for symbol in symbols
        }
        self.missed = 0
        self._done_ms = now_ms // MINUTE_MS * MINUTE_MS
        for row in files.minutes(now_ms - DAY_MINUTES * MINUTE_MS, now_ms):
            self._keep(row)

    def record(self, now_ms: int) -> bool:
        """Write the minute that has begun, once; whether it did.

        Figures that are older than a minute are not written. Where there are none, the minute waits for them;
        past ``WAIT_MS`` it counts as missed.
        """
        minute_ms = now_ms // MINUTE_MS * MINUTE_MS
        if minute_ms <= self._done_ms:
            return False
        contexts = self._board.contexts()
        rows = [
            self._row(minute_ms, symbol, contexts[symbol])
            for symbol in self._interest
            if symbol in contexts and contexts[symbol].received_ms > minute_ms - MINUTE_MS
        ]
        is_whole = len(rows) == len(self._interest)
        if not is_whole and now_ms - minute_ms < WAIT_MS:
            return False
        self.missed += (minute_ms - self._done_ms) // MINUTE_MS - is_whole
        self._done_ms = minute_ms
        self._files.append_minutes(rows)
        for row in rows:
            self._keep(row)
        return bool(rows)

    def open_interest_mean_base(self, now_ms: int) -> dict[str, float]:
        """By symbol, the mean of the last 24 hours or of what there is, from ten minutes on."""
        since_ms = now_ms - DAY_MINUTES * MINUTE_MS
        means = {}
        for symbol, kept in self._interest.items():
            values = [value for time_ms, value in kept if time_ms > since_ms]
            if len(values) >= MIN_MEAN_MINUTES:
                means[symbol] = sum(values) / len(values)
        return means

    def _keep(self, row: Minute) -> None:
        if row.symbol in self._interest:
            self._interest[row.symbol].append((row.time_ms, float(row.open_interest)))

    def _row(self, minute_ms: int, symbol: str, heard: Heard) -> Minute:
        # While the connection is down contexts come by REST, quotes do not: an old one is no quote of now.
        bid, ask = self._board.prices(symbol, minute_ms - MINUTE_MS)
        mid = self._board.mid(symbol, minute_ms - MINUTE_MS) or heard.raw["midPx"]
        return Minute(
            time_ms=minute_ms,
            symbol=symbol,
            mid=mid,
            bid=bid,
            ask=ask,
            mark=heard.raw["markPx"],
            oracle=heard.raw["oraclePx"],
            funding=heard.raw["funding"],
            open_interest=heard.raw["openInterest"],
            age_ms=minute_ms - heard.received_ms,
        )
