"""Case 5: the venue's minimum of 10 USD, which is nowhere in ``meta``."""

from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control

from edge_cases.parts import (
    BROKEN,
    IOC,
    ME,
    D,
    cycle,
    decision,
    held,
    kinds,
    plan,
    snapshot,
    statuses,
    target,
)
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.core.model import Leg


def test_05_the_venue_refuses_what_is_worth_less_than_10_usd_and_meta_does_not_say_so(
    info: Info, exchange: Exchange
) -> None:
    """Engines read their minimum from meta, find none and send dust."""
    assert all("min" not in key.lower() for asset in info.meta()["universe"] for key in asset)
    (refused,) = statuses(exchange.order("BTC", True, 0.00012, 80_400, IOC))
    assert refused["error"].startswith("Order must have minimum value of $10.")


def test_05_a_remainder_below_the_minimum_goes_with_the_last_close() -> None:
    """A reduction that left 8 USD behind could never be closed on its own: the whole position goes."""
    made = plan(snapshot(held("BTC", "0.01")), decision(target("BTC", "0.0001", 76_000, 88_000)))
    (close,) = made.actions
    assert (kinds(made), close.size_base) == (["close"], D("0.01"))


def test_05_a_difference_below_the_minimum_is_skipped_with_a_reason() -> None:
    """Rounding leaves 8 USD between target and holding: an order for it is refused in every cycle."""
    made = plan(snapshot(held("BTC", "0.01")), decision(target("BTC", "0.0101", 76_000, 88_000)))
    assert kinds(made) == ["stop_loss", "take_profit"]
    assert [(s.delta_base, s.reason) for s in made.skipped] == [(D("0.0001"), "below_minimum_value")]


def test_05_a_remainder_that_takes_no_close_is_told_and_never_looped_on(
    info: Info, control: Control, venue: HyperliquidVenue
) -> None:
    """A bot looped for ever on rejected closes; here no order goes out, an alert says so, the stop stays."""
    cycle(venue, decision(target("BTC", "-0.0002", 88_000, 30_000)))
    control("price", {"coin": "BTC", "mid": 40_000, "hold_ms": 600_000})
    before = info.user_rate_limit(ME)["nRequestsUsed"]
    for outcome in (decision(), BROKEN, decision()):
        made = plan(venue.account(), outcome)
        assert made.actions == ()
        assert "A REMAINDER OF 0.0002 BTC" in made.alerts[0]
        report = cycle(venue, outcome)
        assert report.account is not None
        assert Leg.STOP_LOSS in {order.leg for order in report.account.protection("BTC")}
    assert info.user_rate_limit(ME)["nRequestsUsed"] == before


def test_05_a_remainder_of_the_other_side_does_not_block_a_flip(
    control: Control, venue: HyperliquidVenue
) -> None:
    """Its close would be refused in every cycle, and the opening behind it would never be sent."""
    cycle(venue, decision(target("BTC", "-0.0002", 88_000, 30_000)))
    control("price", {"coin": "BTC", "mid": 40_000, "hold_ms": 600_000})
    report = cycle(venue, decision(target("BTC", "0.01", 36_000, 48_000)))
    assert report.account is not None
    assert report.account.size_base("BTC") == D("0.01")
    assert {(o.leg, o.size_base) for o in report.account.protection("BTC")} == {
        (Leg.STOP_LOSS, D("0.01")),
        (Leg.TAKE_PROFIT, D("0.01")),
    }
