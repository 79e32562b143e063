"""What a backtest leaves behind: ``backtest-results.ndjson``, one line a cycle, and its DuckDB file.

Belongs here: writing the lines, and the rows that the report and DuckDB are made of.
Does not belong here: the loop, the drawing (``adapters.report``), the simulated exchange.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.backtest_end import END, end_line
from wonttrade_dagster.adapters.backtest_line import SharedFacts, line_of
from wonttrade_dagster.adapters.backtest_rows import (
    Row,
    decision_row,
    funding_paid,
    latency_rows,
    liquidating,
    protection_rows,
    target_rows,
)
from wonttrade_dagster.adapters.duckdb_file import connect
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.report.data import (
    DECISION_SCHEMA,
    LATENCY_SCHEMA,
    PROTECTION_SCHEMA,
    TARGET_SCHEMA,
)
from wonttrade_dagster.core.backtest import AccountEnd, MemoryRecords
from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import (
    CycleReport,
    DecisionRecord,
    ExecutionReport,
    Fill,
    PlaceOrder,
    Stage,
)
from wonttrade_dagster.core.performance import EQUITY_SCHEMA, Unprotected, fills_frame, unprotected_summary
from wonttrade_dagster.core.simulation import ExchangeState

RESULTS_NAME = "backtest-results.ndjson"
SUMMARY_NAME = "summary.json"
DATABASE_NAME = "backtest.duckdb"

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_ID = re.compile(f"{_NAME}(/{_NAME})?")
SHARDS = "shards"


@dataclass(slots=True)
class BacktestResults:
    """Writes one backtest's folder while it runs.

    Attributes:
        folder: everything of this backtest.
        journal: the results file; one line a cycle, fsynced in batches.
        shared: what its first line says of all cycles, see ``backtest_line``.
        ended: where the account ended; None while it lives.
    """

    folder: Path
    journal: Journal
    shared: SharedFacts = field(default_factory=SharedFacts)
    fills: list[Fill] = field(default_factory=list)
    purposes: dict[int | str, str] = field(default_factory=dict)
    equity: list[tuple[int, float]] = field(default_factory=list)
    latency: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    targets: list[Row] = field(default_factory=list)
    protection: list[Row] = field(default_factory=list)
    executions: list[ExecutionReport] = field(default_factory=list)
    funding_usd: Decimal = Decimal(0)
    funding_by_symbol_usd: dict[str, Decimal] = field(default_factory=dict)
    ended: AccountEnd | None = None

    def begin(self, facts: Mapping[str, Any], from_ms: int, *, is_resumed: bool = False) -> None:
        """Write the first line: what this backtest is. It stands already in one that is resumed."""
        self.shared = SharedFacts(facts)
        if not is_resumed:
            self.journal.append("backtest", from_ms, facts)

    def open_account(self, time_ms: int, deposit_usd: Decimal) -> None:
        """The first point of the equity curve: one cadence before the first decision, nothing was traded."""
        self.equity.append((time_ms, float(deposit_usd)))

    def cycle(self, records: MemoryRecords, told: Mapping[str, Any]) -> None:
        """Write the line of a finished cycle, and keep its rows.

        Args:
            records: every record of the cycle.
            told: further fields of the line: what the market did to the account before it (``events``:
                stops, take-profits, funding, liquidation) and the account after it (``exchange``).
        """
        self.journal.append("cycle", records.cycle_ms, line_of(records.records, self.shared, told))
        self.remember(records, told.get("events", ()))

    def remember(self, records: MemoryRecords, events: Iterable[Mapping[str, Any]] = ()) -> None:
        """Keep the rows of a cycle whose line is written, and what the market did before it."""
        self._happened(tuple(events))
        cycle_ms = records.cycle_ms
        decision: DecisionRecord = records.read(cycle_ms, Stage.DECISIONS)
        execution: ExecutionReport = records.read(cycle_ms, Stage.EXECUTIONS)
        report: CycleReport = records.read(cycle_ms, Stage.CYCLE_REPORTS)
        self._keep(decision, execution, report)

    def end(self, end: AccountEnd, exchange: ExchangeState) -> None:
        """Write the line of the account's end, and keep its rows; ``exchange`` is the simulated account."""
        self.journal.append(END, end.time_ms, end_line(end, exchange))
        self.remember_end(end)

    def remember_end(self, end: AccountEnd) -> None:
        """Keep the rows of the end, whose line is written."""
        self._happened(end.events)
        self.fills += end.fills
        self.equity.append((end.time_ms, float(end.account_value_usd)))
        self.protection += protection_rows(end.time_ms, end.positions, end.protection)
        self.funding_usd += end.funding_paid_usd
        self.ended = end

    def _happened(self, events: Sequence[Mapping[str, Any]]) -> None:
        # A liquidation on the book is an ordinary close by the word of its fill.
        self.purposes |= dict.fromkeys(liquidating(events), "liquidation")
        for symbol, paid_usd in funding_paid(events):
            self.funding_by_symbol_usd[symbol] = self.funding_by_symbol_usd.get(symbol, Decimal(0)) + paid_usd

    def _keep(self, decision: DecisionRecord, execution: ExecutionReport, report: CycleReport) -> None:
        cycle_ms = report.cycle_ms
        # Like the account value, which is read after them, they count at the decision time.
        self.fills += [replace(fill, time_ms=min(fill.time_ms, cycle_ms)) for fill in report.fills]
        for result in execution.results:
            if isinstance(result.action, PlaceOrder):
                self.purposes[result.action.cloid] = result.action.purpose.value
        if report.account_value_usd is not None:
            self.equity.append((cycle_ms, float(report.account_value_usd)))
        self.latency += latency_rows(decision)
        self.decisions.append(decision_row(decision, report))
        self.targets += target_rows(decision)
        self.protection += protection_rows(cycle_ms, report.positions, report.protection)
        if execution.unprotected_seconds:
            self.executions.append(replace(execution, results=(), account=None))
        if report.performance is not None:
            self.funding_usd = report.performance.funding_usd

    def frames(self) -> "BacktestFrames":
        """The rows so far as frames."""
        return BacktestFrames(
            equity=pl.DataFrame(self.equity, schema=dict(EQUITY_SCHEMA), orient="row"),
            fills=fills_frame(self.fills, self.purposes),
            latency=pl.DataFrame(self.latency, schema=dict(LATENCY_SCHEMA), orient="row"),
            decisions=pl.DataFrame(self.decisions, schema=dict(DECISION_SCHEMA), orient="row"),
            targets=pl.DataFrame(self.targets, schema=dict(TARGET_SCHEMA), orient="row"),
            protection=pl.DataFrame(self.protection, schema=dict(PROTECTION_SCHEMA), orient="row"),
        )

    @property
    def mean_slippage_bps(self) -> float:
        """What the fills slipped, by their value; 0 without one."""
        worth = [(float(abs(f.size_base) * f.px), float(f.slippage_bps or 0)) for f in self.fills]
        traded = sum(usd for usd, _ in worth)
        return round(sum(usd * bps for usd, bps in worth) / traded, 4) if traded else 0.0

    def unprotected(self) -> Unprotected:
        """How long entries stood without a stop."""
        return unprotected_summary(self.executions)

    def store(self, frames: "BacktestFrames", lock_seconds: float) -> Path:
        """Put the rows into this backtest's own DuckDB file. Raises ``StorageError``."""
        path = self.folder / DATABASE_NAME
        with connect(path, lock_seconds) as connection:
            for table in fields(frames):
                connection.execute(f"DROP TABLE IF EXISTS {table.name}")  # of an attempt killed after this
                connection.from_arrow(getattr(frames, table.name).to_arrow()).create(table.name)
        return path


@dataclass(frozen=True, slots=True, eq=False)
class BacktestFrames:
    """Rows of a backtest; the schemas stand in ``core.performance`` and ``adapters.report.data``."""

    equity: pl.DataFrame
    fills: pl.DataFrame
    latency: pl.DataFrame
    decisions: pl.DataFrame
    targets: pl.DataFrame
    protection: pl.DataFrame


def backtest_folder(data_dir: Path, backtest_id: str) -> Path:
    """Everything one backtest writes; ``ID/2025-06-01`` names the shard of it that begins on that day.

    Raises:
        UsageError: the id is no name: it may come from a tag or a command line, and becomes a path.
    """
    if not _ID.fullmatch(backtest_id):
        raise UsageError(
            f"{backtest_id[:80]!r} cannot name a backtest: use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    name, _, first_day = backtest_id.partition("/")
    folder = data_dir / "backtests" / name
    return shard_folder(folder, first_day) if first_day else folder


def shard_folder(folder: Path, first_day: str) -> Path:
    """Everything one shard of the backtest in ``folder`` writes."""
    return folder / SHARDS / first_day


def open_results(
    folder: Path, *, sync_every: int, secrets: tuple[str, ...], is_resumed: bool = False
) -> BacktestResults:
    """A fresh results file in ``folder``, or the one of an attempt that is resumed.

    An unfinished attempt that is not resumed is moved aside, never overwritten.

    Raises:
        UsageError: the backtest is finished already.
    """
    if (folder / SUMMARY_NAME).exists():
        raise UsageError(
            f"backtest {folder.name} is finished: start a new one, or read its report in {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS_NAME
    if path.exists() and not is_resumed:
        attempt = len(list(folder.glob(f"{RESULTS_NAME}.attempt-*"))) + 1
        path.rename(folder / f"{RESULTS_NAME}.attempt-{attempt}")
    journal = Journal(path, sync_every=sync_every, secrets=secrets, sync_aside=True)
    return BacktestResults(folder, journal)
