"""Tick, lot and minimum value in Decimal.

Belongs here: the venue's grid and how a number is brought onto it.
Does not belong here: which number to send.

Source: Hyperliquid documentation, "Tick and lot size": a price has at most 5 significant figures and at
most ``6 − szDecimals`` decimals, whole numbers are always valid; a size has at most ``szDecimals``
decimals; an order is worth at least 10 USD.
"""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from functools import cache

MAX_SIGNIFICANT_FIGURES = 5
MAX_PRICE_DECIMALS = 6
MIN_ORDER_VALUE_USD = Decimal(10)
TRIGGER_SLIPPAGE_FRACTION = Decimal("0.1")
_BUY_TRIGGER_ALLOWANCE = 1 + TRIGGER_SLIPPAGE_FRACTION
_SELL_TRIGGER_ALLOWANCE = 1 - TRIGGER_SLIPPAGE_FRACTION
_ZERO = Decimal(0)
_BPS = Decimal(10_000)
_PLAIN_CHARS = 28
"""Shorter than what a decimal is rounded to, so that nothing of it is lost."""


class PriceRounding(StrEnum):
    """Which way a price moves onto the grid."""

    UP = ROUND_CEILING
    DOWN = ROUND_FLOOR
    NEAREST = ROUND_HALF_EVEN


def lot_base(size_decimals: int) -> Decimal:
    """The smallest size step in base units."""
    return _step(-size_decimals)


def tick_px(px: Decimal, size_decimals: int) -> Decimal:
    """The price step at ``px``: the coarser of the two rules, never above 1 (integers are valid)."""
    return _tick(px.adjusted(), size_decimals)


@cache
def _tick(magnitude: int, size_decimals: int) -> Decimal:
    by_decimals = -(MAX_PRICE_DECIMALS - size_decimals)
    by_figures = magnitude - MAX_SIGNIFICANT_FIGURES + 1
    return _step(min(max(by_decimals, by_figures), 0))


@cache
def _step(exponent: int) -> Decimal:
    return Decimal(1).scaleb(exponent)


def round_price(px: Decimal, size_decimals: int, rounding: PriceRounding) -> Decimal:
    """``px`` on the venue's grid. Raises ``ValueError`` for a price that is not positive and finite."""
    if not px.is_finite() or px <= _ZERO:
        raise ValueError(f"a price must be positive and finite, not {px}")
    return px.quantize(_tick(px.adjusted(), size_decimals), rounding)


def marketable_px(
    reference_px: Decimal, size_decimals: int, *, is_buy: bool, slippage_bps: Decimal
) -> Decimal:
    """Limit of an IOC order that crosses the market: ``slippage_bps`` past the reference.

    Rounded away from it (a buy up, a sell down), so that the grid never eats the allowance.
    """
    allowance = 1 + (slippage_bps if is_buy else -slippage_bps) / _BPS
    return _outward(reference_px * allowance, size_decimals, is_up=is_buy)


def trigger_limit_px(trigger_px: Decimal, size_decimals: int, *, is_buy: bool) -> Decimal:
    """Limit of a market trigger: 10 % past the trigger, as the venue's own front end sends it.

    The venue refuses a sell limit above and a buy limit below its trigger ("Invalid TP/SL price").
    """
    allowance = _BUY_TRIGGER_ALLOWANCE if is_buy else _SELL_TRIGGER_ALLOWANCE
    return _outward(trigger_px * allowance, size_decimals, is_up=is_buy)


def _outward(px: Decimal, size_decimals: int, *, is_up: bool) -> Decimal:
    if px <= _ZERO:
        raise ValueError(f"a price must be positive, not {px}: the allowed slippage eats all of it")
    if is_up:
        return round_price(px, size_decimals, PriceRounding.UP)
    # Below one tick there is no price to sell at: the tick itself is the lowest.
    return round_price(px, size_decimals, PriceRounding.DOWN) or tick_px(px, size_decimals)


def is_valid_price(px: Decimal, size_decimals: int) -> bool:
    """Whether the venue's tick rules accept ``px`` as it is."""
    return px.is_finite() and px > 0 and px % tick_px(px, size_decimals) == 0


def floor_size(size_base: Decimal, size_decimals: int) -> Decimal:
    """``size_base`` toward zero onto the lot grid: never larger than asked. Keeps the sign."""
    return size_base.quantize(_step(-size_decimals), ROUND_DOWN)


def is_valid_size(size_base: Decimal, size_decimals: int) -> bool:
    """Whether the venue's lot rule accepts the unsigned size."""
    return size_base.is_finite() and size_base > 0 and size_base % lot_base(size_decimals) == 0


def is_below_minimum(size_base: Decimal, px: Decimal) -> bool:
    """Whether an order of that unsigned size at that price is worth less than the venue takes."""
    return abs(size_base) * px < MIN_ORDER_VALUE_USD


def wire(value: Decimal) -> str:
    """Decimal as the venue prints it: no exponent, no trailing zeros, ``-0`` never."""
    text = str(value)
    if text[-1] != "0" and "E" not in text and len(text) < _PLAIN_CHARS:
        return text  # mostly it is spelled so already; a format takes three times as long
    normal = value.normalize()
    text = str(normal)
    if "E" in text:
        text = format(normal, "f")
    return "0" if text == "-0" else text
