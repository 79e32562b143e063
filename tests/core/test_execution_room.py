"""The venue's limits on requests: no entry begins whose protection they would stop."""

from dataclasses import replace
from decimal import Decimal

import pytest
from execution_samples import BIGGER, LONG, opened, planned, run, statuses
from paper_venue import ASSETS, CYCLE_MS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    Decision,
    ExecutionReport,
    Leg,
    PlaceOrder,
)
from wonttrade_dagster.core.request_weight import SPENT_ADDRESS, RequestRoom

FLAT = decision()


def executed(venue: PaperVenue, outcome: Decision, *rooms: RequestRoom) -> ExecutionReport:
    """Each entry finds the next of ``rooms``, the last one for ever."""
    left = list(rooms)
    venue.log.clear()
    venue.clock.time_ms = CYCLE_MS + 65_000
    plan = planned(venue._snapshot(), outcome, cycle_ms=CYCLE_MS + 60_000, now_ms=venue.clock.now_ms())
    service = ExecutionService(
        venue, Journal(), venue.clock, RULES, ASSETS, lambda: left.pop(0) if len(left) > 1 else left[0]
    )
    return service.execute(plan)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (RequestRoom(actions=2), "address_budget_spent: 2 actions are left, it needs 3"),
        (RequestRoom(weight=119), "ip_weight_spent: 119 are left of this minute, it needs 120"),
    ],
)
def test_an_entry_whose_protection_the_limits_would_stop_is_not_sent(room: RequestRoom, words: str) -> None:
    venue = PaperVenue()
    report = executed(venue, LONG, room)
    assert (venue.log, venue.positions) == ([], {})
    assert statuses(report) == ["skipped"] * 3
    assert report.results[0].message == words


def test_an_increase_counts_the_cancels_of_what_it_replaces() -> None:
    venue = opened()
    report = executed(venue, BIGGER, RequestRoom(actions=4))
    assert report.results[0].message == "address_budget_spent: 4 actions are left, it needs 5"
    assert [order.leg for order in venue.orders] == [Leg.STOP_LOSS, Leg.TAKE_PROFIT], (
        "it keeps its protection"
    )


@pytest.mark.parametrize("room", [RequestRoom(3, 120), RequestRoom()])
def test_an_entry_with_enough_room_or_unknown_room_is_sent(room: RequestRoom) -> None:
    venue = PaperVenue()
    assert statuses(executed(venue, LONG, room)) == ["filled", "resting", "resting"]


def test_the_room_is_asked_for_before_each_entry() -> None:
    venue = PaperVenue()
    both = decision(target("BTC", "0.1", "76000", "90000"), target("ETH", "1", "1900", "2300"))
    report = executed(venue, both, RequestRoom(weight=150), RequestRoom(weight=100))
    assert [symbol for _, symbol in venue.log] == ["BTC"] * 3
    assert statuses(report) == ["filled", "resting", "resting", "skipped", "skipped", "skipped"]


def test_reductions_and_protection_need_no_room() -> None:
    venue = opened()
    moved = decision(target("BTC", "0.1", "77000", "90000"))
    assert statuses(executed(venue, moved, RequestRoom(0, 0))) == ["resting", "done"]
    assert statuses(executed(venue, FLAT, RequestRoom(0, 0)))[0] == "filled"
    assert venue.positions == {}


class SpentAddress(PaperVenue):
    """One action per 10 seconds, as the venue allows it to an address whose budget is spent."""

    free_at_ms = 0

    def place(self, order: PlaceOrder) -> ActionResult:
        if self.clock.now_ms() < self.free_at_ms:
            self.clock.time_ms += self.latency_ms
            return ActionResult(order, ActionStatus.ERROR, f"{SPENT_ADDRESS} (10601 > 10300) for 300 USD")
        self.free_at_ms = self.clock.now_ms() + 10_000
        return super().place(order)


def test_a_stop_of_a_spent_address_waits_until_the_venue_takes_an_action_again() -> None:
    venue = SpentAddress()
    report = run(venue, LONG)
    assert [order.leg for order in venue.orders] == [Leg.STOP_LOSS]
    assert statuses(report) == ["filled", "resting", "error"]
    (symbol, seconds), *_ = report.unprotected_seconds
    assert (symbol, 10 < seconds < 12) == ("BTC", True)


def test_any_other_rejection_is_not_waited_for_so_long() -> None:
    venue = PaperVenue()
    venue.reject = {"stop_loss"}
    report = run(venue, LONG, rules=replace(RULES, crossed_stop="alert"))
    assert report.unprotected_seconds[0][1] < Decimal(3)
