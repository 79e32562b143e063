"""The JSON block of a prompt: the same facts once more, as numbers.

Belongs here: what stands in the block. Does not belong here: how its numbers are spelled (``prompt_text``),
the prose (``prompt_market``, ``prompt_account``), where it stands (``prompts/``).

It is written as text, number by number: JSON's encoder finds the shortest digits of each float anew, which
takes longer than everything else in the block.
"""

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as _text

from wonttrade_dagster.core.model import AccountSnapshot, PriorDecision, RiskLimits, TargetPosition
from wonttrade_dagster.core.prompt_market import SymbolWindows
from wonttrade_dagster.core.prompt_text import cycle_name, decimal_json


def data_block(
    cycle_ms: int,
    windows: Iterable[SymbolWindows],
    account: AccountSnapshot,
    limits_json: str,
    prior: PriorDecision,
) -> str:
    """The facts as one line of JSON: numbers, symbols and the cycle's name only, no foreign text at all.

    ``limits_json``: see :func:`limits_block`.
    """
    symbols = ",".join([f"{_text(w.market.symbol)}:{_symbol(w, account)}" for w in windows])
    value, free = decimal_json(account.account_value_usd), decimal_json(account.free_margin_usd)
    return (
        f'{{"cycle":"{cycle_name(cycle_ms)}","symbols":{{{symbols}}},'
        f'"account":{{"value_usd":{value},"free_margin_usd":{free}}},'
        f'"limits":{limits_json},"prior":{_prior(prior)}}}'
    )


def limits_block(limits: RiskLimits) -> str:
    """The limits, which stay what they are."""
    return (
        f'{{"max_position_usd":{decimal_json(limits.max_position_usd)},'
        f'"max_gross_exposure_usd":{decimal_json(limits.max_gross_exposure_usd)},'
        f'"max_leverage":{limits.max_leverage}}}'
    )


def _symbol(windows: SymbolWindows, account: AccountSnapshot) -> str:
    market = windows.market
    leverage = account.leverage(market.symbol)
    return (
        f'{{"price":{decimal_json(market.reference_px)},"mark":{decimal_json(market.mark_px)},'
        f'{windows.rules.data},"leverage":{"null" if leverage is None else leverage},'
        f'"position":{decimal_json(account.size_base(market.symbol))},'
        f'"intraday":{windows.intraday.data},"long_term":{windows.long_term.data}}}'
    )


def _prior(prior: PriorDecision) -> str:
    if prior.decision is None:
        return "null"
    return f'{{"targets":[{",".join(map(_target, prior.decision.targets))}]}}'


def _target(target: TargetPosition) -> str:
    return (
        f'{{"symbol":{_text(target.symbol)},"target_size":{decimal_json(target.target_size)},'
        f'"stop_loss":{decimal_json(target.stop_loss)},"take_profit":{decimal_json(target.take_profit)}}}'
    )
