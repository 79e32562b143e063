"""The windows of a backtest that one run is for, and the merge after the last of them.

Belongs here: which windows a run still has to do, one after the other.
Does not belong here: one window (``defs.backtest_run``), Dagster (``defs.backtest``), how many runs there are
side by side (the run coordinator, or ``cli.backtest_shards``).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.backtest_merge import merge_when_complete
from wonttrade_dagster.adapters.backtest_results import SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_resume import stored_facts
from wonttrade_dagster.adapters.backtest_shards import (
    ShardPlan,
    claim_plan,
    is_finished,
    missing_windows,
    sole_writer,
)
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.adapters.report import equity_png
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.adapters.report.writer import REPORT_NAME
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.estimate import BacktestEstimate
from wonttrade_dagster.core.shards import Window
from wonttrade_dagster.defs.backtest_estimate import estimated, refuse_above_cap, with_share_of_cap
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import BacktestOutcome, run_backtest_range
from wonttrade_dagster.defs.compose import Executors
from wonttrade_dagster.settings import Settings


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What one run of a backtest hands to the graph.

    Attributes:
        plan: of the whole backtest.
        folder: of the whole backtest.
        windows: what was done in this run, or was finished before, in order; at least one.
        missing: windows of other runs that are not finished.
        merged: the main figures of all shards as text; empty while one is missing, and without shards.
    """

    plan: ShardPlan
    folder: Path
    windows: tuple[BacktestOutcome, ...]
    missing: int = 0
    merged: tuple[tuple[str, str], ...] = ()

    @property
    def cycles(self) -> int:
        """Decision times of this run's windows."""
        return sum(window.cycles for window in self.windows)

    @property
    def outcomes(self) -> tuple[tuple[str, str, int], ...]:
        """(outcome, reason, cycles) over this run's windows."""
        counts: dict[tuple[str, str], int] = {}
        for window in self.windows:
            for outcome, reason, count in window.outcomes:
                counts[outcome, reason] = counts.get((outcome, reason), 0) + count
        return tuple((*what, count) for what, count in sorted(counts.items(), key=lambda item: -item[1]))


def run_windows(
    settings: Settings,
    plan: ShardPlan,
    range_ms: tuple[int, int],
    history: MarketHistory,
    executors: Executors,
    say: Callable[[str], object],
) -> RunOutcome:
    """Run the windows of a range that are not finished; the last one of the backtest merges them all.

    Args:
        settings: of the whole backtest.
        plan: its windows.
        range_ms: what this run is for, start and end (excluded).
        history: stored candles and funding.
        executors: makes the simulated exchange.
        say: takes a line for the log.

    Raises:
        UsageError: the run's range is none of the plan's, the id is that of a shard, the backtest was begun
            differently, or another process is running the window.
        WontTradeError: as :func:`~wonttrade_dagster.defs.backtest_run.run_backtest_range`.
    """
    folder = backtest_folder(settings.data_dir, plan.backtest_id)
    if "/" in plan.backtest_id:
        raise UsageError(f"{plan.backtest_id} names a shard: run or resume the backtest that it belongs to")
    windows = plan.within(*range_ms)
    runner = _Runner(settings, plan, history, executors, say)
    if not plan.is_sharded:
        return RunOutcome(plan, folder, (runner.run(windows[0]),))
    claim_plan(folder, plan)
    done = tuple(runner.run_unless_finished(window) for window in windows)
    return RunOutcome(plan, folder, done, *_merged(settings, folder, plan, say))


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs windows of one backtest."""

    settings: Settings
    plan: ShardPlan
    history: MarketHistory
    executors: Executors
    say: Callable[[str], object]

    def run_unless_finished(self, window: Window) -> BacktestOutcome:
        """A shard that is finished is not run again, and is no error: a resumed backtest has some."""
        spec = spec_of(self.plan, window)
        if is_finished(backtest_folder(self.settings.data_dir, spec.backtest_id)):
            self.say(f"shard {spec.backtest_id} is finished already")
            return _finished(self.settings, spec)
        return self.run(window)

    def run(self, window: Window) -> BacktestOutcome:
        """Run one window, alone in its folder, within its share of the cap."""
        spec, estimates = spec_of(self.plan, window), list[BacktestEstimate]()
        folder = backtest_folder(self.settings.data_dir, spec.backtest_id)

        def estimate(replay: BacktestReplayProvider) -> None:
            found = estimated(self.settings, self.plan, window, replay)
            estimates.append(found)
            self.say(f"estimate of backtest {self.plan.backtest_id}: {found.text}")
            if not self._has_begun():  # one that has was agreed to; the cap itself still binds
                refuse_above_cap(self.settings, found)

        with sole_writer(folder):
            outcome = run_backtest_range(
                with_share_of_cap(self.settings, self.plan, window),
                spec,
                self.history,
                self.executors,
                self.say,
                estimate,
            )
        return replace(outcome, estimate=tuple(row for found in estimates for row in found.rows))

    def _has_begun(self) -> bool:
        """Whether any window of the backtest has results, finished or not."""
        ids = (self.plan.id_of(window) for window in self.plan.windows)
        return any(stored_facts(backtest_folder(self.settings.data_dir, name)) is not None for name in ids)


def spec_of(plan: ShardPlan, window: Window) -> BacktestSpec:
    """One window of a backtest as a backtest of its own."""
    return BacktestSpec(
        backtest_id=plan.id_of(window),
        from_ms=window.from_ms,
        to_ms=window.to_ms,
        model=plan.model,
        prompt=plan.prompt,
        cycle_minutes=plan.cycle_minutes,
    )


def _merged(
    settings: Settings, folder: Path, plan: ShardPlan, say: Callable[[str], object]
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """How many shards are missing, and the figures of all where none is."""
    report = merge_when_complete(folder, plan, settings.llm.knowledge_cutoff(plan.model))
    if report is None:
        missing = len(missing_windows(folder, plan))
        say(f"{missing} of {len(plan.windows)} shards are still missing")
        return missing, ()
    say(f"all {len(plan.windows)} shards are merged into {report}")
    return 0, tuple(headline(json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))))


def _finished(settings: Settings, spec: BacktestSpec) -> BacktestOutcome:
    """A window that an earlier run finished, from its files."""
    folder = backtest_folder(settings.data_dir, spec.backtest_id)
    summary = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    equity, drawdown = (pl.read_parquet(folder / f"{name}.parquet") for name in ("equity", "drawdown"))
    outcomes = summary["decisions"]["by_outcome"].items()
    return BacktestOutcome(
        spec=spec,
        folder=folder,
        report_path=folder / REPORT_NAME,
        cycles=spec.cycles,
        outcomes=tuple((outcome, "", count) for outcome, count in outcomes),
        headline=tuple(headline(summary)),
        equity_png=equity_png(equity, drawdown),
    )
