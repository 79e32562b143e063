"""Faults on demand: which request goes wrong, how, and how many times.

Belongs here: the list of faults waiting to happen, and how a transport fault is acted out on a response.
Does not belong here: what the venue or the model would have answered.

A fault is a JSON object ``{"on": "exchange:order", "kind": "hang", "times": 1, …}``. ``on`` is a path
(``info``), a path and a type (``info:candleSnapshot``, ``exchange:order``, ``ws:bbo``) or ``*``; ``coin`` and
``user`` limit it further, and ``after`` lets so many matching requests pass unharmed first. Transport kinds:

``hang`` never answers · ``reset`` closes the connection unread · ``refused`` resets every connection and
refuses new ones for ``duration_ms`` · ``429`` and ``500`` with a JSON ``null`` · ``502`` an error page,
``html200`` the same page with status 200 · ``trickle`` one byte every ``interval_ms``, ``trickle_head`` the
same before the headers end · ``answer_lost`` does what was asked, then closes the connection · ``reply``
answers ``body`` (any JSON) with ``status``.

Other kinds are acted out by whoever serves the request: ``order_groups``, ``mishaps``, ``stream``.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Protocol

from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from wonttrade_dagster.sandbox.outage import reset

TRANSPORT_KINDS = frozenset(
    {
        "hang", "reset", "refused", "429", "500", "502", "html200", "trickle", "trickle_head", "answer_lost",
        "reply",
    }
)  # fmt: skip
TRANSPORT_KEY = "wonttrade.transport"
"""Where :class:`AbortableProtocol` leaves the connection in the scope's extensions."""

HTML_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
DEFAULT_HANG_MS = 3_600_000
DEFAULT_OUTAGE_MS = 1_000
DEFAULT_TRICKLE_MS = 250
DEFAULT_SKEW_MS = 600_000
"""How far ahead a wrong clock is."""


class Subject(Protocol):
    """What a request is about."""

    def has_coin(self, coin: str) -> bool:
        """Whether it is about that coin."""

    def has_user(self, address: str) -> bool:
        """Whether it is about that account."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where, what, how often it is still to happen, and its own options."""

    on: str
    kind: str
    times: int = 1
    after: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, path: str, request_type: str, subject: Subject | None = None) -> bool:
        """Whether a request to ``path`` of ``request_type`` about ``subject`` is meant."""
        if self.on not in {"*", path, f"{path}:{request_type}"}:
            return False
        coin, user = self.options.get("coin"), self.options.get("user")
        if coin is None and user is None:
            return True
        if subject is None or (coin is not None and not subject.has_coin(str(coin))):
            return False
        return user is None or subject.has_user(str(user))

    def as_json(self) -> dict[str, Any]:
        """As it was given."""
        row = {"on": self.on, "kind": self.kind, "times": self.times, **self.options}
        return row | {"after": self.after} if self.after else row


class FaultList:
    """The faults waiting to happen, first come first served. Safe to use from several threads."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, rows: object) -> int:
        """Queue faults as JSON gave them (one object or a list); how many wait now.

        Raises:
            ValueError: a row has no ``kind``, an unknown one, or a bad ``times``.
        """
        faults = [self._read(row) for row in (rows if isinstance(rows, list) else [rows])]
        with self._lock:
            self._waiting.extend(faults)
            return len(self._waiting)

    def clear(self) -> None:
        """Forget every waiting fault."""
        with self._lock:
            self._waiting.clear()

    def take(
        self,
        path: str,
        request_type: str,
        kinds: frozenset[str] | None = None,
        subject: Subject | None = None,
        accept: Callable[[Fault], bool] | None = None,
    ) -> Fault | None:
        """The next fault for a request, counted down; None when all goes well.

        Args:
            path: ``info``, ``exchange`` or ``ws``.
            request_type: of the request, action or subscription.
            kinds: the kinds that can befall it here, all by default.
            subject: what it is about, for faults limited to a coin or a user.
            accept: whether a matching fault can happen now; it goes on waiting otherwise.
        """
        for fault in self._of(kinds):
            # Outside the lock: a subject may recover a signature, ``accept`` may take the venue's lock.
            if fault.matches(path, request_type, subject) and (accept is None or accept(fault)):
                taken = self._count_down(fault)
                if taken:
                    return fault
        return None

    def _of(self, kinds: frozenset[str] | None) -> list[Fault]:
        with self._lock:
            return [fault for fault in self._waiting if kinds is None or fault.kind in kinds]

    def waiting(self) -> list[dict[str, Any]]:
        """The list as JSON."""
        with self._lock:
            return [fault.as_json() for fault in self._waiting]

    def _count_down(self, fault: Fault) -> bool:
        """Whether the fault happens now: it was still waiting, and nothing had to pass before it."""
        with self._lock:
            index = next((i for i, other in enumerate(self._waiting) if other is fault), None)
            if index is None:
                return False
            if fault.after:
                self._waiting[index] = replace(fault, after=fault.after - 1)
            elif fault.times > 1:
                self._waiting[index] = replace(fault, times=fault.times - 1)
            else:
                del self._waiting[index]
            return not fault.after

    def _read(self, row: object) -> Fault:
        if not isinstance(row, dict) or str(row.get("kind")) not in self._kinds:
            raise ValueError(f"a fault needs a kind out of {', '.join(sorted(self._kinds))}")
        times, after = _count(row, "times", 1), _count(row, "after", 0)
        options = {key: value for key, value in row.items() if key not in {"on", "kind", "times", "after"}}
        _check_numbers(options)
        return Fault(str(row.get("on", "*")), str(row["kind"]), times, after, options)


def _count(row: Mapping[str, Any], name: str, least: int) -> int:
    value = row.get(name, least)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"a fault's {name} must be a whole number of at least {least}")
    return value


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Options that are numbers must be finite ones, so that no request fails on them later."""
    status = options.get("status", 200)
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"a fault's status must be an HTTP status from 200 to 599, not {status!r}")
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if name.endswith(("_ms", "fraction")) and not is_number:
            raise ValueError(f"a fault's {name} must be a number, not {value!r}")


class AbortableProtocol(H11Protocol):
    """HTTP/1.1 whose connection can be cut in mid-request, as a network would cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # (as in uvicorn)
        """Hand the connection to the application."""
        super().connection_made(transport)
        served = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
            scope.setdefault("extensions", {})[TRANSPORT_KEY] = transport
            await served(scope, receive, send)

        self.app = with_transport


def cut(scope: Mapping[str, Any]) -> None:
    """Reset the request's connection: the client sees ECONNRESET and no answer."""
    reset(scope["extensions"][TRANSPORT_KEY])


async def act_out(fault: Fault, scope: Mapping[str, Any], answer: Response) -> Response:
    """What the client gets instead of ``answer``, which only ``trickle`` and ``answer_lost`` have made."""
    match fault.kind:
        case "hang":
            await asyncio.sleep(fault.options.get("duration_ms", DEFAULT_HANG_MS) / 1000)
        case "reset" | "answer_lost":
            cut(scope)
        case "refused":
            seconds = fault.options.get("duration_ms", DEFAULT_OUTAGE_MS) / 1000
            scope["app"].state.listener.refuse_for(seconds)
        case "429" | "500":
            return JSONResponse(None, status_code=int(fault.kind))
        case "502" | "html200":
            return HTMLResponse(HTML_PAGE, status_code=502 if fault.kind == "502" else 200)
        case "reply":
            return JSONResponse(fault.options.get("body"), status_code=int(fault.options.get("status", 200)))
        case "trickle":
            return _trickle(answer, _interval_seconds(fault))
        case "trickle_head":
            await _trickle_head(scope, _interval_seconds(fault))
    return answer


def needs_answer(fault: Fault) -> bool:
    """Whether the request is carried out before the fault is acted out."""
    return fault.kind in {"trickle", "answer_lost"} or fault.kind not in TRANSPORT_KINDS


def _interval_seconds(fault: Fault) -> float:
    return float(fault.options.get("interval_ms", DEFAULT_TRICKLE_MS)) / 1000


async def _trickle_head(scope: Mapping[str, Any], interval_seconds: float) -> None:
    """One header without end, until the client has had enough."""
    transport = scope["extensions"][TRANSPORT_KEY]
    transport.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while not transport.is_closing():
        transport.write(b"a")
        await asyncio.sleep(interval_seconds)


def _trickle(answer: Response, interval_seconds: float) -> StreamingResponse:
    async def drops() -> AsyncIterator[bytes]:
        for byte in bytes(answer.body):
            yield bytes([byte])
            await asyncio.sleep(interval_seconds)

    return StreamingResponse(drops(), status_code=answer.status_code, media_type=answer.media_type)
