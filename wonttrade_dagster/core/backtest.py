"""The loop of a backtest: the same cycle as live, over a grid of past decision times.

Belongs here: the grid, the order of "let the market move, then decide", and the memory a run carries.
Does not belong here: where history comes from, how orders are simulated, where results are written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.cycle import EDGES, CycleRun, Record, RecordSink
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    EquityPoint,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    ModelReply,
    OpenOrder,
    PlaceOrder,
    Position,
    PriorDecision,
    Refusal,
    Stage,
)
from wonttrade_dagster.core.ports import AuditSink, Ledger
from wonttrade_dagster.core.report import recalling

MINUTE_MS = 60_000
SECOND_MS = 1_000


def decision_times(from_ms: int, to_ms: int, cycle_minutes: int) -> range:
    """Every decision time of the grid in ``[from_ms, to_ms)``."""
    step_ms = cycle_minutes * MINUTE_MS
    first_ms = -(-from_ms // step_ms) * step_ms
    return range(first_ms, to_ms, step_ms)


@dataclass(frozen=True, slots=True)
class AccountEnd:
    """The simulated account where the range ends, and what happened to it since its last report.

    Nobody decides there: it is a point of the account's life, and no cycle.

    Attributes:
        time_ms: end of the range.
        account_value_usd: at the last prices.
        positions: held then.
        protection: stops and take-profits standing then.
        fills: since the last report, oldest first, none of them ordered by a decision made meanwhile.
        funding_paid_usd: in the same time, positive when paid.
        events: everything that happened in it, as the lines of the results tell events.
    """

    time_ms: int
    account_value_usd: Decimal
    positions: tuple[Position, ...] = ()
    protection: tuple[OpenOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    funding_paid_usd: Decimal = Decimal(0)
    events: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class MemoryRecords(RecordSink):
    """The records of the cycle in progress; the next cycle starts with none."""

    cycle_ms: int = -1
    records: dict[Stage, Record] = field(default_factory=dict)

    def keep(self, cycle_ms: int, stage: Stage, record: Record) -> None:
        """Keep one record of the cycle in progress."""
        if cycle_ms != self.cycle_ms:
            self.cycle_ms, self.records = cycle_ms, {}
        if stage in self.records:
            raise StorageError(f"stage {stage} of cycle {cycle_ms} is stored already")
        self.records[stage] = record

    def read(self, cycle_ms: int, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
        """The record of an earlier stage of the cycle in progress."""
        if cycle_ms != self.cycle_ms or stage not in self.records:
            raise StorageError(f"stage {stage} of cycle {cycle_ms} has not run")
        return self.records[stage]


@dataclass(slots=True)
class MemoryLedger(Ledger):
    """What one backtest run remembers between its cycles; the results file holds the rest."""

    points: list[EquityPoint] = field(default_factory=list)
    report: CycleReport | None = None
    applied: Decision | None = None
    applied_cycle_ms: int | None = None
    applied_fills: tuple[Fill, ...] = ()
    refusal: Refusal | None = None

    def record(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        """Not used: a backtest keeps records, not bytes."""
        raise StorageError(f"a backtest keeps no payload ({stage} of {cycle_ms}, {len(payload)} bytes)")

    def load(self, cycle_ms: int, stage: Stage) -> bytes | None:
        """Nothing is stored as bytes."""
        del cycle_ms, stage
        return None

    def last_report(self, before_ms: int) -> CycleReport | None:
        """The report of the cycle before."""
        return self.report if self.report and self.report.cycle_ms < before_ms else None

    def equity(self) -> Sequence[EquityPoint]:
        """One point a cycle, oldest first."""
        return self.points

    def prior(self, before_ms: int) -> PriorDecision:
        """The last applied decision."""
        del before_ms
        return PriorDecision(self.applied, self.applied_cycle_ms, self.refusal, self.applied_fills)

    def remember(self, records: MemoryRecords) -> None:
        """Take in a finished cycle."""
        cycle_ms = records.cycle_ms
        record: DecisionRecord = records.read(cycle_ms, Stage.DECISIONS)
        plan: ExecutionPlan = records.read(cycle_ms, Stage.EXECUTION_PLANS)
        execution: ExecutionReport = records.read(cycle_ms, Stage.EXECUTIONS)
        report: CycleReport = records.read(cycle_ms, Stage.CYCLE_REPORTS)
        refusal = plan.refusal or (record.outcome if isinstance(record.outcome, Refusal) else None)
        self.refusal = refusal
        if refusal is None and isinstance(record.outcome, Decision):
            self.applied, self.applied_cycle_ms = record.outcome, cycle_ms
            self.applied_fills = execution.fills
        self.report = report if report.is_memory else recalling(report, self.report)
        if report.account_value_usd is not None:
            self.points.append(EquityPoint(cycle_ms, report.account_value_usd))


@dataclass(slots=True)
class MemoryAudit(AuditSink):
    """The journal's part in a backtest: nothing here can be lost that cannot be run again.

    The results file is written once a cycle; intents need no journal where orders are simulated.
    """

    newest: tuple[int, Decision] | None = None

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        """A simulated order needs no intent on disk."""
        del cycle_ms, order

    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any]) -> None:
        """The results file holds the records."""
        del kind, cycle_ms, body

    def reply(self, cycle_ms: int, reply: ModelReply) -> None:
        """The record of the decision holds its reply."""
        del cycle_ms, reply

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        """Remember the decision that is being applied."""
        self.newest = (cycle_ms, decision)

    def last_applied(self) -> tuple[int, Decision] | None:
        """The decision that was applied last."""
        return self.newest

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        """Nobody else trades a simulated account."""
        del orders
        return ()


@dataclass(frozen=True, slots=True)
class Thinking:
    """How long a decision takes in the simulated market, and what lets that time pass.

    Attributes:
        pass_time: given the decision time and a latency, lets the market and the account live for so long.
        fixed_ms: the latency of every call; None takes what each call took.
        busy_until_ms: when the last decision before the grid was there.
    """

    pass_time: Callable[[int, int], None]
    fixed_ms: int | None = None
    busy_until_ms: int = 0

    def latency_ms(self, measured_ms: int) -> int:
        """The latency that counts, from the time that a call took.

        Measured ones are whole seconds, at least one: candles know nothing finer, and two runs of one
        backtest must not differ by the milliseconds of their calls.
        """
        if self.fixed_ms is not None:
            return self.fixed_ms
        return max(-(-measured_ms // SECOND_MS), 1) * SECOND_MS


def run_backtest(
    parts: CycleParts,
    ledger: MemoryLedger,
    grid: Iterable[int],
    advance: Callable[[int], None],
    finished: Callable[[MemoryRecords], None],
    thinking: Thinking | None = None,
) -> int:
    """Replay every decision time of ``grid``.

    A decision time that comes while the one before is still being thought about is skipped, as in live
    trading, where a cycle holds the account until it has ended.

    Args:
        parts: the parts of a cycle; ``parts.ledger`` is ``ledger``.
        ledger: carries the account's story from cycle to cycle.
        grid: decision times, ascending.
        advance: lets the simulated exchange live until a decision time (stops, funding, liquidation).
        finished: takes the records of each finished cycle, e.g. to the results file.
        thinking: lets the time pass that a decision takes; without it decisions take none.

    Returns:
        The number of cycles run.
    """
    records, count = MemoryRecords(), 0
    busy_until_ms = thinking.busy_until_ms if thinking else 0
    for cycle_ms in grid:
        if cycle_ms < busy_until_ms:
            continue
        advance(cycle_ms)
        busy_until_ms = cycle_ms + _run_cycle(CycleRun(parts, cycle_ms, records), thinking)
        ledger.remember(records)
        finished(records)
        count += 1
    return count


def _run_cycle(run: CycleRun, thinking: Thinking | None) -> int:
    """Run every stage; how many milliseconds the decision took in the simulated market."""
    clock, latency_ms = run.parts.decision_engine.clock, 0
    for stage in EDGES:
        began_ms = clock.now_ms()
        run.run(stage)
        if stage is Stage.DECISIONS and thinking is not None:
            latency_ms = thinking.latency_ms(clock.now_ms() - began_ms)
            thinking.pass_time(run.cycle_ms, latency_ms)
    return latency_ms
