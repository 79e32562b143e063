"""The live family: one asset a stage, partitioned by cycle, run by one job.

Belongs here: the assets and their job. Does not belong here: what a stage does (``core.cycle``), how the
parts are made (``defs.live_cycle``), when a cycle is requested (``defs.automation``).
"""

from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.core.cycle import Record
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.defs.metadata import Metadata, describe
from wonttrade_dagster.defs.partitions import cycle_ms_of
from wonttrade_dagster.defs.stages import OWNERS, STAGE_TEXTS, stage_key, upstream_keys

if TYPE_CHECKING:  # not exported by dagster
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

JOB_NAME = "trade_cycle"
SETTINGS_TAG = "wonttrade/settings_sha256"
MAX_RUNTIME_TAG = "dagster/max_runtime"


def live_assets(family: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """One asset a stage, in the order of the cycle."""
    return [_stage_asset(family, stage, partitions) for stage in Stage]


def _deps(family: str, stage: Stage) -> list[dg.AssetKey | dg.AssetDep]:
    """The edges of the cycle; a decision also descends from the one before it."""
    deps: list[dg.AssetKey | dg.AssetDep] = [*upstream_keys(family, stage)]
    if stage is Stage.DECISIONS:
        cycle_before = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
        deps.append(dg.AssetDep(stage_key(family, stage), partition_mapping=cycle_before))
    return deps


def _stage_asset(family: str, stage: Stage, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    text = STAGE_TEXTS[stage]

    @dg.asset(
        name=stage.value,
        key_prefix=family,
        deps=_deps(family, stage),
        partitions_def=partitions,
        description=text.description,
        kinds=set(text.kinds),
        owners=list(OWNERS),
        group_name=family,
    )
    def stage_asset(
        context: dg.AssetExecutionContext, live_cycle: dg.ResourceParam[LiveCycle]
    ) -> dg.MaterializeResult[None]:
        cycle_ms = cycle_ms_of(context.partition_key)
        try:
            record = live_cycle.run(stage, cycle_ms, context.run.tags.get(SETTINGS_TAG))
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        return dg.MaterializeResult(metadata=_described(record))

    return stage_asset


def _described(record: Record) -> Metadata:
    """Metadata, whatever the record holds: a picture that cannot be drawn must not stop protection."""
    try:
        return describe(record)
    except Exception as error:  # noqa: BLE001 (what stands downstream is the plan and the protection)
        return {"not_described": type(error).__name__}


def live_job(family: str, max_runtime_seconds: int) -> "AssetJob":
    """One cycle, every stage in one process. A failed or killed cycle is not retried."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.groups(family),
        description="One cycle: snapshot, indicators, prompt, decision, plan, orders, report.",
        executor_def=dg.in_process_executor,
        tags={MAX_RUNTIME_TAG: str(max_runtime_seconds), "dagster/max_retries": "0"},
    )
