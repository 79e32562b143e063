"""Cases 29-34: limits, a network that fails, streams that end, actions that come late."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError
from sandbox_control import Control, control_of
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from edge_cases.parts import (
    BROKEN,
    CLOCK,
    GTC,
    ME,
    D,
    HastyClock,
    cycle,
    decide,
    decision,
    entry,
    leg,
    market_data_of,
    official_clients,
    preflight_of,
    stop_for,
    target,
    venue_of,
)
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue, SignerRole
from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.model import ActionStatus
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.server import Sandbox


class Hand(HastyClock):
    """A clock that a case moves."""

    def __init__(self) -> None:
        self.time_ms = super().now_ms()

    def now_ms(self) -> int:
        return self.time_ms


@pytest.fixture(scope="module")
def hand() -> Hand:
    return Hand()


@pytest.fixture(scope="module")
def strict(hand: Hand) -> Iterator[Sandbox]:
    """A venue that enforces its limits, on a clock that a case moves, and that leaves no stream idle."""
    options = VenueOptions(rate_limits=True, schedule_cancel_volume_usd=D(1_000), stream_idle_ms=300)
    with Sandbox(seed=7, clock_ms=hand.now_ms, options=options) as running:
        control_of(running)("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 6_000_000})
        yield running


def _ask_often(ask: Callable[[], object], times: int) -> None:
    for _ in range(times):
        ask()


def test_29_a_burst_is_stopped_by_name_and_three_starts_in_a_minute_are_none(
    strict: Sandbox, hand: Hand
) -> None:
    """21 questions of a start drew 429s: weights are 2, 20, 60 and more by item, not one a request."""
    info, _ = official_clients(strict)
    venue = venue_of(strict, read_attempts=1)
    with pytest.raises(ClientError) as caught:
        _ask_often(lambda: info.user_role(ME), 21)
    assert caught.value.status_code == 429
    with pytest.raises(VenueUnavailableError, match="rate limit"):
        _ask_often(venue.account, 100)
    hand.time_ms += 60_000
    for _ in range(3):
        assert preflight_of(strict, read_attempts=1).signer_role() is SignerRole.AGENT
        market_data_of(strict, read_attempts=1, history_bars=300).snapshot(hand.now_ms())
        venue_of(strict, read_attempts=1).account()
    hand.time_ms += 60_000


def test_29_meta_is_asked_once(control: Control, venue: HyperliquidVenue) -> None:
    """Asking for it before each order spends 20 of 1,200 for what never changes."""
    control("faults", [{"on": "info:meta", "kind": "500", "times": 50, "after": 1}])
    assert cycle(venue, {"BTC": "0.01", "ETH": "-0.1"}).alerts == ()
    report = cycle(venue, {})
    assert report.account is not None
    assert report.account.positions == ()


def test_30_a_batch_counts_each_of_its_orders(info: Info, exchange: Exchange) -> None:
    """Batching saves weight and not budget: five orders in one request are five actions."""
    before = info.user_rate_limit(ME)["nRequestsUsed"]
    exchange.bulk_orders([leg(is_buy=True, px=70_000, kind=GTC, size=0.001)] * 5)
    assert info.user_rate_limit(ME)["nRequestsUsed"] == before + 5


def test_30_a_stop_that_hardly_moved_costs_no_action(info: Info, venue: HyperliquidVenue) -> None:
    """10,000 actions were spent by moving stops every few minutes: below 10 bps nothing is sent."""
    cycle(venue, decision(target("BTC", "0.01", 76_000, 88_000)))
    used = info.user_rate_limit(ME)["nRequestsUsed"]
    assert cycle(venue, decision(target("BTC", "0.01", 76_070, 88_080))).results == ()
    assert info.user_rate_limit(ME)["nRequestsUsed"] == used
    assert len(cycle(venue, decision(target("BTC", "0.01", 76_100, 88_080))).results) == 2
    assert info.user_rate_limit(ME)["nRequestsUsed"] == used + 2, "one placed, one cancelled"


def test_31_a_burst_of_502_ends_by_name_and_changes_nothing(
    info: Info, control: Control, venue: HyperliquidVenue
) -> None:
    """It lasts ten minutes: cycles fail, the stop stands on the venue, and afterwards nothing is doubled."""
    applied = decide(venue, {"BTC": "0.01"})
    cycle(venue, applied)
    order = entry(venue)
    control("faults", [{"on": "*", "kind": "502", "times": 100}])
    for _ in range(2):
        with pytest.raises(VenueUnavailableError, match="HTTP 502"):
            venue.account()
    assert venue.place(order).status is ActionStatus.UNKNOWN
    control("faults", [])
    assert len(info.frontend_open_orders(ME)) == 2
    assert cycle(venue, BROKEN, prior=applied).results == ()
    assert venue.account().size_base("BTC") == D("0.01")


def _subscribe(socket: ClientConnection, kind: str) -> list[Any]:
    """What comes within 0.2 s of subscribing."""
    subscription = {"type": kind, "user": ME}
    socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
    frames = []
    try:
        while True:
            frames.append(json.loads(socket.recv(timeout=0.2)))
    except TimeoutError:
        return [frame for frame in frames if frame["channel"] == kind]


def test_32_an_idle_stream_is_dropped_and_does_not_say_what_was_missed(strict: Sandbox) -> None:
    """An order that ended while the stream was down is not told again: only reading finds it."""
    url = f"ws{strict.venue_url.removeprefix('http')}/ws"
    venue = venue_of(strict)
    with connect(url) as socket:
        socket.recv()
        _subscribe(socket, "orderUpdates")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=3)
    missed = venue.place(entry(venue))
    with connect(url) as socket:
        socket.recv()
        assert _subscribe(socket, "orderUpdates") == []
    assert missed.oid in {fill.oid for fill in venue.fills(CLOCK.now_ms() - 600_000)}


def test_33_the_dead_mans_switch_takes_stops_too_and_the_next_cycle_puts_them_back(
    strict: Sandbox, hand: Hand
) -> None:
    """``scheduleCancel`` was meant as a protection and removed the protection. It is not used here."""
    hand.time_ms += 60_000
    venue = venue_of(strict, clock=hand)
    applied = decide(venue, {"BTC": "0.02"})
    cycle(venue, applied)
    assert len(venue.account().protection("BTC")) == 2
    at_ms = hand.now_ms() + 20_000
    answer = venue._signer.write("the switch", lambda sdk: sdk.schedule_cancel(at_ms), must_arrive=True)
    assert answer["status"] == "ok"
    hand.time_ms += 30_000
    account = venue.account()
    assert (account.size_base("BTC") > 0, account.open_orders) == (True, ())
    report = cycle(venue, BROKEN, prior=applied)
    assert report.account is not None
    assert len(report.account.protection("BTC")) == 2


def test_34_an_action_that_arrives_late_dies_instead_of_trading_on_the_past(
    control: Control, exchange: Exchange, venue: HyperliquidVenue
) -> None:
    """Stuck for a minute in a queue, a plain order still trades; ours has an expiry on every action."""
    late = {"on": "exchange", "kind": "wrong_clock", "by_ms": 60_000}
    order, stop = entry(venue), stop_for()
    control("faults", [late | {"times": 2}])
    for action in (order, stop):
        result = venue.place(action)
        assert (result.status, result.message) == (ActionStatus.ERROR, "Action already expired")
    assert venue.account().positions == ()
    control("faults", [late])
    assert "filled" in str(exchange.market_open("BTC", is_buy=True, sz=0.01))
