"""The adapter when the loopback venue answers late, wrongly, in part or not at all."""

from decimal import Decimal

import pytest
from venue_samples import CLOCK, LIMITS, RULES, SYMBOLS, carry_out, decide, entry, fault, make_venue, stop_for

from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import ActionStatus, CancelOrder, Leg, Refusal
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.sandbox.server import Sandbox


@pytest.mark.parametrize("kind", ["reset", "429", "500", "html200"])
def test_a_passing_fault_of_a_read_is_not_noticed(
    sandbox: Sandbox, venue: HyperliquidVenue, kind: str
) -> None:
    fault(sandbox, "info:clearinghouseState", kind)
    assert venue.account().account_value_usd > 0


@pytest.mark.parametrize(("kind", "options"), [("hang", {"duration_ms": 1_500}), ("trickle", {})])
def test_a_venue_that_hangs_or_drips_is_given_up_on_in_time(
    sandbox: Sandbox, kind: str, options: dict[str, int]
) -> None:
    fault(sandbox, "info:clearinghouseState", kind, times=3, **options)
    hasty = make_venue(sandbox, timeout=0.3)
    before_ms = CLOCK.now_ms()
    with pytest.raises(VenueUnavailableError):
        hasty.account()
    assert CLOCK.now_ms() - before_ms < 5_000


@pytest.mark.parametrize("lost", ["entry", "stop"])
def test_an_order_whose_answer_was_lost_is_found_by_its_id_and_not_sent_twice(
    sandbox: Sandbox, venue: HyperliquidVenue, lost: str
) -> None:
    if lost == "stop":
        venue.place(entry(venue))
    fault(sandbox, "exchange:order", "answer_lost")
    order = entry(venue) if lost == "entry" else stop_for(venue)
    result = venue.place(order)
    assert "found by client order id" in result.message
    assert result.status is (ActionStatus.FILLED if lost == "entry" else ActionStatus.RESTING)
    account = venue.account()
    assert account.size_base("BTC") == Decimal("0.01")
    assert len(account.open_orders) == (lost == "stop")


def test_a_cancel_whose_answer_was_lost_is_looked_up(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    venue.place(entry(venue))
    stop = venue.place(stop_for(venue))
    assert stop.oid is not None
    fault(sandbox, "exchange:cancel", "answer_lost")
    result = venue.cancel(CancelOrder("BTC", stop.oid, None, "test"))
    assert (result.status, "answer lost" in result.message) == (ActionStatus.DONE, True)


@pytest.mark.parametrize("kind", ["reset", "html200", "500"])
def test_an_order_that_never_arrived_is_unknown_and_nothing_is_held(
    sandbox: Sandbox, venue: HyperliquidVenue, kind: str
) -> None:
    fault(sandbox, "exchange:order", kind)
    assert venue.place(entry(venue)).status is ActionStatus.UNKNOWN
    assert venue.account().positions == ()


def test_a_partial_fill_is_protected_with_what_was_filled(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    fault(sandbox, "exchange:order", "partial_ioc")
    report = carry_out(venue, {"BTC": "0.02"})
    assert report.account is not None
    held = report.account.size_base("BTC")
    assert 0 < held < Decimal("0.02")
    assert {order.size_base for order in report.account.protection("BTC")} == {held}


def test_a_stop_that_is_rejected_once_stands_within_the_same_cycle(
    sandbox: Sandbox, venue: HyperliquidVenue
) -> None:
    fault(sandbox, "exchange:order", "trigger_rejected")
    report = carry_out(venue, {"BTC": "0.01"})
    assert report.alerts == ()
    (stop,) = [r for r in report.results if getattr(r.action, "leg", None) is Leg.STOP_LOSS]
    assert (stop.status, "rejected at first" in stop.message) == (ActionStatus.RESTING, True)
    assert report.account is not None
    assert len(report.account.protection("BTC")) == 2
    ((symbol, seconds),) = report.unprotected_seconds
    assert symbol == "BTC"
    assert 0 < seconds < 5


def test_a_rejected_stop_is_an_alert_and_the_next_cycle_puts_it_there(
    sandbox: Sandbox, venue: HyperliquidVenue
) -> None:
    fault(sandbox, "exchange:order", "trigger_rejected", times=2)
    applied = decide(venue, {"BTC": "0.01"})
    report = carry_out(venue, {"BTC": "0.01"})
    assert any("STANDS WITHOUT A CONFIRMED STOP-LOSS" in alert for alert in report.alerts)
    mended = carry_out(venue, Refusal("invalid_json", "prose"), prior=applied)
    assert mended.account is not None
    assert len(mended.account.protection("BTC")) == 2


@pytest.mark.parametrize("on", ["info:orderStatus", "info:frontendOpenOrders", "info:clearinghouseState"])
def test_an_execution_never_raises_when_the_venue_cannot_be_read(
    sandbox: Sandbox, venue: HyperliquidVenue, on: str
) -> None:
    account = venue.account()
    assets = venue._connection.assets()
    cycle_ms = CLOCK.now_ms()
    plan = PositionReconciler(assets, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=cycle_ms,
        outcome=decide(venue, {"BTC": "0.01"}),
        account=account,
        reference_px=dict(account.marks),
        prior=None,
        now_ms=cycle_ms,
    )
    fault(sandbox, on, "reset", times=50)
    service = ExecutionService(make_venue(sandbox), MemoryAudit(), CLOCK, RULES, assets)
    report = service.execute(plan)
    assert len(report.results) == 3
    assert report.account is None or on == "info:orderStatus"
