"""A stop that is rejected, lost, or too small for what an answer promised: no position is left bare by it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest
from execution_samples import BIGGER, LONG, NO, SHORT, next_cycle, opened, planned, run, statuses
from paper_venue import ASSETS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    ActionStatus,
    Leg,
    OpenOrder,
    PlaceOrder,
)
from wonttrade_dagster.core.read_back import ReadBack
from wonttrade_dagster.core.sending import OrderSender


class Troubled(PaperVenue):
    """Each stop meets what comes next: ``None`` is taken, ``lost`` never arrives, the rest are rejections."""

    def __init__(self, *stops: str | None) -> None:
        super().__init__()
        self.stops = deque(stops)
        self.unanswered_questions = 0
        self.positions_lag_ms = 0
        self._shown: tuple[int, AccountSnapshot] | None = None

    def find(self, cloid: str) -> ActionResult | None:
        if self.unanswered_questions and self.placed:
            self.unanswered_questions -= 1
            raise VenueUnavailableError("HTTP 429")
        return super().find(cloid)

    def place(self, order: PlaceOrder) -> ActionResult:
        if order.purpose.increases_exposure and self.positions_lag_ms:
            self._shown = (self.clock.now_ms() + self.positions_lag_ms, self._snapshot())
        met = self.stops.popleft() if order.leg is Leg.STOP_LOSS and self.stops else None
        if met is None:
            return super().place(order)
        self.log.append((met, order.symbol))
        status = ActionStatus.UNKNOWN if met == "lost" else ActionStatus.ERROR
        return ActionResult(order, status, met)

    def account(self) -> AccountSnapshot:
        now = super().account()
        until_ms, old = self._shown or (0, now)
        return replace(now, positions=old.positions) if self.clock.now_ms() < until_ms else now


def stops(orders: Iterable[OpenOrder]) -> list[tuple[Decimal, Decimal | None]]:
    return [(order.size_base, order.trigger_px) for order in orders if order.leg is Leg.STOP_LOSS]


FULL = [(Decimal("0.1"), Decimal(76_000))]


def test_a_stop_whose_id_cannot_be_asked_for_goes_out_under_the_next_one() -> None:
    venue = Troubled()
    venue.unanswered_questions = 1
    journal = Journal()
    report = run(venue, LONG, journal=journal)
    assert statuses(report) == ["filled", "resting", "resting"]
    assert (stops(venue.orders), report.alerts) == (FULL, ())
    assert venue.placed[1].cloid == journal.intents[1].cloid, "it was written down before it was sent"


def test_an_entry_whose_id_cannot_be_asked_for_is_not_sent_under_another() -> None:
    venue = PaperVenue()
    venue.can_find = False
    assert statuses(run(venue, LONG))[0] == "unknown"
    assert venue.placed == []


def test_a_stop_that_never_arrived_is_sent_again_under_the_next_id() -> None:
    venue = Troubled("lost")
    report = run(venue, LONG)
    assert statuses(report) == ["filled", "resting", "resting"]
    assert (stops(venue.orders), report.alerts) == (FULL, ())
    assert report.unprotected_seconds[0][1] < 3


def test_a_stop_that_was_lost_twice_is_sent_a_third_time_at_the_end() -> None:
    venue = Troubled("lost", "lost")
    report = run(venue, LONG)
    assert [word for word, _ in venue.log] == ["open", "lost", "lost", "take_profit", "stop_loss"]
    assert statuses(report) == ["filled", "resting", "resting"]
    assert (stops(venue.orders), report.alerts) == (FULL, ())


def test_a_stop_that_is_lost_every_time_is_given_up_and_told() -> None:
    venue = Troubled(*["lost"] * 9)
    report = run(venue, LONG)
    assert [word for word, _ in venue.log].count("lost") == 3
    assert report.alerts == ("0.1 BTC STANDS WITHOUT A CONFIRMED STOP-LOSS",)


def test_a_stop_that_was_acknowledged_and_is_gone_is_sent_again() -> None:
    class Forgetful(PaperVenue):
        def place(self, order: PlaceOrder) -> ActionResult:
            result = super().place(order)
            if order.leg is Leg.STOP_LOSS and len(self.placed) == 2:
                self.orders.pop()
                self.known[order.cloid] = replace(result, status=ActionStatus.ERROR, message="canceled")
            return result

    venue = Forgetful()
    report = run(venue, LONG)
    assert (stops(venue.orders), report.alerts) == (FULL, ())
    assert statuses(report) == ["filled", "resting", "resting"]


def test_a_stop_that_the_venue_knows_is_not_sent_again_because_the_list_lags() -> None:
    class Blind(PaperVenue):
        def account(self) -> AccountSnapshot:
            return replace(super().account(), open_orders=())

    venue = Blind()
    report = run(venue, LONG)
    assert [word for word, _ in venue.log] == ["open", "stop_loss", "take_profit"]
    assert "0.1 BTC STANDS WITHOUT A CONFIRMED STOP-LOSS" in report.alerts


@pytest.mark.parametrize("stop", ["76000", "77000"])
def test_an_increase_that_the_account_does_not_show_yet_is_protected_whole(stop: str) -> None:
    venue = Troubled()
    run(venue, LONG)
    venue.positions_lag_ms = 2_500
    report = next_cycle(venue, decision(target("BTC", "0.5", stop, "90000")))
    assert (stops(venue.orders), report.alerts) == ([(Decimal("0.5"), Decimal(stop))], ())


def test_a_stop_for_more_than_is_shown_is_never_smaller_than_what_is_shown() -> None:
    venue = opened()
    venue.lose_answer = {"increase"}  # the answer promises nothing, the account shows the fill
    next_cycle(venue, BIGGER)
    assert stops(venue.orders) == [(Decimal("0.2"), Decimal(76_000))]


def test_a_rejected_stop_of_an_increase_is_sent_once_more_while_the_old_one_is_too_small() -> None:
    venue = Troubled(None, "HTTP 429")
    run(venue, LONG)
    report = next_cycle(venue, BIGGER)
    assert (stops(venue.orders), report.alerts) == ([(Decimal("0.2"), Decimal(76_000))], ())


def test_a_moved_stop_that_is_rejected_is_not_insisted_on_while_the_old_one_covers() -> None:
    venue = Troubled(None, "HTTP 429")
    run(venue, LONG)
    next_cycle(venue, decision(target("BTC", "0.1", "78000", "90000")))
    assert stops(venue.orders) == FULL
    assert [word for word, _ in venue.log] == ["HTTP 429"]


def test_a_moved_stop_that_was_lost_leaves_the_old_one_standing() -> None:
    venue = Troubled(None, "lost")
    run(venue, LONG)
    report = next_cycle(venue, decision(target("BTC", "0.1", "78000", "90000")))
    assert stops(venue.orders) == FULL
    assert statuses(report) == ["unknown", "skipped"]


def test_missing_protection_that_is_lost_when_it_is_put_back_is_sent_again() -> None:
    venue = Troubled(None, "lost")
    run(venue, LONG)
    venue.orders.clear()
    report = next_cycle(venue, NO, prior=LONG)
    assert (stops(venue.orders), report.alerts) == (FULL, ())


def test_a_flip_whose_close_was_lost_is_protected_though_the_account_lags_behind_the_entry() -> None:
    venue = Troubled()
    run(venue, LONG)
    venue.lose_answer = {"close"}
    venue.positions_lag_ms = 2_500
    report = next_cycle(venue, SHORT)
    assert (stops(venue.orders), report.alerts) == ([(Decimal("0.1"), Decimal(84_000))], ())


def test_an_entry_whose_answer_was_lost_is_protected_when_the_account_shows_it_late() -> None:
    venue = Troubled()
    venue.lose_answer = {"open"}
    venue.positions_lag_ms = 250
    other = target("ETH", "1", "1900", "2300")
    report = run(venue, decision(target("BTC", "0.1", "76000", "90000"), other))
    assert stops(order for order in venue.orders if order.symbol == "BTC") == FULL
    assert not any("BTC" in alert for alert in report.alerts if "STOP-LOSS" in alert)


def test_an_entry_is_never_sent_again() -> None:
    venue = PaperVenue()
    plan = planned(venue._snapshot(), LONG)
    read_back = ReadBack(venue, venue.clock, plan.account)
    sender = OrderSender(venue, Journal(), venue.clock, RULES, ASSETS, plan.cycle_ms, read_back)
    entry = plan.actions[0]
    assert isinstance(entry, PlaceOrder)
    sender.send_once(entry)
    with pytest.raises(ValueError, match="the open of BTC must not be sent again"):
        sender.send_again(entry)
    assert len(venue.placed) == 1
