"""How much worse than the price that causes it a taker's fill is.

Belongs here: the models, as pure functions of the order, the bar and a seeded draw.
Does not belong here: the market that a fill then meets (``quotes``), which bar is handed in (``bars``, the
executor).

Every model gives basis points that are never negative, the same for a buy and a sell of one size:

- ``fixed_bps``: always ``bps``.
- ``half_spread_impact``: ``half_spread_bps`` + Y·σ·√(Q/V), the square-root law of market impact (Tóth et
  al. 2011, "Anomalous price impact and the critical nature of liquidity in financial markets", Physical
  Review X 1, 021006; for bitcoin Donier & Bonart 2015, "A million metaorder analysis of market impact on the
  Bitcoin", Market Microstructure and Liquidity 1). Q is the order's size, V the bar's volume, σ the bar's
  volatility by its range, ln(high/low) / (2·√ln 2) (Parkinson 1980, "The extreme value method for estimating
  the variance of the rate of return", Journal of Business 53), Y ``impact_coefficient``, of order one. σ/√V
  does not depend on the length of the bar in a random walk: one bar stands in for the day of the papers.
- ``bar_range``: ``range_fraction`` of the bar's high − low.

``random_bps`` adds a uniform part from 0 to so many, drawn from seed, symbol and order number: a rerun that
sends the same orders draws the same.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.simulation.bar_table import Bar
from wonttrade_dagster.core.simulation.records import ZERO

BPS = Decimal("1e-4")
MAX_SLIPPAGE_BPS = Decimal(900)
"""What a computed slippage comes to at most, and where nobody traded. A market trigger gives up 10 % beyond
its price: no stop is lost to the model."""

_TWO_ROOT_LN_2 = 2 * Decimal(2).ln().sqrt()


class SlippageModel(StrEnum):
    """The names of the models in the configuration."""

    FIXED_BPS = "fixed_bps"
    HALF_SPREAD_IMPACT = "half_spread_impact"
    BAR_RANGE = "bar_range"


@dataclass(frozen=True, slots=True)
class Slippage:
    """A model and its numbers; those of the other models are not used.

    Attributes:
        bps: of ``fixed_bps``.
        model: which one.
        half_spread_bps: of ``half_spread_impact``.
        impact_coefficient: Y of ``half_spread_impact``.
        range_fraction: of ``bar_range``.
        random_bps: largest random part; 0 draws nothing.
        seed: of the random part.

    Raises:
        ValueError: a number is negative or not finite, or eats the whole price.
    """

    bps: Decimal = ZERO
    model: SlippageModel = SlippageModel.FIXED_BPS
    half_spread_bps: Decimal = ZERO
    impact_coefficient: Decimal = ZERO
    range_fraction: Decimal = ZERO
    random_bps: Decimal = ZERO
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bps", "half_spread_bps", "impact_coefficient", "range_fraction", "random_bps"):
            value: Decimal = getattr(self, name)
            if not value.is_finite() or value < 0:
                raise ValueError(f"a slippage's {name} must be 0 or more, not {value}")
        if self.bps * BPS >= 1:
            raise ValueError(f"a slippage of {self.bps} bps leaves nothing of the price")


@quick_init
@dataclass(frozen=True, slots=True)
class Taking:
    """What a model may know of a fill.

    Attributes:
        symbol: the coin.
        size_base: unsigned.
        oid: number of the order, for the draw.
        bar: the last bar known: the one that fires a trigger, the last closed one for an order that is sent.
    """

    symbol: str
    size_base: Decimal = ZERO
    oid: int = 0
    bar: Bar | None = None


def slippage_bps(slippage: Slippage, px: Decimal, taking: Taking) -> Decimal:
    """Basis points that a taker fills beyond ``px``."""
    is_fixed = slippage.model is SlippageModel.FIXED_BPS
    if is_fixed and not slippage.random_bps:
        return slippage.bps
    found = _MODELS[slippage.model](slippage, px, taking) + slippage.random_bps * _draw(slippage.seed, taking)
    most = max(slippage.bps, MAX_SLIPPAGE_BPS) if is_fixed else MAX_SLIPPAGE_BPS
    return min(found, most)


def _fixed(slippage: Slippage, px: Decimal, taking: Taking) -> Decimal:
    del px, taking
    return slippage.bps


def _half_spread_impact(slippage: Slippage, px: Decimal, taking: Taking) -> Decimal:
    del px
    bar = taking.bar
    if bar is None or bar.volume_base <= 0:  # the law is about a share of what is traded
        return MAX_SLIPPAGE_BPS
    sigma_bps = (Decimal(repr(bar.high)) / Decimal(repr(bar.low))).ln() / _TWO_ROOT_LN_2 / BPS
    share = taking.size_base / Decimal(repr(bar.volume_base))
    return slippage.half_spread_bps + slippage.impact_coefficient * sigma_bps * share.sqrt()


def _bar_range(slippage: Slippage, px: Decimal, taking: Taking) -> Decimal:
    bar = taking.bar
    if bar is None:
        return MAX_SLIPPAGE_BPS
    return slippage.range_fraction * (Decimal(repr(bar.high)) - Decimal(repr(bar.low))) / px / BPS


_MODELS: Mapping[SlippageModel, Callable[[Slippage, Decimal, Taking], Decimal]] = {
    SlippageModel.FIXED_BPS: _fixed,
    SlippageModel.HALF_SPREAD_IMPACT: _half_spread_impact,
    SlippageModel.BAR_RANGE: _bar_range,
}


def _draw(seed: int, taking: Taking) -> Decimal:
    """Uniform in [0, 1): the first 8 bytes of a hash, so that it needs no state."""
    digest = hashlib.sha256(f"{seed} {taking.symbol} {taking.oid}".encode()).digest()
    return Decimal(int.from_bytes(digest[:8])) / 2**64
