"""Cases 13-16: client order ids, and what the venue does not say about them."""

import re

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError
from hyperliquid.utils.types import Cloid
from sandbox_control import Control

from edge_cases.parts import (
    GTC,
    IOC,
    ME,
    RULES,
    D,
    cycle,
    decide,
    decision,
    entry,
    execute,
    plan,
    statuses,
    stop_for,
    target,
)
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.core.client_order_id import cloid
from wonttrade_dagster.core.model import ActionStatus, CancelOrder, Leg, PlaceOrder


def test_13_an_id_that_is_not_hex_is_refused_by_the_venue_and_never_made_here(exchange: Exchange) -> None:
    """The SDK checks only the length and lets 32 letters z through."""
    bad = Cloid.from_str("0x" + "zz" * 16)
    with pytest.raises(ClientError) as caught:
        exchange.order("BTC", True, 0.01, 80_400, IOC, cloid=bad)
    assert caught.value.status_code == 422
    assert re.fullmatch(r"0x[0-9a-f]{32}", cloid(RULES.cloid_tag, 1, "kPEPE", "stop_loss", 3))
    with pytest.raises(ValueError, match="8 lower-case hex digits"):
        cloid("zzzzzzzz", 1, "BTC", "open", 0)


def test_14_a_plan_that_is_carried_out_twice_sends_nothing_twice(info: Info, venue: HyperliquidVenue) -> None:
    """Nobody knows what a duplicate id does: the venue is asked for the id before anything is sent again."""
    made = plan(venue.account(), decide(venue, {"BTC": "0.01"}))
    execute(venue, made)
    used = info.user_rate_limit(ME)["nRequestsUsed"]
    again = execute(venue, made)
    assert info.user_rate_limit(ME)["nRequestsUsed"] == used
    assert again.account is not None
    assert again.account.size_base("BTC") == D("0.01")
    assert len(again.account.open_orders) == 2
    assert "sent before in this cycle" in again.results[0].message


def test_14_an_order_whose_answer_was_lost_is_found_by_its_id(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Sending it again would double the position: it is looked up, once sent and once filled."""
    control("faults", [{"on": "exchange:order", "kind": "answer_lost"}])
    result = venue.place(entry(venue))
    assert (result.status, result.filled_base) == (ActionStatus.FILLED, D("0.01"))
    assert venue.account().size_base("BTC") == D("0.01")


def test_15_modify_mints_a_new_oid_under_the_same_id(info: Info, exchange: Exchange) -> None:
    """Whoever goes on with the old oid cancels nothing and believes that he has."""
    made = Cloid.from_int(15)
    old = statuses(exchange.order("BTC", True, 0.01, 70_000, GTC, cloid=made))[0]["resting"]["oid"]
    exchange.modify_order(old, "BTC", True, 0.01, 71_000, GTC, cloid=made)
    (shown,) = info.open_orders(ME)
    assert (shown["oid"] != old, shown["cloid"]) == (True, made.to_raw())
    assert "already canceled" in statuses(exchange.cancel("BTC", old))[0]["error"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_15_a_moved_stop_is_placed_before_the_old_one_goes(
    control: Control, venue: HyperliquidVenue, is_refused: bool
) -> None:
    """Cancel-and-replace leaves a naked moment, or for ever when the new one is refused: never used here."""
    cycle(venue, decision(target("BTC", "0.01", 76_000, 88_000)))
    if is_refused:
        control("faults", [{"on": "exchange:order", "kind": "trigger_rejected"}])
    report = cycle(venue, decision(target("BTC", "0.01", 77_000, 88_000)))
    place, cancel = report.results
    assert isinstance(place.action, PlaceOrder)
    assert isinstance(cancel.action, CancelOrder)
    assert cancel.action.after_cloid == place.action.cloid
    assert report.account is not None
    stops = [order.trigger_px for order in report.account.protection("BTC") if order.leg is Leg.STOP_LOSS]
    assert stops == [76_000 if is_refused else 77_000]


def test_16_unknown_oid_is_not_proof_that_an_order_is_gone(
    info: Info, control: Control, venue: HyperliquidVenue
) -> None:
    """``orderStatus`` denies an order that ``openOrders`` lists: a cancel looked up there is not "done"."""
    venue.place(entry(venue))
    stop = stop_for()
    oid = venue.place(stop).oid
    assert oid is not None
    control(
        "faults",
        [
            {"on": "exchange:cancel", "kind": "reset"},
            {"on": "info:orderStatus", "kind": "reply", "body": {"status": "unknownOid"}},
        ],
    )
    assert venue.cancel(CancelOrder("BTC", oid, stop.cloid, "test")).status is ActionStatus.UNKNOWN
    assert [row["oid"] for row in info.open_orders(ME)] == [oid]


def test_16_a_filled_entry_that_order_status_denies_is_protected_all_the_same(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Answer lost, look-up "unknownOid": the account is read back, and what it holds gets its stop."""
    denial = {"on": "info:orderStatus", "kind": "reply", "body": {"status": "unknownOid"}, "times": 7}
    control("faults", [{"on": "exchange:order", "kind": "answer_lost"}, denial])
    report = cycle(venue, {"BTC": "0.01"})
    assert report.results[0].status is ActionStatus.UNKNOWN
    assert report.account is not None
    assert report.account.size_base("BTC") == D("0.01")
    assert {order.size_base for order in report.account.protection("BTC")} == {D("0.01")}
