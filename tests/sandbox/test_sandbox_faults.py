"""Faults on demand, seen through the official SDK."""

import time
from typing import Any

import pytest
import requests
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError, ServerError
from hyperliquid.utils.types import Cloid
from sandbox_control import Control

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
IOC = {"limit": {"tif": "Ioc"}}


@pytest.fixture
def hasty(sandbox: Sandbox) -> Info:
    return Info(sandbox.venue_url, skip_ws=True, timeout=0.4)


def test_a_fault_hits_its_type_as_often_as_asked_and_then_no_more(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info:allMids", "kind": "500", "times": 2}])
    assert hasty.meta()["universe"]
    for _ in range(2):
        with pytest.raises(ServerError):
            hasty.all_mids()
    assert "BTC" in hasty.all_mids()


def test_429_is_a_json_null(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info", "kind": "429"}])
    with pytest.raises(ClientError) as caught:
        hasty.all_mids()
    assert (caught.value.status_code, caught.value.error_message) == (429, "null")


def test_html_with_status_200_comes_back_as_the_sdks_error_object(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "*", "kind": "html200"}])
    assert "Bad Gateway" in hasty.all_mids()["error"]


def test_a_hanging_answer_runs_into_the_timeout_and_hurts_nobody_else(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info:allMids", "kind": "hang"}])
    with pytest.raises(requests.exceptions.ReadTimeout):
        hasty.all_mids()
    assert "BTC" in hasty.all_mids()


def test_a_reset_connection_is_a_connection_error(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info", "kind": "reset"}])
    with pytest.raises(requests.exceptions.ConnectionError):
        hasty.all_mids()
    assert "BTC" in hasty.all_mids()


def test_a_trickling_answer_outlives_the_read_timeout(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info:allMids", "kind": "trickle", "interval_ms": 10}])
    started = time.monotonic()
    assert "BTC" in hasty.all_mids()
    assert time.monotonic() - started > 0.5


def test_an_order_whose_answer_is_lost_is_found_by_its_cloid(
    hasty: Info, exchange: Exchange, control: Control
) -> None:
    control("faults", [{"on": "exchange:order", "kind": "answer_lost"}])
    cloid = Cloid.from_int(5)
    with pytest.raises(requests.exceptions.ConnectionError):
        exchange.market_open("BTC", is_buy=True, sz=0.01, cloid=cloid)
    assert hasty.query_order_by_cloid(ME, cloid)["order"]["status"] == "filled"
    assert hasty.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.01"


def test_an_order_that_never_arrived_is_not_found(hasty: Info, exchange: Exchange, control: Control) -> None:
    control("faults", [{"on": "exchange:order", "kind": "reset"}])
    cloid = Cloid.from_int(6)
    with pytest.raises(requests.exceptions.ConnectionError):
        exchange.order("BTC", True, 0.01, 100_000, IOC, cloid=cloid)
    assert hasty.query_order_by_cloid(ME, cloid) == {"status": "unknownOid"}


def test_a_partial_ioc_fills_the_asked_fraction(exchange: Exchange, control: Control) -> None:
    control("faults", [{"on": "exchange:order", "kind": "partial_ioc", "fraction": 0.25}])
    fills = [exchange.market_open("BTC", is_buy=True, sz=0.04) for _ in range(2)]
    sizes = [answer["response"]["data"]["statuses"][0]["filled"]["totalSz"] for answer in fills]
    assert sizes == ["0.01", "0.04"]


def test_a_rejected_trigger_hides_in_an_ok_answer_and_spares_other_orders(
    exchange: Exchange, control: Control, hasty: Info
) -> None:
    control("price", {"coin": "BTC", "mid": 80_000})
    control("faults", [{"on": "exchange:order", "kind": "trigger_rejected"}])
    assert "filled" in str(exchange.market_open("BTC", is_buy=True, sz=0.01))
    stop: dict[str, Any] = {"trigger": {"isMarket": True, "triggerPx": 70_000, "tpsl": "sl"}}
    answer = exchange.order("BTC", False, 0.01, 63_000, stop, reduce_only=True)
    assert answer["status"] == "ok"
    assert answer["response"]["data"]["statuses"] == [{"error": "Invalid TP/SL price. asset=3"}]
    assert hasty.frontend_open_orders(ME) == []
    again = exchange.order("BTC", False, 0.01, 63_000, stop, reduce_only=True)
    assert "resting" in again["response"]["data"]["statuses"][0]


def test_any_answer_can_be_put_into_the_venues_mouth(hasty: Info, control: Control) -> None:
    control("faults", [{"on": "info:clearinghouseState", "kind": "reply", "body": {"marginSummary": 3}}])
    assert hasty.user_state(ME) == {"marginSummary": 3}


def test_a_port_that_refuses_has_reset_every_connection_and_listens_again_in_time(
    hasty: Info, sandbox: Sandbox, control: Control
) -> None:
    bystander = requests.Session()

    def is_refused() -> bool:
        try:
            return not bystander.get(f"{sandbox.venue_url}/sandbox/state", timeout=2).ok
        except requests.exceptions.ConnectionError:
            return True

    assert not is_refused()  # and holds a connection now
    control("faults", [{"on": "info:allMids", "kind": "refused", "duration_ms": 400}])
    with pytest.raises(requests.exceptions.ConnectionError):
        hasty.all_mids()
    began = time.monotonic()
    assert is_refused()
    assert is_refused()
    while is_refused() and time.monotonic() < began + 5:
        time.sleep(0.02)
    assert 0.3 < time.monotonic() - began < 3
    assert "BTC" in hasty.all_mids()
