"""An execution that is repeated, lost on the way, late or cut short: nothing twice, nothing left bare."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from execution_samples import LONG, NO, next_cycle, opened, planned, run, statuses
from paper_venue import ASSETS, CYCLE_MS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import ActionResult, ActionStatus, ExecutionPlan, OrderPurpose, PlaceOrder


class FailsOnce:
    """A question that is not answered the first time."""

    def __init__(self, ask: Callable[[str], ActionResult | None]) -> None:
        self.ask = ask
        self.times = 0

    def __call__(self, cloid: str) -> ActionResult | None:
        self.times += 1
        if self.times == 1:
            raise VenueUnavailableError("no answer")
        return self.ask(cloid)


def killed_behind_its_entry(venue: PaperVenue) -> ExecutionPlan:
    """The plan of a cycle whose first run ended when only the entry was sent."""
    made = planned(venue._snapshot(), LONG)
    entry = made.actions[0]
    assert isinstance(entry, PlaceOrder)
    venue.place(entry)
    venue.log.clear()
    return made


def test_the_second_run_of_a_cycle_sends_nothing_twice() -> None:
    venue = PaperVenue()
    before = venue._snapshot()
    first = run(venue, LONG)
    venue.log.clear()
    plan = planned(before, LONG)
    second = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(plan)
    assert venue.log == []
    assert second.results[0].status is first.results[0].status is ActionStatus.FILLED


def test_a_second_run_protects_the_entry_that_the_first_one_was_killed_behind() -> None:
    venue = PaperVenue()
    made = killed_behind_its_entry(venue)
    report = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(made)
    assert venue.log == [("stop_loss", "BTC"), ("take_profit", "BTC")]
    assert [order.size_base for order in venue.orders] == [Decimal("0.1")] * 2
    assert report.alerts == ()


@pytest.mark.parametrize(("late_ms", "is_asked_in_vain"), [(600_000, False), (0, True)])
def test_a_second_run_that_may_not_send_the_entry_protects_what_the_first_one_sent(
    monkeypatch: pytest.MonkeyPatch, late_ms: int, *, is_asked_in_vain: bool
) -> None:
    venue = PaperVenue()
    made = killed_behind_its_entry(venue)
    venue.clock.time_ms += late_ms
    asked = FailsOnce(venue.find) if is_asked_in_vain else venue.find
    monkeypatch.setattr(venue, "find", asked)

    report = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(made)

    assert venue.log == [("stop_loss", "BTC"), ("take_profit", "BTC")]
    assert report.account is not None
    assert report.account.size_base("BTC") == Decimal("0.1")
    assert report.results[0].filled_base == (0 if is_asked_in_vain else Decimal("0.1"))


def test_protection_whose_id_is_used_up_in_this_cycle_goes_out_under_the_next_one() -> None:
    venue = PaperVenue()
    venue.reject = {"stop_loss"}
    run(venue, LONG, rules=replace(RULES, crossed_stop="alert"))
    venue.reject = set()
    report = run(venue, NO, prior=LONG)
    assert statuses(report) == ["resting"]
    assert {order.leg for order in venue.orders} == {"stop_loss", "take_profit"}


def test_a_venue_that_cannot_be_asked_is_not_sent_to() -> None:
    venue = PaperVenue()
    venue.can_find = False
    report = run(venue, LONG)
    assert statuses(report)[0] == "unknown"
    assert venue.log == []


def test_an_entry_whose_answer_was_lost_is_still_protected() -> None:
    venue = PaperVenue()
    venue.lose_answer = {"open"}
    report = run(venue, LONG)
    assert statuses(report) == ["unknown", "resting", "resting"]
    assert report.alerts == ()


def test_a_stop_whose_answer_was_lost_is_confirmed_by_the_read_back() -> None:
    venue = PaperVenue()
    venue.lose_answer = {"stop_loss"}
    report = run(venue, LONG)
    assert statuses(report) == ["filled", "unknown", "resting"]
    assert report.alerts == ()


def test_an_account_that_lags_behind_the_answer_is_read_again() -> None:
    venue = PaperVenue()
    venue.lagging_reads = 1
    report = run(venue, LONG)
    assert [order.size_base for order in venue.orders] == [Decimal("0.1")] * 2
    assert report.unprotected_seconds == (("BTC", 0.5),)


def test_an_account_that_cannot_be_read_back_is_protected_as_planned_and_reported_unread() -> None:
    venue = PaperVenue()
    plan_venue = venue._snapshot()
    assert plan_venue.positions == ()
    venue.is_readable = False
    report = run(venue, LONG)
    assert statuses(report) == ["filled", "resting", "resting"]
    assert report.account is None
    assert report.alerts == (
        "WHAT WAS FILLED OF BTC MAY STAND WITHOUT A CONFIRMED STOP-LOSS",
        "THE ACCOUNT COULD NOT BE READ BACK: WHAT IS SHOWN OF IT IS OLDER THAN THE ORDERS",
    )
    assert [symbol for symbol, _ in report.unprotected_seconds] == ["BTC"]


def test_a_decision_that_grew_stale_on_the_way_opens_nothing_but_still_closes() -> None:
    venue = opened()
    wanted = decision(target("ETH", "1", "1900", "2300"))
    report = next_cycle(venue, wanted, late_ms=60_000)
    assert [word for word, _ in venue.log] == ["close", "cancel", "cancel"]
    assert report.results[3].message.startswith("stale_decision")


def test_a_decision_that_grew_stale_while_the_venue_was_asked_opens_nothing() -> None:
    class SlowToFind(PaperVenue):
        def find(self, cloid: str) -> ActionResult | None:
            self.clock.sleep(31)
            return super().find(cloid)

    venue = SlowToFind()
    report = run(venue, LONG)
    assert venue.log == []
    assert statuses(report) == ["skipped"] * 3
    assert "stale_decision" in report.results[0].message


def test_an_action_that_crashes_leaves_no_other_position_bare() -> None:
    class Crashing(PaperVenue):
        def place(self, order: PlaceOrder) -> ActionResult:
            result = super().place(order)
            if (order.symbol, order.purpose) == ("BTC", OrderPurpose.OPEN):
                raise ArithmeticError("an answer that nobody foresaw")
            return result

    venue = Crashing()
    both = decision(target("BTC", "0.1", "76000", "90000"), target("ETH", "1", "1900", "2300"))
    report = run(venue, both)
    assert statuses(report)[0] == "unknown"
    assert {(order.symbol, order.leg) for order in venue.orders} == {
        (symbol, leg) for symbol in ("BTC", "ETH") for leg in ("stop_loss", "take_profit")
    }
    assert report.alerts == ("THE open OF BTC WAS GIVEN UP IN ITS MIDDLE: it met ArithmeticError",)


def test_assets_that_cannot_be_asked_for_do_not_end_the_execution() -> None:
    class Unasked(dict):
        def __getitem__(self, symbol: str) -> object:
            raise VenueUnavailableError("no answer")

    venue = opened()
    venue.orders.clear()
    plan = planned(venue._snapshot(), NO, prior=LONG, cycle_ms=CYCLE_MS + 60_000)
    venue.marks["BTC"] = Decimal(75_000)  # the stop is crossed: only a close, which needs the asset, is left
    report = ExecutionService(venue, Journal(), venue.clock, RULES, Unasked()).execute(plan)
    assert statuses(report) == ["error", "unknown", "resting"]
    assert report.account is not None
