"""A live cycle in one process: its parts, when it may begin, and who is told.

Belongs here: the conditions under which a stage may run, and what is written beside its record.
Does not belong here: Dagster, the order of the stages (``core.cycle``), construction (``defs.compose``).
"""

from dataclasses import dataclass, field

from wonttrade_dagster.adapters.hyperliquid.meter import BudgetMeter
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.lease import AccountLease
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.adapters.records import JournalledRecords
from wonttrade_dagster.adapters.telemetry import Category, Telemetry
from wonttrade_dagster.core.cycle import CycleRun, Record, stand_in
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import (
    ConfigurationError,
    LeaseError,
    StorageError,
    UsageError,
)
from wonttrade_dagster.core.model import (
    CycleReport,
    DecisionRecord,
    ExecutionReport,
    MarketSnapshot,
    Refusal,
    Stage,
    StageFailure,
)

MAX_WAIT_MS = 90_000
"""A run that is asked for earlier than this before its cycle is a mistake, not a lead."""

LEASE_PATIENCE_MS = 8_000
"""A run past its limit is found by the next poll of Dagster's run monitoring, 5 s apart."""


@dataclass(slots=True)
class LiveCycle:
    """Runs the stages of one cycle, in the process that holds the account's lease."""

    parts: CycleParts
    records: JournalledRecords
    ledger: DuckDBLedger
    telemetry: Telemetry
    lease: AccountLease
    journal: Journal
    meter: BudgetMeter
    settings_sha256: str
    max_start_delay_ms: int
    begun: set[int] = field(default_factory=set)

    def run(self, stage: Stage, cycle_ms: int, requested_sha256: str | None) -> Record:
        """Run one stage of a cycle and keep its record.

        Raises:
            ConfigurationError: the settings changed since the sensor asked for this run.
            UsageError: the cycle is past, or too far ahead.
            LeaseError: another process trades this account.
            StorageError: the stage is stored already, or one that it reads is not.
        """
        self._begin(cycle_ms, requested_sha256)
        self.records.refuse_stored(cycle_ms, stage)
        record = self._run(stage, cycle_ms)
        self._tell(cycle_ms, stage, record)
        if isinstance(record, CycleReport):
            self._finish(record)
        return record

    def _run(self, stage: Stage, cycle_ms: int) -> Record:
        """A raised stage would stop every stage behind it, protection too: an early one hands on a value."""
        run = CycleRun(self.parts, cycle_ms, self.records)
        try:
            return run.run(stage)
        except StorageError:  # stored already, or what it reads is not: another try would find the same
            raise
        except Exception as error:
            self.telemetry.event(
                "health", "stage_crashed", cycle_ms=cycle_ms, stage=stage.value, exc_info=error
            )
            record = stand_in(run, stage, error)
            if record is None:
                raise
            self.records.keep(cycle_ms, stage, record)
            return record

    def _begin(self, cycle_ms: int, requested_sha256: str | None) -> None:
        if cycle_ms in self.begun:
            return
        if requested_sha256 is not None and requested_sha256 != self.settings_sha256:
            raise ConfigurationError(
                f"wonttrade.toml changed: this run was requested under settings {requested_sha256[:12]} and "
                f"finds {self.settings_sha256[:12]}; reload the code location (or restart wonttrade up)"
            )
        self._wait_for(cycle_ms)
        self._take_lease()
        self.begun.add(cycle_ms)
        self._note_settings(cycle_ms)

    def _take_lease(self) -> None:
        """The cycle before may be about to end, or to be ended; past the patience this one gives up."""
        clock = self.parts.clock
        until_ms = clock.now_ms() + LEASE_PATIENCE_MS
        while True:
            try:
                return self.lease.acquire()
            except LeaseError:
                if clock.now_ms() >= until_ms:
                    raise
                clock.sleep(0.25)

    def _note_settings(self, cycle_ms: int) -> None:
        """Write down under which settings this cycle runs, and say so when they changed."""
        try:
            change = settings_change(self.journal, self.settings_sha256)
            minutes = self.parts.context_builder.cycle_minutes
            begun = {"settings_sha256": self.settings_sha256, "cycle_minutes": minutes}
            self.journal.append("begun", cycle_ms, begun)
            if change is not None:
                self.telemetry.event("health", "settings", cycle_ms=cycle_ms, detail=change)
        except StorageError as error:
            self.telemetry.event("health", "storage_fault", cycle_ms=cycle_ms, detail=str(error))

    def _wait_for(self, cycle_ms: int) -> None:
        clock = self.parts.clock
        late_ms = clock.now_ms() - cycle_ms
        if late_ms > self.max_start_delay_ms:
            raise UsageError(
                f"this cycle is stale: its time was {late_ms / 1000:.0f} s ago, the limit is "
                f"{self.max_start_delay_ms / 1000:.0f} s (execution.max_decision_age_seconds); "
                "missed cycles stay missing, the sensor runs the next one"
            )
        if -late_ms > MAX_WAIT_MS:
            raise UsageError(
                f"this cycle is {-late_ms / 1000:.0f} s away: a run waits at most 90 s for its time"
            )
        while (wait_ms := cycle_ms - clock.now_ms()) > 0:
            clock.sleep(wait_ms / 1000)

    def _tell(self, cycle_ms: int, stage: Stage, record: Record) -> None:
        category, facts = _facts(record)
        self.telemetry.event(category, stage.value, cycle_ms=cycle_ms, **facts)

    def _finish(self, report: CycleReport) -> None:
        for fault in self.records.faults:
            self.telemetry.event("health", "storage_fault", cycle_ms=report.cycle_ms, detail=fault)
        drained, stale_copy = self.ledger.settle()
        self.telemetry.event(
            "health", "ledger", cycle_ms=report.cycle_ms, drained=drained.drained, deferred=drained.deferred
        )
        if stale_copy is not None:
            self.telemetry.event("health", "read_copy", cycle_ms=report.cycle_ms, detail=stale_copy)
        execution: ExecutionReport = self.records.read(report.cycle_ms, Stage.EXECUTIONS)
        self.telemetry.cycle_finished(report, execution.unprotected_seconds, self.meter.read())


def settings_change(journal: Journal, sha256: str) -> str | None:
    """What the journal's last settings and these have between them; None when they are the same.

    Raises:
        StorageError: the journal cannot be read.
    """
    before = next(journal.newest("begun"), None)
    if before is None:
        return f"first start under settings {sha256[:12]}"
    known = str(before.body.get("settings_sha256"))
    if known == sha256:
        return None
    return f"the settings changed since the last cycle: {known[:12]} before, {sha256[:12]} now"


def _facts(record: Record) -> tuple[Category, dict[str, object]]:
    """The log category of a record, and the few facts of it that belong into one line."""
    if isinstance(record, StageFailure):
        return "health", {"reason": record.reason, "detail": record.detail}
    if isinstance(record, MarketSnapshot):
        return "market", _market_facts(record)
    if isinstance(record, DecisionRecord):
        return "decision", _decision_facts(record)
    if isinstance(record, ExecutionReport):
        statuses = [f"{type(r.action).__name__} {r.action.symbol} {r.status.value}" for r in record.results]
        return "execution", {"results": statuses, "alerts": list(record.alerts)}
    if isinstance(record, CycleReport):
        return "risk", {"outcome": record.outcome, "reason": record.reason, "alerts": list(record.alerts)}
    return "health", {"record": type(record).__name__}


def _market_facts(record: MarketSnapshot) -> dict[str, object]:
    """Prices, where they came from, how old the oldest piece was, and why it was not the stream."""
    facts: dict[str, object] = {
        "source": record.source,
        "prices": {market.symbol: str(market.reference_px) for market in record.markets},
        "age_ms": record.taken_at_ms - record.cycle_ms,
        "spread_ms": record.spread_ms,
        "ages_ms": dict(record.ages_ms),
    }
    return facts | ({"stream_miss": record.stream_miss} if record.stream_miss else {})


def _decision_facts(record: DecisionRecord) -> dict[str, object]:
    reply = record.reply
    facts: dict[str, object] = {"outcome": record.outcome.kind, "model": reply.model if reply else None}
    if isinstance(record.outcome, Refusal):
        return facts | {"reason": record.outcome.reason, "detail": record.outcome.detail}
    return facts | {"targets": {t.symbol: str(t.target_size) for t in record.outcome.targets}}
