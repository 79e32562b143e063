"""Faults of the venue's world: old candles, a clock that is wrong, a price that jumps where it hurts.

Belongs here: what such a fault does to an answer or to the market. Does not belong here: which request it
befalls (``faults``), faults of the connection (``faults``), of single orders (``order_groups``).
"""

from collections.abc import Iterator
from decimal import Decimal

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.precision import PriceRounding, round_price
from wonttrade_dagster.core.simulation.margin import liquidation_px
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.faults import DEFAULT_SKEW_MS, Fault
from wonttrade_dagster.sandbox.market import DEFAULT_HOLD_MS
from wonttrade_dagster.sandbox.venue import LoopbackVenue

MARKET_KINDS = frozenset({"gap", "liquidation"})
DEFAULT_STALE_MS = 3_600_000
GAP_BEYOND_STOP = "0.02"
BEYOND_LIQUIDATION = "0.001"
CLOCKED = frozenset({"clearinghouseState", "l2Book", "exchangeStatus", "webData2"})
"""Answers that say what time it is on the venue."""


def answer_kinds(request_type: str) -> frozenset[str]:
    """The faults that can befall the answer to an ``/info`` request of a type."""
    stale = {"stale_candles"} if request_type == "candleSnapshot" else set[str]()
    return frozenset(stale | ({"wrong_clock"} if request_type in CLOCKED else set()))


ANSWER_KINDS = frozenset({"stale_candles", "wrong_clock"})


def distort(fault: Fault, answer: Json, now_ms: int) -> Json:
    """The answer as the fault makes it: candles that end ``by_ms`` ago, or a time off by ``by_ms``."""
    if fault.kind == "stale_candles" and isinstance(answer, list):
        known_ms = now_ms - int(fault.options.get("by_ms", DEFAULT_STALE_MS))
        return [row for row in answer if row["t"] <= known_ms]
    if fault.kind == "wrong_clock" and isinstance(answer, dict):
        by_ms = int(fault.options.get("by_ms", DEFAULT_SKEW_MS))
        return answer | {key: answer[key] + by_ms for key in ("time", "serverTime") if key in answer}
    return answer


def can_happen(venue: LoopbackVenue, fault: Fault) -> bool:
    """Whether there is a stop to jump over or a position to liquidate; ``fraction`` needs neither."""
    with venue.lock:
        venue.settle()
        return _target(venue, fault) is not None


def happen(venue: LoopbackVenue, fault: Fault) -> None:
    """Move the price as the fault says, and let everybody feel it."""
    with venue.lock:
        venue.settle()
        target = _target(venue, fault)
        if target is not None:
            venue.set_price(*target, int(fault.options.get("hold_ms", DEFAULT_HOLD_MS)))


def _target(venue: LoopbackVenue, fault: Fault) -> tuple[str, Decimal] | None:
    if fault.kind == "liquidation":
        found = _beyond_liquidations(venue, fault)
    elif "fraction" in fault.options:
        found = _by_fraction(venue, fault)
    else:
        found = _beyond_stops(venue, fault)
    for coin, px in found:
        if px > 0:
            return coin, round_price(px, venue.rules.assets[coin].size_decimals, PriceRounding.NEAREST)
    return None


def _by_fraction(venue: LoopbackVenue, fault: Fault) -> Iterator[tuple[str, Decimal]]:
    coin = str(fault.options.get("coin"))
    if coin in venue.market.coins():
        yield coin, venue.market.mid_px(coin) * (1 + Decimal(str(fault.options["fraction"])))


def _beyond_stops(venue: LoopbackVenue, fault: Fault) -> Iterator[tuple[str, Decimal]]:
    beyond = Decimal(str(fault.options.get("beyond_fraction", GAP_BEYOND_STOP)))
    for account in _accounts(venue, fault):
        for order in account.state.orders.values():
            trigger = order.request.trigger if order.is_waiting else None
            if trigger is None or trigger.leg is not Leg.STOP_LOSS or not _concerns(fault, order.symbol):
                continue
            yield order.symbol, trigger.trigger_px * (1 - beyond if order.request.fires_below else 1 + beyond)


def _beyond_liquidations(venue: LoopbackVenue, fault: Fault) -> Iterator[tuple[str, Decimal]]:
    beyond = Decimal(str(fault.options.get("beyond_fraction", BEYOND_LIQUIDATION)))
    for account in _accounts(venue, fault):
        for symbol, position in account.state.positions.items():
            px = liquidation_px(account.state, symbol, venue.rules) if _concerns(fault, symbol) else None
            if px is not None:
                yield symbol, px * (1 - beyond if position.size_base > 0 else 1 + beyond)


def _concerns(fault: Fault, symbol: str) -> bool:
    return bool(fault.options.get("coin", symbol) == symbol)


def _accounts(venue: LoopbackVenue, fault: Fault) -> list[Account]:
    """The account that the fault names, or all of them."""
    user = fault.options.get("user")
    return [a for a in venue.accounts.values() if user is None or a.address == str(user).lower()]
