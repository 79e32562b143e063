"""What an account is worth, what it must hold, and where it would be liquidated.

Belongs here: pure readings of a state under the rules: equity, margin, maintenance, liquidation prices.
Does not belong here: changing anything.

Formulas: protocol.md §10.1 (verified on recordings), §10.3 (tiers), Hyperliquid documentation
"Liquidations" for the cross liquidation price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from wonttrade_dagster.core.model import AssetSpec, MarginTier
from wonttrade_dagster.core.simulation.records import ZERO, ExchangeState, PerpPosition, VenueRules

ONE = Decimal(1)

MIN_TRANSFER_FRACTION = Decimal("0.1")
"""Of the cross notional: what a withdrawal must leave behind."""


@dataclass(frozen=True, slots=True)
class MaintenanceTier:
    """From ``lower_bound_usd`` of notional on: maintenance = notional·``rate`` − ``deduction_usd``."""

    lower_bound_usd: Decimal
    rate: Decimal
    deduction_usd: Decimal


@dataclass(slots=True)  # a reading of the moment, made several times a step: frozen, it takes twice as long
class MarginScope:
    """What is liquidated together: the cross positions, or one isolated position."""

    equity_usd: Decimal
    maintenance_usd: Decimal
    positions: tuple[PerpPosition, ...]

    @property
    def is_short(self) -> bool:
        """Whether its equity no longer covers its maintenance margin."""
        return self.equity_usd < self.maintenance_usd


@dataclass(slots=True)
class MarkedPosition:
    """A position at its mark: its signed value, and what must be held for it in the tier it falls into."""

    position: PerpPosition
    value_usd: Decimal
    maintenance_usd: Decimal
    tier: MaintenanceTier
    tiers: Sequence[MaintenanceTier]


@lru_cache(maxsize=1024)
def maintenance_tiers(spec: AssetSpec) -> tuple[MaintenanceTier, ...]:
    """Half of the initial margin at maximum leverage, tier by tier, continuous at the bounds."""
    made: list[MaintenanceTier] = []
    for tier in spec.margin_tiers or (MarginTier(ZERO, spec.max_leverage),):
        rate = Decimal(1) / (2 * tier.max_leverage)
        previous = made[-1] if made else MaintenanceTier(ZERO, ZERO, ZERO)
        deduction = previous.deduction_usd + tier.lower_bound_usd * (rate - previous.rate)
        made.append(MaintenanceTier(tier.lower_bound_usd, rate, deduction))
    return tuple(made)


def tier_at(tiers: Sequence[MaintenanceTier], notional_usd: Decimal) -> MaintenanceTier:
    """The tier that a notional falls into; a bound belongs to the tier above it."""
    found = tiers[0]
    for tier in tiers[1:]:
        if notional_usd < tier.lower_bound_usd:
            break
        found = tier
    return found


def maintenance_usd(spec: AssetSpec, notional_usd: Decimal) -> Decimal:
    """Maintenance margin of one position."""
    tier = tier_at(maintenance_tiers(spec), notional_usd)
    return notional_usd * tier.rate - tier.deduction_usd


def at_mark(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> MarkedPosition:
    """The position at the state's mark."""
    value, tiers = value_usd(state, position), maintenance_tiers(rules.assets[position.symbol])
    notional = abs(value)
    tier = tier_at(tiers, notional)
    return MarkedPosition(position, value, notional * tier.rate - tier.deduction_usd, tier, tiers)


def max_leverage_at(spec: AssetSpec, notional_usd: Decimal) -> int:
    """The highest leverage that the asset's margin table allows for a position of that notional."""
    allowed = spec.max_leverage
    for tier in spec.margin_tiers:
        if notional_usd >= tier.lower_bound_usd:
            allowed = tier.max_leverage
    return allowed


def value_usd(state: ExchangeState, position: PerpPosition) -> Decimal:
    """Signed size·mark."""
    return position.size_base * state.marks[position.symbol]


def unrealized_usd(state: ExchangeState, position: PerpPosition) -> Decimal:
    """Size·(mark − entry)."""
    return position.size_base * (state.marks[position.symbol] - position.entry_px)


def account_value_usd(state: ExchangeState) -> Decimal:
    """Cross and isolated equity together at the state's marks (``marginSummary.accountValue``)."""
    held = ZERO
    for position in state.positions.values():
        held += position.isolated_raw_usd + value_usd(state, position)
    return state.cross_raw_usd + held


def cross_positions(state: ExchangeState) -> tuple[PerpPosition, ...]:
    """The positions that share the cross margin."""
    return tuple([p for p in state.positions.values() if p.is_cross])


def margin_used_usd(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> Decimal:
    """Cross: position value / leverage; isolated: its equity."""
    return used_at_usd(position, value_usd(state, position), state.setting(position.symbol, rules).leverage)


def used_at_usd(position: PerpPosition, value_usd: Decimal, leverage: int) -> Decimal:
    """:func:`margin_used_usd` of a position whose value and leverage are known already."""
    return abs(value_usd) / leverage if position.is_cross else position.isolated_raw_usd + value_usd


def cross_value_usd(state: ExchangeState) -> Decimal:
    """``crossMarginSummary.accountValue``."""
    return state.cross_raw_usd + sum((value_usd(state, p) for p in cross_positions(state)), ZERO)


def free_margin_usd(state: ExchangeState, rules: VenueRules) -> Decimal:
    """``withdrawable``: cross value − max(Σ cross margin used, 10 % of the cross notional), at least 0."""
    held = used = notional = ZERO
    for position in cross_positions(state):
        value = value_usd(state, position)
        held += value
        notional += abs(value)
        used += used_at_usd(position, value, state.setting(position.symbol, rules).leverage)
    return free_of_usd(state.cross_raw_usd + held, used, notional)


def free_of_usd(equity_usd: Decimal, used_usd: Decimal, notional_usd: Decimal) -> Decimal:
    """:func:`free_margin_usd` of a cross account that is summed up already."""
    return max(equity_usd - max(used_usd, MIN_TRANSFER_FRACTION * notional_usd), ZERO)


def position_maintenance_usd(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> Decimal:
    """Maintenance margin of a position at its mark."""
    return maintenance_usd(rules.assets[position.symbol], abs(value_usd(state, position)))


def cross_scope(state: ExchangeState, rules: VenueRules) -> MarginScope:
    """The cross account as one liquidation unit."""
    return cross_scope_of(state, [at_mark(state, p, rules) for p in state.positions.values() if p.is_cross])


def cross_scope_of(state: ExchangeState, cross: Sequence[MarkedPosition]) -> MarginScope:
    """:func:`cross_scope` of the cross positions, where they are known at their marks already."""
    held = needed = ZERO
    for each in cross:
        held += each.value_usd
        needed += each.maintenance_usd
    return MarginScope(state.cross_raw_usd + held, needed, tuple([each.position for each in cross]))


def isolated_scope(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> MarginScope:
    """One isolated position as a liquidation unit."""
    return isolated_scope_of(at_mark(state, position, rules))


def isolated_scope_of(held: MarkedPosition) -> MarginScope:
    """:func:`isolated_scope` of a position that is known at its mark already."""
    equity = held.position.isolated_raw_usd + held.value_usd
    return MarginScope(equity, held.maintenance_usd, (held.position,))


def is_any_below_maintenance(state: ExchangeState, rules: VenueRules) -> bool:
    """Whether the cross account or an isolated position would be liquidated at the state's marks."""
    cross = cross_scope(state, rules)
    if cross.positions and cross.is_short:
        return True
    if len(cross.positions) == len(state.positions):
        return False
    return any(isolated_scope(state, p, rules).is_short for p in state.positions.values() if not p.is_cross)


def scope_of(state: ExchangeState, position: PerpPosition, rules: VenueRules) -> MarginScope:
    """The liquidation unit that a position belongs to."""
    if position.is_cross:
        return cross_scope(state, rules)
    return isolated_scope(state, position, rules)


def liquidation_px(
    state: ExchangeState, symbol: str, rules: VenueRules, fraction: Decimal = ONE
) -> Decimal | None:
    """Mark at which equity meets ``fraction`` of maintenance, all else unchanged; None if none is.

    Within one tier this is the documented ``price − side·available/size/(1 − l·side)``; the right tier
    is searched, because a short's notional grows on the way. Isolated: exact to the venue's own figure.
    """
    position = state.positions.get(symbol)
    if position is None:
        return None
    return liquidation_px_in(scope_of(state, position, rules), at_mark(state, position, rules), fraction)


def liquidation_px_in(scope: MarginScope, held: MarkedPosition, fraction: Decimal = ONE) -> Decimal | None:
    """:func:`liquidation_px` of a position that is known at its mark, in its scope."""
    size = held.position.size_base
    rest = scope.equity_usd - held.value_usd
    others, share = scope.maintenance_usd - held.maintenance_usd, fraction * abs(size)

    def root(tier: MaintenanceTier) -> Decimal:
        return (fraction * (others - tier.deduction_usd) - rest) / (size - share * tier.rate)

    # Maintenance is convex in the price (the largest of its tiers' lines), so equity falls below it at
    # the first line it meets: the highest root for a long, the lowest for a short. Where the position is
    # still in its present tier there, that tier's line is the largest, and the others need no look.
    found = root(held.tier)
    if tier_at(held.tiers, abs(size) * found) is not held.tier:
        roots = [root(tier) for tier in held.tiers]
        found = max(roots) if size > ZERO else min(roots)
    return found if found > ZERO else None
