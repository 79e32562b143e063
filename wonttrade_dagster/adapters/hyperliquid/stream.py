"""MarketStream: the venue's pushes, supervised, and published for the cycles of other processes.

Belongs here: the order of one round: connection, windows, record, publication.
Does not belong here: each of these (``stream_line``, ``stream_fill``, ``stream_minutes``, ``stream_files``),
the use of what was published (``stream_reader``).

The stream is a convenience and never an authority: closed bars are confirmed by REST, the account is always
read by REST, and a cycle that finds nothing fresh here asks the venue itself. It may die at any moment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.stream_board import StreamBoard
from wonttrade_dagster.adapters.hyperliquid.stream_files import (
    MINUTE_MS,
    StreamFiles,
    StreamIdentity,
    StreamNow,
    WindowFacts,
)
from wonttrade_dagster.adapters.hyperliquid.stream_fill import Listing, RestFiller
from wonttrade_dagster.adapters.hyperliquid.stream_line import LineKeeper, SdkLine, Subscription
from wonttrade_dagster.adapters.hyperliquid.stream_minutes import MinuteRecorder
from wonttrade_dagster.adapters.hyperliquid.stream_windows import CandleWindow, SeriesName
from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.ports import Clock

TICK_SECONDS = 0.1
PUBLISH_MS = 1_000
LISTING_MS = 3_600_000
"""Leverage limits and delistings are read again once an hour."""
LATE_IN_MINUTE_MS = 45_000
"""From here on a minute of which nothing was pushed is asked for, so that its record is not lost."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What is heard, and for whom.

    Attributes:
        identity: venue, symbols, intervals, bars.
        account_address: whose fills and order updates are heard.
        timeout_seconds: of each request beside the stream.
    """

    identity: StreamIdentity
    account_address: str
    timeout_seconds: float


class MarketStream:
    """One stream; :meth:`run` until it is told to stop, or :meth:`step` by step.

    Args:
        plan: what is heard.
        folder: where it is published.
        clock: time and pauses.
        jitter: a random number in [0, 1), for pauses.

    Raises:
        ConfigurationError: an address that must not be used, or an unknown interval.
        OSError: an earlier record is there and cannot be read.
    """

    def __init__(self, plan: StreamPlan, folder: Path, clock: Clock, jitter: Callable[[], float]) -> None:
        identity = plan.identity
        self._plan = plan
        self._clock = clock
        self._files = StreamFiles(folder)
        self._board = StreamBoard()
        self._keeper = LineKeeper(self._open_line, clock.now_ms, jitter)
        connection = SdkConnection(
            base_url=identity.base_url,
            timeout_seconds=plan.timeout_seconds,
            read_attempts=1,
            clock=clock,
        )
        self._filler = RestFiller(connection, jitter)
        self._recorder = MinuteRecorder(self._files, self._board, identity.symbols, clock.now_ms())
        self._windows = {
            name: CandleWindow(name, identity.history_bars)
            for name in (SeriesName(s, i) for s in identity.symbols for i in identity.intervals)
        }
        self._assets: tuple[AssetSpec, ...] = ()
        self._assets_at_ms = 0
        self._problem = ""
        self._published_ms = 0
        self._is_changed = self._was_up = False

    def run(self, stop: Event) -> None:
        """Until ``stop`` is set; raises what a full disk raises (``OSError``)."""
        try:
            while not stop.is_set():
                self.step()
                self._clock.sleep(TICK_SECONDS)
        finally:
            self.close()

    def step(self) -> None:
        """One round. Raises ``OSError`` when the disk does not take what is published."""
        self._tend_line()
        now_ms = self._clock.now_ms()
        for push in self._board.take_pushes():
            if push.series in self._windows:
                self._windows[push.series].pushed(push.open_ms, push.close_px, push.volume, now_ms)
        for window in self._windows.values():
            self._is_changed |= self._filler.fill(window, now_ms)
        self._tend_listing(now_ms)
        is_new_minute = self._recorder.record(now_ms)
        self._publish(now_ms, is_new_minute=is_new_minute)

    def close(self) -> None:
        """End the connection; what is published stays."""
        self._keeper.close()
        self._filler.close()

    def windows(self) -> Sequence[CandleWindow]:
        """The windows in memory, for whoever checks them in this process."""
        return tuple(self._windows.values())

    def now(self) -> StreamNow:
        """What :meth:`step` publishes."""
        contexts, now_ms = self._board.contexts(), self._clock.now_ms()
        symbols = [symbol for symbol in self._plan.identity.symbols if symbol in contexts]
        return StreamNow(
            identity=self._plan.identity,
            written_ms=now_ms,
            state="up" if self._keeper.is_up() else "down",
            contexts={symbol: contexts[symbol].raw for symbol in symbols},
            received_ms={symbol: contexts[symbol].received_ms for symbol in symbols},
            open_interest_mean_base=self._recorder.open_interest_mean_base(now_ms),
            channels_ms=self._board.channels(),
            counts=self._counts(),
            problem="; ".join([self._problem, *self._keeper.refused()]).strip("; "),
        )

    def _open_line(self) -> SdkLine:
        identity = self._plan.identity
        return SdkLine(
            identity.base_url,
            identity.symbols,
            self._subscriptions(),
            lambda channel, message: self._board.take(channel, message, self._clock.now_ms()),
            self._clock.now_ms,
        )

    def _subscriptions(self) -> list[Subscription]:
        identity = self._plan.identity
        found: list[Subscription] = [{"type": "allMids"}]
        for symbol in identity.symbols:
            found += [{"type": "activeAssetCtx", "coin": symbol}, {"type": "bbo", "coin": symbol}]
            found += [{"type": "candle", "coin": symbol, "interval": i} for i in identity.intervals]
        own = self._plan.account_address
        return [*found, {"type": "userFills", "user": own}, {"type": "orderUpdates", "user": own}]

    def _tend_line(self) -> None:
        channels = self._board.channels()
        must_speak = ["allMids", *(f"activeAssetCtx {symbol}" for symbol in self._plan.identity.symbols)]
        oldest_ms = min(channels.get(name, 0) for name in must_speak)
        reason = self._keeper.tend(oldest_ms or None)
        if reason:
            self._problem = f"the connection was lost ({reason})"
        is_up = self._keeper.is_up()
        if is_up and not self._was_up:
            self._filler.retry_now()
            self._problem = ""
        self._was_up = is_up

    def _tend_listing(self, now_ms: int) -> None:
        minute_ms = now_ms // MINUTE_MS * MINUTE_MS
        contexts = self._board.contexts()
        newest = [contexts[s].received_ms if s in contexts else 0 for s in self._plan.identity.symbols]
        is_minute_lost = now_ms - minute_ms >= LATE_IN_MINUTE_MS and min(newest) < minute_ms
        is_old = now_ms - self._assets_at_ms > LISTING_MS
        found = self._filler.listing(now_ms, is_wanted=is_minute_lost or is_old)
        if found is not None:
            self._learn(found, now_ms)

    def _learn(self, found: Listing, now_ms: int) -> None:
        symbols = [symbol for symbol in self._plan.identity.symbols if symbol in found.assets]
        self._board.learn_contexts({s: found.contexts[s] for s in symbols}, now_ms)
        self._assets = tuple(found.assets[symbol] for symbol in symbols)
        self._assets_at_ms = now_ms
        self._is_changed = True

    def _publish(self, now_ms: int, *, is_new_minute: bool) -> None:
        are_filled = all(window.last_ms is not None for window in self._windows.values())
        if self._is_changed and are_filled and self._assets:
            self._files.write_windows(self._facts(), [window.closed for window in self._windows.values()])
            self._is_changed = False
        if is_new_minute or now_ms - self._published_ms >= PUBLISH_MS:
            self._files.write_now(self.now())
            self._published_ms = now_ms

    def _facts(self) -> WindowFacts:
        return WindowFacts(
            identity=self._plan.identity,
            assets=self._assets,
            assets_at_ms=self._assets_at_ms,
            taken_at_ms={str(name): window.taken_at_ms for name, window in self._windows.items()},
            has_all=tuple(str(name) for name, window in self._windows.items() if window.has_all),
        )

    def _counts(self) -> dict[str, int]:
        losses = {f"lost_{reason}": count for reason, count in sorted(self._keeper.losses.items())}
        return {
            "connections": self._keeper.opened,
            **losses,
            "requests": self._filler.asks,
            "failed_requests": self._filler.failed,
            "corrected_bars": sum(window.revised for window in self._windows.values()),
            "broken_messages": self._board.broken,
            "missed_minutes": self._recorder.missed,
            **{f"own_{name}": count for name, count in self._board.own().items()},
        }
