"""A ledger on files of the test, cycles to keep in it, and a foreign session that holds its file."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cycle_samples import at, decision, stages

from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.model import Refusal, Stage

REFUSED = Refusal("violations", "two rules were broken")
MOVED = Refusal("price_moved_past_stop", "the mark crossed the stop")


def ledger(folder: Path, journal: Journal | None = None, lock_seconds: float = 5.0) -> DuckDBLedger:
    return DuckDBLedger(folder / "a.duckdb", folder / "spool", lock_seconds, journal)


def keep(kept: DuckDBLedger, cycle: int, payloads: dict[Stage, bytes]) -> None:
    for stage, payload in payloads.items():
        kept.record(at(cycle), stage, payload)


def journalled(journal: Journal, kept: DuckDBLedger, cycle: int) -> None:
    """A whole applied cycle, in the journal and the ledger, as the live loop writes it."""
    payloads = stages(cycle, decision(str(cycle)))
    journal.applied(at(cycle), decision(str(cycle)))
    journal.append("execution", at(cycle), json.loads(payloads[Stage.EXECUTIONS]))
    journal.append("cycle_report", at(cycle), json.loads(payloads[Stage.CYCLE_REPORTS]))
    keep(kept, cycle, payloads)


@contextlib.contextmanager
def foreign_session(path: Path, *, read_only: bool = True) -> Iterator[None]:
    """Another program that holds the file open, as a user's DuckDB shell would."""
    script = "import duckdb; "
    script += f"c = duckdb.connect({str(path)!r}, read_only={read_only}); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    try:
        yield
    finally:
        process.communicate("\n")
