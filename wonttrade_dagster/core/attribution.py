"""Where an account's gain came from: price, costs, each cycle, each side that was held.

Belongs here: splitting what happened to an account over its parts, exactly.
Does not belong here: statistics over the parts (``core.performance``, ``core.luck``), drawing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from wonttrade_dagster.core.repricing import market_px, slippage_usd

HELD_SCHEMA: Mapping[str, pl.DataType] = {
    "time_ms": pl.Int64(),
    "symbol": pl.String(),
    "size_base": pl.Float64(),
    "px": pl.Float64(),
    "worth_usd": pl.Float64(),
}
"""After each cycle, and at the end: the size held, the price, and size × price less what was paid for it at
market prices."""

GAIN_SCHEMA: Mapping[str, pl.DataType] = {
    "time_ms": pl.Int64(),
    "symbol": pl.String(),
    "side": pl.Int8(),
    "move_usd": pl.Float64(),
}
"""Each cycle until the next: the side held (1, 0, −1), and what a long of the size would have earned."""

_FLAT = 1e-9
"""Share of the largest size below which what is left is float rounding of exact decimals."""


@dataclass(frozen=True, slots=True)
class PnlSplit:
    """What an account's change of value is made of; ``result = price − slippage − fees − funding``.

    Attributes:
        price_usd: what prices did to what was held, as if filled at the market's price.
        slippage_usd: lost by filling worse than that.
        fees_usd: paid.
        funding_usd: paid (+) or received (−).
        result_usd: last minus first account value.
    """

    price_usd: float
    slippage_usd: float
    fees_usd: float
    funding_usd: float
    result_usd: float


def pnl_split(result_usd: float, fills: pl.DataFrame, funding_usd: float, slippage_bps: float) -> PnlSplit:
    """Split a run's result.

    Args:
        result_usd: last minus first account value.
        fills: ``core.performance.FILL_SCHEMA``.
        funding_usd: paid (+) or received (−).
        slippage_bps: that the fills were made with.
    """
    slipped = float(fills.select(slippage_usd(slippage_bps).sum()).item())
    fees = float(fills["fee_usd"].sum())
    return PnlSplit(result_usd + slipped + fees + funding_usd, slipped, fees, funding_usd, result_usd)


def pnl_by_symbol(
    held: pl.DataFrame, fills: pl.DataFrame, funding_usd: Mapping[str, float], slippage_bps: float
) -> dict[str, PnlSplit]:
    """Split the result of each symbol, up to the last time of ``held``.

    Args:
        held: see :func:`held_after`.
        fills: ``core.performance.FILL_SCHEMA``.
        funding_usd: by symbol, paid (+) or received (−).
        slippage_bps: that the fills were made with.

    Returns:
        Every symbol of ``held``. The results add up to that of the account, but for the rounding to the tick
        and what a backstop liquidation took.
    """
    costs = fills.group_by("symbol").agg(slippage_usd(slippage_bps).sum().alias("slipped"), pl.sum("fee_usd"))
    paid = {symbol: (float(slipped), float(fees)) for symbol, slipped, fees in costs.iter_rows()}
    found = {}
    for symbol, worth_usd in (
        held.group_by("symbol", maintain_order=True).agg(pl.last("worth_usd")).iter_rows()
    ):
        (slipped, fees), funding = paid.get(symbol, (0.0, 0.0)), funding_usd.get(symbol, 0.0)
        result_usd = worth_usd - slipped - fees - funding
        found[symbol] = PnlSplit(worth_usd, slipped, fees, funding, result_usd)
    return found


def held_after(
    times_ms: Sequence[int], fills: pl.DataFrame, prices: Mapping[str, pl.DataFrame], slippage_bps: float
) -> pl.DataFrame:
    """What was held after each cycle and at the end, by symbol.

    Args:
        times_ms: the cycles, ascending, and the end of the range where the account lived on so far.
        fills: ``core.performance.FILL_SCHEMA``, of an account that was flat before.
        prices: ``core.model.CANDLE_SCHEMA`` by symbol; a symbol without a candle is left out.
        slippage_bps: that the fills were made with.

    Returns:
        ``HELD_SCHEMA``, ``len(times_ms)`` rows a symbol. The price is the close of the last candle that had
        ended, else the first open; a lone candle does not say how long it is, and ends with ``times_ms``.
    """
    grid = pl.LazyFrame({"time_ms": times_ms}, schema={"time_ms": pl.Int64})
    last_ms = max(times_ms, default=0)
    frames = [
        _held(symbol, grid, fills.filter(pl.col("symbol") == symbol), _known(candles, last_ms), slippage_bps)
        for symbol, candles in prices.items()
        if not candles.is_empty()
    ]
    return pl.concat([pl.DataFrame(schema=HELD_SCHEMA), *frames])


def _known(candles: pl.DataFrame, last_ms: int) -> pl.DataFrame:
    """``time_ms, px``: from when on each close is known, and before the first one the first open."""
    opened = candles["open_time_ms"]
    # At the open of a lone candle its close is the future.
    ended = opened + opened.diff().min() if candles.height > 1 else (opened + 1).clip(last_ms, None)
    first = pl.DataFrame({"time_ms": [0], "px": [candles["open"][0]]})
    return first.vstack(pl.DataFrame({"time_ms": ended, "px": candles["close"]}))


def _held(
    symbol: str, grid: pl.LazyFrame, fills: pl.DataFrame, known: pl.DataFrame, slippage_bps: float
) -> pl.DataFrame:
    spent = (pl.col("size_base") * market_px(slippage_bps)).cum_sum()
    sizes = (
        fills.lazy()
        .sort("time_ms", maintain_order=True)
        .select("time_ms", pl.col("size_base").cum_sum(), spent.alias("spent_usd"))
        .unique("time_ms", keep="last", maintain_order=True)
    )
    smallest = _FLAT * float(fills["size_base"].abs().sum())
    size = pl.col("size_base").fill_null(0.0)
    held = pl.when(size.abs() > smallest).then(size).otherwise(0.0)
    px = pl.col("px")
    joined = grid.join_asof(sizes, on="time_ms").join_asof(known.lazy(), on="time_ms")
    worth = held * px - pl.col("spent_usd").fill_null(0.0)
    columns = (
        pl.lit(symbol).alias("symbol"),
        held.alias("size_base"),
        px.alias("px"),
        worth.alias("worth_usd"),
    )
    return joined.select("time_ms", *columns).cast(pl.Schema(HELD_SCHEMA)).collect()


def gains_of(held: pl.DataFrame) -> pl.DataFrame:
    """What a long of each cycle's size would have earned until the next cycle, beside the side held.

    A cycle that was flat has the size held last before it (or, before the first position, that of the
    first): what another side would have earned there. Stops that fired in between are in.

    Args:
        held: see :func:`held_after`.

    Returns:
        ``GAIN_SCHEMA``; ``side × move_usd`` adds up to what prices did to the account. Symbols that were
        never held are left out, and so is the last time, which nothing follows.
    """
    size = pl.col("size_base")
    usual = pl.when(size != 0).then(size.abs()).forward_fill().backward_fill().over("symbol")
    moved = (pl.col("px").shift(-1) - pl.col("px")).over("symbol") * usual
    earned = (pl.col("worth_usd").shift(-1) - pl.col("worth_usd")).over("symbol")
    side = size.sign()
    move = pl.when(side == 0).then(moved).otherwise(side * earned)
    return (
        held.select("time_ms", "symbol", side.cast(pl.Int8).alias("side"), move.alias("move_usd"))
        .drop_nulls("move_usd")
        .cast(pl.Schema(GAIN_SCHEMA))
    )


def cycle_effects(
    equity: pl.DataFrame, fills: pl.DataFrame, slippage_bps: float, end_ms: int
) -> pl.DataFrame:
    """What each cycle's decision earned until right before the next one or the end, its own costs included.

    The account value of a cycle is read after its orders: their fees and slippage are put back to it.

    Args:
        equity: ``core.performance.EQUITY_SCHEMA``, the opening value first, then one row a cycle, and one at
            the end of the range where the account lived on so far.
        fills: ``core.performance.FILL_SCHEMA``; those of a cycle's own orders bear its time.
        slippage_bps: that the fills were made with.
        end_ms: end of the range; a point there is no cycle's.

    Returns:
        ``time_ms, effect_usd``: one row a cycle (what came before the first decision is left to it); the
        effects add up to the change of the account value, but for the tick.
    """
    is_cycle = (pl.col("time_ms") > pl.col("time_ms").min()) & (pl.col("time_ms") < end_ms)
    cost = (slippage_usd(slippage_bps) + pl.col("fee_usd")).sum().alias("cost_usd")
    costs = fills.group_by("time_ms").agg(cost)
    before = pl.col("account_value_usd") + pl.col("cost_usd").fill_null(0.0)
    points = equity.join(costs, on="time_ms", how="left", maintain_order="left")
    following = points.select(
        "time_ms",
        pl.when(is_cycle).then(before).otherwise(pl.col("account_value_usd")).alias("before_usd"),
        is_cycle.alias("is_cycle"),
        "account_value_usd",
    )
    next_usd = pl.col("before_usd").shift(-1).fill_null(pl.col("account_value_usd"))
    effect = (next_usd - pl.col("before_usd")).alias("effect_usd")
    return following.select("time_ms", effect, "is_cycle").filter("is_cycle").drop("is_cycle")
