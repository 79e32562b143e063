"""Confidence against outcome: did the trades that a model was sure of go better?

Belongs here: finding the confidence that a trade was opened with, and the results by it.
Does not belong here: the trades (``core.round_trips``), judging a confidence (``core.decision``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.round_trips import RoundTrip

EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the groups; a confidence on an edge belongs to the upper group, 1 to the last."""


@dataclass(frozen=True, slots=True)
class ConfidenceGroup:
    """The closed round trips of one range of confidence.

    Attributes:
        low: lower end, included.
        high: upper end.
        round_trips: how many.
        win_fraction: share that gained after fees.
        mean_return_bps: mean result after fees, before funding, over the value at entry.
    """

    low: float
    high: float
    round_trips: int
    win_fraction: float
    mean_return_bps: float


def confidence_groups(trips: Sequence[RoundTrip], targets: pl.DataFrame) -> tuple[ConfidenceGroup, ...]:
    """Results by confidence, lowest first, without empty groups.

    A trade has the confidence of the newest target of its symbol and side at its opening; trades without one
    are left out.

    Args:
        trips: of the run; open ones are left out.
        targets: columns ``cycle_ms, symbol, target_size_base, confidence`` of the applied decisions.
    """
    rows = [
        (t.opened_ms, t.symbol, t.is_long, t.net_pnl_usd, t.entry_px * t.max_size_base)
        for t in trips
        if t.closed_ms is not None
    ]
    names = ("time_ms", "symbol", "is_long", "net_usd", "entry_usd")
    kinds = (pl.Int64, pl.String, pl.Boolean, pl.Float64, pl.Float64)
    closed = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    held = targets.filter(pl.col("target_size_base") != 0).select(
        pl.col("cycle_ms").alias("time_ms"),
        "symbol",
        (pl.col("target_size_base") > 0).alias("is_long"),
        "confidence",
    )
    matched = (
        closed.sort("time_ms")
        .join_asof(held.sort("time_ms"), on="time_ms", by=["symbol", "is_long"], check_sortedness=False)
        .drop_nulls("confidence")
    )
    groups = pl.Series(EDGES[1:-1]).search_sorted(matched["confidence"], side="right")
    matched = matched.with_columns(groups.alias("group"))
    return tuple(_group(frame) for frame in matched.sort("group").partition_by("group"))


def _group(trips: pl.DataFrame) -> ConfidenceGroup:
    index = int(trips["group"][0])
    result_bps = trips.select((pl.col("net_usd") / pl.col("entry_usd") * 1e4).mean()).item()
    won = trips.filter(pl.col("net_usd") > 0).height / trips.height
    return ConfidenceGroup(EDGES[index], EDGES[index + 1], trips.height, won, float(result_bps))
