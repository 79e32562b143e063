"""The same fills at other costs: what a run would have left with other fees and more slippage.

Belongs here: pricing recorded fills again, the grid of costs, the cost at which nothing is left.
Does not belong here: running anything again, statistics (``core.performance``).

Open loop: the fills stay as they were recorded. At other costs the account would have been worth less or
more, the model would have been shown that, and might have decided otherwise; margin and liquidation are not
judged again.
"""

from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.performance import sharpe_ratio, total_return

_BPS = 1e-4
EXTRA_SLIPPAGE_BPS = 10.0
"""Added to the run's own slippage in the worst row of the grid: a thin book in a fast market."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs: the fee on the notional, and how much worse than the market a taker fills."""

    fee_bps: float
    slippage_bps: float


@dataclass(frozen=True, slots=True)
class Repriced:
    """A run at other costs; None where a figure is not defined.

    Attributes:
        costs: the costs.
        final_equity_usd: account value at the end.
        total_return_fraction: last over first account value, minus 1.
        sharpe: annualised, as that of the run.
    """

    costs: Costs
    final_equity_usd: float
    total_return_fraction: float | None
    sharpe: float | None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """What a traded dollar costs, and what it may cost at most, in basis points of the traded value.

    Attributes:
        paid_bps: fees and slippage of the run.
        bearable_bps: the cost at which the run would have earned nothing; negative where it lost before
            any cost.
    """

    paid_bps: float
    bearable_bps: float


def market_px(slippage_bps: float) -> pl.Expr:
    """The price before slippage of rows with ``px`` and ``size_base``; the rounding to the tick stays in."""
    return pl.col("px") / (1.0 + pl.col("size_base").sign() * slippage_bps * _BPS)


def slippage_usd(slippage_bps: float) -> pl.Expr:
    """What slippage cost each fill, never negative."""
    return pl.col("size_base") * (pl.col("px") - market_px(slippage_bps))


def repriced(equity: pl.DataFrame, fills: pl.DataFrame, paid: Costs, costs: Costs) -> Repriced:
    """The run at ``costs`` instead of those it ``paid``.

    Args:
        equity: ``core.performance.EQUITY_SCHEMA``, at least one row.
        fills: ``core.performance.FILL_SCHEMA``, ascending in time, all of them taken.
        paid: what the fills were made with.
        costs: what they should cost.
    """
    saved = (
        fills.lazy()
        .select(pl.col("time_ms"), _saved_usd(paid, costs).cum_sum().alias("saved_usd"))
        .unique("time_ms", keep="last", maintain_order=True)
        .sort("time_ms")
    )
    worth = pl.col("account_value_usd") + pl.col("saved_usd").fill_null(0.0)
    joined = equity.lazy().join_asof(saved, on="time_ms").select("time_ms", worth.alias("worth"))
    points: list[tuple[int, float]] = joined.collect().rows()
    return Repriced(costs, points[-1][1], total_return(points), sharpe_ratio(points))


def _saved_usd(paid: Costs, costs: Costs) -> pl.Expr:
    """What each fill costs less, negative for more; exactly 0 at the same costs."""
    ratio = (1.0 + pl.col("size_base").sign() * costs.slippage_bps * _BPS) / (
        1.0 + pl.col("size_base").sign() * paid.slippage_bps * _BPS
    )
    if paid.fee_bps:
        fee_usd = pl.col("fee_usd") * ratio * (costs.fee_bps / paid.fee_bps)
    else:
        fee_usd = pl.col("fee_usd") + pl.col("size_base").abs() * pl.col("px") * ratio * costs.fee_bps * _BPS
    return pl.col("size_base") * pl.col("px") * (1.0 - ratio) + pl.col("fee_usd") - fee_usd


def sensitivity(equity: pl.DataFrame, fills: pl.DataFrame, paid: Costs) -> tuple[Repriced, ...]:
    """The run at no, its own, twice its own and much more slippage, each at no, its own and twice the fee.

    Arguments as for :func:`repriced`.
    """
    slippages = {0.0, paid.slippage_bps, 2 * paid.slippage_bps, paid.slippage_bps + EXTRA_SLIPPAGE_BPS}
    fees = {0.0, paid.fee_bps, 2 * paid.fee_bps}
    return tuple(
        repriced(equity, fills, paid, Costs(fee_bps, slippage_bps))
        for slippage_bps in sorted(slippages)
        for fee_bps in sorted(fees)
    )


def break_even(gained_usd: float, fills: pl.DataFrame, paid: Costs) -> BreakEven | None:
    """Cost of trading that would have eaten the whole gain; None without a fill.

    Args:
        gained_usd: last minus first account value, after all costs.
        fills: ``core.performance.FILL_SCHEMA``.
        paid: what the fills were made with.
    """
    traded = float(fills.select((pl.col("size_base").abs() * market_px(paid.slippage_bps)).sum()).item())
    if traded <= 0:
        return None
    slipped = float(fills.select(slippage_usd(paid.slippage_bps).sum()).item())
    cost = slipped + float(fills["fee_usd"].sum())
    return BreakEven(cost / traded / _BPS, (gained_usd + cost) / traded / _BPS)
