"""Invalidation that a machine can check: conditions over the series that the prompt shows.

Belongs here: which series there are, their newest value, whether a condition holds.
Does not belong here: the reply's shape (``core.reply``), what the model makes of a condition that holds.

A condition is about the newest closed bar of its window, or about the price and funding at the cycle time.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    Condition,
    IndicatorSnapshot,
    MarketSnapshot,
    SymbolMarket,
)
from wonttrade_dagster.core.precision import wire

MAX_CONDITIONS = 20
WINDOW_SERIES = USUAL_INDICATORS.window_series
"""Per bar, with the usual lengths; a condition on one of them names the window's interval."""
MARKET_SERIES = ("price", "funding_hourly", "open_interest")
"""At the cycle time; a condition on one of them names no interval."""
FUNDING_PERCENT_DECIMALS = 6
"""Funding per hour is shown, and compared with a condition's value, in percent with so many decimals."""
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One condition at one cycle; ``holds`` is None where the series has no value."""

    condition: Condition
    value: float | None
    holds: bool | None


def readings(
    conditions: tuple[Condition, ...],
    market: MarketSnapshot,
    indicators: IndicatorSnapshot,
    window_series: tuple[str, ...] = WINDOW_SERIES,
) -> tuple[Reading, ...]:
    """Each condition against this cycle's snapshot, in the plan's order."""
    return tuple(_reading(condition, market, indicators, window_series) for condition in conditions)


def problem_with(
    condition: Condition, market: MarketSnapshot, window_series: tuple[str, ...] = WINDOW_SERIES
) -> tuple[str, str] | None:
    """Rule and sentence for a condition that could never be checked; None for a good one."""
    known = {m.symbol: m for m in market.markets}
    if condition.symbol not in known:
        return "condition_unknown_symbol", f"{ascii(condition.symbol)[:40]} is not tracked"
    if condition.operator not in OPERATORS:
        return "condition_unknown_operator", f"the operator must be one of {', '.join(OPERATORS)}"
    if condition.series in MARKET_SERIES:
        if condition.interval is None:
            return None
        return "condition_unknown_interval", f"{condition.series} has no interval: it must be null"
    if condition.series not in window_series:
        names = ", ".join((*MARKET_SERIES, *window_series))
        return "condition_unknown_series", f"the series must be one of {names}"
    intervals = _intervals(known[condition.symbol])
    if condition.interval not in intervals:
        return "condition_unknown_interval", f"the interval must be one of {', '.join(intervals)}"
    return None


def sentence(condition: Condition) -> str:
    """``BTC rsi_14 (4h) < 40``."""
    window = "" if condition.interval is None else f" ({condition.interval})"
    return f"{condition.symbol} {condition.series}{window} {condition.operator} {wire(condition.value)}"


def _reading(
    condition: Condition,
    market: MarketSnapshot,
    indicators: IndicatorSnapshot,
    window_series: tuple[str, ...],
) -> Reading:
    # A plan may outlive the list of tracked symbols, the configured windows and the indicators' lengths.
    if problem_with(condition, market, window_series) is not None:
        return Reading(condition, None, None)
    value = _value(condition, market.market(condition.symbol), indicators)
    if value is None:
        return Reading(condition, None, None)
    return Reading(condition, value, OPERATORS[condition.operator](value, float(condition.value)))


def _value(condition: Condition, market: SymbolMarket, indicators: IndicatorSnapshot) -> float | None:
    if condition.series == "price":
        return float(market.reference_px)
    if condition.series == "funding_hourly":
        # As the prompt prints it: the model writes its condition in the unit it was shown.
        rate = market.funding_rate_hourly
        return None if rate is None else round(rate * 100, FUNDING_PERCENT_DECIMALS)
    if condition.series == "open_interest":
        return market.open_interest_base
    windows = indicators.of(condition.symbol)
    is_intraday = condition.interval == market.intraday.interval
    return (windows.intraday if is_intraday else windows.long_term).newest(condition.series)


def _intervals(market: SymbolMarket) -> tuple[str, ...]:
    return tuple(dict.fromkeys((market.intraday.interval, market.long_term.interval)))


def fired(found: tuple[Reading, ...]) -> tuple[int, ...]:
    """Numbers (from 1) of the conditions that hold now."""
    return tuple(n for n, reading in enumerate(found, start=1) if reading.holds)
