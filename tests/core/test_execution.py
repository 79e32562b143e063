from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from paper_venue import ASSETS, CYCLE_MS, LIMITS, MARKS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    Decision,
    ExecutionReport,
    ExecutionRules,
    OrderPurpose,
    PlaceOrder,
    Refusal,
)
from wonttrade_dagster.core.reconcile import PositionReconciler

LONG = decision(target("BTC", "0.1", "76000", "90000"))
BIGGER = decision(target("BTC", "0.2", "76000", "90000"))
SHORT = decision(target("BTC", "-0.1", "84000", "70000"))
FLAT = decision()
NO = Refusal("invalid_json", "prose")


def run(
    venue: PaperVenue,
    outcome: Decision | Refusal,
    *,
    journal: Journal | None = None,
    prior: Decision | None = None,
    rules: ExecutionRules = RULES,
    cycle_ms: int = CYCLE_MS,
    late_ms: int = 0,
) -> ExecutionReport:
    """Plan on the venue's account, then carry it out ``late_ms`` after planning."""
    plan = PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, rules).plan(
        cycle_ms=cycle_ms,
        outcome=outcome,
        account=venue._snapshot(),
        reference_px=MARKS,
        prior=prior,
        now_ms=venue.clock.now_ms(),
    )
    venue.clock.time_ms += late_ms
    venue.log.clear()
    return ExecutionService(venue, journal or Journal(), venue.clock, rules, ASSETS).execute(plan)


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


def statuses(report: ExecutionReport) -> list[str]:
    return [result.status.value for result in report.results]


def opened() -> PaperVenue:
    venue = PaperVenue()
    run(venue, LONG)
    return venue


def next_cycle(venue: PaperVenue, outcome: Decision | Refusal, **options: object) -> ExecutionReport:
    venue.clock.time_ms = CYCLE_MS + 65_000
    return run(venue, outcome, cycle_ms=CYCLE_MS + 60_000, **options)


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


def test_the_second_run_of_a_cycle_sends_nothing_twice() -> None:
    venue = PaperVenue()
    before = venue._snapshot()
    first = run(venue, LONG)
    venue.log.clear()
    plan = PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=LONG,
        account=before,
        reference_px=MARKS,
        prior=None,
        now_ms=CYCLE_MS,
    )
    second = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(plan)
    assert venue.log == []
    assert second.results[0].status is first.results[0].status is ActionStatus.FILLED


def test_a_second_run_protects_the_entry_that_the_first_one_was_killed_behind() -> None:
    venue = PaperVenue()
    made = PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=LONG,
        account=venue._snapshot(),
        reference_px=MARKS,
        prior=None,
        now_ms=CYCLE_MS,
    )
    entry = made.actions[0]
    assert isinstance(entry, PlaceOrder)
    venue.place(entry)
    venue.log.clear()
    report = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(made)
    assert venue.log == [("stop_loss", "BTC"), ("take_profit", "BTC")]
    assert [order.size_base for order in venue.orders] == [Decimal("0.1")] * 2
    assert report.alerts == ()


@pytest.mark.parametrize(("late_ms", "is_asked_in_vain"), [(600_000, False), (0, True)])
def test_a_second_run_that_may_not_send_the_entry_protects_what_the_first_one_sent(
    monkeypatch: pytest.MonkeyPatch, late_ms: int, *, is_asked_in_vain: bool
) -> None:
    venue = PaperVenue()
    made = PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=LONG,
        account=venue._snapshot(),
        reference_px=MARKS,
        prior=None,
        now_ms=CYCLE_MS,
    )
    entry = made.actions[0]
    assert isinstance(entry, PlaceOrder)
    venue.place(entry)
    venue.log.clear()
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

    venue = PaperVenue()
    venue.reject = {"stop_loss"}
    run(venue, LONG, rules=replace(RULES, crossed_stop="alert"))
    venue.reject = set()
    plan = PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=NO,
        account=venue._snapshot(),
        reference_px=MARKS,
        prior=LONG,
        now_ms=venue.clock.now_ms(),
    )
    report = ExecutionService(venue, Journal(), venue.clock, RULES, Unasked()).execute(plan)
    assert statuses(report) == ["unknown"]
    assert report.account is not None


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
