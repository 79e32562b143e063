"""How requests travel: a few lines of HTTP server stand in for the venue."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from wonttrade_dagster.adapters.hyperliquid import (
    HyperliquidMarketData,
    HyperliquidPreflight,
    HyperliquidVenue,
)
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection, travel, travel_once
from wonttrade_dagster.adapters.hyperliquid.signer import Nonces, Signer
from wonttrade_dagster.core.errors import (
    ConfigurationError,
    UnknownOutcomeError,
    VenueAnswerError,
    VenueRefusedError,
    VenueUnavailableError,
)
from wonttrade_dagster.core.model import ActionStatus, OrderPurpose, PlaceOrder
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


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


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


# --- addresses and secrets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://api.hyperliquid.xyz/",
        "https://API.hyperliquid.xyz",
        "http://api.hyperliquid.xyz",
        "https://api.hyperliquid.xyz:443",
        "https://api.hyperliquid.xyz/info",
        "http://127.0.0.1:1/",
        "127.0.0.1:1",
        "ftp://127.0.0.1",
        "",
    ],
)
def test_an_address_that_would_sign_for_the_wrong_network_or_ask_a_wrong_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"address|mainnet"):
        connection(url)


@pytest.mark.parametrize(
    "url", ["https://api.hyperliquid.xyz", "https://api.hyperliquid-testnet.xyz", "http://127.0.0.1:3001"]
)
def test_the_right_spellings_are_taken_without_a_request(url: str) -> None:
    assert connection(url).base_url == url


@pytest.mark.parametrize("key", ["", "0x12", "0x" + "zz" * 32, "11" * 33])
def test_a_key_of_another_form_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        venue_with_key(key)
    assert not key or key not in str(refused.value)


def venue_with_key(key: str) -> HyperliquidVenue:
    return HyperliquidVenue(
        base_url="http://127.0.0.1:1",
        account_address=ADDRESS,
        agent_private_key=key,
        timeout_seconds=1,
        symbols=[],
        clock=FrozenClock(),
        read_attempts=1,
    )


def test_no_representation_shows_the_key(stub: Stub) -> None:
    scripted(stub, order=FILLED, orderStatus={"status": "unknownOid"})
    made = venue(stub)
    made.place(ORDER)
    shown = repr(made) + repr(vars(made)) + repr(vars(made._signer)) + str(made._signer._exchange.wallet)
    assert "11" * 8 not in shown


def test_the_environment_and_netrc_do_not_reach_the_sdk(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    scripted(stub, order=FILLED, orderStatus={"status": "unknownOid"})
    assert venue(stub).place(ORDER).status is ActionStatus.FILLED
    assert all("Authorization" not in headers for headers in stub.headers)


def test_a_redirect_is_not_followed(stub: Stub) -> None:
    stub.answer = lambda _: (307, "{}")
    with pytest.raises(VenueUnavailableError, match="TooManyRedirects"):
        connection(stub.url).assets()


# --- reads ---------------------------------------------------------------------------------------


def test_construction_asks_the_venue_nothing_and_meta_is_asked_once(stub: Stub) -> None:
    scripted(stub)
    made = connection(stub.url)
    assert stub.bodies == []
    assert made.assets() == made.assets()
    assert stub.types() == ["meta"]


@pytest.mark.parametrize("broken", [(502, "<html>"), (429, "null"), None, "<html>502</html>"])
def test_a_read_is_tried_again_with_growing_pauses_until_the_attempts_are_used_up(
    stub: Stub, broken: object
) -> None:
    clock = FrozenClock()
    scripted(stub, meta=broken)
    with pytest.raises((VenueUnavailableError, VenueAnswerError)):
        connection(stub.url, attempts=4, clock=clock).assets()
    assert len(stub.bodies) == 4
    assert len(clock.slept) == 3
    assert clock.slept[-1] > clock.slept[0] >= 0.25


def test_a_read_that_succeeds_at_last_is_an_answer(stub: Stub) -> None:
    answers = iter([(500, "null"), None, (200, json.dumps(META))])
    stub.answer = lambda _: next(answers)
    assert list(connection(stub.url, attempts=3).assets()) == ["BTC"]


def test_a_read_that_the_venue_refuses_is_not_tried_again(stub: Stub) -> None:
    scripted(stub, meta=(422, "Failed to deserialize the JSON body into the target type"))
    with pytest.raises(VenueRefusedError, match=r"HTTP 422.*Failed to deserialize"):
        connection(stub.url, attempts=3).assets()
    assert len(stub.bodies) == 1


@pytest.mark.parametrize("text", ['{"a": 1}', '"text"', "[]", "7", '{"code": 1}'])
def test_a_4xx_whose_form_the_sdk_cannot_read_is_a_named_error(stub: Stub, text: str) -> None:
    scripted(stub, meta=(400, text))
    with pytest.raises(VenueAnswerError, match="cannot read"):
        connection(stub.url).assets()


@pytest.mark.parametrize("text", ["<html>", "", "{", "[" * 100_000, "null", "[]", "7", '{"universe": 3}'])
def test_an_answer_that_is_not_meta_is_a_named_error(stub: Stub, text: str) -> None:
    scripted(stub, meta=text)
    with pytest.raises(VenueAnswerError):
        connection(stub.url).assets()


def test_a_server_that_drips_its_answer_does_not_outlive_the_time_limit(stub: Stub) -> None:
    scripted(stub)
    stub.drip_seconds = 0.05
    before = time.monotonic()
    with pytest.raises(VenueUnavailableError, match="ReadTimeout"):
        connection(stub.url, timeout=0.4).assets()
    assert time.monotonic() - before < 2


def test_a_server_that_never_answers_does_not_outlive_the_time_limit(stub: Stub) -> None:
    stub.answer = lambda _: time.sleep(1.0)  # type: ignore[func-returns-value]
    with pytest.raises(VenueUnavailableError, match="Timeout"):
        connection(stub.url, timeout=0.2).assets()


def test_an_answer_that_breaks_off_in_its_middle_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.missing_bytes = 50
    with pytest.raises(VenueUnavailableError, match="could not be asked for meta"):
        connection(stub.url).assets()


def test_an_answer_that_cannot_be_unpacked_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.extra_headers = {"Content-Encoding": "gzip"}
    with pytest.raises(VenueUnavailableError, match="could not be asked for meta"):
        connection(stub.url).assets()


def test_an_answer_that_falls_silent_in_its_middle_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.drip_seconds = 0.6
    with pytest.raises(VenueUnavailableError, match="ReadTimeout"):
        connection(stub.url, timeout=0.2).assets()


def test_a_symbol_that_is_missing_or_delisted_is_named_with_the_remedy(stub: Stub) -> None:
    universe = [META["universe"][0], META["universe"][0] | {"name": "OLD", "isDelisted": True}]
    contexts = [{"markPx": "1.0"}] * 2
    scripted(stub, metaAndAssetCtxs=[{"universe": universe}, contexts])
    for symbol, state in (("DOGE", "does not list"), ("OLD", "has delisted")):
        data = HyperliquidMarketData(
            base_url=stub.url,
            symbols=[symbol],
            intraday_interval="5m",
            long_interval="4h",
            history_bars=3,
            timeout_seconds=2,
            read_attempts=1,
            clock=FrozenClock(),
        )
        with pytest.raises(
            Exception, match=f"{state} the perpetual '{symbol}': take it out of symbols.tracked"
        ):
            data.snapshot(1_790_000_000_000)


# --- writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [(500, "null"), (502, "<html>"), None, "<html>", "7", '{"status": "ok"}'])
def test_a_write_whose_answer_is_lost_is_looked_up_and_never_sent_again(stub: Stub, broken: object) -> None:
    scripted(stub, order=broken, orderStatus=FOUND)
    result = venue(stub).place(ORDER)
    assert (result.status, result.oid, result.filled_base) == (ActionStatus.FILLED, 5, Decimal("0.1"))
    assert "found by client order id" in result.message
    assert stub.types().count("order") == 1
    assert stub.bodies[-1]["oid"] == ORDER.cloid
    assert stub.bodies[-1]["user"] == ADDRESS, "questions name the account, not the agent"


def test_a_lost_order_that_the_venue_does_not_know_stays_unknown(stub: Stub) -> None:
    scripted(stub, order=None, orderStatus={"status": "unknownOid"})
    result = venue(stub).place(ORDER)
    assert result.status is ActionStatus.UNKNOWN
    assert "proves nothing" in result.message
    assert stub.types().count("order") == 1


def test_an_entry_whose_answer_was_lost_is_looked_for_until_it_has_expired(stub: Stub) -> None:
    clock = FrozenClock()
    scripted(stub, order=None)
    answered = stub.answer

    def late(body: dict[str, Any]) -> tuple[int, str] | None:
        if body.get("type") != "orderStatus":
            return answered(body)
        has_arrived = sum(clock.slept) > 9
        return 200, json.dumps(FOUND if has_arrived else {"status": "unknownOid"})

    stub.answer = late
    assert venue(stub, clock=clock).place(ORDER).status is ActionStatus.FILLED
    expires_ms = next(body["expiresAfter"] for body in stub.bodies if "action" in body)
    assert clock.now_ms() + 1000 * sum(clock.slept) >= expires_ms


@pytest.mark.parametrize("answer", ["success", "default"])
def test_an_answer_that_is_none_to_an_order_is_looked_up(stub: Stub, answer: str) -> None:
    done = {"type": "order", "data": {"statuses": ["success"]}} if answer == "success" else {"type": answer}
    scripted(stub, order={"status": "ok", "response": done}, orderStatus={"status": "unknownOid"})
    assert venue(stub).place(ORDER).status is ActionStatus.UNKNOWN
    scripted(stub, order={"status": "ok", "response": done}, orderStatus=FOUND)
    assert venue(stub).place(ORDER).status is ActionStatus.FILLED


@pytest.mark.parametrize(
    "refusal", [(422, "Failed to deserialize"), (429, "null"), {"status": "err", "response": "Invalid nonce"}]
)
def test_a_write_that_the_venue_refused_is_an_error_and_not_looked_up(stub: Stub, refusal: object) -> None:
    scripted(stub, order=refusal)
    assert venue(stub).place(ORDER).status is ActionStatus.ERROR
    assert stub.types() == ["meta", "order"]


def test_a_write_whose_answer_breaks_off_in_its_middle_is_an_unknown_outcome(stub: Stub) -> None:
    scripted(stub)
    made = connection(stub.url)
    stub.missing_bytes = 50
    with pytest.raises(UnknownOutcomeError):
        travel_once("an order", made.info.meta)


def test_a_write_that_found_no_server_did_nothing(stub: Stub) -> None:
    with pytest.raises(VenueUnavailableError):
        travel_once("an order", connection("http://127.0.0.1:1").info.meta)
    scripted(stub)
    made = venue(stub)
    made._connection.assets()
    stub.server.shutdown()
    stub.server.server_close()
    assert made.place(ORDER).status is ActionStatus.ERROR


def test_a_timeout_while_waiting_for_a_writes_answer_is_an_unknown_outcome(stub: Stub) -> None:
    stub.answer = lambda _: time.sleep(1.0)  # type: ignore[func-returns-value]
    made = connection(stub.url, timeout=0.2)
    with pytest.raises(UnknownOutcomeError):
        travel_once("an order", made.info.meta)


def test_an_unknown_coin_is_an_error_before_anything_is_sent(stub: Stub) -> None:
    scripted(stub)
    order = PlaceOrder("XXX", OrderPurpose.OPEN, True, Decimal(1), Decimal(1), False, ORDER.cloid, "")
    assert "no perpetual 'XXX'" in venue(stub).place(order).message
    assert stub.types() == ["meta"]


def test_a_number_that_the_sdk_would_have_to_round_is_an_error_and_not_sent(stub: Stub) -> None:
    scripted(stub)
    order = PlaceOrder(
        "BTC", OrderPurpose.OPEN, True, Decimal("0.1234567891"), Decimal(1), False, ORDER.cloid, ""
    )
    assert "rounding" in venue(stub).place(order).message
    assert stub.types() == ["meta"]


def test_every_action_expires_and_no_two_share_a_nonce_on_a_clock_that_stands_still(stub: Stub) -> None:
    scripted(stub, order=FILLED, orderStatus=FOUND)
    made = venue(stub, expires_after_seconds=7)
    threads = [threading.Thread(target=made.place, args=(ORDER,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    actions = [body for body in stub.bodies if "action" in body]
    nonces = [body["nonce"] for body in actions]
    assert nonces == list(range(1_790_000_000_000, 1_790_000_000_008))
    assert {body["expiresAfter"] for body in actions} == {1_790_000_007_000}


@pytest.mark.parametrize(("good_for_ms", "expires_after_ms"), [(5_000, 5_000), (60_000, 7_000)])
def test_an_entry_expires_with_its_decision(stub: Stub, good_for_ms: int, expires_after_ms: int) -> None:
    """A packet that the network held up must not open a position on an old decision."""
    scripted(stub, order=FILLED)
    order = replace(ORDER, good_until_ms=1_790_000_000_000 + good_for_ms)
    venue(stub, expires_after_seconds=7).place(order)
    assert stub.bodies[-1]["expiresAfter"] == 1_790_000_000_000 + expires_after_ms


def test_the_sdks_own_module_keeps_its_clock(stub: Stub) -> None:
    from hyperliquid import exchange
    from hyperliquid.utils.signing import get_timestamp_ms

    scripted(stub, order=FILLED)
    venue(stub).place(ORDER)
    assert exchange.get_timestamp_ms is get_timestamp_ms


def test_nonces_never_repeat_nor_fall_when_the_clock_does() -> None:
    times = iter([100, 100, 50, 200, 199])
    nonces = Nonces(lambda: next(times))
    assert [nonces() for _ in range(5)] == [100, 101, 102, 200, 201]


def test_a_signature_is_the_agents_over_what_was_sent(stub: Stub) -> None:
    from hyperliquid.utils.signing import recover_agent_or_user_from_l1_action

    scripted(stub, order=FILLED)
    made = venue(stub)
    made.place(ORDER)
    body = stub.bodies[-1]
    signer = recover_agent_or_user_from_l1_action(
        body["action"],
        body["signature"],
        None,
        body["nonce"],
        body["expiresAfter"],
        False,
    )
    assert signer == made._signer.address
    assert body["action"]["orders"][0] == {
        "a": 0,
        "b": True,
        "p": "80400",
        "s": "0.1",
        "r": False,
        "t": {"limit": {"tif": "Ioc"}},
        "c": ORDER.cloid,
    }


def test_the_expiry_follows_the_venues_clock_which_judges_it(stub: Stub) -> None:
    summary = {"accountValue": "1.0", "totalMarginUsed": "0.0"}
    state = {"marginSummary": summary, "withdrawable": "1.0", "assetPositions": [], "time": 1_790_000_060_000}
    scripted(
        stub,
        order=FILLED,
        clearinghouseState=state,
        frontendOpenOrders=[],
        metaAndAssetCtxs=[META, [{"markPx": "80000.0"}]],
    )
    made = venue(stub, expires_after_seconds=7)
    assert made.account().mark_px("BTC") == 80_000
    made.place(ORDER)
    assert stub.bodies[-1]["expiresAfter"] == 1_790_000_067_000


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ({"role": "agent", "data": {"user": ADDRESS.upper().replace("0X", "0x")}}, "agent"),
        ({"role": "agent", "data": {"user": "0x" + "cd" * 20}}, "foreign_agent"),
        ({"role": "user"}, "stranger"),
        ({"role": "missing"}, "stranger"),
    ],
)
def test_the_preflight_tells_whose_agent_the_key_is(stub: Stub, role: object, expected: str) -> None:
    scripted(stub, userRole=role)
    preflight = HyperliquidPreflight(
        base_url=stub.url,
        account_address=ADDRESS,
        agent_private_key=KEY,
        timeout_seconds=2,
        read_attempts=1,
        clock=FrozenClock(),
    )
    assert preflight.signer_role() == expected


def test_the_preflight_knows_the_accounts_own_key() -> None:
    made = connection("http://127.0.0.1:1")
    signer = Signer(
        made,
        account_address=ADDRESS,
        agent_private_key=SecretStr(KEY),
        clock=FrozenClock(),
        expires_after_seconds=1,
    )
    preflight = HyperliquidPreflight(
        base_url="http://127.0.0.1:1",
        account_address=signer.address,
        agent_private_key=KEY,
        timeout_seconds=2,
        read_attempts=1,
        clock=FrozenClock(),
    )
    assert preflight.signer_role() == "master"


def test_an_answer_is_handed_on_as_it_came(stub: Stub) -> None:
    stub.answer = lambda _: (200, '{"error": "something of its own"}')
    assert travel("x", connection(stub.url).info.meta) == {"error": "something of its own"}
