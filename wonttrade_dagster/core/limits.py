"""Whether targets stay within the limits: the configured ones, the venue's leverage, the account's money.

Belongs here: which limit a target, or all of them together, would break.
Does not belong here: the arithmetic of margin (``core.buying_power``), the other rules (``core.decision``).
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from wonttrade_dagster.core.buying_power import (
    Want,
    allowed_leverage,
    asked_leverage,
    margin_needed_usd,
    tier_leverage,
)
from wonttrade_dagster.core.model import AccountSnapshot, RiskLimits, Violation

_ZERO = Decimal(0)


def judge_limits(path: str, want: Want, account: AccountSnapshot, limits: RiskLimits) -> Iterator[Violation]:
    """What one target that is not flat breaks; ``path`` is its place in the reply."""
    notional, symbol = want.notional_usd, want.asset.symbol
    if notional > limits.max_position_usd:
        detail = f"{symbol} would be worth {_usd(notional)}, the limit is {_usd(limits.max_position_usd)}"
        yield Violation("position_limit", f"{path}.target_size", detail)
    margin, path = want.margin_usd, f"{path}.margin"
    if margin is None:
        yield from _judge_standing_leverage(path, want, account)
        return
    if margin <= 0:
        yield Violation("margin_not_positive", path, "margin must be above 0, or null")
        return
    leverage = asked_leverage(notional, margin)
    allowed = allowed_leverage(want.asset, notional, limits)
    if leverage > allowed:
        detail = f"{symbol}: {_usd(notional)} on {_usd(margin)} is leverage {leverage}, allowed is {allowed}"
        yield Violation("leverage_limit", path, detail)


def judge_portfolio(
    wants: Sequence[Want], account: AccountSnapshot, limits: RiskLimits, entry_cost_bps: Decimal
) -> Iterator[Violation]:
    """What the targets together break."""
    gross = sum([want.notional_usd for want in wants], _ZERO)
    if gross > limits.max_gross_exposure_usd:
        detail = f"targets add up to {_usd(gross)}, the limit is {_usd(limits.max_gross_exposure_usd)}"
        yield Violation("gross_exposure_limit", "targets", detail)
    # Keeping or reducing needs no new margin, however little there is left.
    if not any(want.increases_exposure for want in wants):
        return
    needed = margin_needed_usd(wants, account, limits, entry_cost_bps)
    if needed > account.account_value_usd:
        detail = f"targets need {_usd(needed)} of margin and entry costs at the leverage in force, "
        detail += f"the account is worth {_usd(account.account_value_usd)}"
        yield Violation("buying_power", "targets", detail)


def _judge_standing_leverage(path: str, want: Want, account: AccountSnapshot) -> Iterator[Violation]:
    """Without a margin the leverage stays as it is, and the venue's tier binds it all the same."""
    if not want.increases_exposure:
        return
    asset, notional = want.asset, want.notional_usd
    leverage, allowed = account.leverage(asset.symbol), tier_leverage(asset, notional)
    if leverage is not None and leverage > allowed:
        detail = f"{asset.symbol} stands at {leverage}x and {_usd(notional)} allows {allowed}x: give a margin"
        yield Violation("leverage_limit", path, detail)


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD"
