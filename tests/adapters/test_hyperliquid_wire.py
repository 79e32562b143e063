"""The wall-clock limit of one request to the venue: whatever the server sends, and where the time is lost."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
from venue_stub import FILLED, ORDER, Stub, connection, scripted, venue

from wonttrade_dagster.adapters.deadline import cutting_off
from wonttrade_dagster.adapters.hyperliquid.budget import RequestBudget
from wonttrade_dagster.adapters.hyperliquid.session import BoundedSession
from wonttrade_dagster.adapters.hyperliquid.wire import Wire
from wonttrade_dagster.core.errors import UnknownOutcomeError, VenueUnavailableError
from wonttrade_dagster.core.model import ActionStatus
from wonttrade_dagster.sandbox.server import Sandbox

LIMIT_SECONDS = 0.5
SLACK_SECONDS = 1.0
PAUSE_SECONDS = 0.1
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class RawServer:
    """Takes connections and drips bytes on them, one per ``PAUSE_SECONDS``; nothing knows HTTP here."""

    def __init__(self, at_once: bytes, dripped: bytes) -> None:
        self._at_once, self._dripped = at_once, dripped
        self.received: list[bytes] = []
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(taken,), daemon=True).start()

    def _drip(self, taken: socket.socket) -> None:
        with suppress(OSError), taken:
            self.received.append(taken.recv(65_536))
            taken.sendall(self._at_once)
            while True:
                for byte in self._dripped:
                    taken.sendall(bytes([byte]))
                    time.sleep(PAUSE_SECONDS)
        self.ended.set()

    def close(self) -> None:
        self._listener.close()


@contextmanager
def dripping(at_once: bytes, dripped: bytes) -> Iterator[RawServer]:
    server = RawServer(at_once, dripped)
    try:
        yield server
    finally:
        server.close()


def session() -> BoundedSession:
    return BoundedSession(LIMIT_SECONDS, RequestBudget(lambda: 0))


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("at_once", "dripped"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nx-slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", b"e"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
    ],
    ids=["status", "one header", "headers", "interim", "chunk size", "chunk extension", "body", "no length"],
)
def test_an_answer_that_drips_ends_at_the_limit_wherever_it_drips(at_once: bytes, dripped: bytes) -> None:
    with dripping(at_once, dripped) as server, session() as asking:

        def ask() -> None:
            with pytest.raises(requests.ReadTimeout):
                asking.post(f"http://127.0.0.1:{server.port}/info", json={}, timeout=LIMIT_SECONDS)

        assert LIMIT_SECONDS * 0.9 <= seconds_of(ask) < LIMIT_SECONDS + SLACK_SECONDS
        assert server.ended.wait(5.0), "the connection is still open"


def test_a_handshake_that_drips_ends_at_the_limit() -> None:
    # A TLS record of 16 KB announced, of which a byte arrives now and then.
    with dripping(b"\x16\x03\x03\x40\x00", b"\x02") as server, session() as asking:

        def ask() -> None:
            with pytest.raises(requests.ReadTimeout):
                asking.post(f"https://127.0.0.1:{server.port}/info", json={}, timeout=LIMIT_SECONDS)

        assert seconds_of(ask) < LIMIT_SECONDS + SLACK_SECONDS
        assert server.ended.wait(5.0)


def test_no_thread_is_left_behind_and_the_session_goes_on_after_a_cut(stub: Stub) -> None:
    stub.answer = lambda _: (200, "{}")
    with dripping(b"HTTP/1.1 200 OK\r\nx-slow: ", b"a") as server, session() as asking:
        listening = threading.active_count()
        with pytest.raises(requests.ReadTimeout):
            asking.post(f"http://127.0.0.1:{server.port}/info", json={}, timeout=LIMIT_SECONDS)
        assert server.ended.wait(5.0)
        for _ in range(3):
            assert asking.post(f"{stub.url}/info", json={}, timeout=LIMIT_SECONDS).json() == {}
        # The stub serves one connection for all three, in a thread of its own.
        assert threading.active_count() <= listening + 2


def test_a_connection_is_used_again_while_answers_come_in_time(stub: Stub) -> None:
    ports = []
    stub.answer = lambda _: (200, "{}")
    taken = stub.server.process_request
    stub.server.process_request = lambda request, address: (ports.append(address[1]), taken(request, address))
    with session() as asking:
        for _ in range(3):
            asking.post(f"{stub.url}/info", json={}, timeout=LIMIT_SECONDS)
    assert len(ports) == 1


def test_a_request_whose_connection_came_too_late_is_never_sent(stub: Stub) -> None:
    with session() as asking:
        wire = asking._wire
        reached = wire.connected

        def late(*args: object) -> None:
            time.sleep(LIMIT_SECONDS + 0.2)
            reached(*args)

        wire.connected = late
        with pytest.raises(requests.ConnectTimeout):
            asking.post(f"{stub.url}/exchange", json={"action": {}}, timeout=LIMIT_SECONDS)
    assert stub.bodies == []


def test_an_order_that_is_answered_by_a_dripping_head_has_an_unknown_outcome(stub: Stub) -> None:
    scripted(stub, order=FILLED, orderStatus={"status": "unknownOid"})
    made = venue(stub, timeout_seconds=LIMIT_SECONDS)
    assert made.place(ORDER).status is ActionStatus.FILLED
    with dripping(b"HTTP/1.1 200 OK\r\nx-slow: ", b"a") as server:
        exchange = made._signer._exchange
        exchange.base_url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(UnknownOutcomeError):
            made._signer.write(
                "an order", lambda sdk: sdk.post("/exchange", {"action": {"type": "order"}}), must_arrive=True
            )
        assert len(server.received) == 1, "a write is never repeated"


def test_a_read_from_the_sandbox_whose_head_drips_is_tried_again_and_answered() -> None:
    with Sandbox(seed=7) as sandbox:
        rows = [{"on": "info:meta", "kind": "trickle_head", "interval_ms": 50}]
        requests.post(f"{sandbox.venue_url}/sandbox/faults", json=rows, timeout=5).raise_for_status()
        asked = connection(sandbox.venue_url, attempts=2, timeout=LIMIT_SECONDS)
        took = seconds_of(lambda: asked.assets()["BTC"])
        assert LIMIT_SECONDS * 0.9 <= took < LIMIT_SECONDS + SLACK_SECONDS + 1.0


def test_one_attempt_against_a_dripping_head_is_an_unavailable_venue() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nx-slow: ", b"a") as server:
        asked = connection(f"http://127.0.0.1:{server.port}", timeout=LIMIT_SECONDS)
        with pytest.raises(VenueUnavailableError, match="ReadTimeout"):
            asked.assets()


def test_half_a_head_is_not_taken_for_an_answer_when_the_limit_cuts_it() -> None:
    """http.client takes a head that ends with its connection for a whole one, with an empty body."""
    wire = Wire()
    with pytest.raises(requests.ReadTimeout), wire.limited_to(0.05):
        time.sleep(0.3)  # what the block returned then does not count


def test_what_ends_in_time_is_never_cut() -> None:
    cuts = []
    with cutting_off(0.1, lambda: cuts.append("cut")):
        time.sleep(0.01)
    time.sleep(0.3)
    assert cuts == []


def test_a_block_is_not_left_while_its_cut_is_under_way() -> None:
    """A cut that went on would hit the next request on the same connection."""
    told = []

    def slow_cut() -> None:
        told.append("cut begins")
        time.sleep(0.2)
        told.append("cut ends")

    with cutting_off(0.05, slow_cut):
        time.sleep(0.1)
    told.append("left")
    assert told == ["cut begins", "cut ends", "left"]
