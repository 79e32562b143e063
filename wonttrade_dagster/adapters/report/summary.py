"""The figures of a backtest as one JSON document.

Belongs here: which figures a report states, under which keys.
Does not belong here: their arithmetic (``core``), their wording (``page``).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.core.attribution import (
    PnlSplit,
    cycle_effects,
    gains_of,
    held_after,
    pnl_by_symbol,
    pnl_split,
)
from wonttrade_dagster.core.confidence import confidence_groups
from wonttrade_dagster.core.luck import luck_warnings, placebo, sharpe_interval
from wonttrade_dagster.core.performance import PerformanceFigures, performance_figures
from wonttrade_dagster.core.repricing import Costs, break_even, sensitivity
from wonttrade_dagster.core.round_trips import RoundTrip, round_trips

SUMMARY_VERSION = 3

LUCK_SEED = 20
"""Of the resamples and shuffles: a report made again says the same."""

NOTABLE_CYCLES = 10


def summarise(data: ReportData) -> dict[str, Any]:
    """Identity and every figure of a run; undefined figures are None."""
    performance, trips = figures(data), round_trips(data.fills)
    return {
        "version": SUMMARY_VERSION,
        "backtest_id": data.backtest_id,
        "from_ms": data.from_ms,
        "to_ms": data.to_ms,
        "cycle_minutes": data.cycle_minutes,
        "symbols": list(data.prices),
        "model": data.model,
        "prompt": {"name": data.prompt_name, "sha256": data.prompt_sha256},
        "settings_sha256": data.settings_sha256,
        "performance": asdict(performance),
        "pnl": asdict(_split(data, performance)),
        "pnl_by_symbol": {symbol: asdict(split) for symbol, split in by_symbol(data).items()},
        "holding": holding_figures(trips),
        "exposure": exposure_figures(data),
        "buy_and_hold_fraction": {symbol: buy_and_hold(frame) for symbol, frame in lived(data).items()},
        "decisions": decision_counts(data.decisions),
        "confidence": [asdict(group) for group in confidence_groups(trips, applied_targets(data))],
        "latency": latency_figures(data.latency) | cost_figures(data.decisions),
        "luck": luck_figures(data, performance.round_trips),
        "costs": other_costs(data, performance),
        "notable_cycles": notable_cycles(data),
        "caveats": list(data.caveats),
        "assumptions": list(data.assumptions),
    }


def figures(data: ReportData) -> PerformanceFigures:
    """The performance of the run, its curve begun with the opening equity."""
    return performance_figures(curve(data), data.fills, data.funding_usd, data.unprotected)


def curve(data: ReportData) -> pl.DataFrame:
    """The equity curve with the opening equity in front where the first cycle came later."""
    equity = data.equity.select("time_ms", "account_value_usd")
    if not equity.is_empty() and equity["time_ms"][0] <= data.from_ms:
        return equity
    opening = {"time_ms": [data.from_ms], "account_value_usd": [data.initial_equity_usd]}
    return pl.concat([pl.DataFrame(opening, schema=equity.schema), equity])


def lived(data: ReportData) -> dict[str, pl.DataFrame]:
    """The prices up to the end of the curve: what is compared must end there too."""
    end_ms = curve(data)["time_ms"].max()
    return {symbol: frame.filter(pl.col("open_time_ms") < end_ms) for symbol, frame in data.prices.items()}


def held(data: ReportData) -> pl.DataFrame:
    """What was held after each cycle, and at the end of the range: ``core.attribution.HELD_SCHEMA``."""
    times = [t for t in data.equity["time_ms"].to_list() if t >= data.from_ms]
    return held_after(times, data.fills, data.prices, data.slippage_bps)


def exposure_series(data: ReportData) -> pl.DataFrame:
    """``time_ms, symbol, exposure_fraction``: signed value held over the account value.

    After each cycle, and at the end of the range, at which nobody decides.
    """
    fraction = pl.col("size_base") * pl.col("px") / pl.col("account_value_usd")
    return (
        held(data)
        .join(data.equity, on="time_ms", how="left", maintain_order="left")
        .select("time_ms", "symbol", fraction.alias("exposure_fraction"))
        .filter(pl.col("exposure_fraction").is_finite())
    )


def exposure_figures(data: ReportData) -> dict[str, Any]:
    """By symbol: mean and largest value held over the account value, unsigned, and cycles long and short."""
    exposure = pl.col("exposure_fraction")
    found = (
        exposure_series(data)
        .filter(pl.col("time_ms") < data.to_ms)
        .group_by("symbol", maintain_order=True)
        .agg(
            exposure.abs().mean().alias("mean_fraction"),
            exposure.abs().max().alias("max_fraction"),
            (exposure > 0).sum().alias("cycles_long"),
            (exposure < 0).sum().alias("cycles_short"),
        )
    )
    return {row.pop("symbol"): row for row in found.to_dicts()}


def _split(data: ReportData, performance: PerformanceFigures) -> PnlSplit:
    result_usd = performance.final_equity_usd - performance.opening_equity_usd
    return pnl_split(result_usd, data.fills, data.funding_usd, data.slippage_bps)


def by_symbol(data: ReportData) -> dict[str, PnlSplit]:
    """Where the result came from, by symbol."""
    return pnl_by_symbol(held(data), data.fills, data.funding_by_symbol_usd, data.slippage_bps)


def holding_figures(trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """How long closed round trips lasted, in milliseconds; None without one."""
    lasted = sorted(trip.holding_ms for trip in trips if trip.holding_ms is not None)
    return {
        "shortest_ms": lasted[0] if lasted else None,
        "median_ms": median(lasted) if lasted else None,
        "longest_ms": lasted[-1] if lasted else None,
    }


def applied_targets(data: ReportData) -> pl.DataFrame:
    """The targets of decisions that were taken on."""
    refused = data.decisions.filter(pl.col("outcome") == "refused")
    return data.targets.join(refused, on="cycle_ms", how="anti")


def luck_figures(data: ReportData, closed_trades: int) -> dict[str, Any]:
    """What speaks for and against chance; see ``core.luck``."""
    points: list[tuple[int, float]] = curve(data).rows()
    interval = sharpe_interval(points, seed=LUCK_SEED)
    shuffled = placebo(gains_of(held(data)), seed=LUCK_SEED)
    cutoff = data.knowledge_cutoff
    return {
        "seed": LUCK_SEED,
        "sharpe_interval": None if interval is None else asdict(interval),
        "placebo": None if shuffled is None else asdict(shuffled),
        "knowledge_cutoff": None if cutoff is None else cutoff.isoformat(),
        "warnings": list(luck_warnings(data.from_ms, data.to_ms, cutoff, closed_trades)),
    }


def other_costs(data: ReportData, performance: PerformanceFigures) -> dict[str, Any]:
    """The recorded fills at other costs, open loop; see ``core.repricing``."""
    paid = Costs(data.taker_fee_bps, data.slippage_bps)
    gained_usd = performance.final_equity_usd - performance.opening_equity_usd
    bearable = break_even(gained_usd, data.fills, paid)
    return {
        "paid": asdict(paid),
        "break_even": None if bearable is None else asdict(bearable),
        "open_loop": [asdict(result) for result in sensitivity(curve(data), data.fills, paid)],
    }


def notable_cycles(data: ReportData) -> list[dict[str, Any]]:
    """The cycles that earned or cost most until the next one or the end: ``cycle_ms, effect_usd``."""
    effects = cycle_effects(curve(data), data.fills, data.slippage_bps, data.to_ms)
    chosen = effects.filter(pl.col("effect_usd") != 0)
    chosen = chosen.sort(pl.col("effect_usd").abs(), descending=True).head(NOTABLE_CYCLES)
    return chosen.rename({"time_ms": "cycle_ms"}).to_dicts()


def buy_and_hold(candles: pl.DataFrame) -> float | None:
    """Last close over first open minus 1, before any cost."""
    if candles.is_empty() or candles["open"][0] <= 0:
        return None
    return float(candles["close"][-1] / candles["open"][0] - 1.0)


def decision_counts(decisions: pl.DataFrame) -> dict[str, Any]:
    """Cycles by outcome, by what became of the prior plan, refusals by reason, repairs and conditions."""
    unsuccessful = decisions.filter(pl.col("outcome") != "applied")
    return {
        "cycles": decisions.height,
        "by_outcome": _counts(decisions["outcome"]),
        "by_prior_plan": _counts(decisions["prior_plan"]),
        "by_reason": _counts(unsuccessful["reason"]),
        "repaired": _repairs(decisions),
        "conditions": _conditions(decisions),
    }


def _repairs(decisions: pl.DataFrame) -> dict[str, int]:
    """Cycles in which the model was asked a second time, and those of them that were not refused then."""
    asked = decisions.filter(pl.col("repaired"))
    return {"asked": asked.height, "taken": asked.filter(pl.col("outcome") != "refused").height}


def _conditions(decisions: pl.DataFrame) -> dict[str, int]:
    """Cycles in which a condition of the prior plan held, and what the model did about it."""
    fired = decisions.filter(pl.col("fired") > 0)
    return {
        "held": fired.height,
        "obeyed": int(fired["obeyed"].sum()),
        "not_obeyed": int((~fired["obeyed"]).sum()),
    }


def _counts(values: pl.Series) -> dict[str, int]:
    counted = values.drop_nulls().alias("value").value_counts(name="count")
    ordered = counted.sort("count", "value", descending=[True, False])
    return {str(value): int(count) for value, count in ordered.iter_rows() if value != ""}


def latency_figures(latency: pl.DataFrame) -> dict[str, Any]:
    """Model calls, their latency in milliseconds and their tokens; None without a call."""
    values = latency["latency_ms"].drop_nulls().cast(pl.Float64)
    return {
        "model_calls": latency.height,
        "p50_ms": _finite(values.quantile(0.50, "nearest")),
        "p95_ms": _finite(values.quantile(0.95, "nearest")),
        "max_ms": _finite(values.max()),
        "prompt_tokens": int(latency["prompt_tokens"].sum()),
        "completion_tokens": int(latency["completion_tokens"].sum()),
    }


def cost_figures(decisions: pl.DataFrame) -> dict[str, Any]:
    """USD of all model calls, None where no cycle's cost is known, and the cycles whose cost is not."""
    known = decisions["cost_usd"].drop_nulls()
    return {
        "cost_usd": float(known.sum()) if known.len() else None,
        "cycles_of_unknown_cost": decisions.height - known.len(),
    }


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
