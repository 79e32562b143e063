"""The stream, through the official SDK's WebsocketManager and a bare socket."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control
from sandbox_samples import Json
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS


class Heard:
    """Collects messages and waits for the one that is wanted."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._arrived = threading.Condition()

    def __call__(self, message: Json) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    def wait_for(self, wanted: Callable[[Any], bool], seconds: float = 5.0) -> Json:
        with self._arrived:
            found = self._arrived.wait_for(lambda: [m for m in self.messages if wanted(m)], seconds)
        assert found, f"not heard: {self.messages[-3:]}"
        return found[0]


@pytest.fixture
def streaming(sandbox: Sandbox) -> Iterator[Info]:
    info = Info(sandbox.venue_url, timeout=5)
    yield info
    info.disconnect_websocket()


@pytest.fixture
def socket(sandbox: Sandbox) -> Iterator[ClientConnection]:
    with connect(f"ws{sandbox.venue_url.removeprefix('http')}/ws") as connection:
        assert connection.recv() == "Websocket connection established."
        yield connection


def subscribe(socket: ClientConnection, **subscription: Json) -> Json:
    socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
    return json.loads(socket.recv())


def test_the_market_is_pushed_and_follows_a_scripted_move(streaming: Info, control: Control) -> None:
    heard = {kind: Heard() for kind in ("allMids", "l2Book", "bbo", "candle", "activeAssetCtx", "trades")}
    for kind, callback in heard.items():
        coin = {} if kind == "allMids" else {"coin": "BTC"}
        interval = {"interval": "5m"} if kind == "candle" else {}
        streaming.subscribe({"type": kind, **coin, **interval}, callback)
    for callback in heard.values():
        callback.wait_for(lambda message: True)
    control("price", {"coin": "BTC", "mid": 70_000})
    heard["allMids"].wait_for(lambda m: m["data"]["mids"]["BTC"] == "70000.0")
    heard["l2Book"].wait_for(lambda m: m["data"]["levels"][0][0]["px"] == "69999.0")
    heard["bbo"].wait_for(lambda m: m["data"]["bbo"][1]["px"] == "70001.0")
    candle = heard["candle"].wait_for(lambda m: m["data"]["c"] == "70000.0")["data"]
    assert float(candle["l"]) <= 70_000 <= float(candle["h"])
    heard["activeAssetCtx"].wait_for(lambda m: m["data"]["ctx"]["markPx"] == "70000.0")
    trades = heard["trades"].messages[0]["data"]
    assert 1 <= len(trades) <= 30
    assert [t["time"] for t in trades] == sorted(t["time"] for t in trades)


def test_fills_orders_and_funding_of_a_user_are_pushed(
    streaming: Info, exchange: Exchange, control: Control
) -> None:
    fills, orders, events, fundings = Heard(), Heard(), Heard(), Heard()
    streaming.subscribe({"type": "userFills", "user": ME.upper().replace("0X", "0x")}, fills)
    streaming.subscribe({"type": "orderUpdates", "user": ME}, orders)
    streaming.subscribe({"type": "userEvents", "user": ME}, events)
    streaming.subscribe({"type": "userFundings", "user": ME}, fundings)
    assert fills.wait_for(lambda m: m["data"]["isSnapshot"])["data"]["fills"] == []
    exchange.market_open("BTC", is_buy=True, sz=0.01)
    fill = fills.wait_for(lambda m: not m["data"]["isSnapshot"])["data"]["fills"][0]
    assert (fill["coin"], fill["sz"], fill["dir"]) == ("BTC", "0.01", "Open Long")
    frame = orders.wait_for(lambda m: True)["data"]
    assert [(row["status"], row["order"]["sz"]) for row in frame] == [("open", "0.01"), ("filled", "0.0")]
    assert events.wait_for(lambda m: "fills" in m["data"])["data"]["fills"][0]["oid"] == fill["oid"]
    control("time", {"advance_ms": 3_600_000})
    paid = fundings.wait_for(lambda m: not m["data"]["isSnapshot"])["data"]["fundings"]
    assert paid[0]["coin"] == "BTC"
    events.wait_for(lambda m: m["data"].get("funding", {}).get("coin") == "BTC")
    assert len(fills.messages) == 2, "nothing is sent twice"


def test_ping_unknown_types_and_bad_frames_are_answered(socket: ClientConnection) -> None:
    socket.send(json.dumps({"method": "ping"}))
    assert json.loads(socket.recv()) == {"channel": "pong"}
    assert subscribe(socket, type="nothing")["channel"] == "error"
    assert subscribe(socket, type="candle", coin="BTC", interval="7m")["channel"] == "error"
    assert subscribe(socket, type="userFills")["channel"] == "error"
    for raw in ("no json", "[]", '{"method": "dance"}'):
        socket.send(raw)
        answer = json.loads(socket.recv())
        assert answer == {
            "channel": "error",
            "data": f"Error parsing JSON into valid websocket request: {raw}",
        }


def test_a_subscription_is_confirmed_with_the_venues_defaults(socket: ClientConnection) -> None:
    confirmed = subscribe(socket, type="l2Book", coin="ETH")
    subscription = {"type": "l2Book", "coin": "ETH", "nSigFigs": None, "mantissa": None}
    data = {"method": "subscribe", "subscription": subscription}
    assert confirmed == {"channel": "subscriptionResponse", "data": data}


def test_after_unsubscribing_nothing_more_comes(socket: ClientConnection, control: Control) -> None:
    assert subscribe(socket, type="bbo", coin="ETH")["channel"] == "subscriptionResponse"
    assert json.loads(socket.recv())["channel"] == "bbo"
    socket.send(json.dumps({"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "ETH"}}))
    frames = [json.loads(socket.recv())]
    while frames[-1]["channel"] == "bbo":
        frames.append(json.loads(socket.recv()))
    assert frames[-1]["data"]["method"] == "unsubscribe"
    control("price", {"coin": "ETH", "mid": 2000})
    with pytest.raises(TimeoutError):
        socket.recv(timeout=1.2)


def test_an_unknown_coin_closes_the_socket_without_a_frame(socket: ClientConnection) -> None:
    socket.send(json.dumps({"method": "subscribe", "subscription": {"type": "bbo", "coin": "NOPE"}}))
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=5)


def test_a_sandbox_with_open_streams_closes_quickly() -> None:
    running = Sandbox(seed=1)
    info = Info(running.venue_url, timeout=5)
    heard = Heard()
    info.subscribe({"type": "allMids"}, heard)
    heard.wait_for(lambda message: True)
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 4
    info.disconnect_websocket()
