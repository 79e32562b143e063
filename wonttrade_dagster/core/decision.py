"""The judgement of a model's reply: text in, ``Decision`` or ``Refusal`` out.

Belongs here: which replies are applied, the names of the rules, bringing sizes and prices onto the grid.
Does not belong here: JSON's own rules and the reply's shape (``core.reply``), the model call.

A reply is taken whole or refused whole. Every violation is collected; nothing is clipped or salvaged.
Rules in ``docs/prompt.md``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.buying_power import (
    Want,
    allowed_leverage,
    asked_leverage,
    margin_needed_usd,
    tier_leverage,
)
from wonttrade_dagster.core.invalidation import WINDOW_SERIES, problem_with
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AnsweredTarget,
    AssetSpec,
    Condition,
    Decision,
    MarketSnapshot,
    PriorDecision,
    PriorPlan,
    Refusal,
    RiskLimits,
    TargetPosition,
    Violation,
)
from wonttrade_dagster.core.precision import (
    PriceRounding,
    floor_size,
    is_below_minimum,
    round_price,
    trigger_limit_px,
    wire,
)
from wonttrade_dagster.core.reply import MAX_VIOLATIONS, Reply, TargetReply, kept, parse_reply

_ZERO = Decimal(0)
_MAX_DETAIL_CHARS = 600


@dataclass(frozen=True, slots=True)
class JudgementInputs:
    """Everything a reply is measured against; the market's symbols are the tracked ones."""

    market: MarketSnapshot
    account: AccountSnapshot
    prior: PriorDecision
    limits: RiskLimits
    entry_cost_bps: Decimal = _ZERO
    """Slippage and fee that the account must be able to pay beside the margin of an entry."""
    window_series: tuple[str, ...] = WINDOW_SERIES
    """What a condition on a window may be about."""


def judge(text: str, inputs: JudgementInputs) -> Decision | Refusal:
    """Take a reply whole or refuse it whole.

    Args:
        text: the raw reply, untrusted.
        inputs: the snapshots of the same cycle.

    Returns:
        A ``Decision`` with one target per tracked symbol in the configured order, sizes toward zero on the
        lot grid and prices on the tick grid; or a ``Refusal`` with what was found (see ``reply.kept``).
    """
    reply = parse_reply(text)
    if isinstance(reply, Refusal):
        return reply
    by_symbol, violations = _by_symbol(reply.targets, inputs.market)
    gridded = {name: _on_grid(entry.target, inputs) for name, entry in by_symbol.items()}
    for name, entry in by_symbol.items():
        violations.extend(_judge_target(entry, gridded[name], inputs))
    violations.extend(_judge_prior_plan(reply, gridded, inputs))
    violations.extend(_judge_conditions(reply, inputs))
    violations.extend(_judge_portfolio(gridded.values(), inputs))
    if violations:
        return refusal_of(violations)
    return _decision(reply, gridded, inputs)


def refusal_of(violations: Iterable[Violation]) -> Refusal:
    """The refusal of a well-formed reply that breaks rules."""
    found = tuple(violations)
    sentences = "; ".join(f"{v.rule} at {v.path}: {v.detail}" for v in found[:MAX_VIOLATIONS])
    detail = f"{len(found)} violation{'s' if len(found) > 1 else ''}: {sentences}"
    return Refusal("violations", _shortened(detail, _MAX_DETAIL_CHARS), kept(found))


# --- one target ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    target: TargetReply


@dataclass(frozen=True, slots=True)
class _Gridded:
    """A target on the venue's grid; a price that cannot be a price stays None."""

    want: Want
    stop_loss: Decimal | None
    take_profit: Decimal | None
    side: int
    """1 long, −1 short: the side that was asked for, even where less than a lot of it is left."""

    @property
    def size(self) -> Decimal:
        return self.want.size_base

    @property
    def held(self) -> Decimal:
        return self.want.held_base


def _by_symbol(
    targets: list[TargetReply], market: MarketSnapshot
) -> tuple[dict[str, _Entry], list[Violation]]:
    tracked = [m.symbol for m in market.markets]
    found: dict[str, _Entry] = {}
    violations: list[Violation] = []
    for index, target in enumerate(targets):
        path = f"targets[{index}]"
        if target.symbol not in tracked:
            detail = f"{_quoted(target.symbol)} is not tracked"
            violations.append(Violation("unknown_symbol", f"{path}.symbol", detail))
        elif target.symbol in found:
            violations.append(
                Violation("duplicate_symbol", f"{path}.symbol", f"{target.symbol} appears twice")
            )
        else:
            found[target.symbol] = _Entry(path, target)
    missing = [name for name in tracked if name not in found]
    violations.extend(Violation("missing_symbol", "targets", f"{name} has no target") for name in missing)
    return found, violations


def _price_on_grid(px: Decimal | None, size_decimals: int) -> Decimal | None:
    if px is None or px <= 0:
        return None
    # Less than half a tick is no price either: the nearest one would be 0.
    return round_price(px, size_decimals, PriceRounding.NEAREST) or None


def _on_grid(target: TargetReply, inputs: JudgementInputs) -> _Gridded:
    market = inputs.market.market(target.symbol)
    decimals = market.asset.size_decimals
    size = floor_size(target.target_size, decimals) + _ZERO  # + 0 turns -0 into 0
    held = inputs.account.size_base(target.symbol)
    return _Gridded(
        Want(market.asset, size, held, market.reference_px, target.margin),
        _price_on_grid(target.stop_loss, decimals),
        _price_on_grid(target.take_profit, decimals),
        (target.target_size > 0) - (target.target_size < 0),
    )


def _judge_target(entry: _Entry, gridded: _Gridded, inputs: JudgementInputs) -> Iterator[Violation]:
    target = entry.target
    if not 0 <= target.confidence <= 1:
        yield Violation(
            "confidence_out_of_range",
            f"{entry.path}.confidence",
            f"{wire(target.confidence)} is not between 0 and 1",
        )
    if target.target_size == 0:
        yield from _judge_flat(entry)
        return
    yield from _judge_size(entry, gridded)
    yield from _judge_protection(entry, gridded, inputs)
    yield from _judge_limits(entry, gridded, inputs)


def _judge_flat(entry: _Entry) -> Iterator[Violation]:
    for name in ("stop_loss", "take_profit"):
        if getattr(entry.target, name) is not None:
            detail = f"{entry.target.symbol} is to be flat: {name} must be null"
            yield Violation("protection_on_flat", f"{entry.path}.{name}", detail)
    if entry.target.margin:
        detail = f"{entry.target.symbol} is to be flat: margin must be null"
        yield Violation("margin_on_flat", f"{entry.path}.margin", detail)


def _judge_size(entry: _Entry, gridded: _Gridded) -> Iterator[Violation]:
    path, asset = f"{entry.path}.target_size", gridded.want.asset
    if gridded.size == 0:
        detail = f"{wire(entry.target.target_size)} is less than one lot of {asset.symbol}"
        yield Violation("size_below_lot", path, detail)
    # A holding that is kept as it is needs no order, so the venue's minimum does not bind it.
    elif gridded.size != gridded.held and is_below_minimum(gridded.size, gridded.want.px):
        detail = f"{wire(gridded.size)} {asset.symbol} is worth less than the venue's minimum of 10 USD"
        yield Violation("below_minimum_value", path, detail)
    if asset.is_delisted and gridded.want.increases_exposure:
        yield Violation("symbol_delisted", path, f"{asset.symbol} is delisted: it can only be reduced")


def _judge_protection(entry: _Entry, gridded: _Gridded, inputs: JudgementInputs) -> Iterator[Violation]:
    for name, px, toward in (
        ("stop_loss", gridded.stop_loss, -1),
        ("take_profit", gridded.take_profit, 1),
    ):
        path = f"{entry.path}.{name}"
        if getattr(entry.target, name) is None:
            yield Violation(f"missing_{name}", path, f"{entry.target.symbol} is not flat and has no {name}")
        elif px is None:
            yield Violation("price_not_positive", path, f"{name} must be above 0 on the venue's price grid")
        elif (px - gridded.want.px) * toward * gridded.side <= 0:
            yield Violation(f"{name}_wrong_side", path, _wrong_side(name, px, gridded))
        elif _is_too_small_to_rest(px, gridded):
            order = f"{name} {wire(px)} of {wire(abs(gridded.size))} {entry.target.symbol}"
            detail = f"{order} would be an order worth less than the venue's minimum of 10 USD"
            yield Violation("protection_below_minimum", path, detail)
    yield from _judge_liquidation(entry, gridded, inputs.account)


def _is_too_small_to_rest(trigger_px: Decimal, gridded: _Gridded) -> bool:
    """Valued at the limit price of its order, the lower of the two readings of the venue's rule."""
    if gridded.size == gridded.held or is_below_minimum(gridded.size, gridded.want.px):
        return False  # what stands already needs no new order; a size below the minimum says so itself
    decimals = gridded.want.asset.size_decimals
    limit_px = trigger_limit_px(trigger_px, decimals, is_buy=gridded.side < 0)
    return is_below_minimum(gridded.size, min(limit_px, trigger_px))


def _wrong_side(name: str, px: Decimal, gridded: _Gridded) -> str:
    side = "long" if gridded.side > 0 else "short"
    should = "below" if (name == "stop_loss") == (gridded.side > 0) else "above"
    return f"{name} {wire(px)} of a {side} must be {should} the price {wire(gridded.want.px)}"


def _judge_liquidation(entry: _Entry, gridded: _Gridded, account: AccountSnapshot) -> Iterator[Violation]:
    position = account.position(entry.target.symbol)
    stop = gridded.stop_loss
    if position is None or position.liquidation_px is None or stop is None:
        return
    if gridded.held * gridded.size > 0 and (stop - position.liquidation_px) * gridded.side <= 0:
        detail = f"stop_loss {wire(stop)} lies beyond the liquidation price {wire(position.liquidation_px)}"
        yield Violation("stop_beyond_liquidation", f"{entry.path}.stop_loss", detail)


# --- limits ----------------------------------------------------------------------------------------


def _judge_limits(entry: _Entry, gridded: _Gridded, inputs: JudgementInputs) -> Iterator[Violation]:
    limits, notional, symbol = inputs.limits, gridded.want.notional_usd, entry.target.symbol
    if notional > limits.max_position_usd:
        detail = f"{symbol} would be worth {_usd(notional)}, the limit is {_usd(limits.max_position_usd)}"
        yield Violation("position_limit", f"{entry.path}.target_size", detail)
    margin, path = entry.target.margin, f"{entry.path}.margin"
    if margin is None:
        yield from _judge_standing_leverage(path, gridded, inputs.account)
        return
    if margin <= 0:
        yield Violation("margin_not_positive", path, "margin must be above 0, or null")
        return
    leverage = asked_leverage(notional, margin)
    allowed = allowed_leverage(gridded.want.asset, notional, limits)
    if leverage > allowed:
        detail = f"{symbol}: {_usd(notional)} on {_usd(margin)} is leverage {leverage}, allowed is {allowed}"
        yield Violation("leverage_limit", path, detail)


def _judge_standing_leverage(path: str, gridded: _Gridded, account: AccountSnapshot) -> Iterator[Violation]:
    """Without a margin the leverage stays as it is, and the venue's tier binds it all the same."""
    if not gridded.want.increases_exposure:
        return
    asset, notional = gridded.want.asset, gridded.want.notional_usd
    leverage, allowed = account.leverage(asset.symbol), tier_leverage(asset, notional)
    if leverage is not None and leverage > allowed:
        detail = f"{asset.symbol} stands at {leverage}x and {_usd(notional)} allows {allowed}x: give a margin"
        yield Violation("leverage_limit", path, detail)


def _judge_portfolio(gridded: Iterable[_Gridded], inputs: JudgementInputs) -> Iterator[Violation]:
    limits, account, wants = inputs.limits, inputs.account, [each.want for each in gridded]
    gross = sum((want.notional_usd for want in wants), _ZERO)
    if gross > limits.max_gross_exposure_usd:
        detail = f"targets add up to {_usd(gross)}, the limit is {_usd(limits.max_gross_exposure_usd)}"
        yield Violation("gross_exposure_limit", "targets", detail)
    # Keeping or reducing needs no new margin, however little there is left.
    if not any(want.increases_exposure for want in wants):
        return
    needed = margin_needed_usd(wants, account, limits, inputs.entry_cost_bps)
    if needed > account.account_value_usd:
        detail = f"targets need {_usd(needed)} of margin and entry costs at the leverage in force, "
        detail += f"the account is worth {_usd(account.account_value_usd)}"
        yield Violation("buying_power", "targets", detail)


# --- the prior plan --------------------------------------------------------------------------------


def _judge_prior_plan(
    reply: Reply, gridded: Mapping[str, _Gridded], inputs: JudgementInputs
) -> Iterator[Violation]:
    plan, prior = PriorPlan(reply.prior_plan), inputs.prior.decision
    if prior is None and plan is not PriorPlan.NONE:
        detail = f"there is no prior plan that could be {plan.value}: it must be none"
        yield Violation("prior_plan_without_prior", "prior_plan", detail)
    if prior is not None and plan is PriorPlan.NONE:
        yield Violation("prior_plan_ignored", "prior_plan", "a prior plan stands: say kept or replaced")
    reason_given = bool((reply.replaced_because or "").strip())
    if reason_given != (plan is PriorPlan.REPLACED):
        rule = "replaced_because_unexpected" if reason_given else "replaced_because_missing"
        detail = "replaced_because is given exactly when prior_plan is replaced"
        yield Violation(rule, "replaced_because", detail)
    if prior is not None and plan is PriorPlan.KEPT:
        yield from _judge_kept(gridded, prior)


def _judge_kept(gridded: Mapping[str, _Gridded], prior: Decision) -> Iterator[Violation]:
    before = {target.symbol: target for target in prior.targets}
    for name, now in gridded.items():
        if (now.size, now.stop_loss, now.take_profit) != _prior_on_grid(before.get(name), now.want.asset):
            detail = f"{name} differs from the last applied target: repeat it, or say replaced"
            yield Violation("kept_but_changed", "prior_plan", detail)


def _prior_on_grid(
    target: TargetPosition | None, asset: AssetSpec
) -> tuple[Decimal, Decimal | None, Decimal | None]:
    # A symbol that was not tracked then was flat then.
    if target is None:
        return _ZERO, None, None
    return (
        floor_size(target.target_size, asset.size_decimals) + _ZERO,
        _price_on_grid(target.stop_loss, asset.size_decimals),
        _price_on_grid(target.take_profit, asset.size_decimals),
    )


# --- the result ------------------------------------------------------------------------------------


def _judge_conditions(reply: Reply, inputs: JudgementInputs) -> Iterator[Violation]:
    for index, condition in enumerate(_conditions(reply)):
        problem = problem_with(condition, inputs.market, inputs.window_series)
        if problem is not None:
            yield Violation(problem[0], f"conditions[{index}]", problem[1])


def _conditions(reply: Reply) -> tuple[Condition, ...]:
    return tuple(
        Condition(c.symbol, c.series, c.operator, c.value, c.interval) for c in reply.conditions or ()
    )


def _decision(reply: Reply, gridded: Mapping[str, _Gridded], inputs: JudgementInputs) -> Decision:
    replies = {target.symbol: target for target in reply.targets}
    targets = tuple(_target(replies[m.symbol], gridded[m.symbol]) for m in inputs.market.markets)
    plan, prior = PriorPlan(reply.prior_plan), inputs.prior.decision
    because = reply.replaced_because if plan is PriorPlan.REPLACED else None
    conditions = _conditions(reply)
    if plan is PriorPlan.KEPT and prior is not None and reply.conditions is None:
        conditions = prior.conditions  # a plan that is kept without a word on them keeps them
    return Decision(reply.explanation, reply.invalidation_condition, targets, plan, because, conditions)


def _target(target: TargetReply, gridded: _Gridded) -> TargetPosition:
    answered = (target.target_size, target.stop_loss, target.take_profit)
    is_on_grid = answered == (gridded.size, gridded.stop_loss, gridded.take_profit)
    return TargetPosition(
        symbol=target.symbol,
        target_size=gridded.size,
        stop_loss=gridded.stop_loss,
        take_profit=gridded.take_profit,
        confidence=float(target.confidence),
        rationale=target.rationale,
        margin_usd=target.margin if gridded.size else None,
        answered=None if is_on_grid else AnsweredTarget(*answered),
    )


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD"


def _quoted(text: str) -> str:
    return _shortened(ascii(text), 40)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
