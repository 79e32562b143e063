"""What the venue refuses, caps and cancels, with its own words."""

from dataclasses import replace

import pytest
from simulated_market import BTC, FREE, RULES, D, account, fills, market, protect, send, statuses, trade

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    Level,
    LeverageSetting,
    OrderRequest,
    Quote,
    Tif,
    cancel_order,
    mark_to,
    place_order,
    set_leverage,
)


@pytest.mark.parametrize(
    ("signed", "limit", "tif", "error", "status"),
    [
        ("0.1", "50000.5", Tif.IOC, "Price must be divisible by tick size.", "tickRejected"),
        ("0.1", "-1", Tif.IOC, "Order has invalid price.", "rejected"),
        ("0.1", "NaN", Tif.IOC, "Order has invalid price.", "rejected"),
        ("0.100001", "50000", Tif.IOC, "Order has invalid size.", "rejected"),
        ("0", "50000", Tif.IOC, "Order has zero size.", "rejected"),
        ("0.00019", "50000", Tif.IOC, "Order must have minimum value of $10.", "minTradeNtlRejected"),
        ("3", "50000", Tif.IOC, "Insufficient margin to place order.", "perpMarginRejected"),
        (
            "0.1",
            "49999",
            Tif.IOC,
            "Order could not immediately match against any resting orders.",
            "iocCancelRejected",
        ),
        (
            "0.1",
            "50000",
            Tif.ALO,
            "Post only order would have immediately matched, bbo was 50000@50000.",
            "badAloPxRejected",
        ),
        (
            "0.1",
            "9000",
            Tif.GTC,
            "Order price cannot be more than 80% away from the reference price",
            "rejected",
        ),
        ("400", "50000", Tif.IOC, "Order value too large. Max is $15000000.", "rejected"),
    ],
)
def test_orders_are_refused_in_the_venues_words(
    signed: str, limit: str, tif: Tif, error: str, status: str
) -> None:
    before = account()
    after, outcome = send(before, signed, 50_000, limit=limit, tif=tif)
    assert (outcome.error, outcome.status.value) == (error, status)
    assert (outcome.oid is None) == (status == "rejected")
    assert (after.positions, after.orders, after.cross_raw_usd) == ({}, {}, before.cross_raw_usd)


def test_an_order_of_exactly_ten_dollars_passes() -> None:
    assert send(account(), "0.0002", 50_000)[1].error is None


def test_a_delisted_asset_is_not_tradable() -> None:
    rules = replace(RULES, assets={"BTC": replace(BTC, is_delisted=True)})
    assert send(account(), "0.1", 50_000, rules)[1].error == "Asset BTC is not tradable."


def test_an_ioc_order_walks_the_book_and_its_rest_is_cancelled() -> None:
    """Asks 0.1 at 50,000 and 0.1 at 50,100, limit 50,100: 0.2 of 0.5 fills at an average of 50,050."""
    asks = (Level(D(50_000), D("0.1")), Level(D(50_100), D("0.1")), Level(D(50_200), D(9)))
    quote = Quote("BTC", (), asks, D(50_000), D(50_000))
    request = OrderRequest("BTC", is_buy=True, size_base=D("0.5"), limit_px=D(50_100), tif=Tif.IOC)
    state, outcome = place_order(account(), request, {"BTC": quote}, FREE, 0)
    assert (outcome.filled_base, outcome.average_px) == (D("0.2"), D(50_050))
    assert statuses(outcome.events) == ["open", "canceled"]
    assert state.size_base("BTC") == D("0.2")
    assert not state.orders


def test_a_gtc_order_rests_with_what_the_book_did_not_give() -> None:
    quotes = market(50_000, depth="0.1")
    request = OrderRequest("BTC", is_buy=True, size_base=D("0.3"), limit_px=D(50_000))
    state, outcome = place_order(account(), request, quotes, FREE, 0)
    assert (outcome.status.value, outcome.filled_base) == ("open", D("0.1"))
    assert state.orders[outcome.oid or 0].open_base == D("0.2")


def test_resting_orders_reserve_margin() -> None:
    """10,000 USD at 10x carry 2 BTC at 50,000; one rests at 49,000, so 1.5 more are too many, 1 is not."""
    state, _ = send(account(), "1", 50_000, limit=49_000, tif=Tif.GTC)
    assert send(state, "1.5", 50_000)[1].error == "Insufficient margin to place order."
    assert send(state, "1", 50_000)[1].error is None


def test_leverage_beyond_the_tier_is_refused() -> None:
    """3,200 BTC at 50,000 are 160M: 20x at most there, the account is set to 25x."""
    state = replace(account(100_000_000, 25))
    for _ in range(10):
        state = trade(state, "290", 50_000)
    assert send(state, "290", 50_000)[1].error == (
        "Order would cause position to exceed margin tier limit at current leverage"
    )


@pytest.mark.parametrize("signed", ["0.1", "-0.1"])
def test_reduce_only_without_anything_to_reduce_is_refused(signed: str) -> None:
    refusal = "Reduce only order would increase position."
    assert send(account(), signed, 50_000, reduce_only=True)[1].error == refusal
    held = trade(account(), signed, 50_000)
    assert send(held, signed, 50_000, reduce_only=True)[1].error == refusal


def test_reduce_only_is_capped_to_the_position() -> None:
    state, outcome = send(trade(account(), "0.1", 50_000), "-0.5", 50_000, reduce_only=True)
    assert (outcome.filled_base, state.positions) == (D("0.1"), {})


def test_a_second_reduce_only_order_beyond_the_position_cancels_the_older() -> None:
    state = trade(account(), "0.1", 50_000)
    state, first = send(state, "-0.08", 50_000, limit=51_000, tif=Tif.GTC, reduce_only=True)
    state, second = send(state, "-0.08", 50_000, limit=52_000, tif=Tif.GTC, reduce_only=True)
    assert list(state.orders) == [second.oid]
    assert statuses(second.events) == ["open", "reduceOnlyCanceled"]
    assert first.error is None


def test_a_close_below_ten_dollars_depends_on_the_setting() -> None:
    state = trade(account(), "0.0002", 50_000)
    assert (
        send(state, "-0.0002", 49_000, reduce_only=True)[1].error == "Order must have minimum value of $10."
    )
    lenient = replace(FREE, min_value_binds_reduce_only=False)
    assert send(state, "-0.0002", 49_000, lenient, reduce_only=True)[1].error is None


@pytest.mark.parametrize(
    ("signed", "leg", "trigger_px", "is_accepted"),
    [
        ("0.1", Leg.STOP_LOSS, 49_000, True),
        ("0.1", Leg.STOP_LOSS, 50_000, False),
        ("0.1", Leg.STOP_LOSS, 51_000, False),
        ("0.1", Leg.TAKE_PROFIT, 51_000, True),
        ("0.1", Leg.TAKE_PROFIT, 49_000, False),
        ("-0.1", Leg.STOP_LOSS, 51_000, True),
        ("-0.1", Leg.STOP_LOSS, 49_000, False),
        ("-0.1", Leg.TAKE_PROFIT, 49_000, True),
        ("-0.1", Leg.TAKE_PROFIT, 51_000, False),
    ],
)
def test_a_trigger_must_wait_on_its_side_of_the_mark(
    signed: str, leg: Leg, trigger_px: int, is_accepted: bool
) -> None:
    state, outcome = protect(trade(account(), signed, 50_000), leg, trigger_px, 50_000)
    assert outcome.is_waiting == is_accepted
    assert outcome.error == (None if is_accepted else "Invalid TP/SL price.")
    assert len(state.orders) == is_accepted


def test_a_trigger_whose_limit_could_not_fill_is_refused() -> None:
    state = trade(account(), "0.1", 50_000)
    assert protect(state, Leg.STOP_LOSS, 48_000, 50_000, limit=48_100)[1].error == "Invalid TP/SL price."


def test_a_trigger_without_a_position_is_refused() -> None:
    error = protect(account(), Leg.STOP_LOSS, 49_000, 50_000, size="0.1")[1].error
    assert error == "Reduce only order would increase position."


def test_a_stop_fires_on_the_mark_and_takes_the_take_profit_with_it() -> None:
    """Long 0.1 from 50,000; mark 48,000, bid 47,990: sold at 47,990, −201, the other leg goes."""
    state = trade(account(), "0.1", 50_000)
    state, stop = protect(state, Leg.STOP_LOSS, 48_500, 50_000)
    state, _ = protect(state, Leg.TAKE_PROFIT, 52_000, 50_000)
    book = Quote("BTC", (Level(D(47_990), D(1)),), (Level(D(48_010), D(1)),), D(48_000), D(48_000))
    state, events = mark_to(state, {"BTC": book}, FREE, 7)
    (fill,) = fills(events)
    assert (fill.px, fill.closed_pnl_usd, fill.leg, fill.oid) == (47_990, -201, Leg.STOP_LOSS, stop.oid)
    assert statuses(events) == ["triggered", "filled", "reduceOnlyCanceled"]
    assert not state.orders


def test_a_trade_price_beyond_the_stop_does_not_fire_it_while_the_mark_stays() -> None:
    state, _ = protect(trade(account(), "0.1", 50_000), Leg.STOP_LOSS, 48_500, 50_000)
    book = Quote("BTC", (Level(D(47_000), D(1)),), (Level(D(47_010), D(1)),), D(49_000), D(49_000))
    assert mark_to(state, {"BTC": book}, FREE, 7)[1] == ()


def test_a_market_stop_fills_no_further_than_ten_percent_beyond_its_trigger() -> None:
    """Trigger 48,000, limit 30,000, tolerance down to 43,200; the bid is 43,000: cancelled, still held."""
    state, _ = protect(trade(account(), "0.1", 50_000), Leg.STOP_LOSS, 48_000, 50_000, limit=30_000)
    state, events = mark_to(state, market(43_000), FREE, 7)
    assert statuses(events) == ["triggered", "iocCancelRejected"]
    assert (state.size_base("BTC"), state.orders) == (D("0.1"), {})


def test_a_stop_limit_that_gaps_rests_at_its_limit() -> None:
    """Documentation: sell stop limit 10, price gaps 11 → 9: the order rests at 10."""
    state, _ = protect(
        trade(account(), "0.1", 55_000), Leg.STOP_LOSS, 50_000, 55_000, limit=50_000, is_market=False
    )
    state, events = mark_to(state, market(45_000), FREE, 7)
    assert fills(events) == []
    (order,) = state.orders.values()
    assert (order.is_waiting, order.request.limit_px) == (False, 50_000)
    state, events = mark_to(state, market(50_100), FREE, 8)
    assert fills(events)[0].px == 50_000


def test_a_whole_position_stop_follows_the_size() -> None:
    state, _ = protect(trade(account(), "0.1", 50_000), Leg.STOP_LOSS, 48_000, 50_000, size="0")
    state = trade(state, "0.2", 50_000)
    state, events = mark_to(state, market(47_500), FREE, 7)
    assert (fills(events)[0].size_base, state.positions) == (D("0.3"), {})


def test_closing_by_hand_cancels_both_legs() -> None:
    state = trade(account(), "0.1", 50_000)
    for leg, px in ((Leg.STOP_LOSS, 48_000), (Leg.TAKE_PROFIT, 52_000)):
        state, _ = protect(state, leg, px, 50_000)
    state, outcome = send(state, "-0.1", 50_000, reduce_only=True)
    assert statuses(outcome.events)[-2:] == ["reduceOnlyCanceled"] * 2
    assert not state.orders


def test_cancel_by_oid_by_cloid_and_twice() -> None:
    cloid = "0x" + "ab" * 16
    state, outcome = send(account(), "0.1", 50_000, limit=49_000, tif=Tif.GTC, cloid=cloid)
    for key in (outcome.oid, cloid):
        gone, answer = cancel_order(state, key or 0, 1)
        assert (gone.orders, answer.ok, statuses(answer.events)) == ({}, True, ["canceled"])
    assert cancel_order(gone, cloid, 2)[1].error == "Order was never placed, already canceled, or filled."


def test_leverage_can_be_changed_within_margin_but_not_the_mode_with_a_position() -> None:
    """Long 1 at 50,000 on 10,000 USD: 5x needs 10,000 (just enough), 4x needs 12,500."""
    state = trade(account(), "1", 50_000)
    assert set_leverage(state, "BTC", LeverageSetting(5), FREE, 0)[1].ok
    assert "sufficient margin" in (set_leverage(state, "BTC", LeverageSetting(4), FREE, 0)[1].error or "")
    assert set_leverage(state, "BTC", LeverageSetting(40), FREE, 0)[1].ok
    for leverage in (0, 41):
        answer = set_leverage(state, "BTC", LeverageSetting(leverage), FREE, 0)[1]
        assert answer.error == "Invalid leverage value"
    switched = set_leverage(state, "BTC", LeverageSetting(10, is_cross=False), FREE, 0)[1]
    assert switched.error == "Cannot switch leverage type with open position."


def test_lowering_isolated_leverage_moves_the_missing_margin() -> None:
    """0.2 at 50,000, 10x: margin 1,000; at 5x 2,000 are needed: 1,000 more leave the cash."""
    state = trade(account(is_cross=False), "0.2", 50_000)
    state, answer = set_leverage(state, "BTC", LeverageSetting(5, is_cross=False), FREE, 0)
    assert answer.ok
    assert state.cross_raw_usd == 8_000
