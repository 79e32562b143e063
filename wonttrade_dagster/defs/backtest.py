"""The backtest family: the same stages over past days, partitioned by UTC day, one run a range.

Belongs here: the assets, their run config and their job. Does not belong here: the loop and its results
(``defs.backtest_run``).

State is carried inside the run: declared self-dependencies would split a range into one run a day. All
assets carry ``BackfillPolicy.single_run()`` and the stages are keys of one subsettable multi-asset, because
a backfill of the UI names every key of a family separately.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.backtest_run import BacktestOutcome, BacktestSpec, replay_of, run_backtest_range
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


def backtest_id_of(run: dg.DagsterRun) -> str:
    """Our own tag, else the backfill's id, else the root run's."""
    return run.tags.get(BACKTEST_ID_TAG) or run.tags.get("dagster/backfill") or run.root_run_id or run.run_id


def backtest_assets(days: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Market and indicators of the range, and the loop over its cycles."""
    return [
        _fed_asset(Stage.MARKET_SNAPSHOTS, days, _bars),
        _fed_asset(Stage.INDICATORS, days, _first_indicators),
        _cycles_asset(days),
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
    stage: Stage, days: dg.PartitionsDefinition[str], describe_range: Vectorised
) -> dg.AssetsDefinition:
    """A stage computed over the whole range at once, before the loop."""
    deps = upstream_keys(FAMILY, stage) or [dg.AssetKey(["history", name]) for name in FED_BY]

    @dg.asset(
        key=stage_key(FAMILY, stage),
        deps=deps,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
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


def _cycles_asset(days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=LOOP_OP,
        specs=[_spec(stage) for stage in LOOPED],
        can_subset=True,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def backtest_cycles(
        context: dg.AssetExecutionContext,
        config: BacktestConfig,
        settings: dg.ResourceParam[Settings],
        history: dg.ResourceParam[MarketHistory],
        executor: dg.ResourceParam[Executors],
    ) -> Iterator[dg.MaterializeResult[None]]:
        from_ms, to_ms = _range_ms(context)
        spec = BacktestSpec(
            backtest_id=backtest_id_of(context.run),
            from_ms=from_ms,
            to_ms=to_ms,
            model=config.model or settings.llm.model,
            prompt=config.prompt or settings.llm.prompt,
            cycle_minutes=config.cycle_minutes or settings.backtest_cycle_minutes,
        )
        try:
            outcome = run_backtest_range(settings, spec, history, executor, context.log.info)
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for stage in LOOPED:
            key = stage_key(FAMILY, stage)
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=key, metadata=_metadata(stage, outcome))

    return backtest_cycles


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


def _metadata(stage: Stage, outcome: BacktestOutcome) -> Metadata:
    common = {
        "backtest_id": outcome.spec.backtest_id,
        "cycles": outcome.cycles,
        "model": outcome.spec.model,
        "prompt": outcome.spec.prompt,
        "cycle_minutes": outcome.spec.cycle_minutes,
        "folder": dg.MetadataValue.path(outcome.folder),
    }
    if stage is Stage.DECISIONS:
        return common | {"outcomes": table(("outcome", "reason", "cycles"), outcome.outcomes)}
    if stage is Stage.CYCLE_REPORTS:
        return common | {
            "equity": picture(outcome.equity_png, "account value and drawdown"),
            "summary": table(("figure", "value"), outcome.headline),
            "report": dg.MetadataValue.path(outcome.report_path),
        }
    return common
