"""The venue as a whole: time passing, many users, saving and restoring, and its process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_control import Control
from sandbox_samples import Json, assert_identities

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.records import OrderRequest, Tif, Trigger
from wonttrade_dagster.sandbox import info_user
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.agents import AgentBook, AgentError
from wonttrade_dagster.sandbox.assembly import make_venue
from wonttrade_dagster.sandbox.nonces import NonceBook, NonceError
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.sandbox.snapshots import restore, save
from wonttrade_dagster.sandbox.venue import LoopbackVenue

ME = SANDBOX_ACCOUNT_ADDRESS
NOW_MS = 1_795_435_200_000
HOUR_MS = 3_600_000


def a_venue(seed: int = 3) -> LoopbackVenue:
    return make_venue(seed, lambda: NOW_MS)


def enter(venue: LoopbackVenue, *, is_buy: bool = True, size: str = "0.05") -> None:
    mark = venue.market.mark_px("BTC")
    limit = (mark * (Decimal("1.05") if is_buy else Decimal("0.95"))).quantize(Decimal(1))
    request = OrderRequest("BTC", is_buy, Decimal(size), limit, Tif.IOC)
    assert venue.place(ME, request).filled_base == Decimal(size)


def stop(venue: LoopbackVenue, px: Decimal) -> int:
    trigger = Trigger(px, is_market=True, leg=Leg.STOP_LOSS)
    request = OrderRequest("BTC", False, Decimal("0.05"), px - 5000, reduce_only=True, trigger=trigger)
    outcome = venue.place(ME, request)
    assert outcome.is_waiting, outcome
    assert outcome.oid is not None
    return outcome.oid


def test_a_stop_fires_in_the_minute_whose_candle_touches_it_while_time_is_moved() -> None:
    venue = a_venue()
    enter(venue)
    px = (venue.market.mark_px("BTC") * Decimal("0.99")).quantize(Decimal(1))
    oid = stop(venue, px)
    hours = 0
    while oid in venue.accounts[ME].state.orders:
        venue.advance(12 * HOUR_MS)
        hours += 12
        assert hours < 2400, "a stop 1 % away is reached sooner or later"
    fired_ms = next(row.time_ms for row in venue.accounts[ME].statuses if row.status == "triggered")
    rows = venue.market.candles("BTC", "1m", NOW_MS, venue.clock.now_ms())
    first = next(row for row in rows[-5000:] if float(row["l"]) <= px)
    assert first["t"] <= fired_ms <= first["T"] + 1


def test_funding_is_paid_every_hour_once_however_time_is_moved() -> None:
    once, often = a_venue(), a_venue()
    for venue in (once, often):
        enter(venue)
    once.advance(6 * HOUR_MS)
    for _ in range(36):
        often.advance(HOUR_MS // 6)
    paid = [[(f.time_ms, f.paid_usd) for f in venue.accounts[ME].fundings] for venue in (once, often)]
    assert paid[0] == paid[1]
    assert len(paid[0]) == 6
    assert paid[0][0][1] > 0, "a long pays a positive rate"


moves = st.lists(st.tuples(st.sampled_from(["BTC", "ETH"]), st.floats(0.7, 1.4)), min_size=1, max_size=4)
orders = st.lists(
    st.tuples(st.sampled_from(["BTC", "ETH"]), st.booleans(), st.integers(1, 400), st.booleans()), max_size=5
)


@settings(max_examples=25, deadline=None)
@given(orders, moves)
def test_identities_hold_whatever_is_traded_and_however_prices_jump(
    trades: list[tuple[str, bool, int, bool]], jumps: list[tuple[str, float]]
) -> None:
    venue = a_venue()
    for coin, is_buy, lots, reduce_only in trades:
        mark = venue.market.mark_px(coin)
        limit = (mark * (Decimal("1.02") if is_buy else Decimal("0.98"))).quantize(Decimal(1))
        size = Decimal(lots) / 1000
        venue.place(ME, OrderRequest(coin, is_buy, size, limit, Tif.IOC, reduce_only=reduce_only))
    for coin, factor in jumps:
        mid = (venue.market.mid_px(coin) * Decimal(f"{factor:.3f}")).quantize(Decimal(1))
        venue.set_price(coin, mid, 60_000)
        check_identities(venue.accounts[ME].state)
        assert_identities(info_user.clearinghouse_state(venue, venue.account(ME)))


def test_a_saved_venue_lives_on_in_another_process_of_the_same_seed() -> None:
    venue = a_venue()
    enter(venue)
    venue.set_price("BTC", Decimal(90_000), 60_000)
    oid = stop(venue, Decimal(88_000))
    venue.nonces.use(ME, NOW_MS, NOW_MS)
    venue.advance(HOUR_MS)
    saved = save(venue)
    other = a_venue()
    restore(other, saved)
    assert save(other) == saved
    assert other.account(ME) == venue.account(ME)
    assert other.market.mid_px("BTC") == venue.market.mid_px("BTC")
    with pytest.raises(NonceError):
        other.nonces.use(ME, NOW_MS, NOW_MS)
    for each in (venue, other):
        each.set_price("BTC", Decimal(80_000), 60_000)
        assert oid not in each.accounts[ME].state.orders
    assert save(other) == save(venue)


def test_saving_and_restoring_over_http_and_by_file(
    exchange: Exchange, info: Info, control: Control, tmp_path: Path, sandbox: Sandbox
) -> None:
    exchange.market_open("BTC", is_buy=True, sz=0.01)
    held = info.user_state(ME)["assetPositions"][0]["position"]["szi"]
    saved = control("save", {})
    control("save", {"path": str(tmp_path / "venue.json")})
    exchange.market_close("BTC")
    assert info.user_state(ME)["assetPositions"] == []
    control("restore", saved)
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == held
    exchange.market_close("BTC")
    control("restore", {"path": str(tmp_path / "venue.json")})
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == held
    with Sandbox(seed=8) as stranger:
        answer = requests.post(f"{stranger.venue_url}/sandbox/restore", json=saved, timeout=5)
    assert answer.status_code == 400
    assert "--seed 7" in answer.json()["error"]


def test_many_users_trade_at_once_without_sharing_an_order_id(sandbox: Sandbox, control: Control) -> None:
    wallets = [Account.create() for _ in range(6)]
    for wallet in wallets:
        control("fund", {"user": wallet.address, "usdc": 1000})

    def trade(wallet: Json) -> list[int]:
        exchange = Exchange(wallet, sandbox.venue_url, timeout=20)
        answers = [exchange.market_open("BTC", is_buy=True, sz=0.001) for _ in range(4)]
        return [a["response"]["data"]["statuses"][0]["filled"]["oid"] for a in answers]

    with ThreadPoolExecutor(6) as pool:
        oids = [oid for found in pool.map(trade, wallets) for oid in found]
    assert len(set(oids)) == 24
    info = Info(sandbox.venue_url, skip_ws=True, timeout=5)
    tids = [fill["tid"] for wallet in wallets for fill in info.user_fills(wallet.address)]
    assert len(set(tids)) == len(tids) == 24
    for wallet in wallets:
        state = info.user_state(wallet.address)
        assert state["assetPositions"][0]["position"]["szi"] == "0.004"
        assert_identities(state)


def test_an_agent_can_be_registered_without_its_masters_key(sandbox: Sandbox, control: Control) -> None:
    user = "0x" + "5a" * 20
    control("fund", {"user": user, "usdc": 500})
    agent = Account.create()
    control("agent", {"user": user, "agent": agent.address})
    exchange = Exchange(agent, sandbox.venue_url, account_address=user, timeout=5)
    assert "filled" in str(exchange.market_open("ETH", is_buy=False, sz=0.02))


def test_nonces_are_kept_per_signer_and_the_highest_hundred_count() -> None:
    book = NonceBook()
    for offset in range(0, 200, 2):
        book.use("a", NOW_MS + offset, NOW_MS)
    book.use("b", NOW_MS, NOW_MS)
    book.use("a", NOW_MS + 1, NOW_MS)
    with pytest.raises(NonceError, match="duplicate nonce"):
        book.use("a", NOW_MS + 4, NOW_MS)
    with pytest.raises(NonceError, match="nonce too low"):
        book.use("a", NOW_MS, NOW_MS)
    with pytest.raises(NonceError, match="nonce too high"):
        book.use("a", NOW_MS + 2 * 86_400_000, NOW_MS)


def test_agents_expire_are_replaced_by_name_and_limited_in_number() -> None:
    book = AgentBook()
    book.approve("m", "a1", "", NOW_MS)
    assert book.master_of("a1", NOW_MS) == "m"
    assert book.master_of("a1", NOW_MS + 91 * 86_400_000) is None
    book.approve("m", "a2", "", NOW_MS)
    assert book.master_of("a1", NOW_MS) is None, "the unnamed agent is replaced"
    book.approve("m", "n1", f"bot valid_until {NOW_MS + 5}", NOW_MS)
    assert book.master_of("n1", NOW_MS + 6) is None
    for number in range(2, 4):
        book.approve("m", f"n{number}", f"bot{number}", NOW_MS)
    with pytest.raises(AgentError, match="Too many extra agents"):
        book.approve("m", "n4", "bot4", NOW_MS)
    with pytest.raises(AgentError, match="already used"):
        book.approve("other", "a2", "", NOW_MS)
    with pytest.raises(AgentError, match="already expired"):
        book.approve("m", "n5", f"late valid_until {NOW_MS - 1}", NOW_MS)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--port", "0", "--seed", "5"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield running
    running.kill()
    running.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_prints_one_line_serves_and_ends_cleanly(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert process.stdout is not None
    urls = json.loads(process.stdout.readline())
    assert urls["model"].endswith("/v1")
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    exchange = Exchange(wallet, urls["venue"], account_address=ME, timeout=5)
    assert exchange.update_leverage(3, "BTC")["status"] == "ok"
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port_is_one_clear_sentence(sandbox: Sandbox) -> None:
    port = sandbox.venue_url.rpartition(":")[2]
    command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"port {port}" in done.stderr
