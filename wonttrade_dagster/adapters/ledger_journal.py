"""What the journal knows of past cycles, for a ledger whose file cannot be asked or is behind.

Belongs here: finding the newest records, and how a cycle's decision ended. Does not belong here: DuckDB.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    Refusal,
    Stage,
    StageFailure,
)

KINDS = {
    Stage.DECISIONS: "decision",
    Stage.EXECUTION_PLANS: "plan",
    Stage.EXECUTIONS: "execution",
    Stage.CYCLE_REPORTS: "cycle_report",
}
"""The stages that are journalled, and under which kind of record."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cycle's decision: exactly one of the two is set."""

    cycle_ms: int
    decision: Decision | None
    refusal: Refusal | None


def outcome_of(
    cycle_ms: int, record: DecisionRecord | StageFailure | None, plan: ExecutionPlan | StageFailure | None
) -> Outcome | None:
    """None without a decision. Applied means: the model decided, and its plan was made without a refusal."""
    for stage in (record, plan):
        if isinstance(stage, StageFailure):
            return Outcome(cycle_ms, None, Refusal(stage.reason, stage.detail))
    if not isinstance(record, DecisionRecord):
        return None
    if isinstance(record.outcome, Refusal):
        return Outcome(cycle_ms, None, record.outcome)
    if not isinstance(plan, ExecutionPlan):
        refusal = Refusal("cycle_interrupted", "the cycle ended before its decision was taken on")
        return Outcome(cycle_ms, None, refusal)
    return Outcome(cycle_ms, None if plan.refusal else record.outcome, plan.refusal)


@dataclass(frozen=True, slots=True)
class JournalledCycles:
    """Reads the journal backwards, no further than needed; knows nothing where there is no journal."""

    journal: Journal | None

    def record(self, stage: Stage, kind: Any, before_ms: int, after_ms: int | None) -> Any:  # noqa: ANN401 (see codec)
        """The newest record of a stage between two times, both left out; None when there is none."""
        for entry in self.journal.newest(KINDS[stage]) if self.journal else ():
            if entry.cycle_ms < before_ms:
                if after_ms is not None and entry.cycle_ms <= after_ms:
                    return None
                return decode_stage(kind, entry.json(), entry.cycle_ms, stage)
        return None

    def report(self, before_ms: int, after_ms: int | None) -> CycleReport | None:
        """The newest report, if it is newer than ``after_ms``, the newest that the ledger has."""
        report: CycleReport | None = self.record(Stage.CYCLE_REPORTS, CycleReport, before_ms, after_ms)
        return report

    def outcome(self, before_ms: int, after_ms: int | None) -> Outcome | None:
        """How the newest decision ended, if it is newer: the published copy may be minutes old."""
        record = self.record(Stage.DECISIONS, DecisionRecord, before_ms, after_ms)
        if record is None:
            return None
        at_ms = record.cycle_ms
        plan = self.record(Stage.EXECUTION_PLANS, ExecutionPlan, at_ms + 1, at_ms - 1)
        return outcome_of(at_ms, record, plan)

    def values(self, after_ms: int | None) -> dict[int, Decimal]:
        """Account value by cycle, where the cycle's report knew it, of the cycles after ``after_ms``."""
        found = dict[int, Decimal]()
        for entry in self.journal.newest(KINDS[Stage.CYCLE_REPORTS]) if self.journal else ():
            if after_ms is not None and entry.cycle_ms <= after_ms:
                break
            if (value := entry.body.get("account_value_usd")) is not None:
                found.setdefault(entry.cycle_ms, Decimal(value))
        return found


def decode_stage(kind: Any, payload: bytes, cycle_ms: int, stage: Stage) -> Any:  # noqa: ANN401 (see codec)
    """A stage's record. Raises ``StorageError`` for one that another version wrote."""
    try:
        return decode(kind, payload)
    except ValidationError as error:
        raise StorageError(
            f"stage {stage.value} of cycle {cycle_ms} is not readable by this version "
            f"({error.error_count()} fields differ): move the ledger away or use the version that wrote it"
        ) from error
