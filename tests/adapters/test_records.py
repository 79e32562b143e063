"""Journal first, then the ledger's spool, memory in between: and what happens when one of them fails."""

from pathlib import Path

import pytest
from cycle_samples import at, decision, report

from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.adapters.records import JOURNALLED, JournalledRecords
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import DecisionRecord, ExecutionReport, Stage, StageFailure

CYCLE_MS = at(0)
RECORD = DecisionRecord(CYCLE_MS, decision(), None, None, CYCLE_MS + 5_000)
GONE = StageFailure(Stage.MARKET_SNAPSHOTS, "venue_unavailable", "no answer")
GONE_EXECUTION = ExecutionReport(CYCLE_MS, ())


class Store:
    """Both stores in one folder, opened anew for each process that a test plays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "decision-log.ndjson")

    @property
    def ledger(self) -> DuckDBLedger:
        return DuckDBLedger(self.folder / "ledger.duckdb", self.folder / "spool", 0.2, self.journal)

    def records(self) -> JournalledRecords:
        return JournalledRecords(self.journal, self.ledger)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class NoDisk(Journal):
    """A journal on a disk that takes nothing any more."""

    def append(self, kind: str, cycle_ms: int, body: object) -> None:
        raise StorageError(f"{self.path} did not take a write: free the disk")


class NoSpool(DuckDBLedger):
    """A ledger on a disk that takes nothing any more."""

    def record(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        raise StorageError(f"{self.path} did not take a write: free the disk")


def test_a_record_is_read_back_by_the_same_process_and_by_the_next(store: Store) -> None:
    records = store.records()
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    assert records.read(CYCLE_MS, Stage.DECISIONS) is RECORD
    assert store.records().read(CYCLE_MS, Stage.DECISIONS) == RECORD
    assert records.faults == []


def test_what_must_never_be_lost_is_in_the_journal_under_its_kind(store: Store) -> None:
    records = store.records()
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    records.keep(CYCLE_MS, Stage.CYCLE_REPORTS, report(0))
    records.keep(CYCLE_MS, Stage.MARKET_SNAPSHOTS, GONE)
    lines = list(store.journal.records())
    assert [line.kind for line in lines] == ["decision", "cycle_report"]
    assert decode(STAGE_RECORDS[Stage.DECISIONS], lines[0].json()) == RECORD
    assert Stage.MARKET_SNAPSHOTS not in JOURNALLED


@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "next process"])
def test_a_stored_stage_is_never_overwritten(store: Store, fresh: bool) -> None:
    records = store.records()
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    again = store.records() if fresh else records
    other = DecisionRecord(CYCLE_MS, decision("down"), None, None, CYCLE_MS)
    with pytest.raises(StorageError, match="never overwritten"):
        again.keep(CYCLE_MS, Stage.DECISIONS, other)
    assert store.records().read(CYCLE_MS, Stage.DECISIONS) == RECORD
    assert len(list(store.journal.records("decision"))) == 1, "the journal did not take it either"


def test_a_stored_stage_is_refused_before_it_does_anything(store: Store) -> None:
    store.records().keep(CYCLE_MS, Stage.EXECUTIONS, GONE_EXECUTION)
    with pytest.raises(StorageError, match="executions"):
        store.records().refuse_stored(CYCLE_MS, Stage.EXECUTIONS)
    store.records().refuse_stored(CYCLE_MS, Stage.CYCLE_REPORTS)
    store.records().refuse_stored(CYCLE_MS + 1, Stage.EXECUTIONS)


def test_a_drained_stage_counts_as_stored(store: Store) -> None:
    store.records().keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    assert store.ledger.drain().deferred is None
    with pytest.raises(StorageError, match="never overwritten"):
        store.records().keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    assert store.records().read(CYCLE_MS, Stage.DECISIONS) == RECORD


def test_a_stage_that_nobody_stored_is_a_sentence(store: Store) -> None:
    with pytest.raises(StorageError, match="stage decisions of this cycle is not stored"):
        store.records().read(CYCLE_MS, Stage.DECISIONS)


def test_a_journal_on_a_full_disk_is_a_fault_and_the_record_goes_on(store: Store, tmp_path: Path) -> None:
    records = JournalledRecords(NoDisk(tmp_path / "decision-log.ndjson"), store.ledger)
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    assert records.read(CYCLE_MS, Stage.DECISIONS) is RECORD
    assert store.records().read(CYCLE_MS, Stage.DECISIONS) == RECORD
    (fault,) = records.faults
    assert "decision-log.ndjson" in fault


def test_a_ledger_on_a_full_disk_is_a_fault_and_the_journal_has_the_record(
    store: Store, tmp_path: Path
) -> None:
    ledger = NoSpool(tmp_path / "ledger.duckdb", tmp_path / "spool", 0.2, store.journal)
    records = JournalledRecords(store.journal, ledger)
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    assert records.read(CYCLE_MS, Stage.DECISIONS) is RECORD
    assert [line.kind for line in store.journal.records()] == ["decision"]
    (fault,) = records.faults
    assert "ledger.duckdb" in fault


def test_with_both_disks_full_the_cycle_still_has_its_records(store: Store, tmp_path: Path) -> None:
    ledger = NoSpool(tmp_path / "ledger.duckdb", tmp_path / "spool", 0.2)
    records = JournalledRecords(NoDisk(tmp_path / "decision-log.ndjson"), ledger)
    records.keep(CYCLE_MS, Stage.DECISIONS, RECORD)
    records.keep(CYCLE_MS, Stage.CYCLE_REPORTS, report(0))
    assert records.read(CYCLE_MS, Stage.DECISIONS) is RECORD
    assert len(records.faults) == 4
