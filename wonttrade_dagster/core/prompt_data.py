"""The JSON block of a prompt: the same facts once more, as numbers.

Belongs here: what stands in the block, and how its numbers are spelled.
Does not belong here: the prose (``prompt_market``, ``prompt_account``), where it stands (``prompts/``).

It is written as text, number by number: JSON's encoder finds the shortest digits of each float anew, which
takes longer than everything else in the block.
"""

import json
from collections.abc import Iterable
from decimal import Decimal

from wonttrade_dagster.core.buying_power import allowed_leverage
from wonttrade_dagster.core.model import AccountSnapshot, PriorDecision, RiskLimits, TargetPosition
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, lot_base, wire
from wonttrade_dagster.core.prompt_market import SymbolWindows
from wonttrade_dagster.core.prompt_text import SHORTEST_CHARS, cycle_name

_SMALLEST_PLAIN = -4
"""A float whose first digit stands further behind the point than this is spelled with an exponent."""


def data_block(
    cycle_ms: int,
    windows: Iterable[SymbolWindows],
    account: AccountSnapshot,
    limits: RiskLimits,
    prior: PriorDecision,
) -> str:
    """The facts as one line of JSON: numbers, symbols and the cycle's name only, no foreign text at all."""
    symbols = (f"{_text(w.market.symbol)}:{_symbol(w, account, limits)}" for w in windows)
    return _object(
        cycle=_text(cycle_name(cycle_ms)),
        symbols=f"{{{','.join(symbols)}}}",
        account=_object(
            value_usd=decimal_json(account.account_value_usd),
            free_margin_usd=decimal_json(account.free_margin_usd),
        ),
        limits=_object(
            max_position_usd=decimal_json(limits.max_position_usd),
            max_gross_exposure_usd=decimal_json(limits.max_gross_exposure_usd),
            max_leverage=str(limits.max_leverage),
        ),
        prior=_prior(prior),
    )


def decimal_json(value: Decimal | None) -> str:
    """The number as JSON spells it: a whole one as such, any other as the float nearest to it."""
    if value is None:
        return "null"
    if len(str(value)) <= SHORTEST_CHARS and value.adjusted() >= _SMALLEST_PLAIN:
        return wire(value)
    return repr(int(value) if value == value.to_integral_value() else float(value))


def _symbol(windows: SymbolWindows, account: AccountSnapshot, limits: RiskLimits) -> str:
    market, asset = windows.market, windows.market.asset
    leverage = account.leverage(market.symbol)
    return _object(
        price=decimal_json(market.reference_px),
        mark=decimal_json(market.mark_px),
        tick=decimal_json(windows.fmt.tick),
        lot=decimal_json(lot_base(asset.size_decimals)),
        size_decimals=str(asset.size_decimals),
        min_value_usd=decimal_json(MIN_ORDER_VALUE_USD),
        max_leverage=str(allowed_leverage(asset, limits.max_position_usd, limits)),
        leverage="null" if leverage is None else str(leverage),
        position=decimal_json(account.size_base(market.symbol)),
        intraday=windows.intraday.data,
        long_term=windows.long_term.data,
    )


def _prior(prior: PriorDecision) -> str:
    if prior.decision is None:
        return "null"
    return _object(targets=f"[{','.join(map(_target, prior.decision.targets))}]")


def _target(target: TargetPosition) -> str:
    return _object(
        symbol=_text(target.symbol),
        target_size=decimal_json(target.target_size),
        stop_loss=decimal_json(target.stop_loss),
        take_profit=decimal_json(target.take_profit),
    )


def _object(**values: str) -> str:
    """A JSON object of values that are JSON already, under names that need no escape."""
    return "{" + ",".join([f'"{name}":{value}' for name, value in values.items()]) + "}"


_text = json.JSONEncoder().encode
