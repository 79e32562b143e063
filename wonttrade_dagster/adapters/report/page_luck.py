"""What the page says about chance, other costs, confidence and the cycles of note.

Belongs here: the words around these figures, a sentence each on what they mean and what they do not.
Does not belong here: the figures (``summary``), the markup (``luck.html.j2``, ``notable.html.j2``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.adapters.report.summary import held
from wonttrade_dagster.adapters.report.wording import (
    ABSENT,
    fraction_text,
    number_text,
    shortened,
    time_text,
    usd_text,
)
from wonttrade_dagster.core.luck import MIN_RETURNS

_EXPLANATION_CHARACTERS = 2_000
_RATIONALE_CHARACTERS = 600
_MAX_FILLS = 12


class Answer(NamedTuple):
    """One figure about chance with what it means and what it does not."""

    name: str
    value: str
    means: str
    means_not: str


def luck_answers(luck: Mapping[str, Any], costs: Mapping[str, Any]) -> list[Answer]:
    """The figures of the section "Was it luck?"."""
    return [_interval_answer(luck["sharpe_interval"]), _placebo_answer(luck["placebo"]), _cost_answer(costs)]


def _interval_answer(interval: Mapping[str, Any] | None) -> Answer:
    name = "Sharpe ratio, 95 % interval"
    means_not = "It does not foretell other market conditions, and it does not know what the model remembers."
    if interval is None:
        why = f"Needs at least {MIN_RETURNS} returns of which most are not all the same."
        return Answer(name, ABSENT, why, means_not)
    low, high = number_text(interval["low"]), number_text(interval["high"])
    means = (
        f"If days like these went on, the true ratio would lie in there in about 95 of 100 such runs "
        f"({interval['returns']:,} returns, drawn again {interval['resamples']:,} times in blocks of "
        f"{interval['block_length']:.1f} on average). An interval that holds 0 shows no skill."
    )
    return Answer(name, f"{low} to {high}", means, means_not)


def _placebo_answer(placebo: Mapping[str, Any] | None) -> Answer:
    name = "Placebo, p-value"
    means_not = (
        "It is not the chance that the strategy is worthless, it leaves out costs on both sides, and being "
        "on the right side of the whole range counts for nothing."
    )
    if placebo is None:
        return Answer(name, ABSENT, "One side was held all the time: there is nothing to shuffle.", means_not)
    means = (
        f"Share of {placebo['shuffles']:,} accounts with the same sizes, whose sides (long, short, flat) "
        f"were dealt out to the cycles at random, that earned at least as much as the run. Before costs it "
        f"earned {usd_text(placebo['earned_usd'])}, they {usd_text(placebo['median_usd'])} in their middle "
        f"and {usd_text(placebo['high_usd'])} in the best twentieth."
    )
    return Answer(name, f"{placebo['p_value']:.3f}", means, means_not)


def _cost_answer(costs: Mapping[str, Any]) -> Answer:
    name, found = "Bearable cost", costs["break_even"]
    means_not = "It does not say what a larger account would pay: depth is unlimited in the simulation."
    if found is None:
        return Answer(name, ABSENT, "Nothing was traded.", means_not)
    means = (
        f"At this cost of fees and slippage together, per traded value, the run would have earned nothing; "
        f"it paid {number_text(found['paid_bps'])} bps."
    )
    return Answer(name, f"{number_text(found['bearable_bps'])} bps", means, means_not)


def cost_table(costs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns at other costs: one row a slippage, one column a fee."""
    results = costs["open_loop"]
    fees = list(dict.fromkeys(result["costs"]["fee_bps"] for result in results))
    slippages = list(dict.fromkeys(result["costs"]["slippage_bps"] for result in results))
    by_costs = {(r["costs"]["slippage_bps"], r["costs"]["fee_bps"]): r for r in results}
    paid = (costs["paid"]["slippage_bps"], costs["paid"]["fee_bps"])
    rows = [(s, [_cost_cell(by_costs[s, f], is_paid=(s, f) == paid) for f in fees]) for s in slippages]
    return {
        "fees": [f"{fee:g} bps" for fee in fees],
        "rows": [{"slippage": f"{slippage:g} bps", "cells": cells} for slippage, cells in rows],
    }


def _cost_cell(result: Mapping[str, Any], *, is_paid: bool) -> dict[str, Any]:
    value = result["total_return_fraction"]
    tone = "" if not value else "gain" if value > 0 else "loss"
    sharpe = number_text(result["sharpe"])
    return {"text": fraction_text(value, sign=True), "sharpe": sharpe, "tone": tone, "is_paid": is_paid}


def confidence_rows(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Closed trades by the confidence that they were opened with."""
    return [
        {
            "range": f"{group['low']:g} to {group['high']:g}",
            "trades": str(group["round_trips"]),
            "won": fraction_text(group["win_fraction"]),
            "mean": f"{number_text(group['mean_return_bps'])} bps",
        }
        for group in groups
    ]


def notable_rows(data: ReportData, notable: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cycles that earned or cost most, each with what the model said and what was held and filled."""
    chosen = data.decisions.filter(pl.col("cycle_ms").is_in([cycle["cycle_ms"] for cycle in notable]))
    decisions = {row["cycle_ms"]: row for row in chosen.iter_rows(named=True)}
    positions, times = held(data), data.equity["time_ms"]
    return [
        _notable_row(data, cycle, decisions.get(cycle["cycle_ms"], {}), positions, times) for cycle in notable
    ]


def _notable_row(
    data: ReportData,
    cycle: Mapping[str, Any],
    decision: Mapping[str, Any],
    positions: pl.DataFrame,
    times: pl.Series,
) -> dict[str, Any]:
    cycle_ms, effect_usd = cycle["cycle_ms"], cycle["effect_usd"]
    later = times.filter(times > cycle_ms)
    until_ms = later[0] if later.len() else data.to_ms
    held_here = positions.filter((pl.col("time_ms") == cycle_ms) & (pl.col("size_base") != 0))
    # A fill at the end of the range was ordered by no later decision.
    closed: Literal["both", "left"] = "both" if until_ms == data.to_ms else "left"
    fills = data.fills.filter(pl.col("time_ms").is_between(cycle_ms, until_ms, closed=closed))
    return {
        "time": time_text(cycle_ms),
        "until": time_text(until_ms),
        "effect": usd_text(effect_usd),
        "tone": "gain" if effect_usd > 0 else "loss",
        "outcome": decision.get("outcome") or "",
        "reason": decision.get("reason") or "",
        "prior_plan": decision.get("prior_plan") or "",
        "held": [f"{size:+g} {s}" for s, size in held_here.select("symbol", "size_base").iter_rows()],
        "fills": [_fill_text(fill) for fill in fills.head(_MAX_FILLS).iter_rows(named=True)],
        "more_fills": max(fills.height - _MAX_FILLS, 0),
        "explanation": shortened(decision.get("explanation") or "", _EXPLANATION_CHARACTERS),
        "targets": _targets(data.targets.filter(pl.col("cycle_ms") == cycle_ms)),
    }


def _fill_text(fill: Mapping[str, Any]) -> str:
    purpose = fill["purpose"].replace("_", " ")
    return f"{fill['size_base']:+g} {fill['symbol']} at {number_text(fill['px'])} ({purpose})"


def _targets(targets: pl.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "target": f"{row['target_size_base']:+g} {row['symbol']}"
            if row["target_size_base"]
            else row["symbol"],
            "stop": number_text(row["stop_loss_px"]),
            "take": number_text(row["take_profit_px"]),
            "confidence": f"{row['confidence']:.2f}",
            "rationale": shortened(row["rationale"] or "", _RATIONALE_CHARACTERS),
            "is_flat": "" if row["target_size_base"] else "flat",
        }
        for row in targets.iter_rows(named=True)
    ]
