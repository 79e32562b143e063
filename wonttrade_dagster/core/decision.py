"""The judgement of a model's reply: text in, ``Decision`` or ``Refusal`` out.

Belongs here: which replies are applied, the names of the rules, bringing sizes and prices onto the grid.
Does not belong here: JSON's own rules and the reply's shape (``core.reply``), limits (``core.limits``), the
model call.

A reply is taken whole or refused whole. Every violation is collected; nothing is clipped or salvaged.
Rules in ``docs/prompt.md``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.buying_power import Want
from wonttrade_dagster.core.invalidation import WINDOW_SERIES, problem_with
from wonttrade_dagster.core.limits import judge_limits, judge_portfolio
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
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.reply import MAX_VIOLATIONS, Reply, TargetReply, kept, parse_reply

_ZERO = Decimal(0)
_ONE = Decimal(1)
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
    plan, conditions = PriorPlan(reply.prior_plan), _conditions(reply)
    violations.extend(_judge_prior_plan(plan, reply, gridded, inputs))
    violations.extend(_judge_conditions(conditions, inputs))
    wants = [each.want for each in gridded.values()]
    violations.extend(judge_portfolio(wants, inputs.account, inputs.limits, inputs.entry_cost_bps))
    if violations:
        return refusal_of(violations)
    targets = tuple([_target(by_symbol[m.symbol].target, gridded[m.symbol]) for m in inputs.market.markets])
    return _decision(reply, plan, targets, conditions, inputs.prior.decision)


def refusal_of(violations: Iterable[Violation]) -> Refusal:
    """The refusal of a well-formed reply that breaks rules."""
    found = tuple(violations)
    sentences = "; ".join(f"{v.rule} at {v.path}: {v.detail}" for v in found[:MAX_VIOLATIONS])
    detail = f"{len(found)} violation{'s' if len(found) > 1 else ''}: {sentences}"
    return Refusal("violations", _shortened(detail, _MAX_DETAIL_CHARS), kept(found))


# --- one target ------------------------------------------------------------------------------------


@quick_init
@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    target: TargetReply


@quick_init
@dataclass(frozen=True, slots=True)
class _Gridded:
    """A target on the venue's grid; a price that cannot be a price stays None."""

    want: Want
    size: Decimal
    held: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    side: int
    """1 long, −1 short: the side that was asked for, even where less than a lot of it is left."""


def _by_symbol(
    targets: list[TargetReply], market: MarketSnapshot
) -> tuple[dict[str, _Entry], list[Violation]]:
    tracked = [m.symbol for m in market.markets]
    found: dict[str, _Entry] = {}
    violations: list[Violation] = []
    for index, target in enumerate(targets):
        path, symbol = f"targets[{index}]", target.symbol
        if symbol not in tracked:
            detail = f"{_quoted(symbol)} is not tracked"
            violations.append(Violation("unknown_symbol", f"{path}.symbol", detail))
        elif symbol in found:
            violations.append(Violation("duplicate_symbol", f"{path}.symbol", f"{symbol} appears twice"))
        else:
            found[symbol] = _Entry(path, target)
    missing = [name for name in tracked if name not in found]
    violations += [Violation("missing_symbol", "targets", f"{name} has no target") for name in missing]
    return found, violations


def _price_on_grid(px: Decimal | None, size_decimals: int) -> Decimal | None:
    if px is None or px <= _ZERO:
        return None
    # Less than half a tick is no price either: the nearest one would be 0.
    return round_price(px, size_decimals, PriceRounding.NEAREST) or None


def _on_grid(target: TargetReply, inputs: JudgementInputs) -> _Gridded:
    market = inputs.market.market(target.symbol)
    decimals = market.asset.size_decimals
    asked = target.target_size
    size = floor_size(asked, decimals) + _ZERO  # + 0 turns -0 into 0
    held = inputs.account.size_base(target.symbol)
    return _Gridded(
        Want(market.asset, size, held, market.reference_px, target.margin),
        size,
        held,
        _price_on_grid(target.stop_loss, decimals),
        _price_on_grid(target.take_profit, decimals),
        0 if not asked else -1 if asked.is_signed() else 1,
    )


def _judge_target(entry: _Entry, gridded: _Gridded, inputs: JudgementInputs) -> Iterator[Violation]:
    target = entry.target
    if not _ZERO <= target.confidence <= _ONE:
        yield Violation(
            "confidence_out_of_range",
            f"{entry.path}.confidence",
            f"{wire(target.confidence)} is not between 0 and 1",
        )
    if not target.target_size:
        yield from _judge_flat(entry)
        return
    yield from _judge_size(entry, gridded)
    yield from _judge_protection(entry, gridded, inputs)
    yield from judge_limits(entry.path, gridded.want, inputs.account, inputs.limits)


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
    if not gridded.size:
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
        found = _problem_with_price(name, px, toward, entry.target, gridded)
        if found is not None:
            yield Violation(found[0], f"{entry.path}.{name}", found[1])
    yield from _judge_liquidation(entry, gridded, inputs.account)


def _problem_with_price(
    name: str, px: Decimal | None, toward: int, target: TargetReply, gridded: _Gridded
) -> tuple[str, str] | None:
    """Rule and sentence for a stop or a take-profit that cannot stand; ``toward`` is its side of a long."""
    if getattr(target, name) is None:
        return f"missing_{name}", f"{target.symbol} is not flat and has no {name}"
    if px is None:
        return "price_not_positive", f"{name} must be above 0 on the venue's price grid"
    reference = gridded.want.px
    if px <= reference if toward == gridded.side else px >= reference:
        return f"{name}_wrong_side", _wrong_side(name, px, gridded)
    if _is_too_small_to_rest(px, gridded):
        order = f"{name} {wire(px)} of {wire(abs(gridded.size))} {target.symbol}"
        detail = f"{order} would be an order worth less than the venue's minimum of 10 USD"
        return "protection_below_minimum", detail
    return None


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
    is_beyond = stop <= position.liquidation_px if gridded.side > 0 else stop >= position.liquidation_px
    if is_beyond and gridded.held * gridded.size > 0:
        detail = f"stop_loss {wire(stop)} lies beyond the liquidation price {wire(position.liquidation_px)}"
        yield Violation("stop_beyond_liquidation", f"{entry.path}.stop_loss", detail)


# --- the prior plan --------------------------------------------------------------------------------


def _judge_prior_plan(
    plan: PriorPlan, reply: Reply, gridded: Mapping[str, _Gridded], inputs: JudgementInputs
) -> Iterator[Violation]:
    prior = inputs.prior.decision
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
        if not _is_kept(before.get(name), now):
            detail = f"{name} differs from the last applied target: repeat it, or say replaced"
            yield Violation("kept_but_changed", "prior_plan", detail)


def _is_kept(target: TargetPosition | None, now: _Gridded) -> bool:
    asked = (now.size, now.stop_loss, now.take_profit)
    # A symbol that was not tracked then was flat then.
    if target is None:
        return asked == (_ZERO, None, None)
    before = (target.target_size, target.stop_loss, target.take_profit)
    return asked == before or asked == _on_grid_of(now.want.asset, *before)


def _on_grid_of(
    asset: AssetSpec, size: Decimal, stop_loss: Decimal | None, take_profit: Decimal | None
) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """A target that was applied when the venue's grid was another one, as the grid is now."""
    decimals = asset.size_decimals
    prices = _price_on_grid(stop_loss, decimals), _price_on_grid(take_profit, decimals)
    return floor_size(size, decimals), *prices


# --- the result ------------------------------------------------------------------------------------


def _judge_conditions(conditions: Sequence[Condition], inputs: JudgementInputs) -> Iterator[Violation]:
    for index, condition in enumerate(conditions):
        problem = problem_with(condition, inputs.market, inputs.window_series)
        if problem is not None:
            yield Violation(problem[0], f"conditions[{index}]", problem[1])


def _conditions(reply: Reply) -> tuple[Condition, ...]:
    return tuple(
        Condition(c.symbol, c.series, c.operator, c.value, c.interval) for c in reply.conditions or ()
    )


def _decision(
    reply: Reply,
    plan: PriorPlan,
    targets: tuple[TargetPosition, ...],
    conditions: tuple[Condition, ...],
    prior: Decision | None,
) -> Decision:
    because = reply.replaced_because if plan is PriorPlan.REPLACED else None
    if plan is PriorPlan.KEPT and prior is not None and reply.conditions is None:
        conditions = prior.conditions  # a plan that is kept without a word on them keeps them
    return Decision(reply.explanation, reply.invalidation_condition, targets, plan, because, conditions)


def _target(target: TargetReply, gridded: _Gridded) -> TargetPosition:
    answered = (target.target_size, target.stop_loss, target.take_profit)
    is_on_grid = answered == (gridded.size, gridded.stop_loss, gridded.take_profit)
    return TargetPosition(
        target.symbol,
        gridded.size,
        gridded.stop_loss,
        gridded.take_profit,
        float(target.confidence),
        target.rationale,
        target.margin if gridded.size else None,
        None if is_on_grid else AnsweredTarget(*answered),
    )


def _quoted(text: str) -> str:
    return _shortened(ascii(text), 40)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
