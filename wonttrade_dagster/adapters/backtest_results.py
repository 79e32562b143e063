"""What a backtest leaves behind: ``backtest-results.ndjson``, one line a cycle, and its DuckDB file.

Belongs here: the line of a cycle, and the rows that the report and DuckDB are made of.
Does not belong here: the loop, the drawing (``adapters.report``), the simulated exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.backtest_line import line_of
from wonttrade_dagster.adapters.duckdb_file import connect
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.report.data import DECISION_SCHEMA, LATENCY_SCHEMA, PROTECTION_SCHEMA
from wonttrade_dagster.core.backtest import MemoryRecords
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionReport,
    Fill,
    Leg,
    PlaceOrder,
    Stage,
)
from wonttrade_dagster.core.performance import EQUITY_SCHEMA, Unprotected, fills_frame, unprotected_summary

RESULTS_NAME = "backtest-results.ndjson"
SUMMARY_NAME = "summary.json"
DATABASE_NAME = "backtest.duckdb"


@dataclass(slots=True)
class BacktestResults:
    """Writes one backtest's folder while it runs.

    Attributes:
        folder: everything of this backtest.
        journal: the results file; one line a cycle, fsynced in batches.
        shared: what its first line says of all cycles, see ``backtest_line``.
    """

    folder: Path
    journal: Journal
    shared: Mapping[str, Any] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    purposes: dict[int | str, str] = field(default_factory=dict)
    equity: list[tuple[int, float]] = field(default_factory=list)
    latency: list[tuple[int, int, int, int]] = field(default_factory=list)
    decisions: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    protection: list[tuple[int, str, float | None, float | None]] = field(default_factory=list)
    executions: list[ExecutionReport] = field(default_factory=list)
    funding_usd: float = 0.0

    def begin(self, facts: Mapping[str, Any], from_ms: int) -> None:
        """Write the first line: what this backtest is."""
        self.shared = {name: facts.get(name) for name in ("setting", "assets", "prompt_files")}
        self.journal.append("backtest", from_ms, facts)

    def open_account(self, time_ms: int, deposit_usd: Decimal) -> None:
        """The first point of the equity curve: one cadence before the first decision, nothing was traded."""
        self.equity.append((time_ms, float(deposit_usd)))

    def cycle(self, records: MemoryRecords, events: tuple[Mapping[str, Any], ...]) -> None:
        """Write the line of a finished cycle, and keep its rows.

        Args:
            records: every record of the cycle.
            events: what the market did to the account before it: stops, take-profits, funding, liquidation.
        """
        cycle_ms = records.cycle_ms
        decision: DecisionRecord = records.read(cycle_ms, Stage.DECISIONS)
        execution: ExecutionReport = records.read(cycle_ms, Stage.EXECUTIONS)
        report: CycleReport = records.read(cycle_ms, Stage.CYCLE_REPORTS)
        line = line_of(records.records, self.shared) | {"events": list(events)}
        self.journal.append("cycle", cycle_ms, line)
        self._keep(decision, execution, report)

    def _keep(self, decision: DecisionRecord, execution: ExecutionReport, report: CycleReport) -> None:
        cycle_ms = report.cycle_ms
        self.fills.extend(report.fills)
        for result in execution.results:
            if isinstance(result.action, PlaceOrder):
                self.purposes[result.action.cloid] = result.action.purpose.value
        if report.account_value_usd is not None:
            self.equity.append((cycle_ms, float(report.account_value_usd)))
        if decision.reply is not None:
            usage = decision.reply.usage
            row = (cycle_ms, decision.reply.latency_ms, usage.prompt_tokens, usage.completion_tokens)
            self.latency.append(row)
        outcome = decision.outcome
        kept = outcome.prior_plan.value if isinstance(outcome, Decision) else ""
        told = outcome.explanation if isinstance(outcome, Decision) else outcome.detail
        self.decisions.append((cycle_ms, report.outcome, report.reason, kept, told))
        self.protection += [_levels(report, position.symbol) for position in report.positions]
        if execution.unprotected_seconds:
            self.executions.append(replace(execution, results=(), account=None))
        if report.performance is not None:
            self.funding_usd = float(report.performance.funding_usd)

    def frames(self) -> "BacktestFrames":
        """The rows so far as frames."""
        return BacktestFrames(
            equity=pl.DataFrame(self.equity, schema=dict(EQUITY_SCHEMA), orient="row"),
            fills=fills_frame(self.fills, self.purposes),
            latency=pl.DataFrame(self.latency, schema=dict(LATENCY_SCHEMA), orient="row"),
            decisions=pl.DataFrame(self.decisions, schema=dict(DECISION_SCHEMA), orient="row"),
            protection=pl.DataFrame(self.protection, schema=dict(PROTECTION_SCHEMA), orient="row"),
        )

    def unprotected(self) -> Unprotected:
        """How long entries stood without a stop."""
        return unprotected_summary(self.executions)

    def store(self, frames: "BacktestFrames", lock_seconds: float) -> Path:
        """Put the rows into this backtest's own DuckDB file. Raises ``StorageError``."""
        path = self.folder / DATABASE_NAME
        with connect(path, lock_seconds) as connection:
            for table in fields(frames):
                connection.from_arrow(getattr(frames, table.name).to_arrow()).create(table.name)
        return path


@dataclass(frozen=True, slots=True, eq=False)
class BacktestFrames:
    """Rows of a backtest; the schemas stand in ``core.performance`` and ``adapters.report.data``."""

    equity: pl.DataFrame
    fills: pl.DataFrame
    latency: pl.DataFrame
    decisions: pl.DataFrame
    protection: pl.DataFrame


def backtest_folder(data_dir: Path, backtest_id: str) -> Path:
    """Everything one backtest writes."""
    return data_dir / "backtests" / backtest_id


def open_results(folder: Path, *, sync_every: int, secrets: tuple[str, ...]) -> BacktestResults:
    """A fresh results file in ``folder``.

    An unfinished attempt of the same backtest is moved aside, never overwritten.

    Raises:
        UsageError: the backtest is finished already.
    """
    if (folder / SUMMARY_NAME).exists():
        raise UsageError(
            f"backtest {folder.name} is finished: start a new one, or read its report in {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS_NAME
    if path.exists():
        attempt = len(list(folder.glob(f"{RESULTS_NAME}.attempt-*"))) + 1
        path.rename(folder / f"{RESULTS_NAME}.attempt-{attempt}")
    return BacktestResults(folder, Journal(path, sync_every=sync_every, secrets=secrets))


def _levels(report: CycleReport, symbol: str) -> tuple[int, str, float | None, float | None]:
    """Stop and take-profit standing for a symbol after a cycle."""
    standing = {o.leg: o.trigger_px for o in report.protection if o.symbol == symbol}
    stop, take = standing.get(Leg.STOP_LOSS), standing.get(Leg.TAKE_PROFIT)
    return (
        report.cycle_ms,
        symbol,
        None if stop is None else float(stop),
        None if take is None else float(take),
    )
