"""How actions travel: sent once, looked up when their answer is lost, signed, numbered and with an end."""

import json
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from venue_stub import (
    ADDRESS,
    FILLED,
    FOUND,
    META,
    ORDER,
    FrozenClock,
    Stub,
    connection,
    never,
    scripted,
    venue,
)

from wonttrade_dagster.adapters.hyperliquid.connection import travel_once
from wonttrade_dagster.adapters.hyperliquid.signer import Nonces
from wonttrade_dagster.core.errors import UnknownOutcomeError, VenueUnavailableError
from wonttrade_dagster.core.model import ActionStatus, OrderPurpose, PlaceOrder


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
    stub.answer = never
    made = connection(stub.url, timeout=0.2)
    with pytest.raises(UnknownOutcomeError):
        travel_once("an order", made.info.meta)


def test_an_unknown_coin_is_an_error_before_anything_is_sent(stub: Stub) -> None:
    scripted(stub)
    order = PlaceOrder("NOPE", OrderPurpose.OPEN, True, Decimal(1), Decimal(1), False, ORDER.cloid, "")
    assert "no perpetual 'NOPE'" in venue(stub).place(order).message
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
