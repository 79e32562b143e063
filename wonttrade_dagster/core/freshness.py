"""Whether a good decision still holds at the time of planning.

Belongs here: its age, prices that have crossed one of its stops or take-profits since, and positions that
have changed under it.
Does not belong here: the judgement of the reply (``core.decision``), the orders (``core.reconcile``).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    Decision,
    ExecutionRules,
    Leg,
    Refusal,
    TargetPosition,
)
from wonttrade_dagster.core.precision import floor_size, wire
from wonttrade_dagster.core.protection import is_crossed, protection_px

LEG_NAMES: Mapping[Leg, str] = {Leg.STOP_LOSS: "STOP-LOSS", Leg.TAKE_PROFIT: "TAKE-PROFIT"}


def still_holds(
    outcome: Decision | Refusal,
    symbols: Sequence[str],
    reference_px: Mapping[str, Decimal],
    age_ms: int,
    rules: ExecutionRules,
) -> Decision | Refusal:
    """The decision, or why it is not applied any more; a refusal stays what it is."""
    if isinstance(outcome, Refusal):
        return outcome
    limit_ms = rules.max_decision_age_ms
    if age_ms > limit_ms:
        return Refusal(
            "stale_decision", f"the decision is {age_ms} ms old, at most {limit_ms} ms are allowed"
        )
    for symbol in symbols:
        refusal = _overtaken(outcome.target(symbol), reference_px.get(symbol))
        if refusal is not None:
            return refusal
    return outcome


def on_same_holdings(
    outcome: Decision | Refusal,
    assets: Sequence[AssetSpec],
    judged_on: AccountSnapshot,
    account: AccountSnapshot,
) -> Decision | Refusal:
    """The decision, unless it would rebuild what has gone since it was judged; a refusal stays what it is.

    A stop or a take-profit may fire while the model thinks. The target that was judged beside the position
    is then no wish to open it again. Targets that add nothing to what is left are applied all the same.

    Args:
        outcome: the judged decision.
        assets: the tracked symbols that the venue lists.
        judged_on: the account that the decision was judged on.
        account: the account now.
    """
    if isinstance(outcome, Refusal):
        return outcome
    for asset in assets:
        before, now = judged_on.size_base(asset.symbol), account.size_base(asset.symbol)
        if before == now:
            continue
        goal = floor_size(outcome.target(asset.symbol).target_size, asset.size_decimals)
        if _adds(goal, now):
            detail = f"{asset.symbol} was {wire(before)} when the decision was judged and is {wire(now)} now"
            return Refusal("account_changed", f"{detail}: a target of {wire(goal)} would add to it")
    return outcome


def _adds(goal: Decimal, held: Decimal) -> bool:
    """Whether the way from what is held to the goal opens or increases a position."""
    return goal != 0 and (held * goal <= 0 or abs(goal) > abs(held))


def _overtaken(target: TargetPosition, reference_px: Decimal | None) -> Refusal | None:
    if reference_px is None:
        return Refusal("no_reference_price", f"{target.symbol} has no price to plan its orders around")
    if not target.target_size:
        return None
    is_long = target.target_size > 0
    for leg, reason in (
        (Leg.STOP_LOSS, "price_moved_past_stop"),
        (Leg.TAKE_PROFIT, "price_moved_past_take_profit"),
    ):
        px = protection_px(target, leg)
        if px is not None and is_crossed(leg, px, reference_px, is_long=is_long):
            name = LEG_NAMES[leg].lower()
            return Refusal(reason, f"{target.symbol} is at {reference_px}, past its {name} at {px}")
    return None
