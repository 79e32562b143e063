"""A round trip through the official SDK alone: Info, Exchange, WebsocketManager, no code of ours between."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid
from sandbox_control import Control
from sandbox_samples import Json, assert_identities

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
HOUR_MS = 3_600_000


def first(answer: Json) -> Any:
    assert answer["status"] == "ok", answer
    return answer["response"]["data"]["statuses"][0]


def soon(found: Callable[[], Any]) -> Any:
    """What is found within five seconds."""
    until = time.monotonic() + 5
    while not (it := found()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return it


def assert_protected(info: Info) -> None:
    """A stop and a take-profit stand, and the money adds up."""
    standing = info.frontend_open_orders(ME)
    assert {row["orderType"] for row in standing} == {"Stop Market", "Take Profit Market"}
    assert all(row["reduceOnly"] and row["isTrigger"] for row in standing)
    assert_identities(info.user_state(ME))


Heard = dict[str, list[Any]]
"""The messages of each subscription."""

ENTRY_ID, STOP_ID, PROFIT_ID = (Cloid.from_int(number) for number in (1, 2, 3))


def listening(info: Info) -> Heard:
    """Every subscription of the account, the first of them heard."""
    heard: Heard = {"userFills": [], "orderUpdates": [], "userFundings": [], "userEvents": []}
    for kind, messages in heard.items():
        info.subscribe({"type": kind, "user": ME}, messages.append)
    soon(lambda: heard["userFills"])
    return heard


def enter_and_protect(info: Info, exchange: Exchange) -> None:
    """A long of 0.05 BTC at five times, with a stop and a take-profit."""
    assert exchange.update_leverage(5, "BTC")["status"] == "ok"
    entry = first(exchange.market_open("BTC", is_buy=True, sz=0.05, cloid=ENTRY_ID))["filled"]
    assert (entry["totalSz"], entry["cloid"]) == ("0.05", ENTRY_ID.to_raw())
    stop = {"trigger": {"isMarket": True, "triggerPx": 78_000, "tpsl": "sl"}}
    profit = {"trigger": {"isMarket": True, "triggerPx": 86_000, "tpsl": "tp"}}
    size = float(entry["totalSz"])
    first(exchange.order("BTC", False, size, 70_200, stop, reduce_only=True, cloid=STOP_ID))
    first(exchange.order("BTC", False, size, 77_400, profit, reduce_only=True, cloid=PROFIT_ID))
    assert_protected(info)


def paid_at_the_published_rates(info: Info) -> list[Any]:
    """The two hours' funding payments."""
    paid = info.user_funding_history(ME, 0)
    assert len(paid) == 2
    rates = {row["time"]: row["fundingRate"] for row in info.funding_history("BTC", paid[0]["time"] - 1)}
    assert [row["delta"]["fundingRate"] for row in paid] == [rates[row["time"]] for row in paid]
    return list(paid)


def assert_closed_by_the_stop(info: Info, paid: list[Any], equity: Decimal) -> Any:
    """Flat without an order, and every cent of ``equity`` is accounted for. Returns the closing fill."""
    state = info.user_state(ME)
    assert state["assetPositions"] == []
    assert info.open_orders(ME) == []
    assert info.query_order_by_cloid(ME, STOP_ID)["order"]["status"] == "filled"
    assert info.query_order_by_cloid(ME, PROFIT_ID)["order"]["status"] == "reduceOnlyCanceled"

    close, opened = info.user_fills(ME)
    assert (opened["dir"], close["dir"]) == ("Open Long", "Close Long")
    assert [f["cloid"] for f in (opened, close)] == [ENTRY_ID.to_raw(), STOP_ID.to_raw()]
    assert info.user_fills_by_time(ME, opened["time"]) == [opened, close]
    pnl = (Decimal(close["px"]) - Decimal(opened["px"])) * Decimal("0.05")
    assert Decimal(close["closedPnl"]) == pnl
    fees = Decimal(opened["fee"]) + Decimal(close["fee"])
    funding = sum(Decimal(row["delta"]["usdc"]) for row in paid)
    assert Decimal(state["marginSummary"]["accountValue"]) == equity + pnl - fees + funding
    assert_identities(state)
    return close


def assert_told(heard: Heard, close: Any) -> None:
    """The stream told of the trigger, of the cancel that nobody asked for, and once of the closing fill."""
    told = soon(lambda: [r for m in heard["orderUpdates"] for r in m["data"] if r["status"] == "triggered"])
    assert told[0]["order"]["cloid"] == STOP_ID.to_raw()
    soon(lambda: [m for m in heard["userEvents"] if "nonUserCancel" in m["data"]])
    streamed = soon(lambda: [f for m in heard["userFills"] for f in m["data"]["fills"] if f == close])
    assert len(streamed) == 1, "told once, and as /info tells it"


def test_leverage_entry_protection_move_stop_fills_and_funding(sandbox: Sandbox, control: Control) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 4 * HOUR_MS})
    info = Info(sandbox.venue_url, timeout=5)
    agent = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    exchange = Exchange(agent, sandbox.venue_url, account_address=ME, timeout=5)
    heard = listening(info)

    equity = Decimal(info.user_state(ME)["marginSummary"]["accountValue"])
    enter_and_protect(info, exchange)

    control("time", {"advance_ms": 2 * HOUR_MS})
    paid = paid_at_the_published_rates(info)
    assert len(soon(lambda: [m for m in heard["userFundings"] if not m["data"].get("isSnapshot")])) >= 1

    control("price", {"coin": "BTC", "mid": 79_000, "hold_ms": HOUR_MS})
    assert len(info.user_state(ME)["assetPositions"]) == 1, "above the stop"
    control("price", {"coin": "BTC", "mid": 77_900, "hold_ms": HOUR_MS})
    close = assert_closed_by_the_stop(info, paid, equity)

    assert_told(heard, close)
    assert info.user_rate_limit(ME)["nRequestsUsed"] == 4
    info.disconnect_websocket()


def test_a_short_isolated_round_trip_with_a_moved_stop(
    sandbox: Sandbox, control: Control, info: Info, exchange: Exchange
) -> None:
    control("price", {"coin": "ETH", "mid": 3_000, "hold_ms": HOUR_MS})
    assert exchange.update_leverage(10, "ETH", is_cross=False)["status"] == "ok"
    first(exchange.market_open("ETH", is_buy=False, sz=0.5))
    position = info.user_state(ME)["assetPositions"][0]["position"]
    assert position["leverage"]["type"] == "isolated"
    assert Decimal(position["liquidationPx"]) > 3_000
    raised = {"trigger": {"isMarket": True, "triggerPx": 3_100, "tpsl": "sl"}}
    lowered = {"trigger": {"isMarket": True, "triggerPx": 3_050, "tpsl": "sl"}}
    old = first(exchange.order("ETH", True, 0.5, 3_410, raised, reduce_only=True))["resting"]["oid"]
    new = first(exchange.order("ETH", True, 0.5, 3_355, lowered, reduce_only=True))["resting"]["oid"]
    assert first(exchange.cancel("ETH", old)) == "success"
    assert [row["oid"] for row in info.open_orders(ME)] == [new]
    assert exchange.update_isolated_margin(50, "ETH")["status"] == "ok"
    assert_identities(info.user_state(ME))
    control("price", {"coin": "ETH", "mid": 3_060, "hold_ms": HOUR_MS})
    assert info.user_state(ME)["assetPositions"] == []
    assert info.user_fills(ME)[0]["dir"] == "Close Short"
    assert_identities(info.user_state(ME))
