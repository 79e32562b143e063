"""Cases 17-22: what an answer says, and what it does not prove."""

from typing import Any

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control

from edge_cases.parts import IOC, ME, D, cycle, decide, entry, leg, statuses
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.answers import classify, normalise
from wonttrade_dagster.core.model import ActionStatus, OrderPurpose
from wonttrade_dagster.core.precision import marketable_px
from wonttrade_dagster.settings.tables import ExecutionTable


def test_17_an_answer_of_status_ok_is_read_item_by_item(exchange: Exchange) -> None:
    """One error in a batch made clients raise and hide the fill beside it."""
    batch = [leg(is_buy=True, px=80_400, kind=IOC), leg(is_buy=True, px=80_400, kind=IOC, size=50)]
    answer = exchange.bulk_orders(batch)
    assert (answer["status"], len(statuses(answer))) == ("ok", 2)
    filled, refused = normalise(answer, 2)
    assert (filled.status, filled.filled_base) == (ActionStatus.FILLED, D("0.05"))
    assert (refused.status, "Insufficient margin" in refused.message) == (ActionStatus.ERROR, True)


@pytest.mark.parametrize(
    ("status", "filled", "expected"),
    [
        ("somethingNewRejected", "0", ActionStatus.ERROR),
        ("somethingNewCanceled", "0", ActionStatus.ERROR),
        ("somethingNewCanceled", "0.004", ActionStatus.FILLED),
        ("outbid", "0", ActionStatus.UNKNOWN),
    ],
)
def test_18_an_order_status_that_nobody_knows_yet_is_told_by_its_ending(
    control: Control, venue: HyperliquidVenue, status: str, filled: str, expected: ActionStatus
) -> None:
    """More than 31 statuses exist: a fixed table crashes on the 32nd. The venue's word is kept."""
    assert classify(status, D(filled)) is expected
    order = {"coin": "BTC", "oid": 5, "sz": str(D("0.01") - D(filled)), "origSz": "0.01"}
    body = {"status": "order", "order": {"order": order, "status": status}}
    control("faults", [{"on": "info:orderStatus", "kind": "reply", "body": body}])
    found = venue.find("0x" + "0a" * 16)
    assert found is not None
    assert (found.status, found.message, found.filled_base) == (expected, status, D(filled))


def test_19_the_price_may_move_within_the_allowance_and_the_order_still_fills(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Market orders are IOC limits: too little room and a fifth of them fail in a volatile minute."""
    assert 50 <= ExecutionTable().slippage_bps <= 500, "what other engines use"
    assert marketable_px(D(80_000), 5, is_buy=True, slippage_bps=D(50)) == 80_400
    order, tight = entry(venue), entry(venue)
    control("price", {"coin": "BTC", "mid": 80_390, "hold_ms": 600_000})
    assert venue.place(order).status is ActionStatus.FILLED
    control("price", {"coin": "BTC", "mid": 80_410, "hold_ms": 600_000})
    late = venue.place(tight)
    assert (late.status, "could not immediately match" in late.message) == (ActionStatus.ERROR, True)


def test_19_a_partial_fill_is_normal_and_protected_as_far_as_it_went(
    control: Control, venue: HyperliquidVenue
) -> None:
    """A stop for the whole order over half a position is refused, or opens the other side."""
    control("faults", [{"on": "exchange:order", "kind": "partial_ioc", "fraction": 0.5}])
    report = cycle(venue, {"BTC": "0.02"})
    assert (report.results[0].status, report.results[0].filled_base) == (ActionStatus.FILLED, D("0.01"))
    assert report.account is not None
    assert [order.size_base for order in report.account.protection("BTC")] == [D("0.01")] * 2


def test_20_fill_directions_that_nobody_knows_are_kept(control: Control, venue: HyperliquidVenue) -> None:
    """Flips, liquidations and settlements broke parsers that knew four directions."""
    words = [
        "Long > Short",
        "Short > Long",
        "Auto-Deleveraging",
        "Settlement",
        "Liquidated Long",
        "New!",
    ]

    def fill(at: int, word: str) -> dict[str, Any]:
        row = {"coin": "BTC", "px": "80000.0", "sz": "0.01", "side": "A", "time": at, "dir": word}
        return row | {"fee": "0.1", "closedPnl": "0.0", "oid": at, "tid": at}

    body = [fill(at, word) for at, word in enumerate(words, 1)]
    control("faults", [{"on": "info:userFillsByTime", "kind": "reply", "body": body}])
    fills = venue.fills(0)
    assert [made.direction for made in fills] == words
    assert {made.size_base for made in fills} == {D("-0.01")}, "signed by side, whatever the direction says"


def test_21_an_answer_of_filled_is_checked_against_the_account(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Phantom positions were booked from answers: what is reported here is what was read back."""
    phantom = {"filled": {"totalSz": "0.01", "avgPx": "80001.0", "oid": 7}}
    body = {"status": "ok", "response": {"type": "order", "data": {"statuses": [phantom]}}}
    control("faults", [{"on": "exchange:order", "kind": "reply", "body": body}])
    report = cycle(venue, {"BTC": "0.01"})
    assert report.results[0].status is ActionStatus.FILLED
    assert report.account is not None
    assert (report.account.positions, report.account.open_orders, report.fills) == ((), (), ())


def test_22_a_flip_in_one_order_fails_as_a_whole(info: Info, exchange: Exchange) -> None:
    """The side that cannot be paid for keeps the other side open too."""
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    (refused,) = statuses(exchange.order("BTC", False, 50, 79_000, IOC))
    assert "Insufficient margin" in refused["error"]
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.05"


@pytest.mark.parametrize("is_refused", [False, True])
def test_22_a_flip_closes_reduce_only_and_opens_after_the_account_was_seen_flat(
    control: Control, venue: HyperliquidVenue, is_refused: bool
) -> None:
    """An opening that is refused leaves the account flat, never on the old side."""
    cycle(venue, {"BTC": "0.01"})
    if is_refused:
        control("faults", [{"on": "exchange:order", "kind": "order_rejected", "after": 1}])
    report = cycle(venue, decide(venue, {"BTC": "-0.02"}))
    trades = [r.action for r in report.results if getattr(r.action, "leg", 0) is None]
    purposes = [(order.purpose, order.reduce_only) for order in trades]
    assert purposes == [(OrderPurpose.CLOSE, True), (OrderPurpose.OPEN, False)]
    assert report.account is not None
    assert report.account.size_base("BTC") == (0 if is_refused else D("-0.02"))
    assert len(report.account.open_orders) == (0 if is_refused else 2)
