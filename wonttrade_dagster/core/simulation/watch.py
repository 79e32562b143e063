"""Finding the next bar that could matter, in floats.

Belongs here: which prices would change an account, and the scan for the first bar that reaches one.
Does not belong here: what then happens (``bars``, in ``Decimal``).

The scan may stop at a bar where nothing happens, it never passes one where something does: float rounding is
monotone, so ``low <= trigger`` in ``Decimal`` implies it in floats, and the sum that stands for the cross
account's margin is compared with a reserve far above its rounding error.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.simulation.bar_table import BarTable
from wonttrade_dagster.core.simulation.margin import liquidation_px, maintenance_tiers
from wonttrade_dagster.core.simulation.records import ExchangeState, PerpPosition, StandingOrder, VenueRules

RESERVE_FRACTION = 1e-9
"""Of the gross notional; floats err by less than 1e-14 of it."""


@dataclass(slots=True)
class SymbolWatch:
    """A bar matters when its low is ≤ ``low`` or its high ≥ ``high``.

    ``coefficient`` is d(equity − maintenance)/d(price) of a cross position, else 0.
    """

    low: float = -inf
    high: float = inf
    coefficient: float = 0.0

    def reach(self, px: float, *, is_below: bool) -> None:
        """Watch one more price, which matters from above or from below."""
        if is_below:
            self.low = max(self.low, px)
        elif px < self.high:
            self.high = px


@quick_init
@dataclass(frozen=True, slots=True)
class Watch:
    """``margin_usd`` + Σ coefficient·price is the cross account's equity above maintenance."""

    symbols: tuple[tuple[str, SymbolWatch], ...]
    margin_usd: float
    reserve_usd: float


TierLine = tuple[float, float, float]
"""Of a :class:`MaintenanceTier`: lower bound, rate, deduction."""


def watch(state: ExchangeState, table: BarTable, rules: VenueRules) -> Watch:
    """What to look out for in ``table`` while the account stands as it does."""
    watches: defaultdict[str, SymbolWatch] = defaultdict(SymbolWatch)
    for order in state.orders.values():
        _add_order(watches[order.request.symbol], order)
    margin, gross, has_cross = float(state.cross_raw_usd), 0.0, False
    for symbol, position in state.positions.items():
        if not position.is_cross:
            _add_isolated(watches[symbol], position, state, rules)
            continue
        has_cross, size, mark = True, float(position.size_base), float(state.marks[symbol])
        notional, tiers = abs(size) * mark, _tier_lines(rules.assets[symbol])
        rate, deduction = _line_at(tiers, notional)
        coefficient = size - abs(size) * rate
        margin += deduction
        gross += notional
        if symbol in table.columns:
            watches[symbol].coefficient = coefficient
            _add_tiers(watches[symbol], abs(size), notional, tiers)
        else:
            margin += coefficient * mark
    kept = tuple([(name, found) for name, found in watches.items() if name in table.columns])
    return Watch(kept, margin, gross * RESERVE_FRACTION if has_cross else -inf)


def _add_order(known: SymbolWatch, order: StandingOrder) -> None:
    request = order.request
    trigger = request.trigger
    if order.is_waiting and trigger is not None:
        known.reach(float(trigger.trigger_px), is_below=request.fires_below)
    else:
        known.reach(float(request.limit_px), is_below=request.is_buy)


def _add_isolated(
    known: SymbolWatch, position: PerpPosition, state: ExchangeState, rules: VenueRules
) -> None:
    px, is_long = liquidation_px(state, position.symbol, rules), position.size_base > 0
    if px is not None:
        known.reach(float(px), is_below=is_long)
    elif not is_long:
        known.reach(-inf, is_below=False)


@lru_cache(maxsize=1024)
def _tier_lines(spec: AssetSpec) -> tuple[TierLine, ...]:
    return tuple(
        [(float(t.lower_bound_usd), float(t.rate), float(t.deduction_usd)) for t in maintenance_tiers(spec)]
    )


def _line_at(tiers: Sequence[TierLine], notional: float) -> tuple[float, float]:
    """Rate and deduction of the present tier; where rounding takes the next one, both lines meet."""
    _, rate, deduction = tiers[0]
    for bound, rate_above, deduction_above in tiers[1:]:
        if notional >= bound:
            rate, deduction = rate_above, deduction_above
    return rate, deduction


def _add_tiers(known: SymbolWatch, size: float, notional: float, tiers: Sequence[TierLine]) -> None:
    """Stop where the notional leaves its tier: the line is another one there."""
    for bound, _, _ in tiers[1:]:
        known.reach(bound / size, is_below=bound <= notional)


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
