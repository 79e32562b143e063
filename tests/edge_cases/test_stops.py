"""Cases 6-12: stops and take-profits."""

from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control

from edge_cases.parts import (
    BROKEN,
    IOC,
    ME,
    D,
    cycle,
    decide,
    decision,
    entry,
    leg,
    plan,
    snapshot,
    statuses,
    stop_for,
    target,
    trigger,
)
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.answers import normalise, parse_order_status
from wonttrade_dagster.core.model import ActionStatus, CancelOrder, Leg
from wonttrade_dagster.core.precision import trigger_limit_px
from wonttrade_dagster.sandbox.server import Sandbox


def test_06_a_trade_below_the_stop_does_not_fire_it_while_the_mark_stays(
    sandbox: Sandbox, info: Info, exchange: Exchange, control: Control
) -> None:
    """A stop that is expected at the last trade comes late or early: the mark alone decides."""
    other = Account.create()
    control("fund", {"user": other.address, "usdc": 5_000_000})
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    exchange.order("BTC", False, 0.05, 70_200, trigger(79_995), reduce_only=True)
    Exchange(other, sandbox.venue_url, timeout=5).order("BTC", False, 40, 79_000, IOC)
    assert min(float(fill["px"]) for fill in info.user_fills(other.address)) < 79_995
    assert [row["orderType"] for row in info.frontend_open_orders(ME)] == ["Stop Market"]
    control("price", {"coin": "BTC", "mid": 79_990, "hold_ms": 600_000})
    assert info.frontend_open_orders(ME) == []


def test_06_a_stop_jumped_by_more_than_ten_percent_does_not_fill_and_the_next_cycle_closes(
    info: Info, control: Control, venue: HyperliquidVenue
) -> None:
    """A market trigger tolerates 10 %: beyond, the stop is gone, the position is not. Here it is closed."""
    applied = decide(venue, {"BTC": "0.01"})
    cycle(venue, applied)
    control("price", {"coin": "BTC", "mid": 60_000, "hold_ms": 600_000})
    account = venue.account()
    assert account.size_base("BTC") == D("0.01")
    assert Leg.STOP_LOSS not in {order.leg for order in account.open_orders}
    report = cycle(venue, BROKEN, prior=applied)
    assert report.account is not None
    assert (report.account.positions, report.account.open_orders) == ((), ())


def test_07_the_limit_of_a_market_trigger_lies_beyond_its_trigger(
    exchange: Exchange, venue: HyperliquidVenue
) -> None:
    """A limit taken from the quote is refused ("Invalid TP/SL price"); taken from the trigger it stands."""
    venue.place(entry(venue))
    (refused,) = statuses(exchange.order("BTC", False, 0.01, 79_000, trigger(76_000), reduce_only=True))
    assert refused["error"].startswith("Invalid TP/SL price")
    for px in (D(76_000), D("0.5"), D(123_457)):
        assert trigger_limit_px(px, 5, is_buy=False) <= px <= trigger_limit_px(px, 5, is_buy=True)
    assert venue.place(stop_for()).status is ActionStatus.RESTING
    assert venue.place(stop_for(px=88_000, leg=Leg.TAKE_PROFIT)).status is ActionStatus.RESTING


def test_08_a_take_profit_on_the_wrong_side_is_refused_before_anything_is_sent() -> None:
    """It would fire at once and close what was just opened: the whole decision is refused."""
    for size, stop, profit in (("0.01", 76_000, 79_999), ("-0.01", 84_000, 80_001)):
        made = plan(snapshot(), decision(target("BTC", size, stop, profit)))
        assert made.refusal is not None
        assert (made.actions, made.refusal.reason) == ((), "price_moved_past_take_profit")


def test_09_a_grouped_answer_of_bare_strings_is_an_accepted_bracket(info: Info, exchange: Exchange) -> None:
    """``waitingForTrigger`` and ``waitingForFill`` were read as rejections and left positions orphaned."""
    bracket = [leg(is_buy=False, px=px, kind=kind) for px, kind in (
        (70_200, trigger(78_000)), (75_600, trigger(84_000, "tp")),
    )]  # fmt: skip
    filled = exchange.bulk_orders([leg(is_buy=True, px=82_000, kind=IOC), *bracket], grouping="normalTpsl")
    assert statuses(filled)[1:] == ["waitingForTrigger"] * 2
    read = [item.status for item in normalise(filled, 3)]
    assert read == [ActionStatus.FILLED, ActionStatus.WAITING, ActionStatus.WAITING]
    assert len(info.frontend_open_orders(ME)) == 2
    parent = leg(is_buy=True, px=79_000, kind={"limit": {"tif": "Gtc"}})
    resting = exchange.bulk_orders([parent, *bracket], grouping="normalTpsl")
    assert statuses(resting)[1:] == ["waitingForFill"] * 2
    read = [item.status for item in normalise(resting, 3)]
    assert read == [ActionStatus.RESTING, ActionStatus.WAITING, ActionStatus.WAITING]


def test_10_orders_that_the_answer_does_not_mention_are_unknown_and_looked_up(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Fewer statuses than orders: reading them by position crashed, or took an order for rejected."""
    one = {"filled": {"totalSz": "0.01", "avgPx": "80001.0", "oid": 7}}
    answer = {"status": "ok", "response": {"type": "order", "data": {"statuses": [one]}}}
    read = [item.status for item in normalise(answer, 3)]
    assert read == [ActionStatus.FILLED, ActionStatus.UNKNOWN, ActionStatus.UNKNOWN]
    answer["response"]["data"]["statuses"] = []
    control("faults", [{"on": "exchange:order", "kind": "reply", "body": answer}])
    result = venue.place(entry(venue))
    assert result.status is ActionStatus.UNKNOWN
    assert "looking it up found nothing, which proves nothing" in result.message


def test_11_a_trigger_of_size_zero_follows_the_position(
    info: Info, exchange: Exchange, control: Control, venue: HyperliquidVenue
) -> None:
    """``positionTpsl`` with size 0 closes what is held when it fires, and is read as covering all of it."""
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    whole = leg(is_buy=False, px=70_200, kind=trigger(78_000), size=0)
    assert statuses(exchange.bulk_orders([whole], grouping="positionTpsl")) == ["waitingForTrigger"]
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    assert [order.is_whole_position for order in venue.account().open_orders] == [True]
    control("price", {"coin": "BTC", "mid": 77_500, "hold_ms": 600_000})
    assert info.user_state(ME)["assetPositions"] == []


def test_11_a_trigger_with_a_size_is_replaced_when_the_position_grows(
    exchange: Exchange, venue: HyperliquidVenue
) -> None:
    """It does not resize itself: half of a doubled position would stand without a stop."""
    wanted = decide(venue, {"BTC": "0.02"})
    cycle(venue, decide(venue, {"BTC": "0.01"}))
    exchange.market_open("BTC", is_buy=True, sz=0.01)
    assert {order.size_base for order in venue.account().protection("BTC")} == {D("0.01")}
    report = cycle(venue, wanted)
    assert report.account is not None
    assert [order.size_base for order in report.account.protection("BTC")] == [D("0.02")] * 2


def test_12_a_closed_trigger_order_without_its_trigger_fields_is_still_read(
    info: Info, venue: HyperliquidVenue
) -> None:
    """``orderStatus`` of a cancelled stop says isTrigger false and triggerPx 0; it is still that order."""
    venue.place(entry(venue))
    stop = stop_for()
    oid = venue.place(stop).oid
    assert oid is not None
    assert info.query_order_by_oid(ME, oid)["order"]["order"]["triggerPx"] == "76000.0"
    venue.cancel(CancelOrder("BTC", oid, stop.cloid, "test"))
    answer = info.query_order_by_oid(ME, oid)
    closed = answer["order"]["order"]
    assert (closed["isTrigger"], closed["triggerPx"], closed["triggerCondition"]) == (False, "0.0", "N/A")
    read, found = parse_order_status(answer), venue.find(stop.cloid)
    assert read is not None
    assert found is not None
    assert (read.status, read.oid, found.status) == (ActionStatus.ERROR, oid, ActionStatus.ERROR)
    assert "ancel" in found.message
