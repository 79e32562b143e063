"""The history family: candles, funding and open interest per UTC day, kept in ``market.duckdb``.

Belongs here: the assets and their job. Does not belong here: the venue's paging (``adapters.hyperliquid``),
the tables (``adapters.history``), files (``wonttrade history import``, which reports to these assets).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg

from wonttrade_dagster.adapters.history import ImportCounts, MarketHistory
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.defs.metadata import table
from wonttrade_dagster.defs.stages import OWNERS
from wonttrade_dagster.settings import Settings

if TYPE_CHECKING:  # not exported by dagster
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

FAMILY = "history"
JOB_NAME = "sync_history"
SOURCE = "venue"

Row = tuple[str, str, ImportCounts]
"""Symbol, series, and what adding it did."""


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


Fetch = Callable[[Settings, VenueHistory, MarketHistory, int, int], Iterator[Row]]


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
            rows = list(fetch(settings, venue_history, history, from_ms, to_ms))
        except WontTradeError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        cells = [(symbol, series, c.new, c.unchanged, c.changed) for symbol, series, c in rows]
        columns = ("symbol", "series", "new", "unchanged", "changed")
        return dg.MaterializeResult(metadata={"rows": table(columns, cells)})

    return history_asset


def _candles(
    settings: Settings, venue: VenueHistory, history: MarketHistory, from_ms: int, to_ms: int
) -> Iterator[Row]:
    symbols = settings.symbols
    for symbol in symbols.tracked:
        for interval in (symbols.intraday_interval, symbols.long_interval):
            frame = venue.candles(symbol, interval, from_ms, to_ms)
            yield symbol, interval, history.add_candles(symbol, interval, frame, SOURCE)


def _funding(
    settings: Settings, venue: VenueHistory, history: MarketHistory, from_ms: int, to_ms: int
) -> Iterator[Row]:
    for symbol in settings.symbols.tracked:
        frame = venue.funding(symbol, from_ms, to_ms)
        yield symbol, "funding", history.add_funding(symbol, frame, SOURCE)


def _open_interest(
    settings: Settings, venue: VenueHistory, history: MarketHistory, from_ms: int, to_ms: int
) -> Iterator[Row]:
    for symbol, frame in venue.open_interest(settings.symbols.tracked, from_ms, to_ms).items():
        yield symbol, "open interest", history.add_open_interest(symbol, frame, SOURCE)
