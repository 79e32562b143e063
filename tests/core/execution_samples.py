"""Plans carried out on the paper venue: one now, one in the next cycle."""

from paper_venue import ASSETS, CYCLE_MS, LIMITS, MARKS, RULES, Journal, PaperVenue, decision, target

from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Decision,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
    Refusal,
)
from wonttrade_dagster.core.reconcile import PositionReconciler

LONG = decision(target("BTC", "0.1", "76000", "90000"))
BIGGER = decision(target("BTC", "0.2", "76000", "90000"))
SHORT = decision(target("BTC", "-0.1", "84000", "70000"))
NO = Refusal("invalid_json", "prose")


def planned(
    account: AccountSnapshot,
    outcome: Decision | Refusal,
    *,
    prior: Decision | None = None,
    rules: ExecutionRules = RULES,
    cycle_ms: int = CYCLE_MS,
    now_ms: int = CYCLE_MS,
) -> ExecutionPlan:
    """The plan for that account at the venue's own marks."""
    return PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, rules).plan(
        cycle_ms=cycle_ms,
        outcome=outcome,
        account=account,
        reference_px=MARKS,
        prior=prior,
        now_ms=now_ms,
    )


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
    plan = planned(
        venue._snapshot(), outcome, prior=prior, rules=rules, cycle_ms=cycle_ms, now_ms=venue.clock.now_ms()
    )
    venue.clock.time_ms += late_ms
    venue.log.clear()
    return ExecutionService(venue, journal or Journal(), venue.clock, rules, ASSETS).execute(plan)


def statuses(report: ExecutionReport) -> list[str]:
    return [result.status.value for result in report.results]


def opened() -> PaperVenue:
    venue = PaperVenue()
    run(venue, LONG)
    return venue


def next_cycle(venue: PaperVenue, outcome: Decision | Refusal, **options: object) -> ExecutionReport:
    venue.clock.time_ms = CYCLE_MS + 65_000
    return run(venue, outcome, cycle_ms=CYCLE_MS + 60_000, **options)
