"""The venue's limits as an option: weight per minute, actions per traded dollar, and the dead-man switch."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError
from sandbox_control import Control

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.limits import answer_weight, request_weight
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.server import Sandbox

ME = SANDBOX_ACCOUNT_ADDRESS
GTC = {"limit": {"tif": "Gtc"}}
NOW_MS = 1_795_381_770_000


class Hand:
    """A clock that a test moves."""

    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def strict(hand: Hand) -> Iterator[Sandbox]:
    options = VenueOptions(rate_limits=True, free_requests=20, schedule_cancel_volume_usd=Decimal(1_000))
    with Sandbox(seed=7, clock_ms=hand, options=options) as running:
        yield running


@pytest.fixture
def account(strict: Sandbox, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """The official client, whose nonces follow the test's clock."""

    def nonce() -> int:
        hand.now_ms += 1
        return hand.now_ms

    monkeypatch.setattr("hyperliquid.exchange.get_timestamp_ms", nonce)
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    return Exchange(wallet, strict.venue_url, account_address=ME, timeout=5)


def test_requests_weigh_what_the_protocol_says() -> None:
    assert request_weight("info", {"type": "clearinghouseState"}) == 2
    assert request_weight("info", {"type": "userRole"}) == 60
    assert request_weight("info", {"type": "candleSnapshot"}) == 20
    assert answer_weight({"type": "candleSnapshot"}, [0] * 500) == 8
    assert answer_weight({"type": "userFills"}, [0] * 2000) == 100
    assert answer_weight({"type": "meta"}, {"universe": []}) == 0
    order = {"type": "order", "orders": [{}] * 79}
    assert request_weight("exchange", {"action": order}) == 2
    assert request_weight("exchange", {"action": {"type": "noop"}}) == 1


def test_beyond_1200_a_minute_every_answer_is_a_429_with_a_json_null(strict: Sandbox, hand: Hand) -> None:
    info = Info(strict.venue_url, skip_ws=True, timeout=5)  # spotMeta and meta: 40
    for _ in range(19):
        info.user_role(ME)  # 60 each: 1180
    info.all_mids()
    with pytest.raises(ClientError) as caught:
        info.user_role(ME)
    assert (caught.value.status_code, caught.value.error_message) == (429, "null")
    raw = requests.post(f"{strict.venue_url}/info", json={"type": "meta"}, timeout=5)
    assert (raw.status_code, raw.text) == (429, "null")
    hand.now_ms += 60_000
    assert info.user_role(ME) == {"role": "user"}


def test_without_the_option_nothing_is_limited_but_counted(info: Info, exchange: Exchange) -> None:
    for _ in range(25):
        info.user_role(ME)
    exchange.update_leverage(3, "BTC")
    limit = info.user_rate_limit(ME)
    assert limit == {"cumVlm": "0.0", "nRequestsUsed": 1, "nRequestsCap": 10_000}


def test_a_spent_budget_refuses_orders_allows_cancels_and_grows_with_volume(
    strict: Sandbox, account: Exchange, hand: Hand
) -> None:
    info = Info(strict.venue_url, skip_ws=True, timeout=5)
    order = {
        "coin": "BTC",
        "is_buy": True,
        "sz": 0.001,
        "limit_px": 30_000,
        "order_type": GTC,
        "reduce_only": False,
    }
    answer = account.bulk_orders([order] * 19)
    oids = [row["resting"]["oid"] for row in answer["response"]["data"]["statuses"]]
    assert info.user_rate_limit(ME)["nRequestsUsed"] == 19
    assert account.update_leverage(3, "BTC")["status"] == "ok"
    account.update_leverage(4, "BTC")  # one more every ten seconds
    refused = account.update_leverage(5, "BTC")
    assert refused["status"] == "err"
    assert refused["response"] == (
        "Too many cumulative requests sent (21 > 20) for cumulative volume traded $0.00. "
        "Place taker orders to free up 1 request per USDC traded."
    )
    assert account.cancel("BTC", oids[0])["status"] == "ok", "cancels have twice the budget"
    hand.now_ms += 10_000
    bought = account.market_open("BTC", is_buy=True, sz=0.002)
    assert "filled" in bought["response"]["data"]["statuses"][0]
    limit = info.user_rate_limit(ME)
    assert limit["nRequestsCap"] == 20 + int(float(limit["cumVlm"])) > 100
    assert limit["nRequestsUsed"] == 23
    assert account.update_leverage(5, "BTC")["status"] == "ok"


def test_a_stale_expiry_costs_five(strict: Sandbox, account: Exchange) -> None:
    account.set_expires_after(NOW_MS - 1)
    assert account.update_leverage(5, "BTC")["response"] == "Action already expired"
    info = Info(strict.venue_url, skip_ws=True, timeout=5)
    assert info.user_rate_limit(ME)["nRequestsUsed"] == 5


def test_the_dead_mans_switch_needs_volume_and_then_cancels_everything(
    strict: Sandbox, account: Exchange, hand: Hand
) -> None:
    info = Info(strict.venue_url, skip_ws=True, timeout=5)
    refused = account.schedule_cancel(hand.now_ms + 60_000)
    sentence = "Cannot set scheduled cancel time until enough volume traded. Required: $1000. Traded: $0."
    assert refused == {"status": "err", "response": sentence}
    account.market_open("BTC", is_buy=True, sz=0.02)
    stop = {"trigger": {"isMarket": True, "triggerPx": 40_000, "tpsl": "sl"}}
    oid = account.order("BTC", False, 0.02, 36_000, stop, reduce_only=True)
    oid = oid["response"]["data"]["statuses"][0]["resting"]["oid"]
    assert account.schedule_cancel(hand.now_ms + 1_000)["status"] == "err", "at least five seconds ahead"
    assert account.schedule_cancel(hand.now_ms + 60_000)["status"] == "ok"
    assert account.schedule_cancel(None)["status"] == "ok"
    hand.now_ms += 61_000
    assert len(info.open_orders(ME)) == 1, "unset in time"
    assert account.schedule_cancel(hand.now_ms + 60_000)["status"] == "ok"
    hand.now_ms += 61_000
    assert info.open_orders(ME) == [], "protective stops go too"
    assert info.query_order_by_oid(ME, oid)["order"]["status"] == "scheduledCancel"
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.02"
    for _ in range(9):
        assert account.schedule_cancel(hand.now_ms + 6_000)["status"] == "ok"
        hand.now_ms += 7_000
        info.open_orders(ME)
    assert "Limit is 10" in account.schedule_cancel(hand.now_ms + 6_000)["response"]


def test_the_limits_are_an_argument_of_the_sandbox(control: Control) -> None:
    with Sandbox(seed=7, rate_limits=True) as running:
        assert running.venue.options.rate_limits
        url = f"{running.venue_url}/info"
        codes = [requests.post(url, json={"type": "userRole", "user": ME}, timeout=5) for _ in range(21)]
    assert [answer.status_code for answer in codes] == [200] * 20 + [429]
