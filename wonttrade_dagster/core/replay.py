"""A stored cycle computed once more: indicators, prompt, verdict and plan from the records alone.

Belongs here: which stage is computed from which records, and what differs when the bytes are not the same.
Does not belong here: finding and reading records (``adapters.archive``), showing them.

Every stage is computed from the *stored* records that it read, so that one difference names one stage. What
came from outside (market, account, the model's words, the venue's answers) is checked for being whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl

from wonttrade_dagster.core.breaker import pause
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.context import ContextBuilder, ContextInputs, PromptTemplate
from wonttrade_dagster.core.cycle import EDGES, STAGE_RECORDS, Record, with_identity
from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.errors import ConfigurationError, WontTradeError
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.invalidation import fired, readings
from wonttrade_dagster.core.llm_engine import judge_reply
from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    AccountSnapshot,
    CycleSetting,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    IndicatorSnapshot,
    LlmContext,
    MarketSnapshot,
    PlanBasis,
    Refusal,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.planning import Planning
from wonttrade_dagster.core.record_diff import difference, is_older
from wonttrade_dagster.core.replay_parts import RecordedWorld, parts_of
from wonttrade_dagster.core.seals import is_sealed
from wonttrade_dagster.core.spending import capped, with_cost

_NOT_A_RECORD = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    pl.exceptions.PolarsError,
)
"""What reading or using a record raises in which something was changed."""

IndicatorsAt = Callable[[MarketSnapshot, int], IndicatorSnapshot]
"""Indicators of a market, for so many points."""


BROKEN_SEAL = "its hash is not the one that was written down then"
OLDER = "an earlier version wrote it, in fewer fields; what it says is the same"


class ReplayVerdict(StrEnum):
    """What became of one stage."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_STORED = "not stored"


@dataclass(frozen=True, slots=True)
class StageCheck:
    """One stage of one cycle, computed again.

    Attributes:
        stage: which.
        verdict: how it compares with the record.
        detail: a short unified diff, or what is missing; a remark for a stage that is the same.
    """

    stage: Stage
    verdict: ReplayVerdict
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class StoredCycle:
    """Everything that was stored of one cycle.

    Attributes:
        cycle_ms: the cycle.
        payloads: JSON of each stage that is there.
        seals: of a stage's record, from a second place; see ``core.seals``.
        contradictions: a sentence for each stage that a second place tells otherwise.
        missing: why a stage is not there, where more is known than that.
        suspect: what to blame before the code where a computed stage differs; empty when nothing is known.
        template: the prompt as it was then; None when its files are not stored.
        prior: the decision that the plan put protection back from; None without one.
        prior_missing: whether there was one and it is not stored.
        pieced: stages whose payload was pieced together from less than a record: to read, not to compare.
        indicators: how they were computed; None for :class:`IndicatorEngine` on the snapshot.
    """

    cycle_ms: int
    payloads: Mapping[Stage, bytes]
    seals: Mapping[Stage, str] = field(default_factory=dict)
    contradictions: Mapping[Stage, str] = field(default_factory=dict)
    missing: Mapping[Stage, str] = field(default_factory=dict)
    suspect: str = ""
    template: PromptTemplate | None = None
    prior: Decision | None = None
    prior_missing: bool = False
    pieced: frozenset[Stage] = frozenset()
    indicators: IndicatorsAt | None = None
    _decoded: dict[Stage, Any] = field(default_factory=dict, init=False, repr=False)

    def record(self, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
        """The record of a stage, None where it is not there or not readable."""
        if stage not in self._decoded:
            self._decoded[stage] = self._read(stage)
        return self._decoded[stage]

    def _read(self, stage: Stage) -> Any:  # noqa: ANN401 (see above)
        payload = self.payloads.get(stage)
        if payload is None:
            return None
        try:
            return decode(STAGE_RECORDS[stage], payload)
        except _NOT_A_RECORD:
            return None


class NotStoredError(Exception):
    """What a stage is computed from is not there; says what."""


def replay_cycle(stored: StoredCycle) -> tuple[StageCheck, ...]:
    """Compute every stage of a cycle again and compare it, byte by byte, with what was recorded."""
    return tuple(_check(stored, stage) for stage in EDGES)


def indicators_of(stored: StoredCycle, points: int) -> IndicatorSnapshot | StageFailure:
    """The indicators of a stored market. Raises ``NotStoredError`` without one."""
    market = _needed(stored, Stage.MARKET_SNAPSHOTS)
    if isinstance(market, StageFailure):
        return market
    setting = _setting(stored)
    engine = IndicatorEngine(points, setting.indicators if setting else USUAL_INDICATORS)
    compute = stored.indicators or (lambda snapshot, _: engine.compute(snapshot))
    try:
        return compute(market, points)
    except ValueError as error:
        return StageFailure(Stage.INDICATORS, "indicators_unavailable", str(error))


def _check(stored: StoredCycle, stage: Stage) -> StageCheck:
    payload = stored.payloads.get(stage)
    if stage in stored.pieced or (payload is None and stage not in stored.seals):
        return StageCheck(stage, ReplayVerdict.NOT_STORED, stored.missing.get(stage, ""))
    if payload is not None and stored.record(stage) is None:
        return StageCheck(stage, ReplayVerdict.DIFFERS, "the record is damaged: it cannot be read")
    if stage in stored.contradictions:
        return StageCheck(stage, ReplayVerdict.DIFFERS, stored.contradictions[stage])
    try:
        again = encode(_AGAIN[stage](stored), STAGE_RECORDS[stage])
    except NotStoredError as error:
        if payload is not None and not is_sealed(stage, payload, stored.seals.get(stage)):
            return StageCheck(stage, ReplayVerdict.DIFFERS, BROKEN_SEAL)
        return StageCheck(stage, ReplayVerdict.NOT_STORED, str(error))
    except (WontTradeError, *_NOT_A_RECORD) as error:
        why = f"it cannot be computed from the stored records: {type(error).__name__}: {error}"
        return StageCheck(stage, ReplayVerdict.DIFFERS, why)
    kept = again if payload is None else payload
    unlike = _unlike(stage, kept, again, stored.seals.get(stage))
    if unlike:
        detail = "\n".join(filter(None, (stored.suspect, unlike)))
        return StageCheck(stage, ReplayVerdict.DIFFERS, detail)
    return StageCheck(stage, ReplayVerdict.SAME, "" if again == kept else OLDER)


def _unlike(stage: Stage, kept: bytes, again: bytes, seal: str | None) -> str:
    """What is not the same; empty when all is."""
    if again != kept and not is_older(kept, again):
        return difference(kept, again)
    return "" if is_sealed(stage, kept, seal) else BROKEN_SEAL


# --- the stages ------------------------------------------------------------------------------------


def _as_it_stands(stage: Stage) -> Callable[[StoredCycle], Record]:
    """What came from outside cannot be computed: its record must be whole."""
    return lambda stored: _needed(stored, stage)


def _indicators(stored: StoredCycle) -> Record:
    known = stored.record(Stage.INDICATORS)
    if isinstance(known, StageFailure) and known.reason == "stage_crashed":
        return known
    return indicators_of(stored, _points(stored, known))


def _points(stored: StoredCycle, known: Any) -> int:  # noqa: ANN401 (the record of the stage)
    setting = _setting(stored)
    if setting is not None:
        return setting.series_points
    if not isinstance(known, IndicatorSnapshot) or not known.symbols:
        raise NotStoredError("the number of points is not stored")
    return max(known.symbols[0].intraday.height, known.symbols[0].long_term.height)


def _llm_contexts(stored: StoredCycle) -> Record:
    known = stored.record(Stage.LLM_CONTEXTS)
    if not isinstance(known, LlmContext):
        return _first_failure(stored, known)
    if known.setting is None:
        raise NotStoredError("the limits, rules and cadence that the prompt was made under")
    if stored.template is None:
        raise NotStoredError("the prompt's files")
    market, account = _snapshots(stored)
    points = _indicators_record(stored, known.setting)
    shown = known.setting.indicators
    builder = ContextBuilder(
        stored.template, known.setting.limits, known.setting.rules, known.setting.cycle_minutes, shown
    )
    prior = known.prior.decision
    inputs = ContextInputs(
        cycle_ms=stored.cycle_ms,
        market=market,
        indicators=points,
        account=account,
        performance=known.performance,
        prior=known.prior,
        alerts=known.alerts,
        breaker=known.breaker,
        held_since=known.held_since,
        readings=readings(prior.conditions if prior else (), market, points, shown.window_series),
    )
    try:
        return replace(known, prompt=builder.build(inputs), fired=fired(inputs.readings))
    except ConfigurationError as error:
        raise NotStoredError(f"a prompt that can be made: {error}") from error


def _indicators_record(stored: StoredCycle, setting: CycleSetting) -> IndicatorSnapshot:
    """As stored; a backtest stores their hash only and they are computed."""
    record = stored.record(Stage.INDICATORS)
    if record is None and Stage.INDICATORS in stored.seals:
        record = indicators_of(stored, setting.series_points)
    if not isinstance(record, IndicatorSnapshot):
        raise NotStoredError(f"the record of {Stage.INDICATORS}")
    return record


def _decisions(stored: StoredCycle) -> Record:
    known: DecisionRecord = stored.record(Stage.DECISIONS)
    context = _needed(stored, Stage.LLM_CONTEXTS)
    if isinstance(context, StageFailure):
        return replace(known, outcome=Refusal(context.reason, context.detail), prompt=None, reply=None)
    setting = context.setting
    if setting is None:
        raise NotStoredError("the limits that the reply was judged by")
    if known.reply is None:
        return _unanswered(known, context, setting)
    market, account = _snapshots(stored)
    inputs = JudgementInputs(
        market,
        account,
        context.prior,
        setting.limits,
        setting.entry_cost_bps,
        setting.indicators.window_series,
    )
    judged = replace(
        known,
        outcome=judge_reply(known.reply, inputs),
        prompt=context.prompt,
        first_refusal=_first_refusal(known, inputs),
    )
    return with_identity(with_cost(judged, setting.price), context)


def _unanswered(known: DecisionRecord, context: LlmContext, setting: CycleSetting) -> DecisionRecord:
    """The model was not asked, which can be computed; or did not answer, or the stage crashed."""
    paused = pause(context.breaker, known.cycle_ms) or capped(context.spending, setting.caps, known.cycle_ms)
    return known if paused is None else replace(known, outcome=paused, prompt=context.prompt)


def _first_refusal(known: DecisionRecord, inputs: JudgementInputs) -> Refusal | None:
    """Of the reply that the model was asked to repair; None when it was not asked, or when it was good."""
    first = None if known.first_reply is None else judge_reply(known.first_reply, inputs)
    return first if isinstance(first, Refusal) else None


def _execution_plans(stored: StoredCycle) -> Record:
    known: ExecutionPlan = stored.record(Stage.EXECUTION_PLANS)
    decision: DecisionRecord = _needed(stored, Stage.DECISIONS)
    basis = known.basis
    if basis is None:
        raise NotStoredError("what the plan was made from beside decision, account and market")
    if stored.prior_missing:
        raise NotStoredError("the decision that protection was put back from")
    outcome = known.refusal if known.refusal and known.refusal.reason == "stage_crashed" else decision.outcome
    planning = Planning(parts_of(_world(stored, known, basis), basis.setting), stored.cycle_ms)
    account = None if isinstance(outcome, Refusal) else _needed(stored, Stage.ACCOUNT_SNAPSHOTS)
    judged_on = account if isinstance(account, AccountSnapshot) else None
    return planning.plan(outcome, _prices(stored, known, basis), judged_on)


def _world(stored: StoredCycle, known: ExecutionPlan, basis: PlanBasis) -> RecordedWorld:
    said = known.refusal.detail if known.refusal else ""
    is_fault = known.refusal is not None and known.refusal.reason == "journal_unavailable"
    at_ms, prior = basis.prior_cycle_ms, stored.prior
    return RecordedWorld(
        account=known.account,
        unreadable=said,
        assets={asset.symbol: asset for asset in basis.assets},
        planned_at_ms=basis.planned_at_ms,
        prior=None if at_ms is None or prior is None else (at_ms, prior),
        stranger_oids=frozenset(basis.stranger_oids),
        journal_fault=said if is_fault else None,
    )


def _prices(stored: StoredCycle, known: ExecutionPlan, basis: PlanBasis) -> Mapping[str, Decimal]:
    """Prices of the snapshot; without one, the marks that were read with the account if they are enough."""
    market = stored.record(Stage.MARKET_SNAPSHOTS)
    if isinstance(market, MarketSnapshot):
        return {m.symbol: m.reference_px for m in market.markets}
    marks = dict(known.account.marks) if known.account else {}
    if market is None and known.account and any(symbol not in marks for symbol in basis.setting.symbols):
        raise NotStoredError("the prices that the plan was made at")
    return {}


_AGAIN: Mapping[Stage, Callable[[StoredCycle], Record]] = {
    **{stage: _as_it_stands(stage) for stage in Stage},
    Stage.INDICATORS: _indicators,
    Stage.LLM_CONTEXTS: _llm_contexts,
    Stage.DECISIONS: _decisions,
    Stage.EXECUTION_PLANS: _execution_plans,
}


# --- reading ---------------------------------------------------------------------------------------


def _needed(stored: StoredCycle, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
    record = stored.record(stage)
    if record is None:
        why = stored.missing.get(stage)
        raise NotStoredError(f"the record of {stage}{f' ({why})' if why else ''}")
    return record


def _snapshots(stored: StoredCycle) -> tuple[MarketSnapshot, AccountSnapshot]:
    market, account = _needed(stored, Stage.MARKET_SNAPSHOTS), _needed(stored, Stage.ACCOUNT_SNAPSHOTS)
    if isinstance(market, StageFailure) or isinstance(account, StageFailure):
        raise NotStoredError("a market and an account")
    return market, account


def _setting(stored: StoredCycle) -> CycleSetting | None:
    context = stored.record(Stage.LLM_CONTEXTS)
    if isinstance(context, LlmContext) and context.setting is not None:
        return context.setting
    plan = stored.record(Stage.EXECUTION_PLANS)
    return plan.basis.setting if isinstance(plan, ExecutionPlan) and plan.basis else None


def _first_failure(stored: StoredCycle, known: Any) -> Record:  # noqa: ANN401 (a record)
    for stage in EDGES[Stage.LLM_CONTEXTS]:
        record = stored.record(stage)
        if isinstance(record, StageFailure):
            return record
    failure: StageFailure = known  # the ledger could not be read, or the stage crashed: from outside
    return failure
