"""The one place where the graph is put together: ``build_defs`` returns fresh ``Definitions``.

Belongs here: which families exist under which settings, and which parts they get; tests and commands
replace parts by argument. Does not belong here: implementations of assets or resources.
"""

import time
import warnings
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import dagster as dg

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.defs.automation import cycle_sensor
from wonttrade_dagster.defs.backtest import backtest_assets, backtest_job
from wonttrade_dagster.defs.checks import history_checks, live_checks
from wonttrade_dagster.defs.history import history_assets, history_job, history_schedule
from wonttrade_dagster.defs.live import live_assets, live_job
from wonttrade_dagster.defs.partitions import cycle_partitions, day_partitions
from wonttrade_dagster.defs.resources import (
    ExecutorResource,
    HistoryResource,
    LiveCycleResource,
    SettingsResource,
    VenueHistoryResource,
)
from wonttrade_dagster.settings import Settings, load_settings

CONFIG_VARIABLE = "WONTTRADE_CONFIG"
"""Names the settings file (and nothing else); ``wonttrade --config`` sets it for the processes it starts."""

AUTOSTART_VARIABLE = "WONTTRADE_AUTOSTART"
"""Set by ``wonttrade up``: the sensor runs without being switched on by hand."""


def now_ms() -> int:
    """The wall clock of the sensor."""
    return time.time_ns() // 1_000_000


def build_defs(config_path: Path, *, autostart: bool = False) -> dg.Definitions:
    """The graph under one ``wonttrade.toml``.

    Args:
        config_path: the settings file; read here for the shape of the graph, and again by each run.
        autostart: start the sensor whatever ``runtime.autostart`` says (``wonttrade up``).

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    with warnings.catch_warnings():
        # backfill_policy is a beta parameter of Dagster 1.13; the range runs of this graph are tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _build(config_path, autostart=autostart)


def _build(config_path: Path, *, autostart: bool) -> dg.Definitions:
    settings = load_settings(config_path)
    path = str(config_path.absolute())
    executor = ExecutorResource()
    resources = {
        "settings": SettingsResource(config_path=path),
        "executor": executor,
        "live_cycle": LiveCycleResource(config_path=path, executor=executor),
        "history": HistoryResource(config_path=path),
        "venue_history": VenueHistoryResource(config_path=path),
    }
    return dg.Definitions.merge(
        dg.Definitions(resources=resources, executor=dg.in_process_executor),
        _past(settings, autostart=autostart or settings.runtime.autostart),
        _live(settings, autostart=autostart),
    )


def _past(settings: Settings, *, autostart: bool) -> dg.Definitions:
    """Families that exist in every mode: the history, and the backtests over it."""
    days = day_partitions()
    return dg.Definitions(
        assets=[*history_assets(days), *backtest_assets(days, settings.backtest.shard_days)],
        asset_checks=history_checks(),
        jobs=[history_job(), backtest_job()],
        schedules=[history_schedule(autostart)],
    )


def _live(settings: Settings, *, autostart: bool) -> dg.Definitions:
    runtime = settings.runtime
    if runtime.mode is RuntimeMode.BACKTEST:
        return dg.Definitions()
    cycles = cycle_partitions(runtime.cycle_minutes, datetime.now(UTC))
    lead_seconds = settings.resilience.start_lead_seconds
    job = live_job(settings.family, ceil(settings.max_cycle_seconds + lead_seconds))
    sensor = cycle_sensor(
        job,
        runtime.cycle_minutes,
        lead_seconds,
        settings.sha256,
        autostart or runtime.autostart,
        now_ms,
    )
    return dg.Definitions(
        assets=live_assets(settings.family, cycles),
        asset_checks=live_checks(settings.family),
        jobs=[job],
        sensors=[sensor],
    )


def defs_or_instruction(config_path: Path, *, autostart: bool = False) -> dg.Definitions:
    """The graph, or, when the settings are missing or wrong, one asset that says what to do.

    A code location that fails to load buries its one useful sentence under a stack trace.
    """
    try:
        return build_defs(config_path, autostart=autostart)
    except ConfigurationError as error:
        dg.get_dagster_logger().error(str(error))
        spec = dg.AssetSpec("wonttrade_toml", description=str(error), group_name="configuration")
        return dg.Definitions(assets=[spec])
