"""Performance figures: what an account's value and its fills say about a strategy.

Belongs here: statistics of an equity curve and of fills, as plain floats.
Does not belong here: money arithmetic (``Decimal``, in the simulation), drawing, reading or writing.

Everything comes from account value and fills, never from "available balance". Statistics that are not
defined (no variance, too few points) are None, never 0 and never NaN. Frames are ascending in time:

* equity: ``EQUITY_SCHEMA``, one row a cycle, the opening equity being the first, and the end of a range, at
  which nobody decides, the last;
* fills: ``FILL_SCHEMA``, sizes signed by direction, ``closed_pnl_usd`` without the fee.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import polars as pl

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import EquityPoint, ExecutionReport, Fill, ReturnSums
from wonttrade_dagster.core.round_trips import RoundTrip, round_trips, time_in_market_ms

EQUITY_SCHEMA: Mapping[str, pl.DataType] = {"time_ms": pl.Int64(), "account_value_usd": pl.Float64()}

FILL_SCHEMA: Mapping[str, pl.DataType] = {
    "time_ms": pl.Int64(),
    "symbol": pl.String(),
    "px": pl.Float64(),
    "size_base": pl.Float64(),
    "fee_usd": pl.Float64(),
    "closed_pnl_usd": pl.Float64(),
    "purpose": pl.String(),
    "direction": pl.String(),
    "oid": pl.Int64(),
}

YEAR_MS = 365.25 * 24 * 3_600_000
"""A year of a market that never closes."""

NO_VARIANCE = 1e-12
"""A standard deviation of returns below this is rounding of the division, not variance."""


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall from a peak.

    Attributes:
        fraction: depth as a share of the peak, 0 when the curve never fell.
        peak_ms: the last time at the peak.
        trough_ms: the time of the deepest point.
        recovered_ms: when the peak was reached again, None when it was not.
        length_ms: from the peak to the recovery, or to the end of the curve.
    """

    fraction: float
    peak_ms: int
    trough_ms: int
    recovered_ms: int | None
    length_ms: int


@dataclass(frozen=True, slots=True)
class Unprotected:
    """How long positions stood without a confirmed stop: entries, their total, the worst one."""

    entries: int = 0
    total_seconds: float = 0.0
    max_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformanceFigures:
    """The figures of one run; None where a statistic is not defined.

    Attributes:
        total_return_fraction: last over first account value, minus 1.
        sharpe: annualised by the actual sampling of the curve, risk-free rate 0.
        turnover_fraction: traded notional over the mean account value.
        exposure_fraction: share of the time with at least one open position.
        stop_fraction: share of closed round trips that ended at their stop.
        take_profit_fraction: share of closed round trips that ended at their take-profit.
        win_fraction: share of closed round trips that gained after fees.
        funding_usd: positive when paid.
    """

    opening_equity_usd: float
    final_equity_usd: float
    total_return_fraction: float | None
    sharpe: float | None
    max_drawdown: Drawdown
    fills: int
    traded_usd: float
    turnover_fraction: float | None
    fees_usd: float
    funding_usd: float
    round_trips: int
    open_round_trips: int
    win_fraction: float | None
    stop_fraction: float | None
    take_profit_fraction: float | None
    liquidations: int
    mean_holding_ms: float | None
    exposure_fraction: float
    unprotected: Unprotected


def equity_frame(points: Iterable[EquityPoint]) -> pl.DataFrame:
    """``EQUITY_SCHEMA`` of account values, in the order given."""
    rows = [(point.time_ms, float(point.account_value_usd)) for point in points]
    return pl.DataFrame(rows, schema=EQUITY_SCHEMA, orient="row")


def fills_frame(fills: Iterable[Fill], purposes: Mapping[int | str, str] | None = None) -> pl.DataFrame:
    """``FILL_SCHEMA`` of executions, in the order given.

    Args:
        fills: the executions.
        purposes: why an order existed (``OrderPurpose`` values, ``liquidation``), by ``oid`` or
            ``cloid``. What it does not name is read off the venue's direction: ``open``, ``close``,
            ``liquidation``, else ``trade``.
    """
    known = purposes or {}
    rows = [
        (
            fill.time_ms,
            fill.symbol,
            float(fill.px),
            float(fill.size_base),
            float(fill.fee_usd),
            float(fill.closed_pnl_usd),
            known.get(fill.oid) or known.get(fill.cloid or "") or _purpose_of(fill.direction),
            fill.direction,
            fill.oid,
        )
        for fill in fills
    ]
    return pl.DataFrame(rows, schema=FILL_SCHEMA, orient="row")


def _purpose_of(direction: str) -> str:
    words = direction.lower().replace("-", " ").replace("_", " ")
    for needle, purpose in (
        ("liquidat", "liquidation"),
        ("stop", "stop_loss"),
        ("take", "take_profit"),
        ("open", "open"),
        ("close", "close"),
    ):
        if needle in words:
            return purpose
    return "trade"


def total_return(points: Sequence[tuple[int, float]]) -> float | None:
    """Last over first account value minus 1; None without a positive first value."""
    if not points or points[0][1] <= 0:
        return None
    return points[-1][1] / points[0][1] - 1.0


def sharpe_ratio(points: Sequence[tuple[int, float]]) -> float | None:
    """Annualised Sharpe ratio of ``(time_ms, account value)`` points, oldest first.

    Mean over sample standard deviation (n − 1) of the simple returns between points, times the square
    root of how many such steps a year holds: ``YEAR_MS`` over the mean step actually sampled. Steps need not
    be equal (skipped decisions, the end of a range): mean and variance of a return both grow with its step,
    so that the mean step annualises them together. The risk-free rate is 0. (Sharpe 1994; 252 trading days
    would be wrong in a market that never closes.)

    Returns:
        None below two returns, for zero variance, for no elapsed time, and once the account was worth
        nothing: a return from there is not defined.
    """
    if len(points) < 3 or any(value <= 0 for _, value in points[:-1]):
        return None
    returns = [after / before - 1.0 for (_, before), (_, after) in pairwise(points)]
    elapsed_ms = points[-1][0] - points[0][0]
    mean = math.fsum(returns) / len(returns)
    return _annualised(len(returns), mean, math.fsum((r - mean) ** 2 for r in returns), elapsed_ms)


def return_sums(points: Sequence[tuple[int, float]]) -> ReturnSums:
    """The sums over ``(time_ms, account value)`` points, oldest first; at least one."""
    (first_ms, opening), *rest = points
    sums = ReturnSums(first_ms, first_ms, opening)
    for time_ms, value in rest:
        sums = with_point(sums, time_ms, value)
    return sums


def with_point(sums: ReturnSums, time_ms: int, value_usd: float, transfers_usd: float = 0.0) -> ReturnSums:
    """The sums with one more account value, by the recurrence of Welford (1962).

    Args:
        sums: of the points before.
        time_ms: of the point.
        value_usd: the account value then.
        transfers_usd: what was paid in (+, there since the point before) or taken out (−, there until this
            point): no part of the return.
    """
    before = sums.last_value_usd + max(transfers_usd, 0.0)
    if not sums.is_defined or before <= 0:
        return replace(sums, last_at_ms=time_ms, last_value_usd=value_usd, is_defined=False)
    simple_return = (value_usd + max(-transfers_usd, 0.0)) / before - 1.0
    count, deviation = sums.count + 1, simple_return - sums.mean
    mean = sums.mean + deviation / count
    return replace(
        sums,
        last_at_ms=time_ms,
        last_value_usd=value_usd,
        count=count,
        mean=mean,
        squares=sums.squares + deviation * (simple_return - mean),
    )


def sharpe_of(sums: ReturnSums) -> float | None:
    """:func:`sharpe_ratio` of the points that the sums were made of, at the same cost for any number."""
    if not sums.is_defined or sums.count < 2:
        return None
    return _annualised(sums.count, sums.mean, sums.squares, sums.last_at_ms - sums.first_at_ms)


def _annualised(count: int, mean: float, squares: float, elapsed_ms: int) -> float | None:
    deviation = math.sqrt(squares / (count - 1))
    if elapsed_ms <= 0 or deviation <= NO_VARIANCE:
        return None
    return mean / deviation * math.sqrt(YEAR_MS * count / elapsed_ms)


def drawdown_series(equity: pl.DataFrame) -> pl.DataFrame:
    """``time_ms``, ``drawdown_fraction``: how far below its highest value so far the account stood.

    Between 0 and 1 while the account value is not negative; 0 as long as it never was positive.
    """
    value, peak = pl.col("account_value_usd"), pl.col("account_value_usd").cum_max()
    fraction = pl.when(peak > 0).then(1.0 - value / peak).otherwise(0.0)
    return equity.select("time_ms", fraction.alias("drawdown_fraction"))


def max_drawdown(equity: pl.DataFrame) -> Drawdown:
    """The deepest fall of the curve; all zero for an empty or never falling one."""
    series = drawdown_series(equity)
    times, depths = series["time_ms"].to_list(), series["drawdown_fraction"].to_list()
    if not depths or max(depths) <= 0:
        at = times[0] if times else 0
        return Drawdown(0.0, at, at, at, 0)
    trough = max(range(len(depths)), key=depths.__getitem__)
    peak = max(i for i in range(trough) if depths[i] <= 0)
    recovered = next((times[i] for i in range(trough, len(depths)) if depths[i] <= 0), None)
    end_ms = times[-1] if recovered is None else recovered
    return Drawdown(depths[trough], times[peak], times[trough], recovered, end_ms - times[peak])


def traded_usd(fills: pl.DataFrame) -> float:
    """Notional of every fill, both directions, in USD."""
    return float((fills["px"] * fills["size_base"].abs()).sum())


def unprotected_summary(reports: Iterable[ExecutionReport]) -> Unprotected:
    """Unprotected seconds over the executions of a run."""
    seconds = [value for report in reports for _, value in report.unprotected_seconds]
    return Unprotected(len(seconds), math.fsum(seconds), max(seconds, default=0.0))


def performance_figures(
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    funding_usd: float = 0.0,
    unprotected: Unprotected | None = None,
) -> PerformanceFigures:
    """All figures of a run.

    Args:
        equity: ``EQUITY_SCHEMA``.
        fills: ``FILL_SCHEMA``, of an account that was flat before the first one.
        funding_usd: funding paid (+) or received (−) over the run.
        unprotected: see :func:`unprotected_summary`.

    Raises:
        ValueError: there is no equity point.
    """
    if equity.is_empty():
        raise ValueError("an equity curve needs at least one point")
    points: list[tuple[int, float]] = equity.select("time_ms", "account_value_usd").rows()
    trips = round_trips(fills)
    mean_equity, traded = float(equity["account_value_usd"].to_numpy().mean()), traded_usd(fills)
    return PerformanceFigures(
        opening_equity_usd=points[0][1],
        final_equity_usd=points[-1][1],
        total_return_fraction=total_return(points),
        sharpe=sharpe_ratio(points),
        max_drawdown=max_drawdown(equity),
        fills=fills.height,
        traded_usd=traded,
        turnover_fraction=traded / mean_equity if mean_equity > 0 else None,
        fees_usd=float(fills["fee_usd"].sum()),
        funding_usd=funding_usd,
        **_endings(trips),
        exposure_fraction=_exposure(trips, points[0][0], points[-1][0]),
        unprotected=unprotected or Unprotected(),
    )


class _Endings(TypedDict):
    """How round trips ended, by the fields of :class:`PerformanceFigures`."""

    round_trips: int
    open_round_trips: int
    win_fraction: float | None
    stop_fraction: float | None
    take_profit_fraction: float | None
    liquidations: int
    mean_holding_ms: float | None


def _endings(trips: Sequence[RoundTrip]) -> _Endings:
    closed = [trip for trip in trips if trip.closed_ms is not None]
    return _Endings(
        round_trips=len(closed),
        open_round_trips=len(trips) - len(closed),
        win_fraction=_share(closed, [trip for trip in closed if trip.net_pnl_usd > 0]),
        stop_fraction=_share(closed, [trip for trip in closed if trip.closed_by == "stop_loss"]),
        take_profit_fraction=_share(closed, [trip for trip in closed if trip.closed_by == "take_profit"]),
        liquidations=sum(trip.closed_by == "liquidation" for trip in closed),
        mean_holding_ms=_mean([trip.holding_ms or 0 for trip in closed]),
    )


def _share(closed: Sequence[RoundTrip], chosen: Sequence[RoundTrip]) -> float | None:
    return len(chosen) / len(closed) if closed else None


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _exposure(trips: Sequence[RoundTrip], from_ms: int, to_ms: int) -> float:
    return time_in_market_ms(trips, from_ms, to_ms) / (to_ms - from_ms) if to_ms > from_ms else 0.0
