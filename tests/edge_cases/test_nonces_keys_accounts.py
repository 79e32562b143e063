"""Cases 23-26: nonces, agents and where an account keeps its money."""

import threading
import time

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control

from edge_cases.parts import ME, D, entry, preflight_of, venue_of
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue, SignerRole
from wonttrade_dagster.adapters.hyperliquid.signer import Nonces
from wonttrade_dagster.core.model import ActionStatus, OrderPurpose, Stage
from wonttrade_dagster.core.state import without_equity
from wonttrade_dagster.sandbox.accounts import SANDBOX_AGENT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox


def test_23_nonces_never_repeat_although_the_clock_does(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's nonce is the bare clock: the second order of a millisecond is refused and a leg is lost."""
    now_ms = time.time_ns() // 1_000_000
    monkeypatch.setattr("hyperliquid.exchange.get_timestamp_ms", lambda: now_ms)
    assert exchange.update_leverage(3, "BTC")["status"] == "ok"
    assert exchange.update_leverage(3, "ETH")["response"] == f"Invalid nonce: duplicate nonce {now_ms}"
    nonces, drawn = Nonces(lambda: now_ms), list[int]()
    threads = [threading.Thread(target=lambda: drawn.extend(nonces() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drawn) == list(range(now_ms, now_ms + 2_000))


def test_23_orders_of_many_threads_all_arrive(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    """Two orders at once shared a nonce and one of two legs was dropped."""
    orders, results = [entry(venue, "0.001") for _ in range(6)], list[ActionStatus]()
    threads = [threading.Thread(target=lambda o=o: results.append(venue.place(o).status)) for o in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ActionStatus.FILLED] * 6
    assert venue.account().size_base("BTC") == D("0.006")


def test_24_an_agent_signs_and_the_master_is_asked(info: Info, venue: HyperliquidVenue) -> None:
    """Asking for the agent's own address reads zero everywhere, and the bot buys again."""
    venue.place(entry(venue))
    assert info.user_state(SANDBOX_AGENT_ADDRESS)["assetPositions"] == []
    assert float(info.user_state(SANDBOX_AGENT_ADDRESS)["marginSummary"]["accountValue"]) == 0
    account = venue.account()
    assert (account.size_base("BTC"), account.account_value_usd > 9_000) == (D("0.01"), True)


def test_24_an_expired_agent_is_a_stranger_and_its_orders_are_refused_by_name(
    sandbox: Sandbox, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents end after 90 days or sooner: a bot that only logs "error" stands there without hands."""
    agent = Account.create()
    keys = {"agent_private_key": "0x" + bytes(agent.key).hex()}
    until_ms = sandbox.venue.clock.host_ms() + 60_000
    control("agent", {"user": ME, "agent": agent.address, "name": f"bot valid_until {until_ms}"})
    preflight, venue = preflight_of(sandbox, **keys), venue_of(sandbox, **keys)
    order = entry(venue)
    assert preflight.signer_role() is SignerRole.AGENT
    assert {a.valid_until_ms for a in preflight.named_agents() if a.name == "bot"} == {until_ms}
    monkeypatch.setattr(type(sandbox.venue.clock), "host_ms", lambda _: until_ms + 1)
    assert preflight.signer_role() is SignerRole.STRANGER
    refused = venue.place(order)
    assert (refused.status, "does not exist" in refused.message) == (ActionStatus.ERROR, True)


def test_25_an_account_whose_money_lies_in_spot_is_told_from_an_empty_one(
    sandbox: Sandbox, control: Control
) -> None:
    """The perpetuals' summary says zero: engines sized to nothing, or divided by it. Here nothing opens."""
    master = Account.create()
    control("fund", {"user": master.address, "usdc": 1_000})
    assert Exchange(master, sandbox.venue_url, timeout=5).usd_class_transfer(1_000, False)["status"] == "ok"
    keys = {"account_address": master.address, "agent_private_key": "0x" + bytes(master.key).hex()}
    preflight = preflight_of(sandbox, **keys)
    assert (preflight.account_value_usd(), preflight.spot_usdc()) == (0, 1_000)
    failure = without_equity(venue_of(sandbox, **keys).account(), Stage.EXECUTION_PLANS)
    assert failure is not None
    assert failure.stage is Stage.EXECUTION_PLANS


def test_26_equity_is_the_account_value_where_the_raw_balance_is_negative(
    info: Info, venue: HyperliquidVenue
) -> None:
    """``totalRawUsd`` is cash after a leveraged purchase, below zero: read as equity it is a bankruptcy."""
    venue.place(entry(venue, "0.2"))
    summary = info.user_state(ME)["marginSummary"]
    assert D(summary["totalRawUsd"]) < 0
    assert venue.account().account_value_usd == D(summary["accountValue"]) > 9_900


def test_26_a_closed_position_is_absent_and_read_as_flat(info: Info, venue: HyperliquidVenue) -> None:
    """``assetPositions`` has no row for it: whoever waits for a row of zero waits for ever."""
    venue.place(entry(venue))
    venue.place(entry(venue, "-0.01", OrderPurpose.CLOSE))
    assert info.user_state(ME)["assetPositions"] == []
    assert venue.account().size_base("BTC") == 0
