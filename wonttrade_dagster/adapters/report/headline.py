"""The figures that a person wants first, as text: for the terminal and for Dagster's metadata.

Belongs here: choosing and wording figures of a summary. Does not belong here: computing them.
"""

from collections.abc import Mapping
from typing import Any

from wonttrade_dagster.adapters.report.wording import ABSENT, fraction_text, number_text, time_text, usd_text


def headline(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the main figures of a ``summary.json``, in reading order."""
    if "shards" in summary:
        return _shards_headline(summary)
    performance, decisions = summary["performance"], summary["decisions"]
    latency = summary["latency"]
    outcomes = ", ".join(f"{count} {name}" for name, count in decisions["by_outcome"].items())
    held = ", ".join(
        f"{symbol} {fraction_text(value, sign=True)}"
        for symbol, value in summary["buy_and_hold_fraction"].items()
    )
    return [
        ("range (UTC)", f"{time_text(summary['from_ms'])} to {time_text(summary['to_ms'])}"),
        ("model, cadence", f"{summary['model']}, {summary['cycle_minutes']} minutes"),
        ("cycles", f"{decisions['cycles']} ({outcomes})"),
        ("return", fraction_text(performance["total_return_fraction"], sign=True)),
        ("buy and hold", held),
        ("final equity", usd_text(performance["final_equity_usd"])),
        ("Sharpe (annualised)", number_text(performance["sharpe"])),
        *_luck(summary),
        ("max drawdown", fraction_text(performance["max_drawdown"]["fraction"])),
        ("fills, traded", f"{performance['fills']}, {usd_text(performance['traded_usd'])}"),
        ("fees, funding", f"{usd_text(performance['fees_usd'])}, {usd_text(performance['funding_usd'])}"),
        ("round trips won", fraction_text(performance["win_fraction"])),
        ("model calls, median", f"{latency['model_calls']}, {number_text(latency['p50_ms'])} ms"),
        ("tokens", f"{latency['prompt_tokens']} in, {latency['completion_tokens']} out"),
        ("cost of the calls", usd_text(latency.get("cost_usd"))),
    ]


def _shards_headline(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of separate accounts: how their results are spread, and what they did in all."""
    gained, decisions, latency = summary["gained"], summary["decisions"], summary["latency"]
    outcomes = ", ".join(f"{count} {name}" for name, count in decisions["by_outcome"].items())
    better = ", ".join(f"{symbol} in {count}" for symbol, count in gained["above_holding"].items())
    return [
        ("range (UTC)", f"{time_text(summary['from_ms'])} to {time_text(summary['to_ms'])}"),
        ("model, cadence", f"{summary['model']}, {summary['cycle_minutes']} minutes"),
        (
            "shards",
            f"{gained['shards']} separate accounts, {gained['above_deposit']} ended above the deposit",
        ),
        ("better than holding", better),
        ("cycles", f"{decisions['cycles']} ({outcomes})"),
        ("return of a shard", _spread(summary["distribution"]["total_return_fraction"], sign=True)),
        ("max drawdown of a shard", _spread(summary["distribution"]["max_drawdown_fraction"])),
        ("results, added", usd_text(summary["sums"]["result_usd"])),
        (
            "fees, funding",
            f"{usd_text(summary['sums']['fees_usd'])}, {usd_text(summary['sums']['funding_usd'])}",
        ),
        ("model calls, median", f"{latency['model_calls']}, {number_text(latency['p50_ms'])} ms"),
        ("tokens", f"{latency['prompt_tokens']} in, {latency['completion_tokens']} out"),
        ("cost of the calls", usd_text(latency["cost_usd"])),
        *(("warning", warning) for warning in summary["luck"]["warnings"]),
    ]


def _spread(spread: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    if spread is None:
        return ABSENT
    names = ("worst", "lower_quartile", "median", "upper_quartile", "best")
    worst, low, middle, high, best = (fraction_text(spread[name], sign=sign) for name in names)
    return f"median {middle}, quartiles {low} to {high}, worst {worst}, best {best}"


def _luck(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Interval, p-value and warnings; nothing of a summary from before there were any."""
    luck = summary.get("luck")
    if luck is None:
        return []
    interval, placebo = luck["sharpe_interval"], luck["placebo"]
    ends = (
        ABSENT if interval is None else f"{number_text(interval['low'])} to {number_text(interval['high'])}"
    )
    return [
        ("Sharpe, 95 % interval", ends),
        ("placebo, p-value", ABSENT if placebo is None else number_text(placebo["p_value"])),
        *(("warning", warning) for warning in luck["warnings"]),
    ]
