"""The ledger: the queryable history of one account's cycles, in one DuckDB file.

Belongs here: stage records in and out, and what a new cycle wants to know of the ones before it.
Does not belong here: the order of journal and ledger (``adapters.records``), market history, reports.

Every record is first a file in the spool, so that nobody who holds the DuckDB file can stop a cycle; the last
stage drains the spool. Reads look into the spool, then into DuckDB, then (while DuckDB is held by somebody or
broken) into the published copy and the journal. All of it may be deleted between two cycles.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from wonttrade_dagster.adapters import ledger_tables as tables
from wonttrade_dagster.adapters.duckdb_file import connect, publish, publish_held, read_copy_path
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger_journal import JournalledCycles, Outcome, decode_stage, outcome_of
from wonttrade_dagster.adapters.redaction import Redactor
from wonttrade_dagster.adapters.spool import Spool, SpooledStage, require_json, stored_already
from wonttrade_dagster.core.errors import StorageError, StorageLockedError
from wonttrade_dagster.core.model import (
    CycleReport,
    DecisionRecord,
    EquityPoint,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    PriorDecision,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.ports import Ledger
from wonttrade_dagster.core.report import recalling

Connection = duckdb.DuckDBPyConnection | None
"""None where there is no file to ask, or none that can be asked now."""

_Answer = TypeVar("_Answer")

IMPATIENT_SECONDS = 30.0
"""After one wait for a held file has failed, how long nobody waits for it again: a cycle has many reads."""

_BEFORE_THE_PROMPT = frozenset({Stage.MARKET_SNAPSHOTS, Stage.ACCOUNT_SNAPSHOTS, Stage.INDICATORS})

_BATCH = 512
"""Spooled records per transaction: bounds memory when days have piled up."""


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain ended.

    Attributes:
        drained: records that are in DuckDB now and no longer in the spool.
        deferred: why the rest still waits in the spool; None when nothing does.
        set_aside: files that DuckDB did not take (another record of that stage is stored, or no JSON).
    """

    drained: int
    deferred: str | None = None
    set_aside: tuple[Path, ...] = ()


class DuckDBLedger(Ledger):
    """History of one account, written through a spool.

    Args:
        path: the DuckDB file; made by the first drain.
        spool_dir: where records wait for it; on the same disk, of this ledger alone.
        lock_seconds: how long to wait for whoever holds the file.
        journal: what is asked while the file is held, and what knows of a decision that was applied just
            before a kill.
        secrets: values that are replaced by ``[redacted]`` wherever a record holds them.
    """

    def __init__(
        self,
        path: Path,
        spool_dir: Path,
        lock_seconds: float = 2.0,
        journal: Journal | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.spool = Spool(spool_dir)
        self._lock_seconds = lock_seconds
        self._journal = journal
        self._journalled = JournalledCycles(journal)
        self._redactor = Redactor(secrets)
        self._impatient_until = 0.0
        self._seen: tuple[object, int, frozenset[str]] | None = None  # file state, cycle, its stages
        self._last: tuple[int, CycleReport] | None = None  # before which cycle, and the answer then
        self._prior_read: tuple[int, PriorDecision] | None = None  # likewise; given once

    # --- records ---

    def record(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        """Keep the JSON of one stage. Raises ``StorageError`` for a stage that is stored already."""
        if self._is_in_duckdb(cycle_ms, stage):
            raise stored_already(cycle_ms, stage)
        require_json(cycle_ms, stage, payload)
        if stage is Stage.CYCLE_REPORTS:
            self._last = self._prior_read = None
        self.spool.add(cycle_ms, stage, self._redactor.json(payload))

    def load(self, cycle_ms: int, stage: Stage) -> bytes | None:
        """The JSON kept for a stage, byte for byte, or None."""
        spooled = self.spool.get(cycle_ms, stage)
        if spooled is not None or stage.value not in self._stages_in_duckdb(cycle_ms, stage):
            return spooled
        with self._reading() as connection:
            return tables.payload(connection, cycle_ms, stage) if connection else None

    # --- what a new cycle wants to know ---

    def last_report(self, before_ms: int) -> CycleReport | None:
        """The newest report of a cycle before ``before_ms``.

        A cycle asks twice, and nobody but it reports meanwhile: the second answer is the first one.
        """
        if self._last is None or self._last[0] != before_ms:
            self._answer(lambda connection: self._read_ahead(connection, before_ms))
        return self._last[1] if self._last is not None and self._last[0] == before_ms else None

    def _read_ahead(self, connection: Connection, before_ms: int) -> None:
        """Last report and prior decision; the latter is asked for by itself, and raises, if this fails."""
        report = self._last_report(connection, before_ms)
        self._last = None if report is None else (before_ms, report)
        with suppress(StorageError, duckdb.Error):
            self._prior_read = (before_ms, self._prior(connection, before_ms))

    def equity(self) -> Sequence[EquityPoint]:
        """Account value once a cycle, oldest first, the opening equity being the first."""
        return self._answer(self._equity)

    def prior(self, before_ms: int) -> PriorDecision:
        """The last applied decision before a cycle, and how the cycle before it ended."""
        known, self._prior_read = self._prior_read, None
        if known is not None and known[0] == before_ms:
            return known[1]
        return self._answer(lambda connection: self._prior(connection, before_ms))

    def _answer(self, ask: Callable[[Connection], _Answer]) -> _Answer:
        """Ask DuckDB; a file that breaks while it is read is left aside if there is a journal to ask."""
        try:
            with self._reading() as connection:
                return ask(connection)
        except StorageError:
            if self._journal is None:
                raise
            return ask(None)

    def _last_report(self, connection: Connection, before_ms: int) -> CycleReport | None:
        newest = memory = self._newest_report(connection, before_ms)
        while memory is not None and not memory.is_memory:
            memory = self._newest_report(connection, memory.cycle_ms)
        return newest if newest is None or newest is memory else recalling(newest, memory)

    def _newest_report(self, connection: Connection, before_ms: int) -> CycleReport | None:
        cycles = self._cycles(connection, Stage.CYCLE_REPORTS, before_ms)
        reports = (self._decoded(connection, cycle, Stage.CYCLE_REPORTS, CycleReport) for cycle in cycles)
        report: CycleReport | None = next((report for report in reports if report is not None), None)
        return self._journalled.report(before_ms, after_ms=report.cycle_ms if report else None) or report

    def _equity(self, connection: Connection) -> Sequence[EquityPoint]:
        values = tables.account_values(connection) if connection else {}
        values |= self._journalled.values(after_ms=max(values, default=None))
        opening = tables.opening(connection) if connection else None
        waiting = [key for key in self.spool.waiting() if key[1] is Stage.CYCLE_REPORTS]
        for spooled in self.spool.read(waiting):
            value, carried = tables.report_facts(spooled.payload)
            values |= {} if value is None else {spooled.cycle_ms: value}
            opening = opening or carried
        if opening is not None:  # the first cycle opens before it trades: its first value is the opening
            values = {cycle: value for cycle, value in values.items() if cycle > opening.time_ms}
            values[opening.time_ms] = opening.account_value_usd
        return [EquityPoint(cycle_ms, values[cycle_ms]) for cycle_ms in sorted(values)]

    def _prior(self, connection: Connection, before_ms: int) -> PriorDecision:
        newest = self._newest_outcome(connection, before_ms)
        applied = self._applied(connection, before_ms)
        journalled = self._journal.last_applied() if self._journal else None
        if journalled and journalled[0] < before_ms and (not applied or journalled[0] > applied.cycle_ms):
            applied = Outcome(*journalled, refusal=None)
        if applied is None:
            return PriorDecision(None, None, newest.refusal if newest else None)
        is_older = newest is not None and newest.cycle_ms > applied.cycle_ms
        refusal = newest.refusal if newest and is_older else None
        fills = self._fills(connection, applied.cycle_ms)
        return PriorDecision(applied.decision, applied.cycle_ms, refusal, fills)

    # --- DuckDB ---

    def drain(self) -> Drained:
        """Move every spooled record into DuckDB; never raises for a file that is held or a full disk.

        Safe to repeat after a kill at any moment: a record leaves the spool only after its commit.
        """
        return self._drained(lambda _: None)

    def publish(self) -> str | None:
        """Bring the read copy ``<name>.read.duckdb`` up to date; None when done, else why it is not."""
        if not self.path.exists():
            return f"{self.path} does not exist yet"
        try:
            publish(self.path, self._lock_seconds)
        except (StorageError, duckdb.Error) as error:
            return str(error)
        return None

    def settle(self) -> tuple[Drained, str | None]:
        """:meth:`drain` and :meth:`publish` while the file is opened once, at the end of a cycle."""
        faults = list[str]()

        def publish_now(connection: duckdb.DuckDBPyConnection) -> None:
            try:
                publish_held(self.path, connection)
            except (StorageError, duckdb.Error) as error:
                faults.append(str(error))

        drained = self._drained(publish_now)
        if drained.deferred is not None:
            return drained, drained.deferred
        return (drained, faults[-1] if faults else None) if drained.drained else (drained, self.publish())

    def _drained(self, then: Callable[[duckdb.DuckDBPyConnection], None]) -> Drained:
        """Drain, and do something ``then`` while the file is open all the same."""
        total, aside = 0, list[Path]()
        try:
            while keys := self.spool.waiting()[:_BATCH]:
                spooled = self.spool.read(keys)
                with connect(self.path, self._lock_seconds) as connection:
                    refused = tables.insert(connection, spooled)
                    then(connection)
                aside += [self.spool.set_aside(*key) for key in refused]
                total += self._forget(spooled, refused)
        except (StorageError, OSError, duckdb.Error) as error:
            return Drained(total, str(error), tuple(aside))
        return Drained(total, None, tuple(aside))

    def _forget(self, spooled: Sequence[SpooledStage], refused: set[tuple[int, Stage]]) -> int:
        done = [(item.cycle_ms, item.stage) for item in spooled]
        kept = [key for key in done if key not in refused]
        for key in kept:
            self.spool.remove(*key)
        return len(kept)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """The DuckDB file or its published copy; None when there is neither and the spool has to do.

        Raises ``StorageError`` when the file is there, cannot be read, and there is no journal to ask.
        """
        with ExitStack() as stack:
            connection = self._connected(stack)
            try:
                yield connection if connection and tables.exist(connection) else None
            except duckdb.Error as error:
                raise StorageError(
                    f"{self.path} could not be read ({error}): restore or remove it"
                ) from error

    def _connected(self, stack: ExitStack) -> Connection:
        if not self.path.exists():
            return None
        try:
            return stack.enter_context(connect(self.path, self._patience_seconds(), read_only=True))
        except StorageError as error:
            if isinstance(error, StorageLockedError):
                self._impatient_until = time.monotonic() + IMPATIENT_SECONDS
            return self._second_best(stack, error)

    def _second_best(self, stack: ExitStack, error: StorageError) -> Connection:
        """The published copy, else nothing if there is a journal to ask, else the error."""
        copy = read_copy_path(self.path)
        try:
            if copy.exists():
                return stack.enter_context(connect(copy, self._patience_seconds(), read_only=True))
        except StorageError:
            pass  # then the copy is no help either, and ``error`` says what is wrong
        if self._journal is None:
            raise error
        return None

    def _patience_seconds(self) -> float:
        return 0.0 if time.monotonic() < self._impatient_until else self._lock_seconds

    def _is_in_duckdb(self, cycle_ms: int, stage: Stage) -> bool:
        try:
            return stage.value in self._stages_in_duckdb(cycle_ms, stage)
        except StorageError:  # it cannot be asked now; the drain keeps both and says so if there are two
            return False

    def _stages_in_duckdb(self, cycle_ms: int, asking: Stage) -> frozenset[str]:
        """The stored stages of a cycle; asked once per state of the file, since a cycle asks many times.

        Opening the file takes longer than reading: a stage ahead of the prompt reads what the prompt will ask
        for. The cycle holds the account by then, so nobody reports meanwhile.
        """
        state = tuple(_state(Path(f"{self.path}{suffix}")) for suffix in ("", ".wal"))
        if self._seen is not None and self._seen[:2] == (state, cycle_ms):
            return self._seen[2]
        with self._reading() as connection:
            found = tables.stages(connection, cycle_ms) if connection else frozenset()
            if connection and asking in _BEFORE_THE_PROMPT:
                with suppress(StorageError, duckdb.Error):  # the prompt asks by itself then, and says why
                    self._read_ahead(connection, cycle_ms)
        if time.monotonic() >= self._impatient_until:
            self._seen = (state, cycle_ms, found)
        return found

    # --- reading across spool, DuckDB and journal ---

    def _load(self, connection: Connection, cycle_ms: int, stage: Stage) -> bytes | None:
        spooled = self.spool.get(cycle_ms, stage)
        if spooled is not None or connection is None:
            return spooled
        return tables.payload(connection, cycle_ms, stage)

    def _decoded(
        self,
        connection: Connection,
        cycle_ms: int,
        stage: Stage,
        kind: Any,  # noqa: ANN401 (a type or a union of types)
    ) -> Any:  # noqa: ANN401 (a record of ``kind``)
        payload = self._load(connection, cycle_ms, stage)
        return None if payload is None else decode_stage(kind, payload, cycle_ms, stage)

    def _cycles(self, connection: Connection, stage: Stage, before_ms: int) -> list[int]:
        """Cycles that have that stage, newest first: all of the spool's and the newest of DuckDB's."""
        spooled = {cycle for cycle, held in self.spool.waiting() if held is stage and cycle < before_ms}
        stored = tables.newest_cycle(connection, stage, before_ms) if connection else None
        return sorted(spooled | ({stored} if stored is not None else set()), reverse=True)

    def _newest_outcome(self, connection: Connection, before_ms: int) -> Outcome | None:
        cycles = self._cycles(connection, Stage.DECISIONS, before_ms)
        newest = next((self._outcome(connection, cycle) for cycle in cycles), None)
        return self._journalled.outcome(before_ms, after_ms=newest.cycle_ms if newest else None) or newest

    def _applied(self, connection: Connection, before_ms: int) -> Outcome | None:
        cycles = set(self._cycles(connection, Stage.DECISIONS, before_ms))
        if connection and (stored := tables.newest_applied(connection, before_ms)) is not None:
            cycles.add(stored)
        outcomes = (self._outcome(connection, cycle) for cycle in sorted(cycles, reverse=True))
        return next((outcome for outcome in outcomes if outcome and outcome.decision), None)

    def _outcome(self, connection: Connection, cycle_ms: int) -> Outcome | None:
        record = self._decoded(connection, cycle_ms, Stage.DECISIONS, DecisionRecord | StageFailure)
        plan = self._decoded(connection, cycle_ms, Stage.EXECUTION_PLANS, ExecutionPlan | StageFailure)
        return outcome_of(cycle_ms, record, plan)

    def _fills(self, connection: Connection, cycle_ms: int) -> tuple[Fill, ...]:
        kind = ExecutionReport | StageFailure
        report = self._decoded(connection, cycle_ms, Stage.EXECUTIONS, kind)
        if report is None:
            report = self._journalled.record(Stage.EXECUTIONS, kind, cycle_ms + 1, cycle_ms - 1)
        return report.fills if isinstance(report, ExecutionReport) else ()


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file is written or replaced."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    return state.st_ino, state.st_size, state.st_mtime_ns
