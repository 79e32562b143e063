"""A plan carried out: entry, protection, resize, flip and close in their order, each in the journal first."""

from dataclasses import replace
from decimal import Decimal

import pytest
from execution_samples import BIGGER, LONG, NO, SHORT, next_cycle, opened, run, statuses
from paper_venue import CYCLE_MS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.model import OrderPurpose, PlaceOrder


def test_an_entry_is_protected_confirmed_and_read_back() -> None:
    venue = PaperVenue()
    report = run(venue, LONG)
    assert statuses(report) == ["filled", "resting", "resting"]
    assert report.account is not None
    assert report.account.size_base("BTC") == Decimal("0.1")
    assert len(report.account.protection("BTC")) == 2
    assert [fill.size_base for fill in report.fills] == [Decimal("0.1")]
    assert report.unprotected_seconds == (("BTC", 0.2),)
    assert report.alerts == ()


def test_every_order_is_in_the_journal_before_it_is_sent() -> None:
    venue, journal = PaperVenue(), Journal()
    run(venue, LONG, journal=journal)
    assert [(o.purpose.value, o.symbol) for o in journal.intents] == venue.log


def test_a_broken_journal_stops_the_entry() -> None:
    venue, journal = PaperVenue(), Journal()
    journal.is_broken = True
    report = run(venue, LONG, journal=journal)
    assert statuses(report) == ["error", "skipped", "skipped"]
    assert venue.log == []


def test_a_broken_journal_does_not_stop_protection_or_a_close() -> None:
    venue, journal = opened(), Journal()
    venue.orders.clear()
    journal.is_broken = True
    report = next_cycle(venue, NO, prior=LONG, journal=journal)
    assert statuses(report) == ["resting", "resting"]
    assert "THE JOURNAL DID NOT TAKE" in report.alerts[0]


def test_a_partial_fill_is_protected_with_what_was_filled() -> None:
    venue = PaperVenue()
    venue.fill_fraction = Decimal("0.4")
    report = run(venue, LONG)
    assert [order.size_base for order in venue.orders] == [Decimal("0.04")] * 2
    assert statuses(report) == ["filled", "resting", "resting"]


def test_an_entry_that_did_not_fill_gets_no_protection() -> None:
    venue = PaperVenue()
    venue.reject = {"open"}
    report = run(venue, LONG)
    assert statuses(report) == ["error", "skipped", "skipped"]
    assert (report.unprotected_seconds, report.fills) == ((), ())


def test_an_increase_that_did_not_fill_leaves_the_standing_protection_alone() -> None:
    venue = opened()
    before = list(venue.orders)
    venue.reject = {"increase"}
    report = next_cycle(venue, BIGGER)
    assert statuses(report) == ["error", "skipped", "skipped", "skipped", "skipped"]
    assert venue.orders == before


def test_an_increase_resizes_protection_new_one_first() -> None:
    venue = opened()
    report = next_cycle(venue, BIGGER)
    assert [word for word, _ in venue.log] == ["increase", "stop_loss", "cancel", "take_profit", "cancel"]
    assert [order.size_base for order in venue.orders] == [Decimal("0.2")] * 2
    assert report.account is not None
    assert list(report.account.open_orders) == venue.orders


def test_a_rejected_stop_is_an_alert_in_capitals_and_counts_as_unprotected() -> None:
    venue = PaperVenue()
    venue.reject = {"stop_loss"}
    report = run(venue, LONG)
    assert statuses(report) == ["filled", "error", "resting"]
    assert report.alerts[0].startswith("THE STOP-LOSS FOR 0.1 BTC DOES NOT STAND: Invalid TP/SL price.")
    assert report.alerts[1] == "0.1 BTC STANDS WITHOUT A CONFIRMED STOP-LOSS"
    assert report.unprotected_seconds[0][1] > 0


def test_an_old_stop_stays_when_the_new_one_is_rejected() -> None:
    venue = opened()
    old = next(order for order in venue.orders if order.leg == "stop_loss")
    venue.reject = {"stop_loss"}
    report = next_cycle(venue, decision(target("BTC", "0.1", "78000", "90000")))
    assert statuses(report) == ["error", "skipped"]
    assert old in venue.orders


def test_a_stop_that_was_crossed_before_it_could_rest_becomes_the_close() -> None:
    venue = PaperVenue()
    plan_px = venue.marks["BTC"]
    assert plan_px > 76_000
    venue.marks["BTC"] = Decimal(75_000)
    report = run(venue, LONG)
    assert [word for word, _ in venue.log] == ["open", "stop_loss", "close"]
    assert report.account is not None
    assert report.account.position("BTC") is None
    assert statuses(report) == ["filled", "error", "filled", "skipped"]


def test_a_crossed_stop_is_only_an_alert_where_so_configured() -> None:
    venue = PaperVenue()
    venue.marks["BTC"] = Decimal(75_000)
    run(venue, LONG, rules=replace(RULES, crossed_stop="alert"))
    assert [word for word, _ in venue.log] == ["open", "stop_loss", "take_profit"]


def test_a_flip_opens_after_the_account_was_seen_flat() -> None:
    venue = opened()
    report = next_cycle(venue, SHORT)
    words = [word for word, _ in venue.log]
    assert words == ["close", "cancel", "cancel", "open", "stop_loss", "take_profit"]
    assert set(statuses(report)) == {"filled", "done", "resting"}


def test_a_flip_does_not_open_while_a_remainder_is_left() -> None:
    venue = opened()
    venue.fill_fraction = Decimal("0.5")
    report = next_cycle(venue, SHORT)
    assert [word for word, _ in venue.log] == ["close"]
    assert statuses(report)[1:] == ["skipped"] * 5
    assert len(venue.orders) == 2, "the old protection stays until the position is gone"


def test_an_entry_does_not_go_out_at_the_wrong_leverage() -> None:
    venue = PaperVenue()
    venue.reject = {"leverage"}
    report = run(venue, decision(target("BTC", "0.1", "76000", "90000", margin="4000")))
    assert statuses(report) == ["error", "skipped", "skipped", "skipped"]
    assert venue.log == [("leverage", "BTC")]


def test_an_empty_plan_asks_the_venue_nothing() -> None:
    venue = opened()
    venue.reads = 0
    report = next_cycle(venue, LONG)
    assert (report.results, venue.reads) == ((), 0)
    assert report.account is not None


def test_two_entries_are_read_back_three_times_in_all() -> None:
    venue = PaperVenue()
    both = decision(target("BTC", "0.1", "76000", "90000"), target("ETH", "1", "1900", "2300"))
    report = run(venue, both)
    assert venue.reads == 3
    assert [symbol for symbol, _ in report.unprotected_seconds] == ["BTC", "ETH"]


@pytest.mark.parametrize("purpose", ["open", "stop_loss"])
def test_results_name_the_order_as_it_was_sent(purpose: str) -> None:
    venue = PaperVenue()
    venue.fill_fraction = Decimal("0.4")
    report = run(venue, LONG)
    order = next(
        r.action for r in report.results if isinstance(r.action, PlaceOrder) and r.action.purpose == purpose
    )
    assert order.size_base == (Decimal("0.1") if purpose == "open" else Decimal("0.04"))


def test_only_what_increases_exposure_is_perishable() -> None:
    venue = PaperVenue()
    run(venue, decision(target("BTC", "0.1", "76000", "90000")))
    (entry,) = [o for o in venue.placed if o.purpose is OrderPurpose.OPEN]
    assert entry.good_until_ms == CYCLE_MS + RULES.max_decision_age_ms
    assert {o.good_until_ms for o in venue.placed if o is not entry} == {None}
