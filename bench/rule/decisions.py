"""The rule's decisions, precomputed: EMA 20 and EMA 50 cross, each entry with a stop and a take-profit.

Belongs here: candles -> table of decisions, in a few column operations.
Does not belong here: who trades them.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from wonttrade_dagster.core.indicators import ema
from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.precision import MAX_PRICE_DECIMALS, MAX_SIGNIFICANT_FIGURES

FAST_BARS = 20
SLOW_BARS = 50
STOP_FRACTION = 0.005
TAKE_PROFIT_FRACTION = 0.01

DECISION_SCHEMA = {
    "bar": pl.Int64,
    "time_ms": pl.Int64,
    "symbol": pl.String,
    "side": pl.Int8,
    "stop_px": pl.Float64,
    "take_profit_px": pl.Float64,
}
"""``bar``: the first bar that the decision lives through, ``time_ms``: when it opens; ``side``: +1 or −1."""


def decide(frames: Mapping[str, pl.DataFrame], assets: Mapping[str, AssetSpec]) -> pl.DataFrame:
    """Decisions of all symbols in ``DECISION_SCHEMA``, oldest first; the frames share their times."""
    found = [_of_symbol(frame, assets[symbol]) for symbol, frame in frames.items()]
    return pl.concat(found).sort("bar", maintain_order=True)


def _of_symbol(frame: pl.DataFrame, spec: AssetSpec) -> pl.DataFrame:
    close = frame["close"]
    is_above = ema(close, FAST_BARS) > ema(close, SLOW_BARS)
    crossed = (is_above != is_above.shift(1)).fill_null(value=False).to_numpy().copy()
    crossed[-1] = False  # no bar is left to trade it
    rows = np.flatnonzero(crossed)
    px, side = close.to_numpy()[rows], np.where(is_above.to_numpy()[rows], 1, -1)
    columns = {
        "bar": rows + 1,
        "time_ms": frame["open_time_ms"].to_numpy()[rows + 1],
        "symbol": [spec.symbol] * len(rows),
        "side": side,
        "stop_px": on_grid(px * (1 - side * STOP_FRACTION), spec.size_decimals),
        "take_profit_px": on_grid(px * (1 + side * TAKE_PROFIT_FRACTION), spec.size_decimals),
    }
    return pl.DataFrame(columns, schema=DECISION_SCHEMA)


def on_grid(px: npt.NDArray[np.float64], size_decimals: int) -> npt.NDArray[np.float64]:
    """The nearest prices that the venue takes."""
    figures = np.floor(np.log10(px)).astype(int)
    decimals = np.clip(MAX_SIGNIFICANT_FIGURES - 1 - figures, 0, MAX_PRICE_DECIMALS - size_decimals)
    scale = 10.0**decimals
    rounded: npt.NDArray[np.float64] = np.round(px * scale) / scale
    return rounded
