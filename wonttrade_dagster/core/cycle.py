"""The order of the parts: the one place where live trading and a backtest share their loop.

Belongs here: the stages, their edges, and what each stage does with the parts of a cycle.
Does not belong here: how a record is kept (``RecordSink``), how a run is started, Dagster.

Expected failures are values: a stage that cannot do its work hands on a ``StageFailure`` or a
``Refusal``, and the plan (protection), the execution and the report run in every cycle.
"""

import hashlib
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.alerts import protection_alerts
from wonttrade_dagster.core.breaker import pause
from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.context import ContextInputs
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.errors import ConfigurationError, StorageError, VenueError
from wonttrade_dagster.core.invalidation import fired, readings
from wonttrade_dagster.core.model import (
    NOTHING_SPENT,
    UNBROKEN,
    AccountSnapshot,
    CycleReport,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    IndicatorSnapshot,
    LlmContext,
    MarketSnapshot,
    ModelReply,
    PerformanceSoFar,
    PriorDecision,
    Refusal,
    ReturnSums,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.performance import return_sums, sharpe_of, with_point
from wonttrade_dagster.core.planning import Planning
from wonttrade_dagster.core.report import build_report, remembering, without_memory
from wonttrade_dagster.core.spending import capped
from wonttrade_dagster.core.state import Activity, booked, performance_at, with_activity
from wonttrade_dagster.core.transfers import at_value, is_emptied, is_only_funded, net_usd

EDGES: Mapping[Stage, tuple[Stage, ...]] = {
    Stage.MARKET_SNAPSHOTS: (),
    Stage.ACCOUNT_SNAPSHOTS: (),
    Stage.INDICATORS: (Stage.MARKET_SNAPSHOTS,),
    Stage.LLM_CONTEXTS: (Stage.MARKET_SNAPSHOTS, Stage.ACCOUNT_SNAPSHOTS, Stage.INDICATORS),
    Stage.DECISIONS: (Stage.MARKET_SNAPSHOTS, Stage.ACCOUNT_SNAPSHOTS, Stage.LLM_CONTEXTS),
    Stage.EXECUTION_PLANS: (Stage.MARKET_SNAPSHOTS, Stage.ACCOUNT_SNAPSHOTS, Stage.DECISIONS),
    Stage.EXECUTIONS: (Stage.EXECUTION_PLANS,),
    Stage.CYCLE_REPORTS: (
        Stage.MARKET_SNAPSHOTS,
        Stage.ACCOUNT_SNAPSHOTS,
        Stage.DECISIONS,
        Stage.EXECUTION_PLANS,
        Stage.EXECUTIONS,
    ),
}
"""Which stages each stage reads, in the order in which they run."""

STAGE_RECORDS: Mapping[Stage, Any] = {
    Stage.MARKET_SNAPSHOTS: MarketSnapshot | StageFailure,
    Stage.ACCOUNT_SNAPSHOTS: AccountSnapshot | StageFailure,
    Stage.INDICATORS: IndicatorSnapshot | StageFailure,
    Stage.LLM_CONTEXTS: LlmContext | StageFailure,
    Stage.DECISIONS: DecisionRecord,
    Stage.EXECUTION_PLANS: ExecutionPlan,
    Stage.EXECUTIONS: ExecutionReport,
    Stage.CYCLE_REPORTS: CycleReport,
}
"""The type of each stage's record, for ``core.codec``."""

Record = (
    MarketSnapshot
    | AccountSnapshot
    | IndicatorSnapshot
    | LlmContext
    | DecisionRecord
    | ExecutionPlan
    | ExecutionReport
    | CycleReport
    | StageFailure
)


class RecordSink(ABC):
    """Keeps the records of a cycle and gives them back to the stages that read them."""

    @abstractmethod
    def keep(self, cycle_ms: int, stage: Stage, record: Record) -> None:
        """Keep one record; a stored one is never overwritten (``StorageError``)."""

    @abstractmethod
    def read(self, cycle_ms: int, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
        """The record of an earlier stage of this cycle. Raises ``StorageError`` when there is none."""


@dataclass(frozen=True, slots=True)
class CycleRun:
    """One cycle in progress: the parts, the time, and the records so far."""

    parts: CycleParts
    cycle_ms: int
    records: RecordSink

    def read(self, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
        """The record of an earlier stage of this cycle."""
        return self.records.read(self.cycle_ms, stage)

    @property
    def planning(self) -> Planning:
        """Makes the plans of this cycle."""
        return Planning(self.parts, self.cycle_ms)

    def run(self, stage: Stage) -> Record:
        """Run one stage and keep its record."""
        record = _STAGES[stage](self)
        self.records.keep(self.cycle_ms, stage, record)
        return record

    def run_all(self) -> CycleReport:
        """Run every stage in order."""
        for stage in EDGES:
            record = self.run(stage)
        if not isinstance(record, CycleReport):
            raise TypeError(f"the last stage must report, not return {type(record).__name__}")
        return record


def stand_in(run: CycleRun, stage: Stage, error: Exception) -> Record | None:
    """The record of a stage that met what nobody foresaw: protection must be put in order all the same.

    Args:
        run: the cycle.
        stage: where it happened.
        error: what was met; only its type and place are told, for its words may hold anything.

    Returns:
        A failure or refusal named ``stage_crashed`` (the plan then holds protection only); None for the
        stages after the plan, behind which there is nothing left to protect with.
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    detail = f"{stage.value} met a {type(error).__name__} in {place.name}, line {place.lineno}: see the log"
    failure = StageFailure(stage, "stage_crashed", detail)
    refusal = Refusal(failure.reason, failure.detail)
    if stage is Stage.DECISIONS:
        return DecisionRecord(run.cycle_ms, refusal, None, None, run.parts.clock.now_ms())
    if stage is Stage.EXECUTION_PLANS:
        return run.planning.plan(refusal, _snapshot_prices(run))
    return None if stage in (Stage.EXECUTIONS, Stage.CYCLE_REPORTS) else failure


def _market_snapshots(run: CycleRun) -> MarketSnapshot | StageFailure:
    return run.parts.state.market(run.cycle_ms)


def _account_snapshots(run: CycleRun) -> AccountSnapshot | StageFailure:
    """A position found without its stop gets it back before the model is asked: thinking takes seconds."""
    account = run.parts.state.account()
    if isinstance(account, StageFailure) or not protection_alerts(account):
        return account
    return run.parts.state.account() if run.planning.put_back(account) else account


def _indicators(run: CycleRun) -> IndicatorSnapshot | StageFailure:
    market = run.read(Stage.MARKET_SNAPSHOTS)
    if isinstance(market, StageFailure):
        return market
    try:
        return run.parts.indicators(market)
    except ValueError as error:
        return StageFailure(Stage.INDICATORS, "indicators_unavailable", str(error))


def _llm_contexts(run: CycleRun) -> LlmContext | StageFailure:
    market, account, indicators = (
        run.read(stage) for stage in (Stage.MARKET_SNAPSHOTS, Stage.ACCOUNT_SNAPSHOTS, Stage.INDICATORS)
    )
    for record in (market, account, indicators):
        if isinstance(record, StageFailure):
            return record
    try:
        last = run.parts.ledger.last_report(run.cycle_ms)
        prior = run.parts.ledger.prior(run.cycle_ms)
    except StorageError as error:
        return StageFailure(Stage.LLM_CONTEXTS, "ledger_unreadable", str(error))
    inputs = _context_inputs(run, (market, account, indicators), last, prior)
    try:
        prompt = run.parts.context_builder.build(inputs)
    except ConfigurationError as error:  # no prompt, no decision; protection and the report need none
        return StageFailure(Stage.LLM_CONTEXTS, "prompt_broken", str(error))
    return LlmContext(
        cycle_ms=run.cycle_ms,
        prompt=prompt,
        performance=inputs.performance,
        prior=prior,
        alerts=inputs.alerts,
        setting=run.parts.setting,
        prompt_files=run.parts.context_builder.template.files,
        breaker=inputs.breaker,
        spending=last.spending if last else NOTHING_SPENT,
        held_since=inputs.held_since,
        fired=fired(inputs.readings),
    )


def _context_inputs(
    run: CycleRun,
    read: tuple[MarketSnapshot, AccountSnapshot, IndicatorSnapshot],
    last: CycleReport | None,
    prior: PriorDecision,
) -> ContextInputs:
    market, account, indicators = read
    conditions = prior.decision.conditions if prior.decision else ()
    return ContextInputs(
        cycle_ms=run.cycle_ms,
        market=market,
        indicators=indicators,
        account=account,
        performance=run.parts.state.performance_now(account, last, run.cycle_ms),
        prior=prior,
        alerts=last.alerts if last else (),
        breaker=last.breaker if last else UNBROKEN,
        held_since=last.held_since if last else (),
        readings=readings(conditions, market, indicators, _window_series(run)),
    )


def _window_series(run: CycleRun) -> tuple[str, ...]:
    return run.parts.context_builder.indicators.window_series


def _decisions(run: CycleRun) -> DecisionRecord:
    context = run.read(Stage.LLM_CONTEXTS)
    if isinstance(context, StageFailure):
        refusal = Refusal(context.reason, context.detail)
        return DecisionRecord(run.cycle_ms, refusal, None, None, run.parts.clock.now_ms())
    engine = run.parts.decision_engine
    paused = pause(context.breaker, run.cycle_ms) or capped(context.spending, engine.caps, run.cycle_ms)
    if paused is not None:
        return DecisionRecord(run.cycle_ms, paused, context.prompt, None, run.parts.clock.now_ms())
    market, account = run.read(Stage.MARKET_SNAPSHOTS), run.read(Stage.ACCOUNT_SNAPSHOTS)
    inputs = JudgementInputs(
        market, account, context.prior, engine.limits, engine.entry_cost_bps, _window_series(run)
    )

    def keep(reply: ModelReply) -> None:
        # A journal that fails here fails again before the first order, and refuses the decision then.
        with suppress(StorageError):
            run.parts.audit.reply(run.cycle_ms, reply)

    record = engine.decide(run.cycle_ms, context.prompt, inputs, keep)
    return with_identity(record, context)


def with_identity(record: DecisionRecord, context: LlmContext) -> DecisionRecord:
    """The record with the hash of its raw reply, and what of the prior decision the model was shown."""
    # A model may send half of a surrogate pair, which UTF-8 alone does not take.
    text = None if record.reply is None else record.reply.text.encode(errors="surrogatepass")
    digest = None if text is None else hashlib.sha256(text).hexdigest()
    shown_ms = context.prior.decided_cycle_ms
    return replace(record, reply_sha256=digest, fired=context.fired, prior_cycle_ms=shown_ms)


def _execution_plans(run: CycleRun) -> ExecutionPlan:
    record: DecisionRecord = run.read(Stage.DECISIONS)
    account = run.read(Stage.ACCOUNT_SNAPSHOTS)
    judged_on = account if isinstance(account, AccountSnapshot) else None
    return run.planning.plan(record.outcome, _snapshot_prices(run), judged_on)


def _snapshot_prices(run: CycleRun) -> dict[str, Decimal]:
    market = run.read(Stage.MARKET_SNAPSHOTS)
    return {} if isinstance(market, StageFailure) else {m.symbol: m.reference_px for m in market.markets}


def _executions(run: CycleRun) -> ExecutionReport:
    return run.parts.executor.execute(run.read(Stage.EXECUTION_PLANS))


def _cycle_reports(run: CycleRun) -> CycleReport:
    execution: ExecutionReport = run.read(Stage.EXECUTIONS)
    stages = {stage: run.read(stage) for stage in EDGES[Stage.CYCLE_REPORTS]}
    account = execution.account or _last_known_account(stages)
    now_ms = run.parts.clock.now_ms()
    try:
        last = run.parts.ledger.last_report(run.cycle_ms)
    except StorageError:  # totals that cannot be read are not begun anew: the next cycle goes on from them
        return without_memory(build_report(run.cycle_ms, stages, account, None, None, None, now_ms))
    if account is None:  # carried on, so that the opening equity is written once
        activity, performance = None, last.performance if last else None
    else:
        start = _totals_before(run, account, last)
        activity = _activity(run, account, last, start)
        performance = None if start is None else _performance(run, account, last, start, activity)
    report = build_report(run.cycle_ms, stages, account, performance, activity, last, now_ms)
    return remembering(report, run.read(Stage.DECISIONS), last, run.parts.breaker)


def _activity(
    run: CycleRun, account: AccountSnapshot, last: CycleReport | None, start: PerformanceSoFar | None
) -> Activity | None:
    """Booked up to the venue's own time of the account: a fill stamped before it is in the list by now."""
    since_ms = last.activity_until_ms if last and last.activity_until_ms else run.cycle_ms
    until_ms = account.venue_time_ms or run.parts.clock.now_ms() + 1
    try:
        activity = run.parts.state.activity(since_ms, max(since_ms, until_ms))
    except VenueError:
        return None  # booked by the next report: its window starts where the last one ended
    is_opening = last is None or last.performance is None
    if start is None or (is_opening and activity.funding_paid_usd):
        return activity  # whether the opening equity was read before or after the payment is not known
    return run.parts.state.with_transfers(activity, account, start)


def _totals_before(
    run: CycleRun, account: AccountSnapshot, last: CycleReport | None
) -> PerformanceSoFar | None:
    before: AccountSnapshot | StageFailure = run.read(Stage.ACCOUNT_SNAPSHOTS)
    start = performance_at(before if isinstance(before, AccountSnapshot) else account, last, run.cycle_ms)
    return start if start.opening_equity_usd > 0 else None  # the first cycle with money in it opens


def _performance(
    run: CycleRun,
    account: AccountSnapshot,
    last: CycleReport | None,
    start: PerformanceSoFar,
    activity: Activity | None,
) -> PerformanceSoFar:
    if activity is None:
        now = at_value(start, account.account_value_usd)
    else:
        now = booked(with_activity(start, account, activity), account, activity)
    try:
        returns = _returns(run, start, last)
    except StorageError:  # the curve is read by the next report: what is known of it stays
        return now
    # The first cycle's point is the opening equity itself.
    if run.cycle_ms > returns.last_at_ms and _is_point(start, account, last, activity):
        moved_usd = net_usd(activity.transfers) if activity else 0
        returns = with_point(returns, run.cycle_ms, float(account.account_value_usd), float(moved_usd))
    return replace(now, sharpe=sharpe_of(returns), returns=returns)


def _is_point(
    start: PerformanceSoFar, account: AccountSnapshot, last: CycleReport | None, activity: Activity | None
) -> bool:
    """Whether the account value says what was earned; if not, the next point's return is over both steps."""
    if activity is not None:
        is_idle = is_emptied(start) and not net_usd(activity.transfers)
        return activity.withheld_usd == 0 and not is_idle
    return last is None or start.booking is None or is_only_funded(start.booking, account, last.positions)


def _returns(run: CycleRun, start: PerformanceSoFar, last: CycleReport | None) -> ReturnSums:
    """The sums over the curve so far; a report that does not carry them costs one reading of the curve."""
    if start.returns is not None:
        return start.returns
    points = [(start.started_at_ms, float(start.opening_equity_usd))]
    if last is not None and last.performance is not None:
        points += [(p.time_ms, float(p.account_value_usd)) for p in run.parts.ledger.equity()]
    return return_sums([point for n, point in enumerate(points) if n == 0 or point[0] > points[0][0]])


def _last_known_account(stages: Mapping[Stage, Any]) -> AccountSnapshot | None:
    plan: ExecutionPlan = stages[Stage.EXECUTION_PLANS]
    read = stages[Stage.ACCOUNT_SNAPSHOTS]
    return plan.account or (None if isinstance(read, StageFailure) else read)


_STAGES: Mapping[Stage, Callable[[CycleRun], Record]] = {
    Stage.MARKET_SNAPSHOTS: _market_snapshots,
    Stage.ACCOUNT_SNAPSHOTS: _account_snapshots,
    Stage.INDICATORS: _indicators,
    Stage.LLM_CONTEXTS: _llm_contexts,
    Stage.DECISIONS: _decisions,
    Stage.EXECUTION_PLANS: _execution_plans,
    Stage.EXECUTIONS: _executions,
    Stage.CYCLE_REPORTS: _cycle_reports,
}
