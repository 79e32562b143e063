"""Whether the account can carry a decision: margin at the leverage that its orders will really get.

Belongs here: leverage and margin arithmetic of targets. Does not belong here: which rule is broken
(``core.decision``), setting leverage (``core.reconcile``).

Formula: Hyperliquid documentation "Margining": a cross position needs value / leverage, all of them together
at most the account value; an isolated one keeps the margin that it has and pays for what is added.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from wonttrade_dagster.core.model import AccountSnapshot, AssetSpec, RiskLimits
from wonttrade_dagster.core.quick_init import quick_init

_ZERO = Decimal(0)
_BPS = Decimal(10_000)


@quick_init
@dataclass(frozen=True, slots=True)
class Want:
    """One target as margin sees it: signed sizes, the price they are valued at, the margin asked for."""

    asset: AssetSpec
    size_base: Decimal
    held_base: Decimal
    px: Decimal
    margin_usd: Decimal | None

    @property
    def notional_usd(self) -> Decimal:
        """Value of the target."""
        return abs(self.size_base) * self.px

    @property
    def is_flip(self) -> bool:
        """Whether the other side is held now."""
        return self.size_base * self.held_base < _ZERO

    @property
    def increases_exposure(self) -> bool:
        """Whether an order has to open or add."""
        if self.size_base == self.held_base:
            return False
        return abs(self.size_base) > abs(self.held_base) or self.is_flip

    @property
    def traded_usd(self) -> Decimal:
        """Value of the orders that lead there, where they increase exposure."""
        return abs(self.size_base - self.held_base) * self.px if self.increases_exposure else _ZERO


def tier_leverage(asset: AssetSpec, notional_usd: Decimal) -> int:
    """The highest leverage that the venue's margin table allows for a position of that value."""
    tiers = [t.max_leverage for t in asset.margin_tiers if t.lower_bound_usd <= notional_usd]
    return min((asset.max_leverage, *tiers[-1:]))


def allowed_leverage(asset: AssetSpec, notional_usd: Decimal, limits: RiskLimits) -> int:
    """The highest leverage that may be asked for: the venue's margin tier or the configured limit."""
    return min(limits.max_leverage, tier_leverage(asset, notional_usd))


def asked_leverage(notional_usd: Decimal, margin_usd: Decimal) -> int:
    """The integer leverage ⌈notional / margin⌉ that a target's margin asks for."""
    return max(int((notional_usd / margin_usd).to_integral_value(ROUND_CEILING)), 1)


def leverage_in_force(want: Want, account: AccountSnapshot, limits: RiskLimits) -> int:
    """The leverage of the target's orders: what its margin asks for, else what is set on the venue.

    A symbol of which the venue did not tell counts with the highest leverage allowed.
    """
    allowed = allowed_leverage(want.asset, want.notional_usd, limits)
    if want.margin_usd is not None and want.margin_usd > 0:
        return min(asked_leverage(want.notional_usd, want.margin_usd), allowed)
    return account.leverage(want.asset.symbol) or allowed


def margin_needed_usd(
    wants: Iterable[Want], account: AccountSnapshot, limits: RiskLimits, entry_cost_bps: Decimal
) -> Decimal:
    """What the account must be worth for all targets to stand side by side.

    Args:
        wants: one per tracked symbol.
        account: its other positions keep the margin that they use.
        limits: bound the leverage that a margin may ask for.
        entry_cost_bps: slippage and fee of the orders that increase exposure, which the account pays first.
    """
    wants = tuple(wants)
    tracked = {want.asset.symbol for want in wants}
    others = (p.margin_used_usd for p in account.positions if p.symbol not in tracked)
    targets = (_margin_usd(want, account, limits) for want in wants)
    costs = sum((want.traded_usd for want in wants), _ZERO) * entry_cost_bps / _BPS
    return sum(others, _ZERO) + sum(targets, _ZERO) + costs


def _margin_usd(want: Want, account: AccountSnapshot, limits: RiskLimits) -> Decimal:
    leverage = leverage_in_force(want, account, limits)
    position = account.position(want.asset.symbol)
    if position is None or position.is_cross or want.is_flip:
        return want.notional_usd / leverage
    if abs(want.size_base) <= abs(want.held_base):
        return position.margin_used_usd * want.size_base / want.held_base
    return position.margin_used_usd + want.traded_usd / leverage
