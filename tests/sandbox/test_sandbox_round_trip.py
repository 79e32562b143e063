"""The official SDK trades a whole round trip on the loopback venue, with no code of ours between."""

from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid
from sandbox_control import Control
from sandbox_samples import Json, assert_identities

from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_ADDRESS,
    SANDBOX_AGENT_PRIVATE_KEY,
    account_address,
    agent_private_key,
)
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
STOP = {"trigger": {"isMarket": True, "triggerPx": 78_000, "tpsl": "sl"}}
TAKE_PROFIT = {"trigger": {"isMarket": True, "triggerPx": 84_000, "tpsl": "tp"}}
IOC = {"limit": {"tif": "Ioc"}}
GTC = {"limit": {"tif": "Gtc"}}


def statuses(answer: Json) -> list[Any]:
    assert answer["status"] == "ok", answer
    return list(answer["response"]["data"]["statuses"])


def leg(side: str, px: float, kind: dict[str, Any], size: float = 0.05) -> dict[str, Any]:
    return {
        "coin": "BTC",
        "is_buy": side == "B",
        "sz": size,
        "limit_px": px,
        "order_type": kind,
        "reduce_only": kind is not IOC and kind is not GTC,
    }


@pytest.fixture(autouse=True)
def btc_at_80_000(control: Control) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 600_000})


def test_the_published_values_are_derived_as_they_say() -> None:
    assert account_address() == SANDBOX_ACCOUNT_ADDRESS
    assert agent_private_key() == SANDBOX_AGENT_PRIVATE_KEY
    assert Account.from_key(SANDBOX_AGENT_PRIVATE_KEY).address.lower() == SANDBOX_AGENT_ADDRESS


def test_entry_protection_stop_fires_and_money_adds_up(
    info: Info, exchange: Exchange, control: Control
) -> None:
    assert exchange.update_leverage(5, "BTC") == {"status": "ok", "response": {"type": "default"}}
    entry = statuses(exchange.market_open("BTC", is_buy=True, sz=0.05))[0]["filled"]
    assert entry["totalSz"] == "0.05"
    assert entry["avgPx"] == "80001.0"
    stop = statuses(exchange.order("BTC", False, 0.05, 70_200, STOP, reduce_only=True))[0]["resting"]["oid"]
    profit = statuses(exchange.order("BTC", False, 0.05, 75_600, TAKE_PROFIT, reduce_only=True))
    shown = {row["orderType"]: row for row in info.frontend_open_orders(ME)}
    assert shown["Stop Market"]["triggerCondition"] == "Price below 78000"
    assert shown["Stop Market"]["oid"] == stop
    assert shown["Take Profit Market"]["oid"] == profit[0]["resting"]["oid"]
    state = info.user_state(ME)
    assert state["assetPositions"][0]["position"]["leverage"] == {"type": "cross", "value": 5}
    assert_identities(state)

    control("time", {"advance_ms": 3_600_000})
    paid = info.user_funding_history(ME, 0)
    assert [row["delta"]["coin"] for row in paid] == ["BTC"]
    rate, cash = Decimal(paid[0]["delta"]["fundingRate"]), Decimal(paid[0]["delta"]["usdc"])
    assert rate * cash < 0, "a long pays when the rate is positive"

    control("price", {"coin": "BTC", "mid": 77_000})
    after = info.user_state(ME)
    assert after["assetPositions"] == []
    assert info.open_orders(ME) == [], "the take-profit has no position left"
    close, opened = info.user_fills(ME)
    assert (close["dir"], opened["dir"]) == ("Close Long", "Open Long")
    assert Decimal(close["px"]) < 77_000, "a stop that is jumped over fills where the market is"
    fees = Decimal(close["fee"]) + Decimal(opened["fee"])
    expected = 10_000 + Decimal(close["closedPnl"]) - fees + cash
    assert Decimal(after["marginSummary"]["accountValue"]) == expected
    assert info.query_order_by_oid(ME, stop)["order"]["status"] == "filled"


def test_orders_are_found_by_cloid_and_cancelled_by_both_ids(info: Info, exchange: Exchange) -> None:
    cloid = Cloid.from_int(77)
    placed = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC, cloid=cloid))[0]["resting"]
    assert placed["cloid"] == cloid.to_raw()
    found = info.query_order_by_cloid(ME, cloid)
    assert found["order"]["order"]["oid"] == placed["oid"]
    assert found["order"]["status"] == "open"
    assert statuses(exchange.cancel_by_cloid("BTC", cloid)) == ["success"]
    gone = "Order was never placed, already canceled, or filled. asset=3"
    assert statuses(exchange.cancel("BTC", placed["oid"])) == [{"error": gone}]
    assert info.query_order_by_cloid(ME, cloid)["order"]["status"] == "canceled"
    assert info.query_order_by_cloid(ME, Cloid.from_int(78)) == {"status": "unknownOid"}


def test_a_cancel_with_the_wrong_asset_leaves_the_order(info: Info, exchange: Exchange) -> None:
    oid = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC))[0]["resting"]["oid"]
    assert "error" in statuses(exchange.cancel("ETH", oid))[0]
    assert [row["oid"] for row in info.open_orders(ME)] == [oid]


def test_a_bracket_whose_parent_fills_has_its_children_waiting_for_the_trigger(
    info: Info, exchange: Exchange, control: Control
) -> None:
    legs = [leg("B", 82_000, IOC), leg("A", 70_200, STOP), leg("A", 75_600, TAKE_PROFIT)]
    answer = statuses(exchange.bulk_orders(legs, grouping="normalTpsl"))
    assert answer[0]["filled"]["totalSz"] == "0.05"
    assert answer[1:] == ["waitingForTrigger", "waitingForTrigger"]
    assert len(info.frontend_open_orders(ME)) == 2
    control("price", {"coin": "BTC", "mid": 85_000})
    ended = {row["order"]["orderType"]: row["status"] for row in reversed(info.historical_orders(ME))}
    assert ended["Take Profit Market"] == "filled"
    assert ended["Stop Market"] == "siblingFilledCanceled"


def test_a_bracket_whose_parent_rests_places_its_children_when_it_fills(
    info: Info, exchange: Exchange, control: Control
) -> None:
    legs = [leg("B", 79_500, GTC), leg("A", 70_200, STOP)]
    answer = statuses(exchange.bulk_orders(legs, grouping="normalTpsl"))
    assert answer[1] == "waitingForFill"
    child, parent = info.frontend_open_orders(ME)
    assert (child["orderType"], parent["orderType"]) == ("Stop Market", "Limit")
    assert parent["children"] == [child], "recorded in 2023: a child is listed itself too, under one oid"
    assert child["oid"] == parent["oid"] + 1
    assert info.query_order_by_oid(ME, child["oid"])["order"]["status"] == "open"
    control("price", {"coin": "BTC", "mid": 79_000})
    placed = info.frontend_open_orders(ME)
    assert [row["oid"] for row in placed] == [child["oid"]]


def test_children_of_a_resting_parent_neither_fire_nor_outlive_it(
    info: Info, exchange: Exchange, control: Control
) -> None:
    legs = [leg("B", 79_500, GTC), leg("A", 70_200, STOP), leg("A", 75_600, TAKE_PROFIT)]
    parent = statuses(exchange.bulk_orders(legs, grouping="normalTpsl"))[0]["resting"]["oid"]
    control("price", {"coin": "BTC", "mid": 85_000})
    assert len(info.open_orders(ME)) == 3, "the take-profit's price is reached, but nothing was bought"
    assert statuses(exchange.cancel("BTC", parent + 2)) == ["success"]
    assert [row["oid"] for row in info.open_orders(ME)] == [parent + 1, parent]
    assert statuses(exchange.cancel("BTC", parent)) == ["success"]
    assert info.open_orders(ME) == []
    ended = [info.query_order_by_oid(ME, parent + index)["order"]["status"] for index in range(3)]
    assert ended == ["canceled"] * 3


def test_an_ioc_parent_that_fills_in_part_leaves_the_position_naked(
    info: Info, exchange: Exchange, control: Control
) -> None:
    control("faults", [{"on": "exchange:order", "kind": "partial_ioc", "fraction": 0.4}])
    legs = [leg("B", 82_000, IOC), leg("A", 70_200, STOP)]
    answer = statuses(exchange.bulk_orders(legs, grouping="normalTpsl"))
    assert answer[0]["filled"]["totalSz"] == "0.02"
    assert info.frontend_open_orders(ME) == []
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.02"


def test_exits_of_a_position_are_answered_without_an_oid_and_are_in_the_list(
    info: Info, exchange: Exchange
) -> None:
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    answer = statuses(exchange.bulk_orders([leg("A", 70_200, STOP, size=0)], grouping="positionTpsl"))
    assert answer == ["waitingForTrigger"]
    shown = info.frontend_open_orders(ME)[0]
    assert shown["isPositionTpsl"] is True
    assert shown["sz"] == "0.0"
    assert statuses(exchange.cancel("BTC", shown["oid"])) == ["success"]


def test_modify_mints_a_new_oid_and_refuses_triggers_and_dead_orders(info: Info, exchange: Exchange) -> None:
    oid = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC))[0]["resting"]["oid"]
    moved = statuses(exchange.modify_order(oid, "BTC", True, 0.01, 71_000, GTC))[0]["resting"]["oid"]
    assert moved != oid
    assert [row["limitPx"] for row in info.open_orders(ME)] == ["71000.0"]
    refused = statuses(exchange.modify_order(moved, "BTC", True, 0.01, 71_000, IOC))
    assert refused == [{"error": "Attempted to modify to invalid new order asset=3"}]
    assert [row["oid"] for row in info.open_orders(ME)] == [moved]
    dead = exchange.modify_order(oid, "BTC", True, 0.01, 72_000, GTC)
    assert dead == {"status": "err", "response": "Cannot modify canceled or filled order"}
    crossing = statuses(exchange.modify_order(moved, "BTC", True, 0.01, 81_000, GTC))[0]["error"]
    assert crossing.startswith("Post only order would have immediately matched, bbo was")
    assert info.open_orders(ME) == [], "the old order is gone, as measured on the testnet"


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (("BTC", True, 0.0001, 82_000, IOC), "Order must have minimum value of $10. asset=3"),
        (("BTC", True, 50, 82_000, IOC), "Insufficient margin to place order. asset=3"),
        (("BTC", True, 0.01, 79_000, IOC), "Order could not immediately match against any resting orders."),
        (("BTC", True, 0.01, 79_000.5, GTC), "Order has invalid price."),
    ],
)
def test_refused_orders_answer_with_the_venues_sentence(
    exchange: Exchange, order: tuple[Any, ...], error: str
) -> None:
    found = statuses(exchange.order(*order))[0]["error"]
    assert found.startswith(error) or "tick size" in found


def test_reduce_only_without_a_position_is_refused(exchange: Exchange) -> None:
    found = statuses(exchange.order("BTC", False, 0.01, 79_000, IOC, reduce_only=True))
    assert found == [{"error": "Reduce only order would increase position. asset=3"}]


def test_large_orders_slip_and_larger_ones_fill_in_part(exchange: Exchange, control: Control) -> None:
    control("fund", {"user": ME, "usdc": 5_000_000})
    exchange.update_leverage(20, "BTC")
    filled = statuses(exchange.market_open("BTC", is_buy=True, sz=40))[0]["filled"]
    assert Decimal(filled["avgPx"]) > 80_010
    assert filled["totalSz"] == "40.0"
    partly = statuses(exchange.order("BTC", True, 50, 80_020, IOC))[0]["filled"]
    assert 0 < Decimal(partly["totalSz"]) < 50


def test_schedule_cancel_is_refused_to_a_small_account(exchange: Exchange) -> None:
    answer = exchange.schedule_cancel(2_000_000_000_000)
    assert answer["status"] == "err"
    assert answer["response"].startswith("Cannot set scheduled cancel time until enough volume traded.")


def test_isolated_margin_is_moved_and_shown(info: Info, exchange: Exchange) -> None:
    refused = {"status": "err", "response": "Position does not use isolated margin."}
    assert exchange.update_isolated_margin(10, "BTC") == refused
    exchange.update_leverage(10, "BTC", is_cross=False)
    exchange.market_open("BTC", is_buy=False, sz=0.05)
    before = info.user_state(ME)
    assert exchange.update_isolated_margin(100.5, "BTC")["status"] == "ok"
    after = info.user_state(ME)
    moved = [
        Decimal(state["assetPositions"][0]["position"]["leverage"]["rawUsd"]) for state in (before, after)
    ]
    assert moved[1] - moved[0] == Decimal("100.5")
    assert_identities(after)
    switched = exchange.update_leverage(10, "BTC", is_cross=True)
    assert switched["response"] == "Cannot switch leverage type with open position."


def test_an_approved_agent_trades_its_master_and_a_stranger_does_not(
    sandbox: Sandbox, control: Control
) -> None:
    master = Account.create()
    control("fund", {"user": master.address, "usdc": "1000"})
    answer, agent_key = Exchange(master, sandbox.venue_url, timeout=5).approve_agent("bot")
    assert answer["status"] == "ok"
    agent = Account.from_key(agent_key)
    as_agent = Exchange(agent, sandbox.venue_url, account_address=master.address, timeout=5)
    assert "filled" in statuses(as_agent.market_open("BTC", is_buy=True, sz=0.001))[0]
    info = Info(sandbox.venue_url, skip_ws=True, timeout=5)
    assert info.extra_agents(master.address)[0]["name"] == "bot"
    assert info.user_role(agent.address) == {"role": "agent", "data": {"user": master.address.lower()}}
    assert info.user_state(agent.address)["assetPositions"] == [], "an agent's own address is empty"
    assert info.user_state(master.address)["assetPositions"][0]["position"]["szi"] == "0.001"
    stranger = Account.create()
    refused = Exchange(stranger, sandbox.venue_url, timeout=5).market_open("BTC", is_buy=True, sz=0.001)
    sentence = f"User or API Wallet {stranger.address.lower()} does not exist."
    assert refused == {"status": "err", "response": sentence}


def test_expired_actions_and_used_nonces_are_refused(exchange: Exchange, sandbox: Sandbox) -> None:
    exchange.set_expires_after(1)
    assert exchange.update_leverage(3, "BTC") == {"status": "err", "response": "Action already expired"}
    exchange.set_expires_after(None)
    now_ms = sandbox.venue.clock.host_ms()
    assert exchange.noop(now_ms)["status"] == "ok"
    assert exchange.noop(now_ms)["response"] == f"Invalid nonce: duplicate nonce {now_ms}"
    assert exchange.noop(1)["response"].startswith("Invalid nonce: nonce too low 1 < ")
    assert exchange.noop(now_ms + 2 * 86_400_000)["response"].startswith("Invalid nonce: nonce too high")


def test_moving_the_venues_clock_does_not_expire_the_clients_actions(
    exchange: Exchange, control: Control, sandbox: Sandbox
) -> None:
    control("time", {"advance_ms": 3 * 86_400_000})
    exchange.set_expires_after(sandbox.venue.clock.host_ms() + 10_000)
    assert exchange.update_leverage(3, "BTC")["status"] == "ok"
