"""The passage of time on the loopback venue: at which moments an account has to be looked at.

Belongs here: choosing moments between two times, closely where something could happen.
Does not belong here: what happens then (``core.simulation``), whose accounts (``venue``).

A trigger, a resting limit or a liquidation price that lies within a minute's range is looked at on the
tape's finest grid in that minute, so that what the candle shows is what the account felt; quiet time is
looked at every five minutes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from wonttrade_dagster.core.simulation.margin import liquidation_px
from wonttrade_dagster.core.simulation.records import ExchangeState, VenueRules
from wonttrade_dagster.sandbox.intervals import HOUR_MS
from wonttrade_dagster.sandbox.market import Market
from wonttrade_dagster.sandbox.tape import QUOTE_MS
from wonttrade_dagster.sandbox.walk import MINUTE_MS

QUIET_MS = 300_000
NEAR_FRACTION = 0.001
"""A price this close to a minute's range counts as within it: book and mark are off the tape by ticks."""

Thresholds = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class FundingDue:
    """One coin's hourly payment, booked at ``time_ms`` at the hour's oracle price."""

    coin: str
    time_ms: int
    rate: Decimal
    oracle_px: Decimal


def thresholds(states: Iterable[ExchangeState], rules: VenueRules) -> Thresholds:
    """Per coin, the prices at which something happens to one of the accounts."""
    found: dict[str, set[float]] = {}
    for state in states:
        for order in state.orders.values():
            trigger = order.request.trigger if order.is_waiting else None
            px = order.request.limit_px if trigger is None else trigger.trigger_px
            found.setdefault(order.symbol, set()).add(float(px))
        for symbol in state.positions:
            px_or_none = liquidation_px(state, symbol, rules) if symbol in state.marks else None
            found.setdefault(symbol, set()).update([] if px_or_none is None else [float(px_or_none)])
    return {coin: tuple(sorted(prices)) for coin, prices in found.items()}


def moments(
    market: Market, watched: Thresholds, after_ms: int, until_ms: int, also_ms: Iterable[int] = ()
) -> list[int]:
    """Times in ``(after_ms, until_ms]`` to look at, ascending, ``until_ms`` always among them.

    The moments at which a scripted price starts and at which its hold ends are, and ``also_ms``.
    """
    quiet = range(after_ms // QUIET_MS * QUIET_MS + QUIET_MS, until_ms, QUIET_MS)
    chosen = {until_ms, *quiet, *also_ms}
    for coin, prices in watched.items():
        chosen.update(market.tape.edges(coin))
        for minute_ms in _touched_minutes(market, coin, prices, after_ms, until_ms):
            chosen.update(range(minute_ms, minute_ms + MINUTE_MS, QUOTE_MS))
    return sorted(moment for moment in chosen if after_ms < moment <= until_ms)


def fundings(market: Market, coins: Iterable[str], after_ms: int, until_ms: int) -> list[FundingDue]:
    """What is booked in ``(after_ms, until_ms]``, in the order of time."""
    hours = range(after_ms // HOUR_MS * HOUR_MS, until_ms + 1, HOUR_MS)
    due = (_due(market, coin, hour_ms) for coin in coins for hour_ms in hours)
    return sorted((row for row in due if after_ms < row.time_ms <= until_ms), key=lambda row: row.time_ms)


def _due(market: Market, coin: str, hour_ms: int) -> FundingDue:
    rate = market.funding_rate(coin, hour_ms)
    return FundingDue(coin, rate.time_ms, rate.rate, market.oracle_px(coin, hour_ms))


def _touched_minutes(
    market: Market, coin: str, prices: tuple[float, ...], after_ms: int, until_ms: int
) -> list[int]:
    window = market.tape.minutes(coin, after_ms, until_ms)
    if window is None or not prices:
        return []
    low, high = window.low * (1 - NEAR_FRACTION), window.high * (1 + NEAR_FRACTION)
    touched = np.zeros(len(low), dtype=bool)
    for px in prices:
        touched |= (low <= px) & (px <= high)
    return [int(start) for start in window.start_ms[touched]]
