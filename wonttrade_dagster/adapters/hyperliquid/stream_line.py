"""One connection of the official SDK's WebSocket, and what keeps it up.

Belongs here: opening, subscribing, judging whether it lives, closing at once; when to try again.
Does not belong here: what is in the messages (``stream_board``).

The SDK neither reconnects nor tells of an end: its thread just stops, and a half-open connection not even
that. So a line is judged by its thread and by the age of what it heard, and is replaced, never repaired.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from wonttrade_dagster.adapters.hyperliquid.connection import NO_SPOT, check_base_url
from wonttrade_dagster.adapters.hyperliquid.stream_manager import make_manager

if TYPE_CHECKING:
    from wonttrade_dagster.adapters.hyperliquid.stream_manager import LineManager

OPEN_LIMIT_MS = 10_000
"""A line that has not heard anything so long after it was begun is given up."""
SILENCE_LIMIT_MS = 10_000
"""The venue says something about the mids every few seconds."""
STEADY_MS = 10_000
"""A line that lived so long makes the next pause short again."""
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0

Deliver = Callable[[str, Mapping[str, Any]], None]
Subscription = Mapping[str, str]


class Line(Protocol):
    """A connection that is open, opening or dead."""

    def is_alive(self) -> bool:
        """Whether its thread runs."""

    def heard_ms(self) -> int | None:
        """When the last push came; None before the first."""

    def refused(self) -> Sequence[str]:
        """What the venue said against a subscription."""

    def close(self) -> None:
        """End it; returns at once and may be called twice."""


class SdkLine:
    """A :class:`Line` through ``hyperliquid.info.Info`` and its ``WebsocketManager``.

    Args:
        base_url: the venue, as for the SDK.
        symbols: those that subscriptions name.
        subscriptions: what to hear.
        deliver: takes the channel's name and the message, in the SDK's thread.
        now_ms: time of arrival.
    """

    def __init__(
        self,
        base_url: str,
        symbols: Sequence[str],
        subscriptions: Sequence[Subscription],
        deliver: Deliver,
        now_ms: Callable[[], int],
    ) -> None:
        from hyperliquid.info import Info  # noqa: PLC0415 (0.3 s that not every command needs)

        check_base_url(base_url)
        self._deliver = deliver
        self._now_ms = now_ms
        self._heard_ms: int | None = None
        self._is_closed = False
        # The SDK looks coins up by name before it subscribes; nothing else is read of this listing.
        names = {"universe": [{"name": symbol, "szDecimals": 0} for symbol in symbols]}
        info = Info(base_url, skip_ws=True, meta=names, spot_meta=NO_SPOT)
        self._manager: LineManager = make_manager(base_url)
        info.ws_manager = self._manager
        for subscription in subscriptions:  # queued by the SDK until the socket is open
            info.subscribe(dict(subscription), self._hear(channel_name(subscription)))
        self._manager.start()

    def _hear(self, channel: str) -> Callable[[Any], None]:
        def hear(message: Any) -> None:  # noqa: ANN401 (JSON)
            if not self._is_closed:
                self._heard_ms = self._now_ms()
                self._deliver(channel, message)

        return hear

    def is_alive(self) -> bool:
        """See :class:`Line`."""
        return self._manager.is_alive()

    def heard_ms(self) -> int | None:
        """See :class:`Line`."""
        return self._heard_ms

    def refused(self) -> Sequence[str]:
        """See :class:`Line`."""
        return tuple(self._manager.refused)

    def close(self) -> None:
        """See :class:`Line`. The SDK's own ``stop`` waits for a farewell, which a dead peer never sends."""
        self._is_closed = True
        self._manager.stop_event.set()
        self._manager.ws.keep_running = False
        open_socket = getattr(self._manager.ws.sock, "sock", None)
        if open_socket is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)


def channel_name(subscription: Subscription) -> str:
    """How a channel is called in ages and reports, e.g. ``candle BTC 5m``."""
    parts = (subscription.get(key) for key in ("type", "coin", "interval"))
    return " ".join(part for part in parts if part)


class LineKeeper:
    """Holds one living line: replaces a dead one, after a pause that grows with every failure.

    Args:
        make: opens a line; may raise ``OSError``.
        now_ms: the time.
        jitter: a random number in [0, 1).
    """

    def __init__(
        self, make: Callable[[], Line], now_ms: Callable[[], int], jitter: Callable[[], float]
    ) -> None:
        self._make = make
        self._now_ms = now_ms
        self._jitter = jitter
        self._line: Line | None = None
        self._begun_ms = 0
        self._retry_ms = 0
        self._failures = 0
        self.opened = 0
        self.losses: dict[str, int] = {}

    @property
    def begun_ms(self) -> int:
        """When the present line was begun: what is older came by another one."""
        return self._begun_ms

    def is_up(self) -> bool:
        """Whether a line stands on which something was heard."""
        return self._line is not None and self._line.heard_ms() is not None

    def refused(self) -> Sequence[str]:
        """What the venue said against a subscription of the present line."""
        return () if self._line is None else self._line.refused()

    def tend(self, oldest_context_ms: int | None) -> str:
        """Look after the line; the reason when it was lost just now, else empty.

        Args:
            oldest_context_ms: when the longest silent of the channels spoke that must not be silent.
        """
        now_ms = self._now_ms()
        if self._line is None:
            if now_ms >= self._retry_ms:
                self._open(now_ms)
            return ""
        reason = self._death(now_ms, oldest_context_ms)
        if reason:
            self._lose(reason, now_ms)
        return reason

    def close(self) -> None:
        """End the line for good."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _open(self, now_ms: int) -> None:
        self._line, self._begun_ms = self._make(), now_ms
        self.opened += 1

    def _death(self, now_ms: int, oldest_context_ms: int | None) -> str:
        line = self._line
        if line is None:
            return ""
        heard_ms = line.heard_ms()
        if not line.is_alive():
            return "ended"
        if heard_ms is None:
            return "never_opened" if now_ms - self._begun_ms > OPEN_LIMIT_MS else ""
        if now_ms - heard_ms > SILENCE_LIMIT_MS:
            return "silent"
        quiet_since_ms = max(oldest_context_ms or 0, self._begun_ms)
        return "channel_silent" if now_ms - quiet_since_ms > 2 * SILENCE_LIMIT_MS else ""

    def _lose(self, reason: str, now_ms: int) -> None:
        self.losses[reason] = self.losses.get(reason, 0) + 1
        was_steady = self.is_up() and now_ms - self._begun_ms >= STEADY_MS
        self._failures = 1 if was_steady else self._failures + 1
        self.close()
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10), MAX_PAUSE_SECONDS)
        self._retry_ms = now_ms + round(pause * (0.5 + self._jitter() / 2) * 1000)
