"""Whether an applied decision obeys the rules and says what the reply said.

Belongs here: the rules of docs/prompt.md once more, in other arithmetic (fractions) and from the reply's
text.
Does not belong here: any function of the judgement or of the venue's grid; this file must stay able to
disagree with them.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.model import (
    AssetSpec,
    Decision,
    Position,
    RiskLimits,
    SymbolMarket,
    TargetPosition,
)

_TOP = frozenset({"explanation", "invalidation_condition", "prior_plan", "targets"})
_TARGET = frozenset({"symbol", "target_size", "stop_loss", "take_profit", "confidence", "rationale"})
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?", re.ASCII)
_ZERO = re.compile(r"-?0(\.0+)?([eE][-+]?[0-9]+)?", re.ASCII)
_MIN_VALUE_USD = 10


def complaints(text: str, decision: Decision, inputs: JudgementInputs) -> list[str]:
    """Everything that is wrong with applying ``decision`` for the reply ``text``; empty when nothing is."""
    try:
        reply = _read(text)
    except ValueError as error:
        return [f"the reply should not have been read: {error}"]
    return [*_of_texts(reply, decision), *_of_targets(reply, decision, inputs), *_of_plan(decision, inputs)]


# --- the text --------------------------------------------------------------------------------------


def _read(text: str) -> dict[str, Any]:
    body = json.loads(
        text, object_pairs_hook=_members, parse_int=_exact, parse_float=_exact, parse_constant=_constant
    )
    if not isinstance(body, dict) or body.keys() - {"replaced_because"} != _TOP:
        raise ValueError("not an object with the reply's keys")
    targets = body["targets"]
    is_list = isinstance(targets, list)
    if not is_list or not all(isinstance(t, dict) and t.keys() - {"margin"} == _TARGET for t in targets):
        raise ValueError("targets is not a list of objects with a target's keys")
    if not all(isinstance(target["symbol"], str) for target in targets):
        raise ValueError("a symbol is no text")
    return body


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in pairs:
        if name in body:
            raise ValueError(f"{name!a} stands twice")
        body[name] = value
    return body


def _exact(token: str) -> Fraction:
    if _ZERO.fullmatch(token):
        return Fraction(0)
    if not _NUMBER.fullmatch(token):
        raise ValueError(f"{token[:60]} is not a number of JSON that can be meant")
    return Fraction(token)


def _constant(token: str) -> Fraction:
    raise ValueError(f"{token} is not JSON")


def _of_texts(reply: Mapping[str, Any], decision: Decision) -> Iterator[str]:
    for name, most in (("explanation", 4_000), ("invalidation_condition", 2_000)):
        said = getattr(decision, name)
        if said != reply[name] or not said.strip() or len(said) > most:
            yield f"{name} is not the reply's, empty or too long"
    try:
        json.dumps([decision.explanation, [t.rationale for t in decision.targets]]).encode()
        "".join([decision.explanation, *(t.rationale for t in decision.targets)]).encode()
    except UnicodeEncodeError:
        yield "a text that is not Unicode was taken"
    because = reply.get("replaced_because")
    is_given = isinstance(because, str) and bool(because.strip())
    if decision.prior_plan.value != reply["prior_plan"] or is_given != (reply["prior_plan"] == "replaced"):
        yield "prior_plan or replaced_because is not the reply's"
    if decision.replaced_because != (because if is_given else None):
        yield "replaced_because is not the reply's"


# --- targets ---------------------------------------------------------------------------------------


def _of_targets(reply: Mapping[str, Any], decision: Decision, inputs: JudgementInputs) -> Iterator[str]:
    tracked = [market.symbol for market in inputs.market.markets]
    said = {target["symbol"]: target for target in reply["targets"]}
    if [t.symbol for t in decision.targets] != tracked or sorted(tracked) != sorted(
        target["symbol"] for target in reply["targets"]
    ):
        yield "not exactly one target per tracked symbol"
        return
    for made, market in zip(decision.targets, inputs.market.markets, strict=True):
        for complaint in (
            *_of_numbers(made, said[made.symbol], market),
            *_of_size(made, market, inputs),
            *_of_prices(made, market, inputs),
            *_of_margin(made, market, inputs.limits),
        ):
            yield f"{made.symbol}: {complaint}"
    yield from _of_portfolio(decision, inputs)


def _of_numbers(made: TargetPosition, said: Mapping[str, Any], market: SymbolMarket) -> Iterator[str]:
    """The result is what was said, moved by less than a lot and by at most half a tick."""
    size, decimals = Fraction(made.target_size), market.asset.size_decimals
    asked = said["target_size"]
    if not isinstance(asked, Fraction) or not isinstance(said["confidence"], Fraction):
        yield "size or confidence was no number"
        return
    if not abs(size) <= abs(asked) < abs(size) + Fraction(1, 10**decimals) or size * asked < 0:
        yield f"size {size} was made of {asked}"
    if (size == 0) != (asked == 0):
        yield "a size above 0 became 0"
    if made.confidence != float(said["confidence"]) or not 0 <= said["confidence"] <= 1:
        yield f"confidence {made.confidence} was made of {said['confidence']}"
    if made.rationale != said["rationale"] or len(made.rationale) > 2_000:
        yield "the rationale is not the reply's, or too long"
    for name in ("stop_loss", "take_profit"):
        yield from _of_price_number(name, getattr(made, name), said[name], decimals)
    margin = said.get("margin")
    if size == 0 and margin == 0:
        margin = None  # flat on no margin: both ways of saying nothing
    if (None if made.margin_usd is None else Fraction(made.margin_usd)) != margin:
        yield f"margin {made.margin_usd} was made of {margin}"


def _of_price_number(name: str, px: Decimal | None, asked: object, decimals: int) -> Iterator[str]:
    if px is None or not isinstance(asked, Fraction):
        if px is not None or asked is not None:
            yield f"{name} {px} was made of {asked}"
    elif abs(Fraction(px) - asked) * 2 > _tick(asked, decimals):
        yield f"{name} {px} is not the price nearest to {asked}"


def _tick(px: Fraction, size_decimals: int) -> Fraction:
    """The step of prices around ``px``: 5 significant figures, 6 − szDecimals decimals, integers always."""
    finest = 6 - size_decimals
    figures_left = 5 - len(str(int(px))) if px >= 1 else 5
    while 0 < px * 10**figures_left < 10**4 and figures_left < finest:
        figures_left += 1
    return Fraction(1, 10 ** max(min(figures_left, finest), 0))


def _of_size(made: TargetPosition, market: SymbolMarket, inputs: JudgementInputs) -> Iterator[str]:
    size, held = Fraction(made.target_size), Fraction(inputs.account.size_base(made.symbol))
    value = abs(size) * _price(market)
    if (size * 10**market.asset.size_decimals).denominator != 1:
        yield f"size {made.target_size} is not on the lot grid"
    if value > Fraction(inputs.limits.max_position_usd):
        yield f"worth {float(value)} USD, above the limit of a position"
    if size not in (0, held) and value < _MIN_VALUE_USD:
        yield f"worth {float(value)} USD, below the venue's minimum"
    if market.asset.is_delisted and (abs(size) > abs(held) or size * held < 0):
        yield "more of a delisted symbol"


def _of_prices(made: TargetPosition, market: SymbolMarket, inputs: JudgementInputs) -> Iterator[str]:
    if made.target_size == 0:
        if made.stop_loss is not None or made.take_profit is not None:
            yield "flat with protection"
        return
    if made.stop_loss is None or made.take_profit is None:
        yield "not flat and without protection"
        return
    size, px = Fraction(made.target_size), _price(market)
    stop, take = Fraction(made.stop_loss), Fraction(made.take_profit)
    for name, level in (("stop_loss", stop), ("take_profit", take)):
        if level <= 0 or (level / _tick(level, market.asset.size_decimals)).denominator != 1:
            yield f"{name} {float(level)} is no price of the venue"
    if not (stop < px < take if size > 0 else take < px < stop):
        yield f"stop {made.stop_loss}, price {float(px)} and take-profit {made.take_profit} are out of order"
    yield from _of_exits(size, stop, take, inputs.account.position(made.symbol))


def _of_exits(size: Fraction, stop: Fraction, take: Fraction, position: Position | None) -> Iterator[str]:
    if position is None or Fraction(position.size_base) != size:
        # A long's exits are sells, whose limit lies a tenth below their trigger.
        worth = min(stop, take) * abs(size) * (Fraction(9, 10) if size > 0 else 1)
        if worth < _MIN_VALUE_USD:
            yield f"an exit would be an order of {float(worth)} USD, below the venue's minimum"
    if position is None or position.liquidation_px is None or Fraction(position.size_base) * size < 0:
        return
    liquidation = Fraction(position.liquidation_px)
    if stop <= liquidation if size > 0 else stop >= liquidation:
        yield f"the stop lies beyond the liquidation at {position.liquidation_px}"


def _of_margin(made: TargetPosition, market: SymbolMarket, limits: RiskLimits) -> Iterator[str]:
    if made.margin_usd is None:
        return
    value, margin = abs(Fraction(made.target_size)) * _price(market), Fraction(made.margin_usd)
    if margin <= 0 or value / margin > _leverage(market.asset, value, limits):
        yield f"margin {made.margin_usd} for a value of {float(value)} USD"


def _leverage(asset: AssetSpec, value: Fraction, limits: RiskLimits) -> int:
    allowed = min(limits.max_leverage, asset.max_leverage)
    for tier in asset.margin_tiers:
        if value >= Fraction(tier.lower_bound_usd):
            of_tier = tier.max_leverage
    return min(allowed, of_tier) if asset.margin_tiers else allowed


def _price(market: SymbolMarket) -> Fraction:
    known = [px for px in (market.mark_px, market.mid_px) if px is not None]
    return Fraction(known[0]) if known else Fraction(repr(float(market.intraday.frame["close"][-1])))


# --- the portfolio and the prior plan --------------------------------------------------------------


def _of_portfolio(decision: Decision, inputs: JudgementInputs) -> Iterator[str]:
    gross = needed = Fraction(0)
    grows = False
    for made in decision.targets:
        market, held = inputs.market.market(made.symbol), inputs.account.size_base(made.symbol)
        value = abs(Fraction(made.target_size)) * _price(market)
        gross += value
        needed += value / _in_force(made, value, inputs)
        grows = grows or abs(made.target_size) > abs(held) or made.target_size * held < 0
    if gross > Fraction(inputs.limits.max_gross_exposure_usd):
        yield f"all together worth {float(gross)} USD, above the limit"
    available = Fraction(inputs.account.free_margin_usd + inputs.account.margin_used_usd)
    if grows and needed > available:
        yield f"{float(needed)} USD of margin needed, {float(available)} there"


def _in_force(made: TargetPosition, value: Fraction, inputs: JudgementInputs) -> int:
    """The leverage that a cross position of that value gets: asked for, standing, or the highest allowed."""
    allowed = _leverage(inputs.market.market(made.symbol).asset, value, inputs.limits)
    if made.margin_usd:
        return min(max(math.ceil(value / Fraction(made.margin_usd)), 1), allowed)
    position = inputs.account.position(made.symbol)
    return allowed if position is None else position.leverage


def _of_plan(decision: Decision, inputs: JudgementInputs) -> Iterator[str]:
    prior, plan = inputs.prior.decision, decision.prior_plan.value
    if (prior is None) != (plan == "none"):
        yield f"prior_plan {plan} with{'out' if prior is None else ''} a prior plan"
    if prior is None or plan != "kept":
        return
    before = {t.symbol: (t.target_size, t.stop_loss, t.take_profit) for t in prior.targets}
    for made in decision.targets:
        now = (made.target_size, made.stop_loss, made.take_profit)
        if now != before.get(made.symbol, (0, None, None)):
            yield f"{made.symbol}: kept, but not what was applied last"
