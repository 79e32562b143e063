"""Where the records of a live cycle go: journal first, then the ledger's spool, and memory in between.

Belongs here: the order of the writes, and what happens when one of them fails.
Does not belong here: file formats (``journal``, ``ledger``), what a record means.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError

from wonttrade_dagster.adapters.evidence import digest, write_inputs
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger_journal import KINDS
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS, Record, RecordSink
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.ports import Ledger

JOURNALLED = frozenset(KINDS)
"""Snapshots and indicators are large and can be had from the ledger; these are what must never be lost."""


class JournalledRecords(RecordSink):
    """Keeps each record in the journal (where it matters), the ledger, and this process.

    A disk that takes no more must not keep protection from being put in order: what cannot be written
    stays in memory for the stages that follow in the same run, and ``faults`` says what was lost.
    Exposure needs more: the order's intent must be in the journal, see ``core.execution``.
    """

    def __init__(self, journal: Journal, ledger: Ledger) -> None:
        self._journal = journal
        self._ledger = ledger
        self._memory: dict[tuple[int, Stage], Record] = {}
        self._digests: dict[Stage, str] = {}
        self.faults: list[str] = []

    def refuse_stored(self, cycle_ms: int, stage: Stage) -> None:
        """Raise ``StorageError`` for a stage that is stored already: asked before the stage does anything."""
        if (cycle_ms, stage) in self._memory or self._stored(cycle_ms, stage):
            raise StorageError(f"stage {stage} of this cycle is stored already: it is never overwritten")

    def keep(self, cycle_ms: int, stage: Stage, record: Record) -> None:
        """Journal, then ledger; raises ``StorageError`` only for a stage that is stored already."""
        self.refuse_stored(cycle_ms, stage)
        self._memory[cycle_ms, stage] = record
        try:
            payload = encode(record, STAGE_RECORDS[stage])
        except PydanticSerializationError as error:
            self.faults.append(f"stage {stage} of cycle {cycle_ms} is no JSON and was not stored: {error}")
            return
        if stage in JOURNALLED:
            self._attempt(lambda: self._journal.append(KINDS[stage], cycle_ms, json.loads(payload)))
        else:
            self._note_input(cycle_ms, stage, payload, record)
        self._attempt(lambda: self._ledger.record(cycle_ms, stage, payload))

    def _note_input(self, cycle_ms: int, stage: Stage, payload: bytes, record: Record) -> None:
        """The journal gets the hash of what it does not hold, once a cycle, before the model is asked."""
        if stage is Stage.MARKET_SNAPSHOTS:
            self._digests = {}
        self._digests[stage] = digest(payload)
        if stage is Stage.LLM_CONTEXTS:
            self._attempt(lambda: write_inputs(self._journal, cycle_ms, self._digests, record))

    def read(self, cycle_ms: int, stage: Stage) -> Any:  # noqa: ANN401 (STAGE_RECORDS says which)
        """From this process, else from the ledger."""
        if (cycle_ms, stage) in self._memory:
            return self._memory[cycle_ms, stage]
        payload = self._ledger.load(cycle_ms, stage)
        if payload is None:
            raise StorageError(f"stage {stage} of this cycle is not stored: run the whole cycle")
        return decode(STAGE_RECORDS[stage], payload)

    def _stored(self, cycle_ms: int, stage: Stage) -> bool:
        try:
            return self._ledger.load(cycle_ms, stage) is not None
        except StorageError:
            return False

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            self.faults.append(str(error))
