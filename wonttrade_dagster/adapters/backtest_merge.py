"""The shards of a backtest, put side by side in one report once all of them are finished.

Belongs here: reading the shards' files, and that the merge happens once.
Does not belong here: the figures and the page (``adapters.report``), running a shard.

Every run of a backtest tries after its own shard. Whoever comes when the last one is finished finds all
summaries there and merges; the others find too few, or a merged summary. A merge that was killed left no
summary and is done again.
"""

import json
from datetime import date
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.backtest_results import SUMMARY_NAME, shard_folder
from wonttrade_dagster.adapters.backtest_shards import ShardPlan, is_finished, missing_windows, sole_merger
from wonttrade_dagster.adapters.report.page_shards import render_shards_page
from wonttrade_dagster.adapters.report.shards import Shard, merged_frames, summarise_shards
from wonttrade_dagster.adapters.report.writer import REPORT_NAME, write_files
from wonttrade_dagster.core.errors import StorageError, UsageError
from wonttrade_dagster.core.shards import Window

SERIES = ("equity", "drawdown", "latency", "fills")
_SAME = ("model", "prompt", "cycle_minutes", "settings_sha256", "symbols")


def merge_when_complete(folder: Path, plan: ShardPlan, knowledge_cutoff: date | None) -> Path | None:
    """Merge the shards unless one is missing, or they are merged already.

    Args:
        folder: of the backtest.
        plan: its windows.
        knowledge_cutoff: the last day that the model may know.

    Returns:
        The merged report; None while a shard is missing.

    Raises:
        UsageError: the shards were not run with the same prompt.
        StorageError: a shard's file cannot be read, or the disk did not take one.
    """
    if missing_windows(folder, plan):
        return None
    with sole_merger(folder):
        if not is_finished(folder):
            _merge(folder, plan, knowledge_cutoff)
    return folder / REPORT_NAME


def _merge(folder: Path, plan: ShardPlan, knowledge_cutoff: date | None) -> None:
    shards = [_read(folder, plan, window) for window in plan.windows]
    for name in _SAME:
        if any(shard.summary[name] != shards[0].summary[name] for shard in shards):
            raise UsageError(
                f"the shards of backtest {plan.backtest_id} were run with different {name}: start a new one"
            )
    summary = summarise_shards(plan.backtest_id, shards, knowledge_cutoff)
    frames = merged_frames(shards)
    write_files(folder, frames, summary, render_shards_page(summary, frames["equity"]))


def _read(folder: Path, plan: ShardPlan, window: Window) -> Shard:
    own = shard_folder(folder, window.first_day)
    try:
        summary = json.loads((own / SUMMARY_NAME).read_text(encoding="utf-8"))
        frames = {name: pl.read_parquet(own / f"{name}.parquet") for name in SERIES}
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"the results in {own} cannot be read: run that shard again") from error
    return Shard(window, plan.id_of(window), summary, frames)
