"""When a cycle runs: a sensor that requests the next one shortly before its minute.

Belongs here: the sensor. Does not belong here: what a cycle does, how late it may be (``live_cycle``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.defs.live import SETTINGS_TAG
from wonttrade_dagster.defs.partitions import cycle_key, next_cycle_ms

if TYPE_CHECKING:  # not exported by dagster
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

SENSOR_NAME = "next_cycle"


def cycle_sensor(
    job: "AssetJob",
    cycle_minutes: int,
    lead_seconds: float,
    settings_sha256: str,
    autostart: bool,  # noqa: FBT001 (a setting handed on)
    now_ms: Callable[[], int],
) -> dg.SensorDefinition:
    """Request the next cycle ``lead_seconds`` ahead of it, and only that one.

    The process start and the imports (4-7 s) then lie before the boundary, at which the first stage
    waits. Missed cycles stay missing: nobody trades on the past. The run key makes a request final, so a
    failed or killed cycle is not tried again, and a run that hangs never keeps the next one from being
    requested.
    """

    @dg.sensor(
        name=SENSOR_NAME,
        job=job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING if autostart else dg.DefaultSensorStatus.STOPPED,
        description=f"Requests the next {cycle_minutes}-minute cycle {lead_seconds:g} s ahead of its time.",
    )
    def next_cycle(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cycle_ms = next_cycle_ms(now_ms(), cycle_minutes)
        wait_seconds = (cycle_ms - now_ms()) / 1000
        if wait_seconds > lead_seconds:
            reason = f"cycle {cycle_key(cycle_ms)} is {wait_seconds:.0f} s away"
            return dg.SensorResult(skip_reason=reason)
        context.log.info(f"cycle {cycle_key(cycle_ms)} in {wait_seconds:.1f} s")
        request = dg.RunRequest(
            run_key=cycle_key(cycle_ms),
            partition_key=cycle_key(cycle_ms),
            tags={SETTINGS_TAG: settings_sha256},
        )
        return dg.SensorResult(run_requests=[request])

    return next_cycle
