"""Every answer and frame of the sandbox has the keys and types of the real venue's."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from protocol_samples import ANSWERS, CROSS, FRAMES, ISOLATED_LEVERAGE, USER_EVENTS
from sandbox_control import Control
from sandbox_samples import Json, recording
from websockets.sync.client import ClientConnection, connect
from wire_shapes import differences

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
NOBODY = "0x" + "Ab" * 20
DAY_MS = 86_400_000
IOC, GTC, ALO = ({"limit": {"tif": tif}} for tif in ("Ioc", "Gtc", "Alo"))
STOP = {"trigger": {"isMarket": True, "triggerPx": 70_000, "tpsl": "sl"}}
PROFIT = {"trigger": {"isMarket": False, "triggerPx": 90_000, "tpsl": "tp"}}


@pytest.fixture
def ask(sandbox: Sandbox) -> Any:
    def post(**body: Json) -> Json:
        answer = requests.post(f"{sandbox.venue_url}/info", json=body, timeout=10)
        assert answer.status_code == 200, (body, answer.text)
        return answer.json()

    return post


@pytest.fixture
def used(exchange: Exchange, control: Control, sandbox: Sandbox) -> None:
    """An account in which everything has happened that a request can show."""
    master = Account.create()
    control("fund", {"user": master.address, "usdc": 1000})
    control("agent", {"user": ME, "agent": "0x" + "7a" * 20, "name": "other"})
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 7_200_000})
    assert Exchange(master, sandbox.venue_url, timeout=5).usd_transfer(25.0, ME)["status"] == "ok"
    exchange.update_leverage(10, "ETH", is_cross=False)
    exchange.market_open("ETH", is_buy=False, sz=0.1)
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    exchange.market_close("BTC", sz=0.01)
    exchange.order("BTC", False, 0.04, 63_000, STOP, reduce_only=True)
    exchange.order("BTC", False, 0.04, 89_000, PROFIT, reduce_only=True)
    exchange.order("BTC", True, 0.01, 60_000, GTC)
    exchange.order("BTC", True, 0.01, 90_000, ALO)
    exchange.order("BTC", True, 0.01, 61_000, IOC)
    control("time", {"advance_ms": 2 * 3_600_000})


def request(kind: str, user: str, now_ms: int) -> dict[str, Any]:
    """The least that a request of a type needs."""
    body: dict[str, Any] = {"type": kind}
    if kind == "candleSnapshot":
        span = {"startTime": now_ms - 3_600_000, "endTime": now_ms}
        return body | {"req": {"coin": "BTC", "interval": "5m", **span}}
    if kind in {"l2Book", "fundingHistory", "recentTrades"}:
        body["coin"] = "BTC"
    if kind not in {"meta", "metaAndAssetCtxs", "spotMeta", "allMids", "l2Book", "fundingHistory"}:
        body["user"] = user
    if kind in {"fundingHistory", "userFillsByTime", "userFunding", "userNonFundingLedgerUpdates"}:
        body["startTime"] = now_ms - DAY_MS
    return body


def test_a_used_account_is_answered_in_the_venues_shape(used: None, ask: Any, sandbox: Sandbox) -> None:
    now_ms = sandbox.venue.market.now_ms()
    for kind, sample in ANSWERS.items():
        body = request(kind, ME, now_ms)
        if kind == "orderStatus":
            body["oid"] = ask(type="openOrders", user=ME)[0]["oid"]
        answer = ask(**body)
        if kind == "allMids":
            answer = {coin: answer[coin] for coin in sample}
        if kind == "userNonFundingLedgerUpdates":
            answer = [row for row in answer if row["delta"]["type"] == "deposit"]
        assert answer, kind
        if kind == "clearinghouseState":
            isolated = answer["assetPositions"].pop(0)["position"]
            assert differences(ISOLATED_LEVERAGE, isolated.pop("leverage")) == []
            cross = CROSS["assetPositions"][0]["position"]
            assert differences({k: v for k, v in cross.items() if k != "leverage"}, isolated) == []
        assert differences(sample, answer, kind) == []


def test_a_never_used_account_is_answered_empty_and_in_shape(ask: Any, sandbox: Sandbox) -> None:
    for kind, sample in ANSWERS.items():
        body = request(kind, NOBODY, sandbox.venue.market.now_ms())
        if kind == "orderStatus":
            assert ask(**body, oid=7) == {"status": "unknownOid"}
        elif kind == "userRole":
            assert ask(**body) == {"role": "missing"}
        elif "user" in body:
            answer = ask(**body)
            assert differences(sample, answer, kind) == []
            if isinstance(answer, list) and kind != "portfolio":
                assert answer == []
    state = ask(type="clearinghouseState", user=NOBODY)
    assert state["marginSummary"] == dict.fromkeys(CROSS["marginSummary"], "0.0")
    assert (state["withdrawable"], state["assetPositions"]) == ("0.0", [])
    assert ask(type="portfolio", user=NOBODY)[0] == [
        "day",
        {"accountValueHistory": [], "pnlHistory": [], "vlm": "0.0"},
    ]


def test_the_recorded_answers_of_other_accounts_have_our_shape(
    used: None, ask: Any, sandbox: Sandbox
) -> None:
    coins = {row["name"] for row in ask(type="meta")["universe"]}
    now_ms = sandbox.venue.market.now_ms()
    compared = 0
    for row in recording("recorded_info_answers.json"):
        asked = dict(row["request"])
        if asked["type"] in {"delegatorHistory", "userVaultEquities", "allMids", "userRole"}:
            continue
        asked |= {"user": ME} if "user" in asked else {}
        if asked["type"] == "candleSnapshot":
            assert asked["req"]["coin"] in coins
            asked["req"] = asked["req"] | {"startTime": now_ms - 82_800_000, "endTime": now_ms}
        elif "startTime" in asked:
            asked |= {"startTime": now_ms - DAY_MS, "endTime": None}
        theirs, answer = row["response"], ask(**asked)
        if asked["type"] == "userNonFundingLedgerUpdates":
            answer = [r for r in answer if r["delta"]["type"] in {"deposit", "accountClassTransfer"}]
        assert differences(theirs, answer, asked["type"]) == []
        compared += 1
    assert compared >= 15


SDK_TYPES = (
    *("spotMetaAndAssetCtxs", "perpDexs", "exchangeStatus", "recentTrades", "predictedFundings"),
    *("userFees", "subAccounts", "referral", "delegatorSummary", "delegations", "delegatorRewards"),
    *("userTwapSliceFills", "userVaultEquities", "userToMultiSigSigners", "userAbstraction"),
    *("userDexAbstraction", "maxBuilderFee", "perpsAtOpenInterestCap", "webData2", "delegatorHistory"),
)


@pytest.mark.parametrize("user", [ME, NOBODY])
def test_requests_beside_the_trading_loop_are_served_too(ask: Any, user: str) -> None:
    for kind in SDK_TYPES:
        ask(**request(kind, user, DAY_MS) | {"coin": "BTC", "surprise": [1]})
    pairs, contexts = ask(type="spotMetaAndAssetCtxs")
    assert [pair["name"] for pair in pairs["universe"]] == [row["coin"] for row in contexts]
    assert len(ask(type="userFees", user=user)["dailyUserVlm"]) == 15


def test_spot_pairs_are_quoted_like_perpetuals(ask: Any, info: Info, sandbox: Sandbox) -> None:
    now_ms = sandbox.venue.market.now_ms()
    assert info.name_to_coin["PURR/USDC"] == "PURR/USDC"
    for name in ("PURR/USDC", "HYPE/USDC"):
        book = info.l2_snapshot(name)
        assert float(book["levels"][0][0]["px"]) < float(book["levels"][1][0]["px"])
        assert info.candles_snapshot(name, "1h", now_ms - 7_200_000, now_ms)[-1]["s"] == book["coin"]
    assert "@107" in info.all_mids()


@pytest.mark.parametrize("change", [{"user": "0xabc"}, {"user": None}, {"user": 7}, {"user": "bob"}])
def test_a_user_that_is_no_address_is_unprocessable(sandbox: Sandbox, change: dict[str, Json]) -> None:
    for kind in ("clearinghouseState", "userFills", "openOrders", "portfolio"):
        answer = requests.post(f"{sandbox.venue_url}/info", json={"type": kind} | change, timeout=5)
        assert (answer.status_code, answer.text[:21]) == (422, "Failed to deserialize")


def test_addresses_in_any_case_mean_one_account(ask: Any) -> None:
    upper = "0x" + ME[2:].upper()
    for kind in ("openOrders", "userFees", "userNonFundingLedgerUpdates", "spotClearinghouseState"):
        assert ask(**request(kind, upper, DAY_MS)) == ask(**request(kind, ME, DAY_MS))


def test_unknown_fields_and_a_missing_dex_change_nothing(ask: Any) -> None:
    assert ask(type="meta", dex="") == ask(type="meta") == ask(type="meta", dex=None, whatever={"a": 1})


def test_what_lacks_a_field_or_has_a_wrong_one_is_unprocessable(sandbox: Sandbox) -> None:
    candles = {"coin": "BTC", "interval": "1h", "startTime": 0}
    for body in (
        {"type": "orderStatus", "user": ME},
        {"type": "orderStatus", "user": ME, "oid": "0x12"},
        {"type": "userFunding", "user": ME},
        {"type": "userFillsByTime", "user": ME, "startTime": "1"},
        {"type": "fundingHistory", "coin": "BTC", "startTime": -1},
        {"type": "l2Book"},
        {"type": "candleSnapshot"},
        {"type": "candleSnapshot", "req": candles | {"interval": "7m"}},
        {"type": "activeAssetData", "user": ME, "coin": "@107"},
        {"type": 3},
        [],
    ):
        answer = requests.post(f"{sandbox.venue_url}/info", json=body, timeout=5)
        assert (answer.status_code, answer.text[:21]) == (422, "Failed to deserialize"), body


def test_unknown_and_delisted_coins(ask: Any, sandbox: Sandbox) -> None:
    assert ask(type="l2Book", coin="NOPE") is None
    assert ask(type="l2Book", coin="MATIC")["levels"] == [[], []]
    span = {"startTime": 0, "endTime": None}
    assert ask(type="candleSnapshot", req={"coin": "MATIC", "interval": "1h", **span}) == []
    assert ask(type="fundingHistory", coin="MATIC", startTime=0) == []
    for body in (
        {"type": "candleSnapshot", "req": {"coin": "NOPE", "interval": "1h", **span}},
        {"type": "fundingHistory", "coin": "NOPE", "startTime": 0},
        {"type": "meta", "dex": "nope"},
        {"type": "clearinghouseState", "user": ME, "dex": "nope"},
    ):
        answer = requests.post(f"{sandbox.venue_url}/info", json=body, timeout=5)
        assert (answer.status_code, answer.text) == (500, "null")


def test_lists_stand_in_the_venues_order(used: None, ask: Any) -> None:
    newest_first = {"openOrders": "timestamp", "frontendOpenOrders": "timestamp", "userFills": "time"}
    for kind, key in newest_first.items():
        stamps = [row[key] for row in ask(type=kind, user=ME)]
        assert stamps == sorted(stamps, reverse=True)
        assert len(stamps) > 1
    stamps = [row["statusTimestamp"] for row in ask(type="historicalOrders", user=ME)]
    assert stamps == sorted(stamps, reverse=True)
    for kind in ("userFillsByTime", "userFunding", "userNonFundingLedgerUpdates"):
        stamps = [row["time"] for row in ask(type=kind, user=ME, startTime=0)]
        assert stamps == sorted(stamps)


def test_every_status_change_of_an_order_is_a_row_of_the_past(ask: Any, exchange: Exchange) -> None:
    oid = exchange.order("BTC", True, 0.01, 60_000, GTC)["response"]["data"]["statuses"][0]["resting"]["oid"]
    exchange.cancel("BTC", oid)
    rows = [row for row in ask(type="historicalOrders", user=ME) if row["order"]["oid"] == oid]
    assert [row["status"] for row in rows] == ["canceled", "open"]


@pytest.fixture
def stream(sandbox: Sandbox) -> Iterator["Stream"]:
    with connect(f"ws{sandbox.venue_url.removeprefix('http')}/ws") as socket:
        yield Stream(socket)


class Stream:
    """A bare socket: what was heard, by channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Json] = []
        assert self.socket.recv() == "Websocket connection established."

    def say(self, **message: Json) -> None:
        self.socket.send(json.dumps(message))

    def wait_for(self, channel: str, key: str = "") -> Json:
        """The data of the first frame of a channel, heard already or soon."""
        until = time.monotonic() + 8
        while True:
            for frame in self.heard:
                if frame["channel"] == channel and (not key or key in frame["data"]):
                    return frame["data"]
            assert time.monotonic() < until, (channel, key)
            self.heard.append(json.loads(self.socket.recv(timeout=8)))


def test_frames_have_the_recorded_shape(
    used: None, stream: "Stream", sandbox: Sandbox, exchange: Exchange, control: Control
) -> None:
    for kind in FRAMES:
        about = {"coin": "ETH"} | ({"interval": "5m"} if kind == "candle" else {})
        stream.say(method="subscribe", subscription={"type": kind, "user": ME, **about})
    stream.say(method="subscribe", subscription={"type": "userEvents", "user": ME})
    stream.wait_for("userFundings")
    exchange.market_open("ETH", is_buy=False, sz=0.01)
    stream.wait_for("user", "fills")
    control("time", {"advance_ms": 3_600_000})
    stream.wait_for("user", "funding")
    control("faults", [{"on": "info:allMids", "kind": "liquidation", "coin": "ETH", "user": ME}])
    requests.post(f"{sandbox.venue_url}/info", json={"type": "allMids"}, timeout=5)  # nobody's request
    control("faults", [])
    control("faults", [{"on": "info:openOrders", "kind": "liquidation", "coin": "ETH", "user": ME}])
    requests.post(f"{sandbox.venue_url}/info", json={"type": "openOrders", "user": ME}, timeout=5)
    stream.wait_for("user", "liquidation")
    for kind, sample in FRAMES.items():
        data = stream.wait_for(kind)
        if kind == "allMids":
            data = {"mids": {coin: data["mids"][coin] for coin in sample["mids"]}}
        assert differences(sample, data, kind) == []
    for key, sample in USER_EVENTS.items():
        if key != "nonUserCancel":
            assert differences({key: sample}, stream.wait_for("user", key), "user") == []
    liquidated = [f for f in Info(sandbox.venue_url, skip_ws=True).user_fills(ME) if "liquidation" in f]
    assert liquidated[0]["liquidation"].keys() == {"liquidatedUser", "markPx", "method"}
    assert liquidated[0]["liquidation"]["liquidatedUser"] == ME


def test_a_cancel_by_the_venue_is_told(used: None, stream: Stream, exchange: Exchange) -> None:
    stream.say(method="subscribe", subscription={"type": "userEvents", "user": ME})
    stream.wait_for("subscriptionResponse")
    exchange.market_close("BTC")
    told = stream.wait_for("user", "nonUserCancel")["nonUserCancel"]
    assert differences(USER_EVENTS["nonUserCancel"], told) == []
    assert len(told) == 2, "the stop and the take-profit of the closed position"


def test_requests_can_be_posted_over_the_stream(stream: Stream) -> None:
    payload = {"type": "l2Book", "coin": "BTC"}
    stream.say(method="post", id=5, request={"type": "info", "payload": payload})
    data = stream.wait_for("post")
    assert (data["id"], data["response"]["type"]) == (5, "info")
    assert data["response"]["payload"]["type"] == "l2Book"
    assert data["response"]["payload"]["data"]["coin"] == "BTC"
    stream.heard.clear()
    action = {"action": {"type": "noop"}, "nonce": 1, "signature": {"r": "0x0", "s": "0x0", "v": 27}}
    stream.say(method="post", id=6, request={"type": "action", "payload": action})
    payload = stream.wait_for("post")["response"]["payload"]
    assert payload == {"status": "err", "response": "Unable to recover signer."}
    stream.heard.clear()
    stream.say(method="post", id=7, request={"type": "info", "payload": {"type": "nothing"}})
    assert stream.wait_for("post")["response"]["type"] == "error"
    stream.say(method="post", id="x", request=3)
    assert "Error parsing JSON" in stream.wait_for("error")


def test_the_front_ends_page_is_pushed(stream: Stream) -> None:
    stream.say(method="subscribe", subscription={"type": "webData2", "user": ME.upper().replace("X", "x")})
    page = stream.wait_for("webData2")
    assert page["user"] == ME
    assert differences(CROSS | {"assetPositions": []}, page["clearinghouseState"]) == []
    assert len(page["assetCtxs"]) == len(page["meta"]["universe"])


def test_the_comparer_finds_what_is_wrong() -> None:
    theirs = {"px": "1.0", "n": 3, "rows": [{"a": "x"}], "pair": [1, "2.0"]}
    assert differences(theirs, dict(theirs)) == []
    for wrong in (
        {"px": 1.0},
        {"px": "1"},
        {"px": "1e5"},
        {"n": "3"},
        {"rows": [{}]},
        {"pair": ["1", "2.0"]},
    ):
        assert differences(theirs, theirs | wrong), wrong
    assert differences(theirs, {"px": "1.0"})
    assert differences(theirs, theirs | {"more": 1})
