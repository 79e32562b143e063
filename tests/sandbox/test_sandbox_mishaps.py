"""Faults of the venue's world through the official SDK: streams, candles, clocks, gaps, liquidations."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ServerError
from sandbox_control import Control
from sandbox_samples import Json, assert_identities
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
STOP = {"trigger": {"isMarket": True, "triggerPx": 78_000, "tpsl": "sl"}}
BBO = {"type": "bbo", "coin": "BTC"}


def ws_url(sandbox: Sandbox) -> str:
    return f"ws{sandbox.venue_url.removeprefix('http')}/ws"


def test_a_dropped_stream_ends_and_the_sdk_does_not_come_back(sandbox: Sandbox, control: Control) -> None:
    info = Info(sandbox.venue_url, timeout=5)
    heard: list[Json] = []
    info.subscribe(BBO, heard.append)
    while not heard:
        time.sleep(0.02)
    assert info.ws_manager.is_alive()
    control("faults", [{"on": "ws:bbo", "kind": "ws_drop"}])
    info.ws_manager.join(5)
    assert not info.ws_manager.is_alive()
    info.disconnect_websocket()
    with connect(ws_url(sandbox)) as socket:
        socket.recv()
        socket.send(json.dumps({"method": "subscribe", "subscription": BBO}))
        assert json.loads(socket.recv())["channel"] == "subscriptionResponse", "once only"


def test_a_half_open_stream_neither_speaks_nor_ends(sandbox: Sandbox, control: Control) -> None:
    with connect(ws_url(sandbox)) as socket:
        socket.recv()
        socket.send(json.dumps({"method": "subscribe", "subscription": BBO}))
        assert [json.loads(socket.recv())["channel"] for _ in range(2)] == ["subscriptionResponse", "bbo"]
        control("faults", [{"on": "ws:bbo", "kind": "ws_half_open", "coin": "BTC", "duration_ms": 1500}])
        time.sleep(0.3)
        control("price", {"coin": "BTC", "mid": 70_000})
        socket.send('{"method":"ping"}')
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.8)
        assert json.loads(socket.recv(timeout=5))["data"]["bbo"][0]["px"] == "69999.0", "and then goes on"


def test_a_silent_stream_answers_pings_and_pushes_nothing(sandbox: Sandbox, control: Control) -> None:
    with connect(ws_url(sandbox)) as socket:
        socket.recv()
        control("faults", [{"on": "ws", "kind": "ws_silent", "coin": "BTC"}])
        socket.send(json.dumps({"method": "subscribe", "subscription": BBO}))
        assert [json.loads(socket.recv())["channel"] for _ in range(2)] == ["subscriptionResponse", "bbo"]
        control("price", {"coin": "BTC", "mid": 70_000})
        socket.send('{"method":"ping"}')
        assert json.loads(socket.recv()) == {"channel": "pong"}
        with pytest.raises(TimeoutError):
            socket.recv(timeout=1.2)


def test_an_idle_stream_is_closed_by_the_venue() -> None:
    with (
        Sandbox(seed=7, options=VenueOptions(stream_idle_ms=400)) as running,
        connect(ws_url(running)) as socket,
    ):
        socket.recv()
        for _ in range(3):  # a ping keeps it open, because the venue answers
            time.sleep(0.2)
            socket.send('{"method":"ping"}')
            assert json.loads(socket.recv()) == {"channel": "pong"}
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=3)


def test_stale_candles_end_in_the_past_as_often_as_asked_and_for_that_coin_only(
    info: Info, control: Control
) -> None:
    now_ms = info.l2_snapshot("BTC")["time"]
    control(
        "faults", [{"on": "info", "kind": "stale_candles", "by_ms": 1_800_000, "coin": "ETH", "times": 2}]
    )

    def newest(coin: str) -> int:
        rows = info.candles_snapshot(coin, "5m", now_ms - 7_200_000, now_ms)
        return int(rows[-1]["t"])

    assert newest("BTC") > now_ms - 300_000
    for _ in range(2):
        assert now_ms - 2_200_000 < newest("ETH") <= now_ms - 1_700_000
    assert newest("ETH") > now_ms - 300_000


def test_a_wrong_clock_shows_in_stamps_and_expires_actions(
    info: Info, exchange: Exchange, control: Control, sandbox: Sandbox
) -> None:
    host_ms = sandbox.venue.clock.host_ms()
    control("faults", [{"on": "info:clearinghouseState", "kind": "wrong_clock", "by_ms": 3_600_000}])
    assert info.user_state(ME)["time"] >= host_ms + 3_600_000
    assert info.user_state(ME)["time"] < host_ms + 60_000
    control("faults", [{"on": "exchange", "kind": "wrong_clock", "by_ms": 60_000, "user": ME}])
    exchange.set_expires_after(sandbox.venue.clock.host_ms() + 20_000)
    assert exchange.update_leverage(3, "BTC")["response"] == "Action already expired"
    assert exchange.update_leverage(3, "BTC")["status"] == "ok"
    exchange.set_expires_after(None)
    control("faults", [{"on": "exchange", "kind": "wrong_clock", "by_ms": 4 * 86_400_000}])
    assert exchange.update_leverage(3, "BTC")["response"].startswith("Invalid nonce: nonce too low")


def test_the_price_gaps_through_the_stop_as_soon_as_it_stands(
    info: Info, exchange: Exchange, control: Control
) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 600_000})
    control("faults", [{"on": "exchange:order", "kind": "gap", "coin": "BTC", "beyond_fraction": 0.03}])
    assert "filled" in str(exchange.market_open("BTC", is_buy=True, sz=0.05))
    assert len(info.user_state(ME)["assetPositions"]) == 1, "it waits until there is a stop to jump over"
    answer = exchange.order("BTC", False, 0.05, 70_200, STOP, reduce_only=True)
    assert "resting" in answer["response"]["data"]["statuses"][0], "the client is told that its stop stands"
    state = info.user_state(ME)
    assert state["assetPositions"] == []
    close = info.user_fills(ME)[0]
    assert Decimal(close["px"]) < 78_000 * Decimal("0.975"), "filled where the market was, not at the trigger"
    assert_identities(state)


def test_a_gap_by_a_fraction_needs_no_stop(info: Info, control: Control) -> None:
    control("price", {"coin": "ETH", "mid": 3_000, "hold_ms": 600_000})
    control("faults", [{"on": "info:meta", "kind": "gap", "coin": "ETH", "fraction": -0.1}])
    info.meta()
    assert info.all_mids()["ETH"] == "2700.0"


@pytest.mark.parametrize("is_cross", [True, False])
def test_a_liquidation_is_seen_from_the_account(
    info: Info, exchange: Exchange, control: Control, is_cross: bool
) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 600_000})
    exchange.update_leverage(40, "BTC", is_cross=is_cross)
    exchange.market_open("BTC", is_buy=True, sz=4)
    control("faults", [{"on": "info:openOrders", "kind": "liquidation", "coin": "BTC", "user": ME}])
    info.open_orders("0x" + "11" * 20)  # somebody else's request
    assert len(info.user_state(ME)["assetPositions"]) == 1
    info.open_orders(ME)
    fills = [fill for fill in info.user_fills(ME) if "liquidation" in fill]
    assert fills
    assert fills[0]["liquidation"]["liquidatedUser"] == ME
    assert fills[0]["liquidation"]["method"] == "market"
    state = info.user_state(ME)
    left = sum(abs(float(p["position"]["szi"])) for p in state["assetPositions"])
    assert left <= 3.2001, "a fifth at once, because the position is above 100,000 USD"
    ledger = info.user_non_funding_ledger_updates(ME, 0)
    assert ledger[-1]["delta"]["type"] == "liquidation"
    assert ledger[-1]["delta"]["leverageType"] == ("Cross" if is_cross else "Isolated")
    assert_identities(state)


def test_faults_can_let_some_requests_pass_and_spare_other_coins_and_users(
    sandbox: Sandbox, exchange: Exchange, info: Info, control: Control
) -> None:
    other = Account.create()
    control("fund", {"user": other.address, "usdc": 1000})
    theirs = Exchange(other, sandbox.venue_url, timeout=5)
    control(
        "faults", [{"on": "exchange:updateLeverage", "kind": "502", "coin": "BTC", "user": ME, "after": 1}]
    )
    assert exchange.update_leverage(3, "BTC")["status"] == "ok"
    assert exchange.update_leverage(3, "ETH")["status"] == "ok"
    assert theirs.update_leverage(3, "BTC")["status"] == "ok"
    with pytest.raises(ServerError) as caught:
        exchange.update_leverage(4, "BTC")
    assert caught.value.status_code == 502
    assert "Bad Gateway" in caught.value.message
    assert exchange.update_leverage(4, "BTC")["status"] == "ok"


def test_an_order_fault_can_be_for_one_coin(exchange: Exchange, control: Control) -> None:
    control("faults", [{"on": "exchange:order", "kind": "partial_ioc", "coin": "ETH", "fraction": 0.5}])
    sizes = []
    for coin, size in (("BTC", 0.02), ("ETH", 0.2), ("ETH", 0.2)):
        answer = exchange.market_open(coin, is_buy=True, sz=size)
        sizes.append(answer["response"]["data"]["statuses"][0]["filled"]["totalSz"])
    assert sizes == ["0.02", "0.1", "0.2"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "trickle", "interval_ms": "soon"},
        {"kind": "gap", "fraction": None},
        {"kind": "stale_candles", "by_ms": True},
        {"kind": "500", "after": -1},
        {"kind": "500", "times": 1.5},
    ],
)
def test_a_fault_that_could_only_fail_later_is_refused_at_once(sandbox: Sandbox, fault: Any) -> None:
    answer = requests.post(f"{sandbox.venue_url}/sandbox/faults", json=[fault], timeout=5)
    assert answer.status_code == 400
    assert "must be" in answer.json()["error"]
