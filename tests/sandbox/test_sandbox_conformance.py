"""The sandbox against what the real venue and the official SDK have been seen to send."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control
from sandbox_samples import Json, recording

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.assembly import make_venue
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.sandbox.signatures import recover_signer

TRADER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
ME = SANDBOX_ACCOUNT_ADDRESS


class FrozenSandbox(Sandbox):
    """A sandbox whose clients' clock stands where a test puts it."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        super().__init__(seed=7, clock_ms=lambda: self.now_ms)


@pytest.fixture
def frozen() -> Iterator[FrozenSandbox]:
    with FrozenSandbox(1_795_381_770_000) as running:
        yield running


def test_every_request_that_the_sdk_emits_is_served_and_signed_by_its_sender(frozen: FrozenSandbox) -> None:
    emitted = recording("sdk_emitted_requests.json")["requests"]
    frozen.venue.fund(TRADER.lower(), frozen.venue.rules.min_value_usd * 1000)
    for row in emitted:
        body = json.loads(row["body_text"])
        frozen.now_ms = max(frozen.now_ms, body.get("nonce", 0))
        body["user"] = TRADER if body.get("user") == "0xabc" else body.get("user")
        body = {key: value for key, value in body.items() if key != "user" or value is not None}
        url = frozen.venue_url + row["path"]
        answer = requests.post(
            url, data=json.dumps(body), headers={"Content-Type": "application/json"}, timeout=5
        )
        assert answer.status_code == 200, (row["call"], answer.text)
        if row["path"] == "/exchange":
            assert recover_signer(body) == row["recovers"].lower(), row["call"]
            refusal = answer.json().get("response") if answer.json()["status"] == "err" else ""
            assert "does not exist" not in refusal, row["call"]
            assert "nonce" not in refusal, row["call"]


def test_published_signing_vectors_verify_as_testnet() -> None:
    from hyperliquid.utils import signing

    vectors = recording("signing_vectors.json")
    checked = 0
    for row in vectors["l1"]:
        if "private_key" not in row:
            continue
        envelope = {
            "action": row["action"],
            "nonce": row["nonce"],
            "signature": row["signatures"]["testnet"],
            "vaultAddress": row.get("vaultAddress"),
        }
        assert recover_signer(envelope) == Account.from_key(row["private_key"]).address.lower(), row["name"]
        checked += 1
    for row in vectors["user_signed"]:
        types = {
            "HyperliquidTransaction:UsdSend": ("usdSend", signing.USD_SEND_SIGN_TYPES),
            "HyperliquidTransaction:Withdraw": ("withdraw3", signing.WITHDRAW_SIGN_TYPES),
        }
        action = {**row["action"], "type": types[row["primary_type"]][0]}
        envelope = {"action": action, "nonce": row["action"]["time"], "signature": row["signature"]}
        assert recover_signer(envelope) == Account.from_key(row["private_key"]).address.lower(), row["name"]
        checked += 1
    assert checked >= 7


NULLABLE = {"liquidationPx", "nSamples", "tif", "cloid", "twapId"}
DROPPED = {"maxTradeSzs"}
"""Fields of 2023 that the venue no longer sends."""


def assert_same_shape(recorded: Json, ours: Json, where: str) -> None:
    """Same JSON types all the way down; every key that was recorded is in our answer too."""
    if recorded is None or ours is None:
        assert where.rpartition(".")[2] in NULLABLE or recorded is ours, where
        return
    assert type(recorded) is type(ours), f"{where}: {recorded!r} against {ours!r}"
    if isinstance(recorded, dict):
        for key in recorded.keys() - DROPPED:
            assert key in ours, f"{where}.{key} is missing"
            assert_same_shape(recorded[key], ours[key], f"{where}.{key}")
    elif isinstance(recorded, list) and recorded and ours:
        assert len(ours) == len(recorded) or isinstance(ours[0], dict | list | str), where
        assert_same_shape(recorded[0], ours[0], f"{where}[0]")


@pytest.fixture
def lived(exchange: Exchange, control: Control) -> None:
    """An account in which something has happened: fills, funding, orders of all kinds."""
    control("price", {"coin": "BTC", "mid": 80_000})
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    trigger = {"trigger": {"isMarket": True, "triggerPx": 70_000, "tpsl": "sl"}}
    exchange.order("BTC", False, 0.05, 63_000, trigger, reduce_only=True)
    exchange.order("BTC", True, 0.01, 60_000, {"limit": {"tif": "Gtc"}})
    exchange.order("BTC", True, 0.01, 61_000, {"limit": {"tif": "Ioc"}})
    control("time", {"advance_ms": 2 * 3_600_000})


OUR_COINS = {"kPEPE": "ETH", "DYDX": "ATOM"}


def test_answers_have_the_keys_and_types_of_the_recorded_ones(sandbox: Sandbox, lived: None) -> None:
    now_ms = sandbox.venue.market.now_ms()
    compared = set()
    for row in recording("recorded_info_answers.json"):
        kind = row["request"]["type"]
        if kind in {"delegatorHistory", "userVaultEquities"}:
            continue  # staking and vaults: a trading loop does not ask for them, the sandbox has none
        asked = ours(row["request"], now_ms)
        answer = requests.post(f"{sandbox.venue_url}/info", json=asked, timeout=5)
        assert answer.status_code == 200, asked
        recorded = row["response"]
        if kind == "allMids":  # its keys are the listing, which is another one
            recorded = {coin: px for coin, px in recorded.items() if coin in answer.json()}
        assert_same_shape(recorded, answer.json(), kind)
        compared.add(kind)
    assert len(compared) >= 13


def ours(request: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """A recorded request turned to our account, our coins and our time."""
    asked = {**request, "user": ME} if "user" in request else dict(request)
    if asked.get("coin") in OUR_COINS:
        asked["coin"] = OUR_COINS[asked["coin"]]
    if asked["type"] == "candleSnapshot":
        span = {"startTime": now_ms - 20 * 3_600_000, "endTime": now_ms}
        asked["req"] = {**request["req"], "coin": OUR_COINS[request["req"]["coin"]], **span}
    elif "startTime" in asked:
        asked["startTime"] = 0
        asked.pop("endTime", None)
    return asked


@pytest.mark.parametrize(
    ("ask", "size"),
    [
        (lambda info: info.user_fills(ME), 1),
        (lambda info: info.user_fills_by_time(ME, 0), 1),
        (lambda info: info.user_funding_history(ME, 0), 2),
        (lambda info: info.funding_history("BTC", 0), 500),
        (lambda info: info.user_non_funding_ledger_updates(ME, 0), 1),
        (lambda info: info.historical_orders(ME), 5),
        (lambda info: info.portfolio(ME), 8),
    ],
)
def test_lists_hold_what_happened(
    info: Info, lived: None, ask: Callable[[Info], list[Any]], size: int
) -> None:
    assert len(ask(info)) == size


def test_the_universe_has_a_testnet_like_order_and_info_accepts_it(info: Info) -> None:
    assert [info.coin_to_asset[coin] for coin in ("SOL", "APT", "ATOM", "BTC", "ETH")] == [0, 1, 2, 3, 4]
    assert info.meta()["universe"][5]["isDelisted"] is True
    meta, contexts = info.meta_and_asset_ctxs()
    assert len(contexts) == len(meta["universe"])
    assert contexts[5]["midPx"] is None


def test_candles_start_with_the_one_that_contains_the_start_and_end_with_the_forming_one(info: Info) -> None:
    now_ms = info.l2_snapshot("BTC")["time"]
    for interval, length in (("5m", 300_000), ("4h", 14_400_000)):
        rows = info.candles_snapshot("BTC", interval, now_ms - 1000 * length, now_ms)
        assert len(rows) == 1001
        assert rows[0]["t"] <= now_ms - 1000 * length <= rows[0]["T"]
        assert rows[-1]["t"] <= now_ms <= rows[-1]["T"]
        assert all(row["T"] == row["t"] + length - 1 for row in rows)
        assert all(after["t"] == before["T"] + 1 for before, after in pairwise(rows))
    assert len(info.candles_snapshot("BTC", "1m", 0, now_ms)) == 5000


def test_a_venue_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def mids(seed: int) -> list[str]:
        venue = make_venue(seed, lambda: 1_795_381_770_000)
        return [str(venue.market.mid_px(coin)) for coin in venue.market.coins()]

    assert mids(5) == mids(5)
    assert mids(5) != mids(6)
