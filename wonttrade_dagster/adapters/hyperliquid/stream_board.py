"""What the stream has said last: prices and contexts by symbol, and the age of every channel.

Belongs here: reading pushes (protocol §7.2) and remembering the newest. Does not belong here: the connection
they come by (``stream_line``), closed candles (``stream_windows``).

Pushes arrive in the SDK's thread, everything else reads in the supervisor's: one lock, held briefly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from wonttrade_dagster.adapters.hyperliquid.fields import Row, rows
from wonttrade_dagster.adapters.hyperliquid.parse import parse_context
from wonttrade_dagster.adapters.hyperliquid.stream_windows import SeriesName
from wonttrade_dagster.core.errors import VenueError

CONTEXT_FIELDS = ("funding", "openInterest", "dayNtlVlm", "oraclePx", "markPx", "midPx")
MAX_WAITING = 10_000
"""Candle pushes that the supervisor has not taken yet; it takes them several times a second."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest words on one symbol, as the venue wrote them, and when they came."""

    raw: Mapping[str, Any]
    received_ms: int


@dataclass(frozen=True, slots=True)
class CandlePush:
    """One state of a bar."""

    series: SeriesName
    open_ms: int
    close_px: float
    volume: float


class StreamBoard:
    """The newest of everything. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._channels: dict[str, int] = {}
        self._contexts: dict[str, Heard] = {}
        self._mids = Heard({}, 0)
        self._quotes: dict[str, Heard] = {}
        self._pushes: list[CandlePush] = []
        self._own: dict[str, int] = {"fills": 0, "order_updates": 0}
        self.broken = 0

    def take(self, channel: str, message: Mapping[str, Any], now_ms: int) -> None:
        """One push of a subscription; one that cannot be read is counted and changes nothing."""
        try:
            with self._lock:
                self._read(str(message["channel"]), message["data"], now_ms)
                self._channels[channel] = now_ms
        except (VenueError, KeyError, TypeError, ValueError):
            self.broken += 1

    def learn_contexts(self, contexts: Mapping[str, Row], now_ms: int) -> None:
        """Contexts that came by REST; one that cannot be read is counted and changes nothing."""
        for symbol, row in contexts.items():
            try:
                with self._lock:
                    self._keep_context(symbol, row.raw, now_ms)
            except VenueError:
                self.broken += 1

    def _read(self, kind: str, data: Any, now_ms: int) -> None:  # noqa: ANN401 (JSON)
        match kind:
            case "activeAssetCtx":
                row = Row.of(data, kind)
                self._keep_context(row.text("coin"), row.row("ctx").raw, now_ms)
            case "candle":
                self._keep_candle(Row.of(data, kind))
            case "allMids":
                self._mids = Heard(Row.of(data, kind).row("mids").raw, now_ms)
            case "bbo":
                row = Row.of(data, kind)
                self._quotes[row.text("coin")] = Heard(row.raw, now_ms)
            case "userFills":
                row = Row.of(data, kind)
                self._own["fills"] += 0 if row.flag("isSnapshot") else len(row.rows("fills"))
            case "orderUpdates":
                self._own["order_updates"] += len(rows(data, kind))

    def _keep_context(self, symbol: str, raw: Mapping[str, Any], now_ms: int) -> None:
        parse_context(Row(raw, f"assetCtx of {symbol}"))  # a broken one must not replace a good one
        self._contexts[symbol] = Heard({name: raw.get(name) for name in CONTEXT_FIELDS}, now_ms)

    def _keep_candle(self, row: Row) -> None:
        series = SeriesName(row.text("s"), row.text("i"))
        px, volume = float(row.price("c")), float(row.decimal("v"))
        if len(self._pushes) < MAX_WAITING:
            self._pushes.append(CandlePush(series, row.integer("t"), px, volume))

    def take_pushes(self) -> list[CandlePush]:
        """The candle pushes since the last call."""
        with self._lock:
            pushes, self._pushes = self._pushes, []
        return pushes

    def contexts(self) -> dict[str, Heard]:
        """The newest context of each symbol."""
        with self._lock:
            return dict(self._contexts)

    def prices(self, symbol: str, after_ms: int) -> tuple[str | None, str | None]:
        """Best bid and best ask as text; None where there is none, or none was heard after ``after_ms``."""
        with self._lock:
            quote = self._quotes.get(symbol)
        sides = quote.raw.get("bbo") if quote and quote.received_ms > after_ms else None
        if not isinstance(sides, list) or len(sides) != 2:
            return None, None
        bid, ask = (_text(side.get("px")) if isinstance(side, dict) else None for side in sides)
        return bid, ask

    def mid(self, symbol: str, after_ms: int) -> str | None:
        """The mid of ``allMids`` as text, None when none was heard after ``after_ms``."""
        with self._lock:
            mids = self._mids
        return _text(mids.raw.get(symbol)) if mids.received_ms > after_ms else None

    def channels(self) -> dict[str, int]:
        """When each channel spoke last."""
        with self._lock:
            return dict(self._channels)

    def own(self) -> dict[str, int]:
        """How many own fills and order updates were pushed. The account is always read by REST."""
        with self._lock:
            return dict(self._own)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
