"""Deposits and withdrawals across cycles: booked as such, never as gain or loss."""

from dataclasses import replace

import pytest
from desk import DOWN, FLAT, KEPT, LONG_BTC, BookedVenue, D, Desk
from fakes import ScriptedModel
from hypothesis import given
from hypothesis import strategies as st
from paper_venue import ManualClock
from trader_samples import CYCLE_MS

from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    CycleReport,
    LlmContext,
    PerformanceSoFar,
    Stage,
    Transfer,
)
from wonttrade_dagster.core.performance import ReturnSums, sharpe_of, sharpe_ratio, with_point
from wonttrade_dagster.core.state import Activity, booked, performance_at, with_activity
from wonttrade_dagster.core.transfers import WAITS, at_value
from wonttrade_dagster.core.worth import CycleEnd, worth_of


def flat_desk() -> Desk:
    return Desk(ScriptedModel(FLAT))


def performance(report: CycleReport) -> PerformanceSoFar:
    assert report.performance is not None
    return report.performance


def told(desk: Desk) -> PerformanceSoFar:
    """What the prompt of the last cycle was made of."""
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert isinstance(context, LlmContext)
    return context.performance


def earned(desk: Desk, number: int, usd: int) -> CycleReport:
    desk.venue.earn(D(usd))
    return desk.cycle(number)


def test_a_deposit_is_no_gain_in_the_prompt_the_report_or_the_sharpe_ratio() -> None:
    desk, other = flat_desk(), flat_desk()
    desk.cycle(0), other.cycle(0)
    before = earned(desk, 1, 300), earned(other, 1, 300)
    assert performance(before[0]) == performance(before[1])
    transfer = desk.venue.pay_in(D(10_000))
    report = desk.cycle(2)
    assert told(desk).return_fraction == performance(before[0]).return_fraction == pytest.approx(0.01)
    assert performance(report).return_fraction == pytest.approx(0.01)
    assert (report.transfers, performance(report).transfers_usd) == ((transfer,), D(10_000))
    assert performance(report).opening_equity_usd == D(30_000)
    assert performance(report).sharpe == pytest.approx(performance(other.cycle(2)).sharpe)
    assert report.alerts == ()
    later = earned(desk, 3, 403)
    assert performance(later).return_fraction == pytest.approx(1.01 * 1.01 - 1)
    assert later.transfers == ()


def test_what_is_paid_in_is_said_beside_the_return() -> None:
    desk = flat_desk()
    returns = []
    for number, usd in enumerate((0, 10_000, -15_000)):
        desk.venue.pay_in(D(usd))
        desk.cycle(number)
        context = desk.stage(Stage.LLM_CONTEXTS)
        assert isinstance(context, LlmContext)
        returns += [line for line in context.prompt.user.splitlines() if line.startswith("- return ")]
    assert [line.removesuffix(" since the opening equity of 30000.00 USD") for line in returns] == [
        "- return +0.00%",
        "- return +0.00% (10000.00 USD paid in apart)",
        "- return +0.00% (5000.00 USD taken out apart)",
    ]


def test_an_account_without_transfers_is_never_asked_for_any() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    hour_ms = CYCLE_MS // 3_600_000 * 3_600_000
    for number in range(14):
        desk.venue.funding = [(hour_ms + 3_600_000 + 70, D("0.4"))]
        report = earned(desk, number, 30 * number)
    assert (desk.venue.transfers_asked, report.alerts) == (0, ())
    assert performance(report).basis is None


def test_funding_of_a_position_held_asks_nothing_before_the_prompt() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    hour_ms = CYCLE_MS // 3_600_000 * 3_600_000 + 3_600_000
    desk.venue.funding = [(hour_ms + 70, D("0.4"))]
    held = desk.venue.positions["BTC"]
    desk.venue.positions["BTC"] = replace(held, funding_since_open_usd=D("0.4"))
    desk.venue.funding_asked = 0
    report = desk.cycle(12)
    assert (desk.venue.funding_asked, desk.venue.transfers_asked) == (1, 0), "by the report alone"
    assert performance(report).funding_usd == D("0.4")


def test_half_is_taken_out_and_the_return_goes_on() -> None:
    desk = flat_desk()
    desk.cycle(0)
    earned(desk, 1, 3_000)
    desk.venue.pay_in(D(-16_500), "withdraw")
    report = desk.cycle(2)
    assert performance(report).return_fraction == pytest.approx(0.1)
    assert performance(earned(desk, 3, 1_650)).return_fraction == pytest.approx(1.1 * 1.1 - 1)


def test_a_transfer_to_another_wallet_and_back_within_a_cycle_leaves_nothing_behind() -> None:
    desk = flat_desk()
    desk.cycle(0)
    desk.venue.pay_in(D(-5_000), "accountClassTransfer"), desk.venue.pay_in(D(5_000), "accountClassTransfer")
    report = earned(desk, 1, 300)
    assert performance(report).return_fraction == pytest.approx(0.01)
    assert (performance(report).transfers_usd, report.transfers) == (0, ())


def test_everything_in_one_cycle() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    before = performance(desk.cycle(1)).return_fraction
    desk.venue.earn(D(150))
    desk.venue.pay_in(D(10_000)), desk.venue.pay_in(D(-4_000), "withdraw")
    desk.venue.funding = [(CYCLE_MS // 3_600_000 * 3_600_000 + 3_600_000 + 70, D("20"))]
    report = desk.cycle(12)
    assert len(report.transfers) == 2
    assert (performance(report).transfers_usd, performance(report).funding_usd) == (D(6_000), D(20))
    gained = D(130) / (D(30_000) - D("1.5") + 6_000)
    assert performance(report).return_fraction == pytest.approx((1 + before) * (1 + float(gained)) - 1)
    assert report.alerts == ()


def test_a_deposit_while_the_model_thinks_is_booked_by_the_same_cycles_report() -> None:
    class Paid(BookedVenue):
        paying = False

        def leverages(self, symbols: object) -> dict[str, int]:
            if self.paying:
                self.pay_in(D(10_000))
                self.paying = False
            return {}

    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.venue = Paid(desk.clock)
    desk.cycle(0)
    desk.venue.paying = True
    desk.clock.time_ms = CYCLE_MS + 300_000 + 500
    report = desk.cycle(1)
    assert [t.usd for t in report.transfers] == ([] if desk.venue.paying else [D(10_000)])
    assert abs(performance(report).return_fraction) < 0.001


@pytest.mark.parametrize("late", range(1, WAITS + 1))
def test_a_deposit_that_the_venue_lists_late_never_shows_as_gain(late: int) -> None:
    desk, other = flat_desk(), flat_desk()
    desk.cycle(0), other.cycle(0)
    earned(desk, 1, 300), earned(other, 1, 300)
    transfer = desk.venue.pay_in(D(10_000), lists=False)
    for number in range(2, 2 + late):
        report = desk.cycle(number)
        assert (report.transfers, report.alerts) == ((), ())
        assert told(desk).return_fraction == pytest.approx(0.01)
        assert performance(report).return_fraction == pytest.approx(0.01)
    desk.venue.listed.append(transfer)
    report = desk.cycle(2 + late)
    assert (report.transfers, report.alerts) == ((transfer,), ())
    assert told(desk).return_fraction == performance(report).return_fraction == pytest.approx(0.01)
    curve = [(CYCLE_MS + n * 300_000, usd) for n, usd in ((0, 30_000.0), (1, 30_300.0), (2 + late, 30_300.0))]
    assert performance(report).sharpe == pytest.approx(sharpe_ratio(curve))


def test_money_that_is_never_explained_counts_in_the_end_and_is_told() -> None:
    desk = flat_desk()
    desk.cycle(0)
    desk.venue.pay_in(D(600), lists=False)
    for number in range(1, WAITS + 1):
        assert desk.cycle(number).alerts == ()
    report = desk.cycle(WAITS + 1)
    assert len(report.alerts) == 1
    assert report.alerts[0].startswith("600.00 USD CAME TO THE ACCOUNT WITHOUT A TRADE")
    assert performance(report).return_fraction == pytest.approx(0.02)
    asked = desk.venue.transfers_asked
    assert desk.cycle(WAITS + 2).alerts == ()
    assert desk.venue.transfers_asked == asked


def test_a_transfer_of_unknown_effect_is_told_and_never_guessed() -> None:
    desk = flat_desk()
    desk.cycle(0)
    desk.venue.pay_in(D(-600), "a kind of next year", told=False)
    report = desk.cycle(1)
    assert len(report.alerts) == 1
    assert "'a kind of next year'" in report.alerts[0]
    assert report.alerts[0].endswith("600.00 USD LEFT THE ACCOUNT: THIS COUNTS AS LOSS")
    assert performance(report).return_fraction == pytest.approx(-0.02)
    assert desk.cycle(2).alerts == ()
    assert told(desk).return_fraction == pytest.approx(-0.02)


def test_all_is_taken_out_and_paid_in_again() -> None:
    desk = flat_desk()
    desk.cycle(0)
    earned(desk, 1, 3_000)
    desk.venue.pay_in(D(-33_000), "withdraw")
    assert performance(desk.cycle(2)).return_fraction == pytest.approx(0.1)
    empty = desk.cycle(3)
    assert empty.reason == "account_without_equity"
    assert performance(empty).return_fraction == pytest.approx(0.1)
    desk.venue.pay_in(D(500))
    assert performance(desk.cycle(4)).return_fraction == pytest.approx(0.1)
    report = earned(desk, 5, 50)
    assert performance(report).return_fraction == pytest.approx(1.1 * 1.1 - 1)
    assert performance(report).sharpe is not None
    assert report.alerts == ()


def test_a_venue_that_does_not_answer_makes_no_gain_of_a_deposit() -> None:
    class Silent(BookedVenue):
        is_silent = False

        def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
            if self.is_silent:
                raise DOWN
            return super().transfers(since_ms, until_ms)

    desk = flat_desk()
    desk.venue = Silent(desk.clock)
    desk.cycle(0)
    desk.venue.is_silent = True
    desk.venue.pay_in(D(10_000))
    assert performance(desk.cycle(1)).return_fraction == pytest.approx(0)
    desk.venue.is_silent = False
    report = desk.cycle(2)
    assert (len(report.transfers), performance(report).return_fraction) == (1, pytest.approx(0))


def test_reports_of_before_are_read_and_begin_to_book() -> None:
    desk = flat_desk()
    desk.cycle(0)
    report = earned(desk, 1, 3_000)
    old = replace(report, performance=replace(performance(report), booking=None))
    text = encode(old).decode()
    for name in ('"booking":null', '"basis":null', '"transfers_usd":"0"'):
        assert f",{name}" in text
        text = text.replace(f",{name}", "", 1)
    desk.ledger.report = decode(CycleReport, text.replace('"transfers":[],', "", 1))
    assert desk.ledger.report == old
    desk.venue.pay_in(D(-1))  # before the first report that books: as it always was
    assert performance(desk.cycle(2)).return_fraction == pytest.approx(32_999 / 30_000 - 1)
    desk.venue.pay_in(D(10_000))
    assert performance(desk.cycle(3)).return_fraction == pytest.approx(32_999 / 30_000 - 1)


def test_what_a_decision_was_worth_is_told_without_transfers() -> None:
    desk = flat_desk()
    ends = []
    for number in range(3):
        report = earned(desk, number, 100) if number else desk.cycle(number)
        account = desk.stage(Stage.ACCOUNT_SNAPSHOTS)
        assert isinstance(account, AccountSnapshot)
        ends.append(CycleEnd(report.cycle_ms, account, report))
        desk.venue.pay_in(D(10_000))
    worth = worth_of(ends[0], ends[1:])
    assert (worth.transfers_usd, worth.equity_change_usd) == (D(20_000), D(200))


# --- any sequence ----------------------------------------------------------------------------------

cents = st.decimals(-500, 500, places=2)
steps = st.lists(st.tuples(cents, st.none() | st.decimals(-20_000, 20_000, places=2)), max_size=12)


@given(steps)
def test_the_return_is_that_of_the_steps_chained(steps: list[tuple[D, D | None]]) -> None:
    venue = BookedVenue(ManualClock(CYCLE_MS))
    now = performance_at(venue.account(), None, CYCLE_MS)
    chained, sums = D(1), ReturnSums(CYCLE_MS, CYCLE_MS, 30_000.0)
    alone = sums
    for number, (wanted, asked) in enumerate(steps, start=1):
        before = venue.value
        gain = wanted if before + wanted >= 1_000 else D(0)
        moved = asked if asked is None or before + gain + asked >= 1_000 else None
        venue.opening += gain + (moved or D(0))
        after, paid = venue.account(), moved or D(0)
        step = (after.account_value_usd - min(paid, D(0))) / (before + max(paid, D(0)))
        chained *= step
        transfers = () if moved is None else (Transfer(CYCLE_MS, "deposit", moved),)
        activity = Activity((), D(0), CYCLE_MS + number, transfers)
        now = booked(with_activity(now, after, activity), after, activity)
        assert now.return_fraction == pytest.approx(float(chained) - 1, abs=1e-9)
        time_ms = CYCLE_MS + number * 60_000
        sums = with_point(sums, time_ms, float(after.account_value_usd), float(paid))
        alone = with_point(alone, time_ms, alone.last_value_usd * float(step))
    assert sums.mean == pytest.approx(alone.mean, abs=1e-9)
    assert sums.squares == pytest.approx(alone.squares, abs=1e-9)
    assert (sharpe_of(sums) is None) == (sharpe_of(alone) is None) or sums.squares < 1e-12


@given(st.lists(cents, max_size=12))
def test_without_transfers_the_return_is_that_of_the_opening_equity_to_the_bit(gains: list[D]) -> None:
    venue = BookedVenue(ManualClock(CYCLE_MS))
    now = performance_at(venue.account(), None, CYCLE_MS)
    for gain in gains:
        venue.opening += gain
        activity = Activity((), D(0), CYCLE_MS + 1)
        now = booked(with_activity(now, venue.account(), activity), venue.account(), activity)
        assert now.return_fraction == float(venue.value / D(30_000)) - 1.0
    assert at_value(now, D(30_000)).return_fraction == 0.0
