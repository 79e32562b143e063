"""The figures of a backtest as one JSON document.

Belongs here: which figures a report states, under which keys.
Does not belong here: their arithmetic (``core.performance``), their wording (``page``).
"""

import math
from dataclasses import asdict
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.core.performance import PerformanceFigures, performance_figures

SUMMARY_VERSION = 1


def summarise(data: ReportData) -> dict[str, Any]:
    """Identity, figures, decisions, latency and buy-and-hold of a run; undefined figures are None."""
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
        "performance": asdict(figures(data)),
        "buy_and_hold_fraction": {symbol: buy_and_hold(frame) for symbol, frame in data.prices.items()},
        "decisions": decision_counts(data.decisions),
        "latency": latency_figures(data.latency),
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


def buy_and_hold(candles: pl.DataFrame) -> float | None:
    """Last close over first open minus 1, before any cost."""
    if candles.is_empty() or candles["open"][0] <= 0:
        return None
    return float(candles["close"][-1] / candles["open"][0] - 1.0)


def decision_counts(decisions: pl.DataFrame) -> dict[str, Any]:
    """Cycles by outcome, by what became of the prior plan, and refusals by reason."""
    unsuccessful = decisions.filter(pl.col("outcome") != "applied")
    return {
        "cycles": decisions.height,
        "by_outcome": _counts(decisions["outcome"]),
        "by_prior_plan": _counts(decisions["prior_plan"]),
        "by_reason": _counts(unsuccessful["reason"]),
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


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
