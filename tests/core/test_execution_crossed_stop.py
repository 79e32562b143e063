"""The close in place of a crossed stop gets out of a thin book, as the venue's own stop would."""

from decimal import Decimal

import pytest
from execution_samples import LONG, NO, SHORT, next_cycle, opened, run, statuses
from paper_venue import MARKS, PaperVenue, decision

from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    Decision,
    OrderPurpose,
    PlaceOrder,
)

NO_MATCH = "Order could not immediately match against any resting orders."

FLAT = decision()


class Crash(PaperVenue):
    """The mark passes the stop behind the entry; a close meets what is scripted, then a book at ``best``."""

    def __init__(self, mark: str, best: str, *closes: str) -> None:
        super().__init__()
        self.mark, self.best, self.closes = Decimal(mark), Decimal(best), list(closes)

    def place(self, order: PlaceOrder) -> ActionResult:
        if order.purpose is OrderPurpose.CLOSE:
            return self._close(order)
        result = super().place(order)
        if order.purpose.increases_exposure:
            self.marks["BTC"] = self.mark
        return result

    def _close(self, order: PlaceOrder) -> ActionResult:
        met = self.closes.pop(0) if self.closes else ""
        crosses = order.limit_px >= self.best if order.is_buy else order.limit_px <= self.best
        if met == "lost":
            super().place(order)
            return ActionResult(order, ActionStatus.UNKNOWN, "answer lost")
        if met == "half":
            self.fill_fraction = Decimal("0.5")
        elif met or not crosses:
            self.log.append(("no match", order.symbol))
            return ActionResult(order, ActionStatus.ERROR, NO_MATCH)
        result = super().place(order)
        self.fill_fraction = Decimal(1)
        return result


def closes(venue: PaperVenue) -> list[str]:
    return [word for word, _ in venue.log if word in {"close", "no match"}]


@pytest.mark.parametrize(
    ("outcome", "mark", "best", "limit"),
    [(LONG, "75500", "75000", "67950"), (SHORT, "84500", "85500", "92950")],
)
def test_it_has_the_room_of_the_stop_and_not_the_slippage_of_a_decision(
    outcome: Decision, mark: str, best: str, limit: str
) -> None:
    venue = Crash(mark, best)
    report = run(venue, outcome)
    assert statuses(report)[:3] == ["filled", "error", "filled"]
    assert venue.positions == {}
    assert next(o.limit_px for o in venue.placed if o.purpose is OrderPurpose.CLOSE) == Decimal(limit)


@pytest.mark.parametrize(
    ("met", "words"),
    [
        (["none"], ["no match", "close"]),
        (["none", "none"], ["no match", "no match", "close"]),
        (["half"], ["close", "close"]),
        (["lost"], ["close"]),
    ],
)
def test_it_is_sent_again_while_the_position_is_still_there(met: list[str], words: list[str]) -> None:
    venue = Crash("75500", "75000", *met)
    run(venue, LONG)
    assert closes(venue) == words
    assert venue.positions == {}


def test_every_try_has_an_id_of_its_own() -> None:
    venue = Crash("75500", "75000", "half", "half", "half")
    run(venue, LONG)
    ids = [order.cloid for order in venue.placed if order.purpose is OrderPurpose.CLOSE]
    assert (len(ids), len(set(ids))) == (3, 3)


def test_it_is_given_up_after_three_orders_and_told() -> None:
    venue = Crash("75500", "75000", *["none"] * 9)
    report = run(venue, LONG)
    assert closes(venue) == ["no match"] * 3
    assert "0.1 BTC STANDS WITHOUT A CONFIRMED STOP-LOSS" in report.alerts


@pytest.mark.parametrize("met", [[], ["none"], ["half"]])
def test_a_plan_that_closes_for_a_crossed_stop_does_so_as_insistently(
    monkeypatch: pytest.MonkeyPatch, met: list[str]
) -> None:
    venue = Crash("80000", "75000")
    run(venue, LONG)
    venue.orders.clear()
    venue.closes = list(met)
    venue.marks["BTC"] = Decimal(75_500)
    monkeypatch.setitem(MARKS, "BTC", venue.marks["BTC"])  # what the plan is made at
    next_cycle(venue, NO, prior=LONG)
    assert venue.positions == {}
    assert len(closes(venue)) == len(met) + 1


def test_a_close_that_a_decision_asked_for_is_sent_once_within_its_slippage() -> None:
    venue = opened()
    venue.reject = {"close"}
    report = next_cycle(venue, FLAT)
    assert [word for word, _ in venue.log] == ["close"]
    assert venue.placed[-1].limit_px == Decimal(79_600)
    assert statuses(report)[0] == "error"
