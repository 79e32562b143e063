"""The market that a taker meets where only candles are known: one price a side, slipped.

Belongs here: making that quote, and writing the slippage of it into the fills it caused.
Does not belong here: how much slippage (``slippage``), matching.
"""

from collections.abc import Iterable
from decimal import Context, Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.precision import PriceRounding, round_price, tick_px
from wonttrade_dagster.core.simulation.events import Event, Execution
from wonttrade_dagster.core.simulation.records import (
    Level,
    Quote,
    VenueRules,
)
from wonttrade_dagster.core.simulation.slippage import BPS, Slippage, Taking, slippage_bps

UNLIMITED_BASE = Decimal("1e15")
TOLD_DECIMALS = 4
"""Of a computed slippage, where it is written down."""
_SHORT = Context(prec=18)
"""Ten digits less than quotients have: a slipped price that is a tick exactly must not miss it."""


def bar_quote(
    symbol: str, px: Decimal, rules: VenueRules, slippage: Slippage, taking: Taking | None = None
) -> Quote:
    """A one-level market around ``px``: unlimited depth, each side slipped and rounded against the taker.

    Neither side is ever better than ``px``, and the bid never less than one tick.

    Args:
        symbol: the coin.
        px: what the market trades at; becomes mark and oracle.
        rules: for the grid.
        slippage: the model.
        taking: what the model may know; without it of a fill of no size in a bar that nobody knows.
    """
    decimals = rules.assets[symbol].size_decimals
    bps = slippage_bps(slippage, px, taking or Taking(symbol))
    bid = round_price(_SHORT.plus(px * (1 - bps * BPS)), decimals, PriceRounding.DOWN)
    ask = round_price(_SHORT.plus(px * (1 + bps * BPS)), decimals, PriceRounding.UP)
    bid = max(bid, min(tick_px(px, decimals), px))
    told = round(bps, TOLD_DECIMALS)
    told = bps if told == bps else told
    return Quote(symbol, (Level(bid, UNLIMITED_BASE),), (Level(ask, UNLIMITED_BASE),), px, px, told)


def with_slippage(events: Iterable[Event], quotes: Iterable[Quote]) -> tuple[Event, ...]:
    """The events, their fills at one of the quotes marked with its slippage.

    A fill at another price has none: a resting order's own price, the backstop's bankruptcy price.
    """
    by_symbol = {quote.symbol: quote for quote in quotes if quote.slippage_bps}
    return tuple(
        _marked(event, by_symbol.get(event.symbol)) if isinstance(event, Execution) else event
        for event in events
    )


def _marked(execution: Execution, quote: Quote | None) -> Execution:
    if quote is None or not execution.crossed:
        return execution
    level = quote.asks[0] if execution.is_buy else quote.bids[0]
    return replace(execution, slippage_bps=quote.slippage_bps) if execution.px == level.px else execution
