"""An interrupted backtest, picked up where its results file ends.

Belongs here: reading back the finished cycles and the account behind the last of them.
Does not belong here: the loop (``core.backtest``), asking the model: a finished cycle is never asked again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.backtest_payloads import is_whole, payloads_of
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME
from wonttrade_dagster.adapters.journal_line import is_of_kind, opened
from wonttrade_dagster.core.backtest import MemoryRecords
from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.simulation import ExchangeState

EXCHANGE = "exchange"
"""Field of a line: the simulated account after the cycle, everything included."""

_NEEDED = (Stage.DECISIONS, Stage.EXECUTION_PLANS, Stage.EXECUTIONS, Stage.CYCLE_REPORTS)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedCycle:
    """One finished cycle: the records that the next ones build on, and the account after it.

    Attributes:
        records: from the decision on.
        exchange: the simulated account.
        events: what the market did to the account before the cycle, as the line tells it.
        latency_ms: how long its decision took in the simulated market; the account stands so long after it.
    """

    records: MemoryRecords
    exchange: ExchangeState
    events: tuple[Mapping[str, Any], ...] = ()
    latency_ms: int = 0


def stored_facts(folder: Path) -> Mapping[str, Any] | None:
    """The first line of an earlier attempt; None without one, or when it is damaged."""
    path = folder / RESULTS_NAME
    if not path.is_file():
        return None
    with path.open("rb") as file:
        record = _record(file.readline())
    return None if record is None or record["kind"] != "backtest" else record["body"]


def has_cycles(folder: Path) -> bool:
    """Whether an earlier attempt finished any cycle."""
    with (folder / RESULTS_NAME).open("rb") as file:
        return any(is_of_kind(line, "cycle") for line in file)


def finished_cycles(folder: Path, facts: Mapping[str, Any]) -> Iterator[FinishedCycle]:
    """The cycles of an earlier attempt, oldest first.

    Args:
        folder: of the backtest.
        facts: its first line.

    Raises:
        StorageError: a line other than the last is damaged, or does not hold the account: then the backtest
            has to be run from its beginning.
    """
    path = folder / RESULTS_NAME
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[1:], start=2):
        record = _record(line)
        if record is None:
            if any(later.strip() for later in lines[number:]) or number == len(lines) - 1:
                raise StorageError(f"line {number} of {path} is damaged: run the backtest from its beginning")
            return  # the writer was killed in the middle of its last line
        if record["kind"] == "cycle":
            yield _finished(record, facts, f"line {number} of {path}")


def _finished(record: Mapping[str, Any], facts: Mapping[str, Any], where: str) -> FinishedCycle:
    body, cycle_ms = record["body"], record["cycle_ms"]
    if EXCHANGE not in body or not is_whole(body):
        raise StorageError(f"{where} does not hold the account: run the backtest from its beginning")
    try:
        payloads = payloads_of(body, facts, cycle_ms, None)
        records = {stage: decode(STAGE_RECORDS[stage], payloads[stage]) for stage in _NEEDED}
        exchange = decode(ExchangeState, json.dumps(body[EXCHANGE]))
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{where} cannot be read: run the backtest from its beginning") from error
    made, events = MemoryRecords(cycle_ms, records), tuple(body.get("events", ()))
    return FinishedCycle(made, exchange, events, int(body.get("latency_ms", 0)))


def _record(line: bytes) -> Mapping[str, Any] | None:
    """A line whose checksum holds, else None; what repairs a torn line counts as whole."""
    record, is_intact = opened(line)
    return record if is_intact else None
