"""Asset checks: what a person wants to see green.

Belongs here: checks and the rows that offend. Does not belong here: gating. A check never keeps protection
or a report from running; what gates exposure is a value in the cycle.

Checks are unpartitioned: partitioned ones report wrong statuses after range runs (Dagster 1.13), so the bad
times stand in the metadata.
"""

import time
from collections.abc import Sequence

import dagster as dg

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.core.model import CycleReport, Leg, Stage
from wonttrade_dagster.core.protection import covers
from wonttrade_dagster.core.utc import utc_minute
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.defs.metadata import Metadata, table
from wonttrade_dagster.defs.stages import stage_key


def live_checks(family: str) -> Sequence[dg.AssetChecksDefinition]:
    """Checks of the live family."""

    @dg.asset_check(
        asset=stage_key(family, Stage.CYCLE_REPORTS),
        name="positions_protected",
        description="Every open position has a stop-loss and a take-profit that cover its whole size.",
    )
    def positions_protected(live_cycle: dg.ResourceParam[LiveCycle]) -> dg.AssetCheckResult:
        report = live_cycle.ledger.last_report(time.time_ns() // 1_000_000 + 1)
        naked = unprotected(report) if report else []
        metadata: Metadata = {
            "cycle": utc_minute(report.cycle_ms) if report else "none has run",
            "unprotected": table(("symbol", "leg", "size"), naked),
        }
        return dg.AssetCheckResult(passed=not naked, metadata=metadata)

    return [positions_protected]


def unprotected(report: CycleReport) -> list[tuple[str, str, str]]:
    """Symbol, missing leg and size of every position without full protection."""
    rows = []
    for position in report.positions:
        for leg in Leg:
            orders = [o for o in report.protection if o.symbol == position.symbol and o.leg is leg]
            if not covers(orders, position.size_base):
                rows.append((position.symbol, leg.value, str(position.size_base)))
    return rows


def history_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Checks of the history family."""

    @dg.asset_check(
        asset=dg.AssetKey(["history", "candles"]),
        name="candles_complete",
        description="No candle is missing between the first and the last one stored of a series.",
    )
    def candles_complete(history: dg.ResourceParam[MarketHistory]) -> dg.AssetCheckResult:
        rows = gap_rows(history)
        columns = ("symbol", "interval", "first missing", "last missing", "candles")
        return dg.AssetCheckResult(passed=not rows, metadata={"gaps": table(columns, rows)})

    return [candles_complete]


def gap_rows(history: MarketHistory) -> list[tuple[str, str, str, str, int]]:
    """One row a gap inside the stored range of a candle series."""
    rows = []
    for series in history.coverage().iter_rows(named=True):
        if series["series"] in {"funding", "open_interest"}:
            continue
        symbol, interval = series["symbol"], series["series"]
        gaps = history.gaps(symbol, interval, series["first_ms"], series["last_ms"])
        rows += [
            (symbol, interval, utc_minute(gap.first_ms), utc_minute(gap.last_ms), gap.count) for gap in gaps
        ]
    return rows
