"""The account and prior-decision part of a prompt's facts.

Belongs here: positions, standing protection, the prior plan and how price stands to it, in words.
Does not belong here: the market (``core.prompt_market``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.invalidation import Reading, sentence
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    BreakerState,
    Decision,
    Fill,
    Leg,
    MarketSnapshot,
    OpenOrder,
    PerformanceSoFar,
    Position,
    PriorDecision,
    SymbolMarket,
    TargetPosition,
)
from wonttrade_dagster.core.precision import wire
from wonttrade_dagster.core.prompt_market import price_format
from wonttrade_dagster.core.prompt_text import (
    ABSENT,
    PriceFormat,
    age,
    cycle_name,
    percent,
    quoted,
    signed,
    usd,
)
from wonttrade_dagster.core.quick_init import quick_init

_EXPLANATION_CHARS = 1_200
_SENTENCE_CHARS = 500


@quick_init
@dataclass(frozen=True, slots=True)
class ProtectionFacts:
    """One trigger order standing on the venue."""

    leg: str
    trigger_px: str
    size: str
    oid: int


@quick_init
@dataclass(frozen=True, slots=True)
class PositionFacts:
    """One open position with the protection that stands for it."""

    symbol: str
    size: str
    entry: str
    mark: str
    liquidation: str
    pnl_usd: str
    leverage: int
    margin_mode: str
    margin_used_usd: str
    funding_paid_usd: str
    age: str
    protection: tuple[ProtectionFacts, ...]


@quick_init
@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Value, margin and performance so far."""

    value_usd: str
    free_margin_usd: str
    margin_used_usd: str
    opening_equity_usd: str
    return_percent: str
    sharpe: str
    fees_usd: str
    funding_usd: str
    positions: tuple[PositionFacts, ...]
    orphans: tuple[ProtectionFacts, ...]


@quick_init
@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One prior target and how the price stands to it; ``rationale`` is harmless quoted text."""

    symbol: str
    size: str
    stop_loss: str
    take_profit: str
    stop_distance: str
    take_profit_distance: str
    held: str
    rationale: str


@quick_init
@dataclass(frozen=True, slots=True)
class PriorFacts:
    """The last applied decision; its texts are harmless quoted lines."""

    cycle: str
    explanation: str
    invalidation_condition: str
    targets: tuple[TargetFacts, ...]
    conditions: tuple[str, ...]
    fills: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefusalFacts:
    """Why the cycle before this one was not applied."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PauseFacts:
    """That calls were paused after failures, and that this one is the first since."""

    since: str
    failures: int
    reason: str


def account_facts(
    account: AccountSnapshot,
    performance: PerformanceSoFar,
    market: MarketSnapshot,
    ages: Mapping[str, str],
) -> AccountFacts:
    """What the prompt says of the account."""
    return AccountFacts(
        value_usd=usd(account.account_value_usd),
        free_margin_usd=usd(account.free_margin_usd),
        margin_used_usd=usd(account.margin_used_usd),
        opening_equity_usd=usd(performance.opening_equity_usd),
        return_percent=_return(performance),
        sharpe=ABSENT if performance.sharpe is None else f"{performance.sharpe:.2f}",
        fees_usd=usd(performance.fees_usd),
        funding_usd=usd(performance.funding_usd),
        positions=tuple(_position(p, account, market, ages) for p in account.positions),
        orphans=tuple(_protection(o) for o in account.open_orders if _is_orphan(o, account)),
    )


def _return(performance: PerformanceSoFar) -> str:
    """With what was paid in or taken out, without which it does not fit to opening equity and value."""
    told, moved_usd = percent(performance.return_fraction), performance.transfers_usd
    if moved_usd == 0:
        return told
    return f"{told} ({usd(abs(moved_usd))} USD {'paid in' if moved_usd > 0 else 'taken out'} apart)"


def prior_facts(
    prior: PriorDecision, account: AccountSnapshot, market: MarketSnapshot, found: tuple[Reading, ...]
) -> PriorFacts | None:
    """The last applied decision, or None before the first one."""
    decision = prior.decision
    if decision is None:
        return None
    return PriorFacts(
        cycle=ABSENT if prior.decided_cycle_ms is None else cycle_name(prior.decided_cycle_ms),
        explanation=quoted(decision.explanation, _EXPLANATION_CHARS),
        invalidation_condition=quoted(decision.invalidation_condition, _SENTENCE_CHARS),
        targets=_targets(decision, account, market),
        conditions=tuple(_condition(n, reading) for n, reading in enumerate(found, start=1)),
        fills=tuple(_fill(fill) for fill in prior.fills),
    )


def refusal_facts(prior: PriorDecision) -> RefusalFacts | None:
    """The refusal of the cycle before this one, or None when it was applied."""
    refusal = prior.last_refusal
    if refusal is None:
        return None
    return RefusalFacts(quoted(refusal.reason, 80), quoted(refusal.detail, _SENTENCE_CHARS))


def pause_facts(breaker: BreakerState, cycle_ms: int) -> PauseFacts | None:
    """After a pause: what failed, and since when; None while nothing was paused."""
    if not breaker.pauses or breaker.since_ms is None:
        return None
    since = f"{cycle_name(breaker.since_ms)}, {age(cycle_ms - breaker.since_ms)} ago"
    return PauseFacts(since, breaker.failures, quoted(breaker.reason, _SENTENCE_CHARS))


def _condition(number_in_plan: int, reading: Reading) -> str:
    # The words are the program's own: symbol, series, operator and interval were checked by the judgement.
    now = ABSENT if reading.value is None else f"{reading.value:.8g}"
    state = {True: "TRUE NOW", False: "false", None: "cannot be checked"}[reading.holds]
    return f"condition {number_in_plan}: {quoted(sentence(reading.condition), 160)} (now {now}): {state}"


def _market_of(market: MarketSnapshot, symbol: str) -> SymbolMarket | None:
    for each in market.markets:
        if each.symbol == symbol:
            return each
    return None


def _position(
    position: Position, account: AccountSnapshot, market: MarketSnapshot, ages: Mapping[str, str]
) -> PositionFacts:
    symbol_market = _market_of(market, position.symbol)
    fmt = None if symbol_market is None else price_format(symbol_market)
    mark = account.mark_px(position.symbol)
    if mark is None and symbol_market is not None:
        mark = symbol_market.mark_px
    return PositionFacts(
        symbol=position.symbol,
        size=signed(position.size_base),
        entry=_px(position.entry_px, fmt),
        mark=_px(mark, fmt),
        liquidation=_px(position.liquidation_px, fmt),
        pnl_usd=usd(position.unrealized_pnl_usd),
        leverage=position.leverage,
        margin_mode="cross" if position.is_cross else "isolated",
        margin_used_usd=usd(position.margin_used_usd),
        funding_paid_usd=usd(position.funding_since_open_usd),
        age=ages.get(position.symbol, ABSENT),
        protection=tuple(_protection(o) for o in account.protection(position.symbol)),
    )


def _px(px: Decimal | None, fmt: PriceFormat | None) -> str:
    # A position in a symbol that is not tracked has no tick here: its numbers stand as the venue sent them.
    if px is None:
        return ABSENT
    return wire(px) if fmt is None else fmt.px(px)


def _is_orphan(order: OpenOrder, account: AccountSnapshot) -> bool:
    return order.leg is not None and account.position(order.symbol) is None


def _protection(order: OpenOrder) -> ProtectionFacts:
    leg = order.leg or Leg.STOP_LOSS
    size = "whole position" if order.is_whole_position else wire(order.size_base)
    trigger = ABSENT if order.trigger_px is None else wire(order.trigger_px)
    return ProtectionFacts(f"{order.symbol} {leg}", trigger, size, order.oid)


def _targets(decision: Decision, account: AccountSnapshot, market: MarketSnapshot) -> tuple[TargetFacts, ...]:
    tracked = ((target, _market_of(market, target.symbol)) for target in decision.targets)
    return tuple(_target(target, m, account) for target, m in tracked if m is not None)


def _target(target: TargetPosition, market: SymbolMarket, account: AccountSnapshot) -> TargetFacts:
    px = market.reference_px
    return TargetFacts(
        symbol=target.symbol,
        size=signed(target.target_size),
        stop_loss=ABSENT if target.stop_loss is None else wire(target.stop_loss),
        take_profit=ABSENT if target.take_profit is None else wire(target.take_profit),
        stop_distance=_distance(px, target.stop_loss, target.target_size < 0),
        take_profit_distance=_distance(px, target.take_profit, target.target_size > 0),
        held=signed(account.size_base(target.symbol)),
        rationale=quoted(target.rationale, _SENTENCE_CHARS),
    )


def _distance(px: Decimal, level: Decimal | None, is_above: bool) -> str:  # noqa: FBT001 (two private callers)
    """How far the price still has to go to ``level``; ``is_above``: reached from below."""
    if level is None:
        return ABSENT
    if (px >= level) if is_above else (px <= level):
        return "CROSSED"
    return f"{percent(float(level / px) - 1.0)} away"


def _fill(fill: Fill) -> str:
    return f"{fill.symbol} {signed(fill.size_base)} at {wire(fill.px)}, fee {usd(fill.fee_usd)} USD"
