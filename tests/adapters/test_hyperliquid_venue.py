"""The adapter against the loopback venue: what the official SDK sends, a venue answers."""

from decimal import Decimal

from venue_samples import CLOCK, carry_out, decide, entry, set_price, stop_for

from wonttrade_dagster.adapters.hyperliquid import HyperliquidPreflight, HyperliquidVenue, SignerRole
from wonttrade_dagster.core.model import ActionStatus, CancelOrder, Leg, Refusal, SetLeverage
from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_ADDRESS,
    SANDBOX_AGENT_PRIVATE_KEY,
)
from wonttrade_dagster.sandbox.server import Sandbox


def test_an_entry_is_filled_protected_and_seen_standing(venue: HyperliquidVenue) -> None:
    report = carry_out(venue, {"BTC": "0.01", "ETH": "-0.2"})
    assert {result.status for result in report.results} == {ActionStatus.FILLED, ActionStatus.RESTING}
    assert report.alerts == ()
    assert report.account is not None
    for symbol, size in (("BTC", Decimal("0.01")), ("ETH", Decimal("-0.2"))):
        assert report.account.size_base(symbol) == size
        standing = report.account.protection(symbol)
        assert {order.leg for order in standing} == set(Leg)
        assert all(o.size_base == abs(size) and o.reduce_only and o.is_buy == (size < 0) for o in standing)
    assert sum(fill.size_base for fill in report.fills if fill.symbol == "ETH") == Decimal("-0.2")


def test_the_same_decision_again_needs_nothing_and_a_flip_ends_on_the_other_side(
    venue: HyperliquidVenue,
) -> None:
    carry_out(venue, {"BTC": "0.01"})
    assert carry_out(venue, {"BTC": "0.01"}).results == ()
    report = carry_out(venue, {"BTC": "-0.02"})
    assert report.account is not None
    assert report.account.size_base("BTC") == Decimal("-0.02")
    assert all(order.is_buy for order in report.account.open_orders)
    assert len(report.account.open_orders) == 2


def test_a_close_leaves_nothing_behind(venue: HyperliquidVenue) -> None:
    carry_out(venue, {"BTC": "0.01", "ETH": "0.2"})
    report = carry_out(venue, {})
    assert report.account is not None
    assert (report.account.positions, report.account.open_orders) == ((), ())


def test_missing_protection_is_put_back_on_a_refusal(venue: HyperliquidVenue) -> None:
    applied = decide(venue, {"BTC": "0.01"})
    carry_out(venue, {"BTC": "0.01"})
    for order in venue.account().open_orders:
        venue.cancel(CancelOrder(order.symbol, order.oid, order.cloid, "by hand"))
    report = carry_out(venue, Refusal("invalid_json", "prose"), prior=applied)
    assert report.account is not None
    assert len(report.account.protection("BTC")) == 2


def test_a_stop_that_fires_leaves_the_account_flat(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    carry_out(venue, {"ETH": "0.2"})
    mark = dict(venue.account().marks)["ETH"]
    set_price(sandbox, "ETH", (mark * Decimal("0.9")).quantize(Decimal(1)))
    assert venue.account().size_base("ETH") == 0
    directions = [fill.direction for fill in venue.fills(CLOCK.now_ms() - 60_000)]
    assert directions[-1] == "Close Long"


def test_leverage_is_set_and_seen_on_the_position(venue: HyperliquidVenue) -> None:
    assert venue.set_leverage(SetLeverage("BTC", 7, True, "test")).status is ActionStatus.DONE
    carry_out(venue, {"BTC": "0.01"})
    held = venue.account().position("BTC")
    assert held is not None
    assert (held.leverage, held.is_cross) == (7, True)


def test_an_impossible_leverage_is_an_error_with_the_venues_words(venue: HyperliquidVenue) -> None:
    result = venue.set_leverage(SetLeverage("BTC", 1000, True, "test"))
    assert result.status is ActionStatus.ERROR
    assert "leverage" in result.message.lower()


def test_an_order_that_is_too_large_is_an_error_and_not_an_exception(venue: HyperliquidVenue) -> None:
    result = venue.place(entry(venue, "40"))
    assert result.status is ActionStatus.ERROR
    assert result.message


def test_what_the_venue_knows_of_an_id(venue: HyperliquidVenue) -> None:
    order = entry(venue)
    assert venue.find(order.cloid) is None
    venue.place(order)
    found = venue.find(order.cloid)
    assert found is not None
    assert (found.status, found.filled_base) == (ActionStatus.FILLED, Decimal("0.01"))
    stop = stop_for(venue)
    venue.place(stop)
    standing = venue.find(stop.cloid)
    assert standing is not None
    assert standing.status is ActionStatus.RESTING


def test_a_cancel_of_what_is_gone_is_done(venue: HyperliquidVenue) -> None:
    venue.place(entry(venue))
    stop = venue.place(stop_for(venue))
    assert stop.oid is not None
    cancel = CancelOrder("BTC", stop.oid, None, "test")
    assert venue.cancel(cancel).status is ActionStatus.DONE
    again = venue.cancel(cancel)
    assert (again.status, "already canceled" in again.message) == (ActionStatus.DONE, True)


def test_the_preflight_reads_role_clock_and_equity(sandbox: Sandbox) -> None:
    preflight = HyperliquidPreflight(
        base_url=sandbox.venue_url,
        account_address=SANDBOX_ACCOUNT_ADDRESS,
        agent_private_key=SANDBOX_AGENT_PRIVATE_KEY,
        timeout_seconds=5,
        read_attempts=2,
        clock=CLOCK,
    )
    assert preflight.signer_address.lower() == SANDBOX_AGENT_ADDRESS
    assert preflight.signer_role() is SignerRole.AGENT
    assert preflight.account_role(SANDBOX_AGENT_ADDRESS) == "agent"
    assert preflight.account_role(SANDBOX_ACCOUNT_ADDRESS) == "user"
    assert abs(preflight.clock_skew_ms()) < 5_000
    assert preflight.account_value_usd() > 0
