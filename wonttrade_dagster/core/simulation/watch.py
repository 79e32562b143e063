"""Finding the next bar that could matter, in floats.

Belongs here: which prices would change an account, and the scan for the first bar that reaches one.
Does not belong here: what then happens (``bars``, in ``Decimal``).

The scan may stop at a bar where nothing happens, it never passes one where something does: float rounding is
monotone, so ``low <= trigger`` in ``Decimal`` implies it in floats, and the sum that stands for the cross
account's margin is compared with a reserve far above its rounding error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from wonttrade_dagster.core.simulation.bar_table import BarTable
from wonttrade_dagster.core.simulation.margin import (
    cross_positions,
    liquidation_px,
    maintenance_tier,
    maintenance_tiers,
    value_usd,
)
from wonttrade_dagster.core.simulation.records import ExchangeState, PerpPosition, StandingOrder, VenueRules

RESERVE_FRACTION = 1e-9
"""Of the gross notional; floats err by less than 1e-14 of it."""


@dataclass(frozen=True, slots=True)
class SymbolWatch:
    """A bar matters when its low is ≤ ``low`` or its high ≥ ``high``.

    ``coefficient`` is d(equity − maintenance)/d(price) of a cross position, else 0.
    """

    low: float = -inf
    high: float = inf
    coefficient: float = 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """``margin_usd`` + Σ coefficient·price is the cross account's equity above maintenance."""

    symbols: tuple[tuple[str, SymbolWatch], ...]
    margin_usd: float
    reserve_usd: float


def watch(state: ExchangeState, table: BarTable, rules: VenueRules) -> Watch:
    """What to look out for in ``table`` while the account stands as it does."""
    watches: dict[str, SymbolWatch] = {}
    for order in state.orders.values():
        known = watches.get(order.symbol, SymbolWatch())
        watches[order.symbol] = _with_order(known, order)
    margin, gross = float(state.cross_raw_usd), 0.0
    for position in state.positions.values():
        symbol, known = position.symbol, watches.get(position.symbol, SymbolWatch())
        if not position.is_cross:
            watches[symbol] = _with_isolated(known, position, state, rules)
            continue
        coefficient, deduction = _line(state, position, rules)
        margin += deduction
        gross += float(abs(value_usd(state, position)))
        if symbol in table.columns:
            watches[symbol] = _with_tier(
                SymbolWatch(known.low, known.high, coefficient), state, position, rules
            )
        else:
            margin += coefficient * float(state.marks[symbol])
    kept = tuple((name, found) for name, found in watches.items() if name in table.columns)
    return Watch(kept, margin, gross * RESERVE_FRACTION if cross_positions(state) else -inf)


def _with_order(known: SymbolWatch, order: StandingOrder) -> SymbolWatch:
    request = order.request
    if order.is_waiting and request.trigger is not None:
        px, is_below = float(request.trigger.trigger_px), request.fires_below
    else:
        px, is_below = float(request.limit_px), request.is_buy
    if is_below:
        return _below(known, px)
    return _above(known, px)


def _below(known: SymbolWatch, px: float) -> SymbolWatch:
    return SymbolWatch(max(known.low, px), known.high, known.coefficient)


def _above(known: SymbolWatch, px: float) -> SymbolWatch:
    return SymbolWatch(known.low, min(known.high, px), known.coefficient)


def _with_isolated(
    known: SymbolWatch, position: PerpPosition, state: ExchangeState, rules: VenueRules
) -> SymbolWatch:
    px = liquidation_px(state, position.symbol, rules)
    if px is None:
        return known if position.size_base > 0 else _above(known, -inf)
    return _below(known, float(px)) if position.size_base > 0 else _above(known, float(px))


def _line(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> tuple[float, float]:
    """(slope in the price, constant) of size·price − maintenance within the present tier."""
    tier = maintenance_tier(rules.assets[position.symbol], abs(value_usd(state, position)))
    slope = position.size_base - abs(position.size_base) * tier.rate
    return float(slope), float(tier.deduction_usd)


def _with_tier(
    known: SymbolWatch, state: ExchangeState, position: PerpPosition, rules: VenueRules
) -> SymbolWatch:
    """Stop where the notional leaves its tier: the line is another one there."""
    size, notional = abs(position.size_base), abs(value_usd(state, position))
    for tier in maintenance_tiers(rules.assets[position.symbol])[1:]:
        px = float(tier.lower_bound_usd / size)
        known = _below(known, px) if tier.lower_bound_usd <= notional else _above(known, px)
    return known


def first_touched(found: Watch, table: BarTable, start: int, stop: int) -> int:
    """The first bar in ``[start, stop)`` that could matter, or ``stop``."""
    scans = tuple(_scan(symbol, each, table) for symbol, each in found.symbols)
    if len(scans) == 1:
        return _first_of_one(scans[0], found, start, stop)
    for index in range(start, stop if scans else start):
        margin = found.margin_usd
        for lows, highs, low, high, worst, coefficient in scans:
            if lows[index] <= low or highs[index] >= high:
                return index
            margin += coefficient * worst[index]
        if margin < found.reserve_usd:
            return index
    return stop


Scan = tuple[Sequence[float], Sequence[float], float, float, Sequence[float], float]


def _scan(symbol: str, each: SymbolWatch, table: BarTable) -> Scan:
    columns = table.columns[symbol]
    worst = columns.low if each.coefficient > 0 else columns.high
    return columns.low, columns.high, each.low, each.high, worst, each.coefficient


def _first_of_one(scan: Scan, found: Watch, start: int, stop: int) -> int:
    """One symbol: the margin line is one more price."""
    lows, highs, low, high, _, coefficient = scan
    if coefficient:
        empty_px = (found.reserve_usd - found.margin_usd) / coefficient
        low, high = (max(low, empty_px), high) if coefficient > 0 else (low, min(high, empty_px))
    for index in range(start, stop):
        if lows[index] <= low or highs[index] >= high:
            return index
    return stop
