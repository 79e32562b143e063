"""The history family: candles, funding and open interest per UTC day, kept in ``market.duckdb``.

Belongs here: the assets, their job and its schedule. Does not belong here: what is fetched
(``adapters.history_sync``), the venue's paging (``adapters.hyperliquid``), the tables (``adapters.history``),
files (``wonttrade history import``, which reports to these assets).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.adapters.history import DAY_MS, MarketHistory
from wonttrade_dagster.adapters.history_survey import survey, wanted_series
from wonttrade_dagster.adapters.history_sync import HistorySync, SeriesSync
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.utc import utc_minute
from wonttrade_dagster.defs.metadata import table
from wonttrade_dagster.defs.partitions import DAY_KEY_FORMAT
from wonttrade_dagster.defs.stages import OWNERS
from wonttrade_dagster.settings import Settings

if TYPE_CHECKING:  # not exported by dagster
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

FAMILY = "history"
JOB_NAME = "sync_history"
SCHEDULE_NAME = "sync_history_hourly"
SCHEDULE_CRON = "3 * * * *"
"""Some minutes past the hour: its funding is paid, its candles have closed."""

SCHEDULED_DAYS = 7
"""How far back a scheduled run reaches: each day costs an event. `wonttrade history sync` fills more."""


def history_assets(days: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Candles, funding and open interest of the tracked symbols, a UTC day each."""
    return [
        _history_asset("candles", "Closed candles of the configured intervals.", days, _candles),
        _history_asset("funding_rates", "Hourly funding rates as paid.", days, _funding),
        _history_asset(
            "open_interest",
            "Open interest now, one row a materialization: no request of the venue has its past.",
            days,
            _open_interest,
        ),
    ]


def history_job() -> "AssetJob":
    """Fetch days from the venue; fetching twice changes nothing."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.groups(FAMILY),
        description="Candles, funding and open interest of a range of days from the venue.",
        executor_def=dg.in_process_executor,
        tags={"wonttrade/family": FAMILY},
    )


def history_schedule(autostart: bool) -> dg.ScheduleDefinition:  # noqa: FBT001 (a setting handed on)
    """Once an hour: one run over the days from the first that lacks something to the running one."""

    @dg.schedule(
        name=SCHEDULE_NAME,
        job_name=JOB_NAME,
        cron_schedule=SCHEDULE_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if autostart else dg.DefaultScheduleStatus.STOPPED,
        description=f"Fetches what the last {SCHEDULED_DAYS} days lack, and open interest now.",
    )
    def sync_history_hourly(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        history: dg.ResourceParam[MarketHistory],
    ) -> dg.RunRequest | dg.SkipReason:
        now_ms = int(context.scheduled_execution_time.timestamp() * 1000)
        try:
            first_ms = first_incomplete_ms(settings, history, now_ms)
        except WontTradeError as error:
            return dg.SkipReason(str(error))
        tags = {
            "dagster/asset_partition_range_start": _day_key(first_ms),
            "dagster/asset_partition_range_end": _day_key(now_ms),
        }
        return dg.RunRequest(run_key=None, tags=tags)

    return sync_history_hourly


def first_incomplete_ms(settings: Settings, history: MarketHistory, now_ms: int) -> int:
    """The first day of the last ones in which something lacks; the running day when nothing does."""
    symbols = settings.symbols
    wanted = wanted_series(symbols.tracked, (symbols.intraday_interval, symbols.long_interval))
    from_ms = (now_ms // DAY_MS - SCHEDULED_DAYS + 1) * DAY_MS
    found = survey(history, wanted, now_ms, from_ms, now_ms, only=symbols.tracked)
    holes = (gap.gap.first_ms for gap in found.gaps if gap.at_venue and (gap.symbol, gap.series) in wanted)
    empty = any(not state.rows for state in found.series if (state.symbol, state.series) in wanted)
    return from_ms if empty else min([*holes, now_ms])


def _day_key(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(DAY_KEY_FORMAT)


Fetch = Callable[[Settings, HistorySync, int, int], Iterator[SeriesSync]]


def _history_asset(
    name: str, description: str, days: dg.PartitionsDefinition[str], fetch: Fetch
) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        key_prefix=FAMILY,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{description} Kept in market.duckdb; stored values are compared, never overwritten.",
        kinds={"hyperliquid", "duckdb"},
        owners=list(OWNERS),
        group_name=FAMILY,
    )
    def history_asset(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        venue_history: dg.ResourceParam[VenueHistory],
        history: dg.ResourceParam[MarketHistory],
    ) -> dg.MaterializeResult[None]:
        window = context.partition_time_window
        from_ms, to_ms = (int(bound.timestamp()) * 1000 for bound in (window.start, window.end))
        try:
            rows = list(fetch(settings, HistorySync(venue_history, history), from_ms, to_ms))
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        columns = ("symbol", "series", "new", "unchanged", "changed", "first changed")
        return dg.MaterializeResult(metadata={"rows": table(columns, [_cells(row) for row in rows])})

    return history_asset


def _cells(row: SeriesSync) -> tuple[object, ...]:
    counts = row.counts
    first_changed = "" if counts.first_changed_ms is None else utc_minute(counts.first_changed_ms)
    return row.symbol, row.series, counts.new, counts.unchanged, counts.changed, first_changed


def _candles(settings: Settings, sync: HistorySync, from_ms: int, to_ms: int) -> Iterator[SeriesSync]:
    symbols = settings.symbols
    return sync.candles(symbols.tracked, (symbols.intraday_interval, symbols.long_interval), from_ms, to_ms)


def _funding(settings: Settings, sync: HistorySync, from_ms: int, to_ms: int) -> Iterator[SeriesSync]:
    return sync.funding(settings.symbols.tracked, from_ms, to_ms)


def _open_interest(settings: Settings, sync: HistorySync, from_ms: int, to_ms: int) -> Iterator[SeriesSync]:
    return sync.open_interest(settings.symbols.tracked, from_ms, to_ms)
