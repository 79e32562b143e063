"""Asset checks: what a person wants to see green.

Belongs here: checks and the rows that offend. Does not belong here: gating. A check never keeps protection
or a report from running; what gates exposure is a value in the cycle.

Checks are unpartitioned: partitioned ones report wrong statuses after range runs (Dagster 1.13), so the bad
times stand in the metadata.
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg

from wonttrade_dagster.adapters import history_audit
from wonttrade_dagster.adapters.history import HOUR_MS, MarketHistory
from wonttrade_dagster.adapters.history_survey import survey
from wonttrade_dagster.core.model import CycleReport, Leg, Stage
from wonttrade_dagster.core.protection import covers
from wonttrade_dagster.core.utc import utc_minute
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.defs.metadata import Metadata, table
from wonttrade_dagster.defs.stages import stage_key
from wonttrade_dagster.settings import Settings

FindInReport = Callable[[CycleReport], Sequence[Sequence[object]]]


def live_checks(family: str) -> Sequence[dg.AssetChecksDefinition]:
    """Checks of the live family."""
    reports = stage_key(family, Stage.CYCLE_REPORTS)
    return [
        _report_check(
            "positions_protected",
            reports,
            "Every open position has a stop-loss and a take-profit that cover its whole size.",
            "unprotected",
            ("symbol", "leg", "size"),
            unprotected,
        ),
        _report_check(
            "market_plausible",
            reports,
            "The market of the last cycle was there, fresh, and such that it could be believed.",
            "offences",
            ("reason", "offence"),
            market_failures,
        ),
    ]


def _report_check(
    name: str,
    asset: dg.AssetKey,
    description: str,
    label: str,
    columns: Sequence[str],
    find: FindInReport,
) -> dg.AssetChecksDefinition:
    """A check that passes when nothing is found in the last report; what is found stands under ``label``."""

    @dg.asset_check(asset=asset, name=name, description=description)
    def check(live_cycle: dg.ResourceParam[LiveCycle]) -> dg.AssetCheckResult:
        report = live_cycle.ledger.last_report(_now_ms() + 1)
        found = find(report) if report else []
        metadata: Metadata = {
            "cycle": utc_minute(report.cycle_ms) if report else "none has run",
            label: table(columns, found),
        }
        return dg.AssetCheckResult(passed=not found, metadata=metadata)

    return check


def market_failures(report: CycleReport) -> list[tuple[str, str]]:
    """Reason and each offence of a market that was not traded on."""
    return [
        (failure.reason, offence)
        for failure in report.stage_failures
        if failure.stage is Stage.MARKET_SNAPSHOTS
        for offence in failure.detail.split("; ")
    ]


def unprotected(report: CycleReport) -> list[tuple[str, str, str]]:
    """Symbol, missing leg and size of every position without full protection."""
    rows = []
    for position in report.positions:
        for leg in Leg:
            orders = [o for o in report.protection if o.symbol == position.symbol and o.leg is leg]
            if not covers(orders, position.size_base):
                rows.append((position.symbol, leg.value, str(position.size_base)))
    return rows


CANDLES, FUNDING = (dg.AssetKey(["history", name]) for name in ("candles", "funding_rates"))
MOST_ROWS = 200
"""Offending rows in the metadata of a check: it is stored with every run of it."""

Find = Callable[[MarketHistory, Settings], Sequence[Sequence[object]]]


BAR = ("symbol", "interval", "open time")
RUN = ("symbol", "series", "first missing", "last missing", "count", "at the venue")


def history_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Checks of the history family. They tell and stop nothing: a backtest refuses holes itself."""
    return [*_stored_candle_checks(), *_tracked_symbol_checks(), *_funding_checks()]


def _stored_candle_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Of the candles that are stored, whatever is configured."""
    return [
        _check(
            "candles_complete",
            CANDLES,
            "No candle is missing between the first and the last one stored of a series.",
            RUN,
            lambda history, _: [row for row in gap_rows(history) if row[1] != "funding"],
        ),
        _check(
            "no_future_candle",
            CANDLES,
            "Every stored candle had closed when this check ran.",
            BAR,
            lambda history, _: history_audit.future_candles(history, _now_ms()),
        ),
        _check(
            "prices_in_order",
            CANDLES,
            "Prices are positive, open and close lie between low and high, no volume is negative.",
            (*BAR, "open", "high", "low", "close", "volume"),
            lambda history, _: history_audit.disordered_prices(history),
        ),
        _check(
            "longer_candles_agree",
            CANDLES,
            "A stored candle equals the finer stored ones that make it up; backtests use the finer ones.",
            (*BAR, "made of", "column", "stored", "made"),
            lambda history, _: history_audit.disagreeing_bars(history),
        ),
    ]


def _tracked_symbol_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Of what the configured symbols need."""
    return [
        _check(
            "symbols_present",
            CANDLES,
            "Every tracked symbol has both configured intervals, or finer candles that make them up.",
            ("symbol", "interval"),
            lambda history, settings: history_audit.absent_series(
                history, settings.symbols.tracked, _intervals(settings)
            ),
        ),
        _check(
            "candles_recent",
            CANDLES,
            "Of both intervals of every tracked symbol no candle is missing that closed over a day ago.",
            ("symbol", "interval", "ends"),
            lambda history, settings: history_audit.old_series(
                history, settings.symbols.tracked, _intervals(settings), _now_ms()
            ),
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ]


def _funding_checks() -> Sequence[dg.AssetChecksDefinition]:
    return [
        _check(
            "funding_complete",
            FUNDING,
            "No hour is missing between the first and the last rate of a symbol; one with candles has rates.",
            RUN,
            lambda history, settings: [
                *(row for row in gap_rows(history) if row[1] == "funding"),
                *unfunded_rows(history, settings.symbols.tracked),
            ],
        ),
        _check(
            "funding_in_range",
            FUNDING,
            "No rate is beyond the venue's cap of 4 % an hour.",
            ("symbol", "hour", "rate"),
            lambda history, _: history_audit.rates_out_of_range(history),
        ),
    ]


def _check(
    name: str,
    asset: dg.AssetKey,
    description: str,
    columns: Sequence[str],
    find: Find,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetChecksDefinition:
    """A check that passes when nothing is found; what is found stands in its metadata as a table."""

    @dg.asset_check(asset=asset, name=name, description=description)
    def check(
        history: dg.ResourceParam[MarketHistory], settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        rows = find(history, settings)
        metadata: Metadata = {"found": len(rows), "rows": table(columns, rows[:MOST_ROWS])}
        return dg.AssetCheckResult(passed=not rows, severity=severity, metadata=metadata)

    return check


def gap_rows(history: MarketHistory) -> list[tuple[str, str, str, str, int, int]]:
    """One row a gap inside the stored range of a series."""
    return [
        (
            gap.symbol,
            gap.series,
            utc_minute(gap.gap.first_ms),
            utc_minute(gap.gap.last_ms),
            gap.gap.count,
            gap.at_venue,
        )
        for gap in survey(history, (), _now_ms()).gaps
    ]


def unfunded_rows(
    history: MarketHistory, symbols: Sequence[str]
) -> list[tuple[str, str, str, str, int, int]]:
    """One row a tracked symbol that has candles and not one funding rate, the hours as a gap."""
    found = history_audit.unfunded_candles(history, symbols)
    spans = ((symbol, first, last, (last - first) // HOUR_MS + 1) for symbol, first, last in found)
    return [(s, "funding", utc_minute(first), utc_minute(last), n, n) for s, first, last, n in spans]


def _intervals(settings: Settings) -> tuple[str, str]:
    return settings.symbols.intraday_interval, settings.symbols.long_interval


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
