"""Actions beside plain orders, taken and refused as by the venue: modifies, exits, agents, money, nonces."""

from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.signing import get_timestamp_ms, sign_l1_action
from sandbox_control import Control
from sandbox_samples import Json, assert_identities

from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_ADDRESS,
    SANDBOX_AGENT_PRIVATE_KEY,
)
from wonttrade_dagster.sandbox.nonces import NonceBook, NonceError
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
GTC = {"limit": {"tif": "Gtc"}}
DAY_MS = 86_400_000
NOW_MS = 1_795_435_200_000


def statuses(answer: Json) -> list[Any]:
    assert answer["status"] == "ok", answer
    return list(answer["response"]["data"]["statuses"])


def exit_leg(px: float, tpsl: str, size: float) -> dict[str, Any]:
    trigger = {"trigger": {"isMarket": True, "triggerPx": px, "tpsl": tpsl}}
    row = {"coin": "BTC", "is_buy": False, "sz": size, "limit_px": int(px * 0.9), "order_type": trigger}
    return row | {"reduce_only": True}


@pytest.fixture(autouse=True)
def btc_at_80_000(control: Control) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 3_600_000})


@pytest.mark.parametrize(("size", "left"), [(0, []), (0.05, ["0.05"])])
def test_an_exit_of_size_0_follows_the_position_and_a_sized_one_does_not(
    info: Info, exchange: Exchange, control: Control, size: float, left: list[str]
) -> None:
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    answer = exchange.bulk_orders([exit_leg(78_000, "sl", size)], grouping="positionTpsl")
    assert statuses(answer) == ["waitingForTrigger"]
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    control("price", {"coin": "BTC", "mid": 77_900})
    assert [row["position"]["szi"] for row in info.user_state(ME)["assetPositions"]] == left


def test_both_exits_go_when_the_position_is_closed_by_hand(info: Info, exchange: Exchange) -> None:
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    legs = [exit_leg(78_000, "sl", 0), exit_leg(90_000, "tp", 0.05)]
    exchange.bulk_orders(legs, grouping="positionTpsl")
    oids = [row["oid"] for row in info.open_orders(ME)]
    exchange.market_close("BTC")
    assert info.open_orders(ME) == []
    ended = {info.query_order_by_oid(ME, oid)["order"]["status"] for oid in oids}
    assert ended == {"reduceOnlyCanceled"}


def test_a_batch_with_one_dead_order_moves_none(info: Info, exchange: Exchange) -> None:
    oid = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC))[0]["resting"]["oid"]
    moved = {"coin": "BTC", "is_buy": True, "sz": 0.01, "limit_px": 71_000, "order_type": GTC}
    rows = [{"oid": each, "order": moved | {"reduce_only": False}} for each in (oid, 7)]
    answer = exchange.bulk_modify_orders_new(rows)
    assert answer == {"status": "err", "response": "Cannot modify canceled or filled order"}
    assert [row["limitPx"] for row in info.open_orders(ME)] == ["70000.0"]


def test_a_replacement_placed_always_may_cross(sandbox: Sandbox, info: Info, exchange: Exchange) -> None:
    oid = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC))[0]["resting"]["oid"]
    order = {"a": 3, "b": True, "p": "82000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Ioc"}}}
    action = {"type": "batchModify", "modifies": [{"oid": oid, "order": order, "a": True}]}
    nonce = get_timestamp_ms()
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    signature = sign_l1_action(wallet, action, None, nonce, None, False)
    body = {"action": action, "nonce": nonce, "signature": signature}
    assert "filled" in statuses(exchange.post("/exchange", body))[0]
    assert info.open_orders(ME) == []


def test_money_moves_by_the_masters_hand_and_never_by_an_agents(
    sandbox: Sandbox, info: Info, exchange: Exchange, control: Control
) -> None:
    refused = f"Must deposit before performing actions. User: {SANDBOX_AGENT_ADDRESS}"
    for act in (
        lambda: exchange.usd_transfer(5.0, "0x" + "33" * 20),
        lambda: exchange.withdraw_from_bridge(5.0, ME),
        lambda: exchange.approve_agent("mine")[0],
    ):
        assert act() == {"status": "err", "response": refused}
    master = Account.create()
    control("fund", {"user": master.address, "usdc": 1000})
    theirs = Exchange(master, sandbox.venue_url, timeout=5)
    assert theirs.usd_class_transfer(100.5, False)["status"] == "ok"
    assert info.spot_user_state(master.address)["balances"][0]["total"] == "100.5"
    assert info.user_state(master.address)["withdrawable"] == "899.5"
    assert theirs.usd_class_transfer(200, True)["status"] == "err"
    assert theirs.usd_class_transfer(0.5, True)["status"] == "ok"
    assert theirs.usd_transfer(300, "0x" + "33" * 20)["status"] == "ok"
    assert theirs.withdraw_from_bridge(100, master.address)["status"] == "ok"
    assert theirs.withdraw_from_bridge(5_000, master.address)["status"] == "err"
    assert info.user_state("0x" + "33" * 20)["withdrawable"] == "300.0"
    rows = info.user_non_funding_ledger_updates(master.address, 0)
    kinds = [row["delta"]["type"] for row in rows]
    assert kinds == [
        "deposit",
        "accountClassTransfer",
        "accountClassTransfer",
        "internalTransfer",
        "withdraw",
    ]
    assert info.user_state(master.address)["withdrawable"] == "500.0"
    assert_identities(info.user_state(master.address))


def test_margin_in_use_cannot_be_taken_out(sandbox: Sandbox, info: Info, control: Control) -> None:
    master = Account.create()
    control("fund", {"user": master.address, "usdc": 1000})
    theirs = Exchange(master, sandbox.venue_url, timeout=5)
    theirs.update_leverage(2, "BTC")
    theirs.market_open("BTC", is_buy=True, sz=0.02)
    free = Decimal(info.user_state(master.address)["withdrawable"])
    assert 150 < free < 250
    assert theirs.usd_transfer(float(free) + 1, ME)["status"] == "err"
    assert theirs.usd_transfer(float(free) - 1, ME)["status"] == "ok"
    assert_identities(info.user_state(master.address))


def test_a_replaced_agent_signs_for_nobody(sandbox: Sandbox, exchange: Exchange, control: Control) -> None:
    newer = Account.create()
    control("agent", {"user": ME, "agent": newer.address})
    sentence = f"User or API Wallet {SANDBOX_AGENT_ADDRESS} does not exist."
    assert exchange.update_leverage(3, "BTC") == {"status": "err", "response": sentence}
    as_newer = Exchange(newer, sandbox.venue_url, account_address=ME, timeout=5)
    assert as_newer.update_leverage(3, "BTC")["status"] == "ok"


def test_leverage_that_the_asset_does_not_allow_is_refused(info: Info, exchange: Exchange) -> None:
    assert exchange.update_leverage(41, "BTC")["response"] == "Invalid leverage value"
    assert exchange.update_leverage(0, "BTC")["response"] == "Invalid leverage value"
    listed = {row["name"]: row for row in info.meta()["universe"]}
    assert listed["HPOS"]["onlyIsolated"] is True
    assert exchange.update_leverage(2, "HPOS")["status"] == "err"
    assert exchange.update_leverage(2, "HPOS", is_cross=False)["status"] == "ok"
    exchange.market_open("HPOS", is_buy=True, sz=5_000)
    position = info.user_state(ME)["assetPositions"][0]["position"]
    assert position["leverage"]["type"] == "isolated"
    exchange.market_open("BTC", is_buy=True, sz=0.5)
    lowered = exchange.update_leverage(1, "BTC")["response"]
    assert lowered == "Cross position does not have sufficient margin available to decrease leverage."
    assert exchange.update_leverage(10, "BTC")["status"] == "ok"


def test_the_nonce_window_is_the_narrower_one() -> None:
    book = NonceBook()
    for inside in (NOW_MS - 2 * DAY_MS + 120_000, NOW_MS + DAY_MS - 120_000):
        book.use("a", inside, NOW_MS)
    with pytest.raises(NonceError, match="nonce too low"):
        book.use("a", NOW_MS - 2 * DAY_MS + 119_999, NOW_MS)
    with pytest.raises(NonceError, match="nonce too high"):
        book.use("a", NOW_MS + DAY_MS - 119_999, NOW_MS)


def test_a_refused_order_uses_its_nonce_up_and_a_strangers_does_not(
    sandbox: Sandbox, exchange: Exchange
) -> None:
    nonce = sandbox.venue.clock.host_ms() + 1_000
    action = {"type": "updateLeverage", "asset": 3, "isCross": True, "leverage": 99}

    def send(key: str) -> str:
        signature = sign_l1_action(Account.from_key(key), action, None, nonce, None, False)
        body = {"action": action, "nonce": nonce, "signature": signature}
        return str(exchange.post("/exchange", body)["response"])

    stranger = "0x" + "11" * 32
    assert "does not exist" in send(stranger)
    assert "does not exist" in send(stranger)
    assert send(SANDBOX_AGENT_PRIVATE_KEY) == "Invalid leverage value"
    assert send(SANDBOX_AGENT_PRIVATE_KEY) == f"Invalid nonce: duplicate nonce {nonce}"
