"""What is booked across cycles: opening equity, returns, fees, funding, and actions the venue refused."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from desk import BOTH_LEGS, DOWN, FLAT, HOUR_MS, KEPT, LONG_BTC, STEP_MS, D, Desk
from fakes import ScriptedModel
from trader_samples import CYCLE_MS

from wonttrade_dagster.core.backtest import MemoryLedger
from wonttrade_dagster.core.model import EquityPoint, ExecutionPlan, ExecutionReport, PlaceOrder, Stage
from wonttrade_dagster.core.performance import sharpe_ratio


def test_the_opening_equity_is_written_once() -> None:
    desk = Desk(ScriptedModel(FLAT))
    values = [D(30_000), D(31_500), D(29_000)]
    reports = []
    for number, value in enumerate(values):
        desk.venue.value = value
        reports.append(desk.cycle(number))
    assert {report.performance.opening_equity_usd for report in reports} == {D(30_000)}
    assert reports[-1].performance.return_fraction == pytest.approx(29_000 / 30_000 - 1)
    assert reports[-1].performance.invocations == 3


class CountedLedger(MemoryLedger):
    """Counts how often the whole curve is asked for."""

    curves = 0

    def equity(self) -> Sequence[EquityPoint]:
        self.curves += 1
        return super().equity()


VALUES = [D(30_000), D(31_500), D(29_000), D(29_500), D(30_700)]


def test_the_sharpe_ratio_is_that_of_the_whole_curve_without_reading_it() -> None:
    desk = Desk(ScriptedModel(FLAT), ledger=CountedLedger())
    curve = list[tuple[int, float]]()
    for number, value in enumerate(VALUES):
        desk.venue.value, desk.venue.is_readable = value, number != 2
        report = desk.cycle(number)
        if number != 2:
            curve.append((report.cycle_ms, float(value)))
    assert report.performance is not None
    assert report.performance.sharpe == pytest.approx(sharpe_ratio(curve), rel=1e-9)
    assert desk.ledger.curves == 0


def test_a_run_whose_reports_lack_the_sums_reads_its_curve_once() -> None:
    desk = Desk(ScriptedModel(FLAT), ledger=CountedLedger())
    for number, value in enumerate(VALUES):
        desk.venue.value = value
        report = desk.cycle(number)
        assert report.performance is not None
        if number == 2:  # as the version before wrote it
            desk.ledger.report = replace(report, performance=replace(report.performance, returns=None))
    curve = [(CYCLE_MS + n * STEP_MS, float(value)) for n, value in enumerate(VALUES)]
    assert report.performance.sharpe == pytest.approx(sharpe_ratio(curve), rel=1e-9)
    assert desk.ledger.curves == 1


@pytest.mark.parametrize("failing", [{0}, {1}, {0, 1}, {1, 2}])
def test_the_opening_equity_survives_cycles_in_which_the_account_could_not_be_read(failing: set[int]) -> None:
    desk = Desk(ScriptedModel(FLAT))
    readable = [number for number in range(4) if number not in failing]
    for number in range(4):
        desk.venue.value = D(30_000 + 100 * number)
        desk.venue.is_readable = number not in failing
        report = desk.cycle(number)
    assert report.performance.opening_equity_usd == D(30_000 + 100 * readable[0])
    assert report.performance.started_at_ms == CYCLE_MS + readable[0] * STEP_MS
    assert report.performance.invocations == len(readable)


def test_the_opening_equity_survives_a_first_cycle_without_a_market() -> None:
    desk = Desk(ScriptedModel(FLAT))
    desk.market.failure = DOWN
    desk.cycle(0)
    desk.market.failure, desk.venue.value = None, D(31_000)
    report = desk.cycle(1)
    assert report.performance.opening_equity_usd == D(30_000)


def test_funding_is_asked_for_only_where_an_hour_has_passed() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    desk.venue.funding_asked = 0
    for number in range(1, 13):  # 12:08 to 13:03: the payment of 13:00 falls due once
        desk.cycle(number)
    assert desk.venue.funding_asked == 1


def test_a_fill_that_the_venue_stamps_before_our_clock_is_booked() -> None:
    """Our clock is ahead: the window ends at the venue's own time, or the fill would fall between two."""
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.venue.behind_ms = 300
    first = desk.cycle(0)
    late = replace(desk.venue.booked[0], time_ms=desk.clock.now_ms() - 100, tid=99)
    desk.venue.booked.append(late)  # between the venue's time of the report and ours
    report = desk.cycle(1)
    assert sorted(fill.tid for fill in (*first.fills, *report.fills)) == [99, 1000]
    assert report.performance.fees_usd == D("3.0")


@pytest.mark.parametrize("failing", [set[int](), {1}, {1, 2}])
def test_fees_and_funding_are_booked_once_across_failed_cycles(failing: set[int]) -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    fills = []
    for hour in range(4):
        desk.venue.is_readable = hour not in failing
        desk.venue.funding.append((CYCLE_MS // HOUR_MS * HOUR_MS + hour * HOUR_MS + 400, D("0.25")))
        fills += desk.cycle(hour * HOUR_MS // STEP_MS).fills
    report = desk.ledger.report
    assert [fill.size_base for fill in fills] == [D("0.5")]
    assert report.performance.fees_usd == D("1.5")
    # the first cycle, at 12:03, books from its own minute on: the payment of 12:00 is before its time
    assert report.performance.funding_usd == D("0.75")


def test_an_action_that_the_venue_refuses_makes_the_cycle_failed_and_names_it() -> None:
    desk = Desk()
    desk.venue.reject = {"open"}
    report = desk.cycle()
    assert (report.outcome, report.reason, report.actions_failed) == ("failed", "actions_failed", 1)
    assert "Insufficient margin" in report.detail


def test_a_rejected_stop_reaches_the_report_and_the_next_prompt() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.venue.reject = {"stop_loss"}
    first = desk.cycle(0)
    assert any("STOP-LOSS" in alert for alert in first.alerts)
    desk.venue.reject = set()
    desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert context.alerts == first.alerts
    assert desk.standing() == {"BTC": BOTH_LEGS}


def test_the_records_of_a_cycle_name_the_intended_orders() -> None:
    desk = Desk()
    desk.cycle()
    plan, execution = desk.stage(Stage.EXECUTION_PLANS), desk.stage(Stage.EXECUTIONS)
    assert isinstance(plan, ExecutionPlan)
    assert isinstance(execution, ExecutionReport)
    planned = {action.cloid for action in plan.actions if isinstance(action, PlaceOrder)}
    assert planned == {r.action.cloid for r in execution.results if isinstance(r.action, PlaceOrder)}
