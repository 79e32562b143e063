"""The backtest family: the same stages over past days, partitioned by UTC day, one run a range or a shard.

Belongs here: the assets, their run config and their job. Does not belong here: the loop and its results
(``defs.backtest_run``).

State is carried inside the run: declared self-dependencies would split a range into one run a day. All
assets carry the same backfill policy, one run for all days or one for each shard, and the stages are keys of
one subsettable multi-asset, because a backfill of the UI names every key of a family separately.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.adapters.backtest_results import backtest_folder
from wonttrade_dagster.adapters.backtest_shards import ShardPlan, read_plan
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.adapters.report.writer import REPORT_NAME
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.shards import windows_of
from wonttrade_dagster.defs.backtest_run import replay_of
from wonttrade_dagster.defs.backtest_shards import RunOutcome, run_windows
from wonttrade_dagster.defs.compose import Executors
from wonttrade_dagster.defs.metadata import Metadata, describe, picture, table
from wonttrade_dagster.defs.stages import OWNERS, STAGE_TEXTS, stage_key, upstream_keys
from wonttrade_dagster.settings import Settings

if TYPE_CHECKING:  # not exported by dagster
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

FAMILY = "backtest"
JOB_NAME = "backtest_days"
LOOP_OP = "backtest_cycles"
BACKTEST_ID_TAG = "wonttrade/backtest_id"
FAMILY_TAG = "wonttrade/family"
BACKFILL_TAG = "dagster/backfill"

FED = (Stage.MARKET_SNAPSHOTS, Stage.INDICATORS)
"""Vectorised over the whole range before the loop."""

FED_BY = ("candles", "funding_rates")
"""The assets of the history family that a replay reads."""

LOOPED = tuple(stage for stage in Stage if stage not in FED)


class BacktestConfig(dg.Config):
    """What may differ from ``wonttrade.toml`` in one backtest; empty keeps the settings."""

    model: str = ""
    prompt: str = ""
    cycle_minutes: int = 0


def run_config(model: str = "", prompt: str = "", cycle_minutes: int = 0) -> dict[str, object]:
    """Run config of a backtest. A wrong op name would be ignored silently: the name is built here."""
    config = {"model": model, "prompt": prompt, "cycle_minutes": cycle_minutes}
    return {"ops": {LOOP_OP: {"config": config}}}


def range_tags(backtest_id: str, first_day: str, last_day: str) -> dict[str, str]:
    """Tags of a run of the job over a range of days, both included, without a backfill."""
    return {
        "dagster/asset_partition_range_start": first_day,
        "dagster/asset_partition_range_end": last_day,
        BACKTEST_ID_TAG: backtest_id,
    }


def backtest_id_of(run: dg.DagsterRun) -> str:
    """Our own tag, else the backfill's id, else the root run's."""
    return run.tags.get(BACKTEST_ID_TAG) or run.tags.get(BACKFILL_TAG) or run.root_run_id or run.run_id


def backtest_assets(days: dg.PartitionsDefinition[str], shard_days: int) -> list[dg.AssetsDefinition]:
    """Market and indicators of the range, and the loop over its cycles.

    Args:
        days: the UTC days.
        shard_days: a backfill becomes one run for so many days each; 0: one run for all.
    """
    # One policy for all of them: assets of another one would not go into the same run.
    policy = dg.BackfillPolicy.multi_run(shard_days) if shard_days else dg.BackfillPolicy.single_run()
    return [
        _fed_asset(Stage.MARKET_SNAPSHOTS, days, policy, _bars),
        _fed_asset(Stage.INDICATORS, days, policy, _first_indicators),
        _cycles_asset(days, policy),
    ]


def backtest_job() -> "AssetJob":
    """A range of days in one run; what ``wonttrade backtest`` runs in the foreground."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.groups(FAMILY),
        description="Replay a range of days: simulated execution, a real model call in every cycle.",
        executor_def=dg.in_process_executor,
        tags={FAMILY_TAG: FAMILY},
    )


def _range_ms(context: dg.AssetExecutionContext) -> tuple[int, int]:
    window = context.partition_time_window
    return int(window.start.timestamp()) * 1000, int(window.end.timestamp()) * 1000


Vectorised = Callable[[BacktestReplayProvider, int, int], Metadata]


def _fed_asset(
    stage: Stage, days: dg.PartitionsDefinition[str], policy: dg.BackfillPolicy, describe_range: Vectorised
) -> dg.AssetsDefinition:
    """A stage computed over the whole range at once, before the loop."""
    deps = upstream_keys(FAMILY, stage) or [dg.AssetKey(["history", name]) for name in FED_BY]

    @dg.asset(
        key=stage_key(FAMILY, stage),
        deps=deps,
        partitions_def=days,
        backfill_policy=policy,
        description=f"One vectorised pass over the range. {STAGE_TEXTS[stage].description}",
        kinds={"duckdb", "polars"},
        owners=list(OWNERS),
        group_name=FAMILY,
        tags={FAMILY_TAG: FAMILY},
    )
    def fed_asset(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        history: dg.ResourceParam[MarketHistory],
    ) -> dg.MaterializeResult[None]:
        from_ms, to_ms = _range_ms(context)
        try:
            replay = replay_of(settings, history, from_ms, to_ms)
            return dg.MaterializeResult(metadata=describe_range(replay, from_ms, to_ms))
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return fed_asset


def _bars(replay: BacktestReplayProvider, from_ms: int, to_ms: int) -> Metadata:
    rows = [
        (symbol, replay.bars(symbol, from_ms, to_ms).height, interval)
        for symbol, interval in replay.bar_intervals.items()
    ]
    return {
        "bars": table(("symbol", "bars", "interval"), rows),
        "first": describe(replay.snapshot(from_ms))["markets"],
    }


def _first_indicators(replay: BacktestReplayProvider, from_ms: int, to_ms: int) -> Metadata:
    del to_ms
    return describe(replay.indicators(from_ms))


def _cycles_asset(days: dg.PartitionsDefinition[str], policy: dg.BackfillPolicy) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=LOOP_OP,
        specs=[_spec(stage) for stage in LOOPED],
        can_subset=True,
        partitions_def=days,
        backfill_policy=policy,
    )
    def backtest_cycles(
        context: dg.AssetExecutionContext,
        config: BacktestConfig,
        settings: dg.ResourceParam[Settings],
        history: dg.ResourceParam[MarketHistory],
        executor: dg.ResourceParam[Executors],
    ) -> Iterator[dg.MaterializeResult[None]]:
        range_ms = _range_ms(context)
        try:
            plan = _plan_of(context, config, settings)
            outcome = run_windows(settings, plan, range_ms, history, executor, context.log.info)
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for stage in LOOPED:
            key = stage_key(FAMILY, stage)
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=key, metadata=_metadata(stage, outcome))

    return backtest_cycles


def _plan_of(context: dg.AssetExecutionContext, config: BacktestConfig, settings: Settings) -> ShardPlan:
    """The backtest that this run is a part of, whether or not other runs of it have begun."""
    backtest_id = backtest_id_of(context.run)
    stored = read_plan(backtest_folder(settings.data_dir, backtest_id))
    windows = stored.windows if stored else windows_of(_days(context), settings.backtest.shard_days)
    return ShardPlan(
        backtest_id=backtest_id,
        windows=windows,
        model=config.model or settings.llm.model,
        prompt=config.prompt or settings.llm.prompt,
        cycle_minutes=config.cycle_minutes or settings.backtest_cycle_minutes,
        settings_sha256=settings.choices_sha256,
    )


def _days(context: dg.AssetExecutionContext) -> Sequence[str]:
    """Every day of the run's backfill, of which the run may be a part; of the run itself without one."""
    backfill_id = context.run.tags.get(BACKFILL_TAG)
    backfill = context.instance.get_backfill(backfill_id) if backfill_id else None
    if backfill is not None and backfill.partition_names is not None:
        return list(backfill.partition_names)
    if backfill is not None and backfill.asset_backfill_data is not None:
        targets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
        ours = [subset for key, subset in targets.items() if key.path[0] == FAMILY]
        return sorted({day for subset in ours for day in subset.get_partition_keys()})
    return list(context.partition_keys)


def _spec(stage: Stage) -> dg.AssetSpec:
    text = STAGE_TEXTS[stage]
    return dg.AssetSpec(
        stage_key(FAMILY, stage),
        deps=upstream_keys(FAMILY, stage),
        description=text.description,
        kinds=set(text.kinds) - {"hyperliquid"} or {"python"},
        owners=list(OWNERS),
        group_name=FAMILY,
        tags={FAMILY_TAG: FAMILY},
    )


def _metadata(stage: Stage, outcome: RunOutcome) -> Metadata:
    plan, last = outcome.plan, outcome.windows[-1]
    common = {
        "backtest_id": plan.backtest_id,
        "cycles": outcome.cycles,
        "model": plan.model,
        "prompt": plan.prompt,
        "cycle_minutes": plan.cycle_minutes,
        "folder": dg.MetadataValue.path(last.folder),
    }
    if last.estimate:
        common["estimate"] = table(("figure", "value"), last.estimate)
    if plan.is_sharded:
        common["shard"] = ", ".join(window.spec.backtest_id for window in outcome.windows)
    if stage is Stage.DECISIONS:
        return common | {"outcomes": table(("outcome", "reason", "cycles"), outcome.outcomes)}
    if stage is Stage.CYCLE_REPORTS:
        return common | {
            "equity": picture(last.equity_png, "account value and drawdown"),
            "summary": table(("figure", "value"), last.headline),
            "report": dg.MetadataValue.path(last.report_path),
            **_shards_metadata(outcome),
        }
    return common


def _shards_metadata(outcome: RunOutcome) -> Metadata:
    """What the run that ended last says of all shards; the others say how many are missing."""
    if not outcome.plan.is_sharded:
        return {}
    if not outcome.merged:
        return {"shards_missing": outcome.missing}
    return {
        "all_shards": table(("figure", "value"), outcome.merged),
        "all_shards_report": dg.MetadataValue.path(outcome.folder / REPORT_NAME),
    }
