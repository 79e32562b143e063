"""Stored cycles, read only: of a live ledger, or of one backtest.

Belongs here: what a reader of past cycles may ask, the live ledger's answer, and how a cycle is named.
Does not belong here: a backtest's answer (``adapters.backtest_archive``), computing anything again.

The published copy is read where it is up to date; nobody who reads here can stop a cycle.
"""

import json
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from wonttrade_dagster.adapters import ledger_tables as tables
from wonttrade_dagster.adapters.duckdb_file import connect, read_copy_path
from wonttrade_dagster.adapters.evidence import INPUTS
from wonttrade_dagster.adapters.journal import UNREADABLE, Journal
from wonttrade_dagster.adapters.journal_line import JournalRecord, sorted_digest
from wonttrade_dagster.adapters.ledger_journal import KINDS
from wonttrade_dagster.adapters.prompts import template_of
from wonttrade_dagster.adapters.spool import Spool
from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.context import PromptTemplate
from wonttrade_dagster.core.errors import ConfigurationError, StorageError, UnknownCycleError, UsageError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    LlmContext,
    Stage,
)
from wonttrade_dagster.core.replay import StoredCycle
from wonttrade_dagster.core.worth import CycleEnd

_WITNESSES = frozenset({*KINDS.values(), INPUTS})

LAST = "last"
_FORMATS = ("%Y-%m-%dT%H:%M", "%Y-%m-%d-%H:%M", "%Y-%m-%d %H:%M")
_NEAREST = 2
"""So many neighbours on each side are named for a cycle that is not there."""


class CycleArchive(ABC):
    """Past cycles of one account or of one backtest."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Whose cycles they are, for a sentence."""

    @abstractmethod
    def cycles(self) -> Sequence[int]:
        """Every stored cycle, oldest first. Raises ``StorageError``."""

    @abstractmethod
    def cycle(self, cycle_ms: int) -> StoredCycle:
        """Everything stored of one cycle. Raises ``StorageError``."""

    @abstractmethod
    def payloads(self, cycle_ms: int, stages: Collection[Stage]) -> Mapping[Stage, bytes]:
        """JSON of those of ``stages`` that the cycle's own records hold. Raises ``StorageError``."""

    def end(self, cycle_ms: int) -> CycleEnd:
        """How a cycle began and ended, without looking at the rest of it."""
        stored = StoredCycle(
            cycle_ms, self.payloads(cycle_ms, (Stage.ACCOUNT_SNAPSHOTS, Stage.CYCLE_REPORTS))
        )
        account, report = stored.record(Stage.ACCOUNT_SNAPSHOTS), stored.record(Stage.CYCLE_REPORTS)
        return CycleEnd(cycle_ms, account if isinstance(account, AccountSnapshot) else None, report)

    def account_end(self) -> AccountEnd | None:
        """Where the account ended after its last cycle; None where it goes on. Raises ``StorageError``."""
        return None

    def read_witnesses(self) -> Sequence[str]:
        """Prepare to be asked for every cycle; sentences about damage that no cycle can be named for."""
        return ()

    def find(self, text: str) -> int:
        """The cycle that a person named.

        Raises:
            UsageError: it names no minute.
            UnknownCycleError: there is no such cycle; names the nearest ones.
        """
        cycles = self.cycles()
        if text == LAST:
            if not cycles:
                raise UnknownCycleError(f"{self.name} holds no cycle yet")
            return cycles[-1]
        wanted_ms = cycle_ms_of(text)
        if wanted_ms in cycles:
            return wanted_ms
        raise UnknownCycleError(
            f"{self.name} holds no cycle {cycle_text(wanted_ms)}: {_nearest(cycles, wanted_ms)}"
        )


def cycle_ms_of(text: str) -> int:
    """The decision time that a person named: ``2026-11-23T12:03`` or the graph's ``2026-11-23-12:03``."""
    plain = text.removesuffix("Z").removesuffix("+00:00")
    for pattern in _FORMATS:
        for form in (pattern, f"{pattern}:%S"):
            try:
                time = datetime.strptime(plain, form).replace(tzinfo=UTC)
            except ValueError:
                continue
            return int(time.timestamp()) * 1000
    raise UsageError(f"{text!r} names no cycle: write its UTC minute as 2026-11-23T12:03, or last")


def cycle_text(cycle_ms: int) -> str:
    """A cycle as it is named on the command line."""
    return datetime.fromtimestamp(cycle_ms / 1000, UTC).strftime(_FORMATS[0])


def _nearest(cycles: Sequence[int], wanted_ms: int) -> str:
    if not cycles:
        return "it is empty"
    at = bisect_left(cycles, wanted_ms)
    near = cycles[max(at - _NEAREST, 0) : at + _NEAREST]
    return f"the nearest are {', '.join(cycle_text(cycle_ms) for cycle_ms in near)}"


class LiveArchive(CycleArchive):
    """The cycles of a live ledger: DuckDB, spool, and the journal as a second witness.

    Args:
        path: the ledger's DuckDB file; need not exist.
        spool_dir: where records wait for it.
        journal: of the same account.
        lock_seconds: how long to wait for whoever holds the file.
    """

    def __init__(self, path: Path, spool_dir: Path, journal: Journal, lock_seconds: float) -> None:
        self._path = path
        self._spool = Spool(spool_dir)
        self._journal = journal
        self._lock_seconds = lock_seconds
        self._witnesses: dict[int, _Witness] | None = None

    @property
    def name(self) -> str:
        """The account's folder."""
        return f"the ledger {self._path.parent.parent.name}/{self._path.parent.name}"

    def cycles(self) -> Sequence[int]:
        """Of DuckDB and the spool."""
        with self._reading() as connection:
            stored = tables.cycles(connection) if connection else []
        return sorted({*stored, *(cycle_ms for cycle_ms, _ in self._spool.waiting())})

    def cycle(self, cycle_ms: int) -> StoredCycle:
        """Its records, and what the journal says of them."""
        payloads, witness = self.payloads(cycle_ms, tuple(Stage)), self._witness(cycle_ms)
        bare = StoredCycle(cycle_ms, payloads)
        context = bare.record(Stage.LLM_CONTEXTS)
        prior, is_missing = self._prior(bare)
        return StoredCycle(
            cycle_ms,
            payloads,
            seals=witness.seals,
            contradictions=witness.contradictions(payloads),
            template=stored_template(context) if isinstance(context, LlmContext) else None,
            prior=prior,
            prior_missing=is_missing,
        )

    def read_witnesses(self) -> Sequence[str]:
        """One pass over the journal, for who asks for every cycle."""
        lines = list[int]()

        def readable() -> Iterator[JournalRecord]:
            for record in self._journal.records():
                if record.kind == UNREADABLE:
                    lines.append(record.seq)
                elif record.account == self._journal.account and record.kind in _WITNESSES:
                    yield record

        self._witnesses = _witnesses(readable())
        return [f"line {line} of the journal {self._journal.path} is damaged" for line in lines]

    # --- DuckDB and spool ---

    def payloads(self, cycle_ms: int, stages: Collection[Stage]) -> Mapping[Stage, bytes]:
        """From the spool, else from DuckDB."""
        found = dict[Stage, bytes]()
        with self._reading() as connection:
            for stage in stages:
                payload = self._spool.get(cycle_ms, stage)
                if payload is None and connection is not None:
                    payload = tables.payload(connection, cycle_ms, stage)
                if payload is not None:
                    found[stage] = payload
        return found

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection | None]:
        path = self._readable()
        if path is None:
            yield None
            return
        with connect(path, self._lock_seconds, read_only=True) as connection:
            try:
                yield connection if tables.exist(connection) else None
            except duckdb.Error as error:
                raise StorageError(f"{path} could not be read ({error}): restore or remove it") from error

    def _readable(self) -> Path | None:
        """The published copy while it is as new as the ledger."""
        copy = read_copy_path(self._path)
        if not self._path.exists():
            return copy if copy.exists() else None
        log = self._path.with_name(f"{self._path.name}.wal")
        if copy.exists() and not log.exists() and copy.stat().st_mtime_ns == self._path.stat().st_mtime_ns:
            return copy
        return self._path

    def _prior(self, stored: StoredCycle) -> tuple[Decision | None, bool]:
        """The decision that the plan put protection back from, and whether it is lost."""
        plan, context = stored.record(Stage.EXECUTION_PLANS), stored.record(Stage.LLM_CONTEXTS)
        at_ms = plan.basis.prior_cycle_ms if isinstance(plan, ExecutionPlan) and plan.basis else None
        if at_ms is None:
            return None, False
        if isinstance(context, LlmContext) and context.prior.decided_cycle_ms == at_ms:
            return context.prior.decision, context.prior.decision is None
        record = StoredCycle(at_ms, self.payloads(at_ms, (Stage.DECISIONS,))).record(Stage.DECISIONS)
        decision = record.outcome if isinstance(record, DecisionRecord) else self._applied(at_ms)
        return (decision, False) if isinstance(decision, Decision) else (None, True)

    # --- the journal ---

    def _applied(self, cycle_ms: int) -> Decision | None:
        for record in self._journal.newest("applied"):
            if record.cycle_ms == cycle_ms:
                decision: Decision = decode(Decision, json.dumps(record.body["decision"]))
                return decision
        return None

    def _witness(self, cycle_ms: int) -> "_Witness":
        if self._witnesses is not None:
            return self._witnesses.get(cycle_ms, _Witness())
        return _witnesses(self._journal.of_cycle(cycle_ms)).get(cycle_ms, _Witness())


@dataclass(slots=True)
class _Witness:
    """What the journal says of one cycle: hashes of its own records by kind, and of the inputs by stage."""

    bodies: dict[str, str] = field(default_factory=dict)
    seals: dict[Stage, str] = field(default_factory=dict)

    def contradictions(self, payloads: Mapping[Stage, bytes]) -> dict[Stage, str]:
        """A sentence for each record that the journal holds in other words."""
        return {
            stage: f"the ledger's record is not the one that the journal holds ({kind})"
            for stage, kind in KINDS.items()
            if stage in payloads
            and self.bodies.get(kind, _canonical(payloads[stage])) != _canonical(payloads[stage])
        }


def _witnesses(records: Iterable[JournalRecord]) -> dict[int, _Witness]:
    found: dict[int, _Witness] = {}
    kinds, names = set(KINDS.values()), {stage.value: stage for stage in Stage}
    for record in records:
        witness = found.setdefault(record.cycle_ms, _Witness())
        if record.kind in kinds:
            witness.bodies[record.kind] = sorted_digest(record.body)
        elif record.kind == INPUTS:
            hashes = record.body.get("sha256", {})
            witness.seals = {names[name]: hashes[name] for name in hashes if name in names}
    return found


def stored_template(context: LlmContext) -> PromptTemplate | None:
    """The prompt as a record holds it, hashed anew; None where its files are not stored or no prompt."""
    if not context.prompt_files:
        return None
    try:
        return template_of(context.prompt.template, context.prompt_files)
    except ConfigurationError:
        return None


def _canonical(payload: bytes) -> str | None:
    try:
        return sorted_digest(json.loads(payload))
    except ValueError:
        return None
