"""REST beside the stream: the bars that windows lack, and contexts that the stream does not bring.

Belongs here: which request is under way, when a failed one is tried again. Does not belong here: what a
window lacks (``stream_windows``).

Requests travel in a few threads, so that a slow one delays neither the others nor the care of the connection.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import polars as pl

from wonttrade_dagster.adapters.hyperliquid.candle_reads import read_candles
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.parse import parse_contexts
from wonttrade_dagster.adapters.hyperliquid.stream_windows import Ask, CandleWindow
from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.model import AssetSpec

WORKERS = 4
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0

T = TypeVar("T")


@dataclass(slots=True)
class _Errand(Generic[T]):
    """One kind of request: at most one of it is under way, and failures space it out."""

    future: "Future[T] | None" = None
    retry_ms: int = 0
    failures: int = 0

    def may_start(self, now_ms: int) -> bool:
        return self.future is None and now_ms >= self.retry_ms

    def failed(self, now_ms: int, jitter: float) -> None:
        self.failures += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10), MAX_PAUSE_SECONDS)
        self.retry_ms = now_ms + round(pause * (0.5 + jitter / 2) * 1000)


@dataclass(frozen=True, slots=True)
class Listing:
    """One ``metaAndAssetCtxs``: every perpetual, and the context of each."""

    assets: Mapping[str, AssetSpec]
    contexts: Mapping[str, Row]


@dataclass(slots=True)
class RestFiller:
    """Asks the venue for what windows lack.

    Attributes:
        connection: one attempt a request; pauses are made here.
        jitter: a random number in [0, 1).
        asks: how many requests were begun.
        failures: how many of them failed, and the last reason.
    """

    connection: SdkConnection
    jitter: Callable[[], float]
    asks: int = 0
    failed: int = 0
    last_error: str = ""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WORKERS, "stream-rest"))
    _windows: dict[int, tuple[_Errand[pl.DataFrame], Ask | None]] = field(default_factory=dict)
    _listing: _Errand[Listing] = field(default_factory=_Errand)

    def fill(self, window: CandleWindow, now_ms: int) -> bool:
        """Take what has come for a window and ask for what it lacks; whether it changed."""
        errand, ask = self._windows.setdefault(id(window), (_Errand(), None))
        changed = False
        if errand.future is not None and errand.future.done() and ask is not None:
            changed = self._take(window, ask, errand, now_ms)
        needed = window.needs(now_ms) if errand.may_start(now_ms) else None
        if needed is not None:
            errand.future = self._pool.submit(self._read, needed)
            self.asks += 1
            self._windows[id(window)] = errand, needed
        return changed

    def listing(self, now_ms: int, *, is_wanted: bool) -> Listing | None:
        """The listing that has come since the last call, if one was wanted."""
        errand, found = self._listing, None
        if errand.future is not None and errand.future.done():
            future, errand.future = errand.future, None
            try:
                found = future.result()
                errand.failures = 0
            except VenueError as error:
                self._note(errand, error, now_ms)
        elif is_wanted and errand.may_start(now_ms):
            errand.future = self._pool.submit(self._read_listing)
            self.asks += 1
        return found

    def retry_now(self) -> None:
        """The venue is back: nothing waits for its next attempt."""
        self._listing.retry_ms = 0
        for errand, _ in self._windows.values():
            errand.retry_ms = 0

    def close(self) -> None:
        """Wait for nothing that is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, window: CandleWindow, ask: Ask, errand: _Errand[pl.DataFrame], now_ms: int) -> bool:
        future, errand.future = errand.future, None
        if future is None:
            return False
        try:
            window.put(ask, future.result(), now_ms)
        except VenueError as error:
            self._note(errand, error, now_ms)
            return False
        errand.failures = 0
        return True

    def _note(self, errand: "_Errand[T]", error: VenueError, now_ms: int) -> None:
        errand.failed(now_ms, self.jitter())
        self.failed += 1
        self.last_error = str(error)

    def _read(self, ask: Ask) -> pl.DataFrame:
        series = ask.series
        return read_candles(self.connection, series.symbol, series.interval, ask.first_ms, ask.last_ms)

    def _read_listing(self) -> Listing:
        answer = self.connection.read("metaAndAssetCtxs", lambda info: info.meta_and_asset_ctxs())
        meta, contexts = parse_contexts(answer)
        return Listing(self.connection.learn_assets(meta), contexts)
