"""The figures of a backtest with several shards as one JSON document.

Belongs here: what is said of the shards together, and what of each.
Does not belong here: reading their files (``backtest_merge``), wording (``page_shards``).

Shards are separate accounts. Nothing here is chained: a return over all of them does not exist, sums over
them are named as such.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.report.summary import SUMMARY_VERSION, latency_figures
from wonttrade_dagster.core.luck import luck_warnings
from wonttrade_dagster.core.shards import Window, distribution

_SUMMED = ("fills", "traded_usd", "round_trips", "open_round_trips", "liquidations")
_PNL = ("price_usd", "slippage_usd", "fees_usd", "funding_usd", "result_usd")

SEPARATE = (
    "The shards are separate accounts, each opened anew with the same deposit and without positions: their "
    "returns must not be chained or added, and a position that one would have carried on ends with it."
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One finished shard: its days, its id, its ``summary.json``, its series by name."""

    window: Window
    shard_id: str
    summary: Json
    frames: Mapping[str, pl.DataFrame]


def merged_frames(shards: Sequence[Shard]) -> dict[str, pl.DataFrame]:
    """The series of all shards under each other; the column ``shard``, in front, is its first day."""
    names = shards[0].frames.keys()
    return {name: pl.concat([_labelled(shard, name) for shard in shards]) for name in names}


def _labelled(shard: Shard, name: str) -> pl.DataFrame:
    label = pl.lit(shard.window.first_day).alias("shard")
    return shard.frames[name].select(label, pl.all())


def summarise_shards(backtest_id: str, shards: Sequence[Shard], knowledge_cutoff: date | None) -> Json:
    """Identity, every shard, their distribution and their sums.

    Args:
        backtest_id: of the whole backtest.
        shards: at least two, ascending, of one model, prompt, cadence and settings.
        knowledge_cutoff: the last day that the model may know.
    """
    first, rows = shards[0].summary, [_row(shard) for shard in shards]
    summaries = [shard.summary for shard in shards]
    from_ms, to_ms = first["from_ms"], summaries[-1]["to_ms"]
    closed = sum(row["round_trips"] for row in rows)
    latency = pl.concat([shard.frames["latency"] for shard in shards])
    return {
        "version": SUMMARY_VERSION,
        "backtest_id": backtest_id,
        "from_ms": from_ms,
        "to_ms": to_ms,
        **{name: first[name] for name in ("cycle_minutes", "symbols", "model", "prompt", "settings_sha256")},
        "shards": rows,
        "distribution": _distributions(rows),
        "gained": _gained(rows, first["symbols"]),
        "sums": _sums(summaries),
        "pnl_by_symbol": _by_symbol(summaries),
        "decisions": _decisions(summaries),
        "latency": latency_figures(latency) | _cost(summaries),
        "luck": {"warnings": list(luck_warnings(from_ms, to_ms, knowledge_cutoff, closed))},
        "caveats": [SEPARATE, *_ended_early(shards), *_distinct(summaries, "caveats")],
        "assumptions": _distinct(summaries, "assumptions"),
    }


def _ended_early(shards: Sequence[Shard]) -> list[str]:
    """The caveat about shards that were finished before accounts lived on, beside others."""
    ends = [(shard.summary["to_ms"], shard.frames["equity"]["time_ms"]) for shard in shards]
    early = sum(not (times >= to_ms).any() for to_ms, times in ends)
    if not 0 < early < len(shards):
        return []
    told = (
        "Finished before accounts lived on to the end of the range, without what followed the last decision"
    )
    return [f"{told}: {early} of {len(shards)} shards."]


def _row(shard: Shard) -> dict[str, Any]:
    """What is said of one shard; everything else stands in its own report."""
    summary, performance = shard.summary, shard.summary["performance"]
    return {
        "id": shard.shard_id,
        "first_day": shard.window.first_day,
        "last_day": shard.window.last_day,
        "total_return_fraction": performance["total_return_fraction"],
        "sharpe": performance["sharpe"],
        "max_drawdown_fraction": performance["max_drawdown"]["fraction"],
        "opening_equity_usd": performance["opening_equity_usd"],
        "final_equity_usd": performance["final_equity_usd"],
        "round_trips": performance["round_trips"],
        "open_round_trips": performance["open_round_trips"],
        "win_fraction": performance["win_fraction"],
        "exposure_fraction": performance["exposure_fraction"],
        "pnl": summary["pnl"],
        "buy_and_hold_fraction": summary["buy_and_hold_fraction"],
        "cycles": summary["decisions"]["cycles"],
        "by_outcome": summary["decisions"]["by_outcome"],
        "model_calls": summary["latency"]["model_calls"],
        "cost_usd": summary["latency"]["cost_usd"],
    }


def _distributions(rows: Sequence[Json]) -> dict[str, Any]:
    """Each figure over the shards; ``worst`` of a drawdown is the deepest."""
    kinds = (
        ("total_return_fraction", True),
        ("sharpe", True),
        ("max_drawdown_fraction", False),
        ("win_fraction", True),
    )
    found = {name: distribution([row[name] for row in rows], is_more_better=more) for name, more in kinds}
    return {name: None if spread is None else asdict(spread) for name, spread in found.items()}


def _gained(rows: Sequence[Json], symbols: Iterable[str]) -> dict[str, Any]:
    """Shards that ended above their deposit, and those that did better than holding each symbol."""
    return {
        "shards": len(rows),
        "above_deposit": sum((row["total_return_fraction"] or 0.0) > 0 for row in rows),
        "above_holding": {symbol: sum(_beats(row, symbol) for row in rows) for symbol in symbols},
    }


def _beats(row: Json, symbol: str) -> bool:
    gained, held = row["total_return_fraction"], row["buy_and_hold_fraction"].get(symbol)
    return gained is not None and held is not None and gained > held


def _sums(summaries: Sequence[Json]) -> dict[str, float]:
    """Added over the accounts: how much was traded and paid in all, never a return."""
    performance = {name: sum(s["performance"][name] for s in summaries) for name in _SUMMED}
    return performance | {name: sum(s["pnl"][name] for s in summaries) for name in _PNL}


def _by_symbol(summaries: Sequence[Json]) -> dict[str, dict[str, float]]:
    symbols = dict.fromkeys(symbol for summary in summaries for symbol in summary["pnl_by_symbol"])
    splits = {
        symbol: [s["pnl_by_symbol"][symbol] for s in summaries if symbol in s["pnl_by_symbol"]]
        for symbol in symbols
    }
    return {
        symbol: {name: sum(split[name] for split in found) for name in _PNL}
        for symbol, found in splits.items()
    }


def _decisions(summaries: Sequence[Json]) -> dict[str, Any]:
    decisions = [summary["decisions"] for summary in summaries]
    counts = {
        name: _counted(d[name] for d in decisions) for name in ("by_outcome", "by_prior_plan", "by_reason")
    }
    return {"cycles": sum(d["cycles"] for d in decisions), **counts}


def _counted(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def _cost(summaries: Sequence[Json]) -> dict[str, Any]:
    latencies = [summary["latency"] for summary in summaries]
    known = [latency["cost_usd"] for latency in latencies if latency["cost_usd"] is not None]
    return {
        "cost_usd": sum(known) if known else None,
        "cycles_of_unknown_cost": sum(latency["cycles_of_unknown_cost"] for latency in latencies),
    }


def _distinct(summaries: Sequence[Json], name: str) -> list[str]:
    return list(dict.fromkeys(text for summary in summaries for text in summary[name]))
