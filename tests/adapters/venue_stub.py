"""A few lines of HTTP server stand in for the venue: what it answers, and the adapters that ask it."""

import json
import socket
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.core.model import OrderPurpose, PlaceOrder
from wonttrade_dagster.core.ports import Clock

KEY = "0x" + "11" * 32
ADDRESS = "0x" + "ab" * 20
META = {"universe": [{"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 40}]}
ORDER = PlaceOrder(
    "BTC", OrderPurpose.OPEN, True, Decimal("0.1"), Decimal(80_400), False, "0x" + "0a" * 16, "because"
)


class FrozenClock(Clock):
    """Time stands still but for what is slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 1_790_000_000_000

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Stub:
    """Answers each request by a function of its JSON body: status and text; None closes the connection."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: (200, "{}")
        self.drip_seconds = 0.0
        self.missing_bytes = 0
        self.extra_headers: dict[str, str] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.bodies.append(body)
                stub.headers.append(dict(self.headers))
                answer = stub.answer(body)
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                else:
                    stub.write(self, *answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def write(self, handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
        data = text.encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data) + self.missing_bytes))
        for name, value in self.extra_headers.items():
            handler.send_header(name, value)
        handler.close_connection = self.missing_bytes > 0
        if status in {301, 307}:
            handler.send_header("Location", "http://127.0.0.1:1/")
        handler.end_headers()
        try:
            for i in range(0, len(data), 1 if self.drip_seconds else len(data) or 1):
                handler.wfile.write(data[i : i + 1] if self.drip_seconds else data)
                time.sleep(self.drip_seconds)
        except OSError:
            pass  # the client has had enough

    def types(self) -> list[str]:
        return [body.get("type") or body["action"]["type"] for body in self.bodies]


def connection(
    url: str, attempts: int = 1, timeout: float = 2.0, clock: Clock | None = None
) -> SdkConnection:
    return SdkConnection(
        base_url=url, timeout_seconds=timeout, read_attempts=attempts, clock=clock or FrozenClock()
    )


def venue(stub: Stub, **options: object) -> HyperliquidVenue:
    settings: dict[str, Any] = {
        "base_url": stub.url,
        "account_address": ADDRESS,
        "agent_private_key": KEY,
        "timeout_seconds": 2.0,
        "symbols": ["BTC"],
        "clock": FrozenClock(),
        "read_attempts": 1,
    }
    return HyperliquidVenue(**(settings | options))


def never(body: dict[str, Any]) -> None:
    """Longer than any of the tests waits, and then no answer."""
    del body
    time.sleep(1.0)


def scripted(stub: Stub, **answers: object) -> None:
    """Answers by request or action type; a str is sent as it is, None drops the connection."""

    def answer(body: dict[str, Any]) -> tuple[int, str] | None:
        kind = body.get("type") or body["action"]["type"]
        value = ({"meta": META} | answers)[kind]
        if value is None or isinstance(value, tuple):
            return value
        return 200, value if isinstance(value, str) else json.dumps(value)

    stub.answer = answer


FILLED = {
    "status": "ok",
    "response": {
        "type": "order",
        "data": {"statuses": [{"filled": {"totalSz": "0.1", "avgPx": "80000.0", "oid": 5}}]},
    },
}
FOUND = {
    "status": "order",
    "order": {"order": {"oid": 5, "sz": "0.0", "origSz": "0.1"}, "status": "filled", "statusTimestamp": 1},
}
