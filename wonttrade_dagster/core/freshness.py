"""Whether a good decision still holds at the time of planning.

Belongs here: its age, and prices that have crossed one of its stops or take-profits since.
Does not belong here: the judgement of the reply (``core.decision``), the orders (``core.reconcile``).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from wonttrade_dagster.core.model import Decision, ExecutionRules, Leg, Refusal, TargetPosition
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


def _overtaken(target: TargetPosition, reference_px: Decimal | None) -> Refusal | None:
    if reference_px is None:
        return Refusal("no_reference_price", f"{target.symbol} has no price to plan its orders around")
    if target.target_size == 0:
        return None
    for leg, reason in (
        (Leg.STOP_LOSS, "price_moved_past_stop"),
        (Leg.TAKE_PROFIT, "price_moved_past_take_profit"),
    ):
        px = protection_px(target, leg)
        if px is not None and is_crossed(leg, px, reference_px, is_long=target.target_size > 0):
            name = LEG_NAMES[leg].lower()
            return Refusal(reason, f"{target.symbol} is at {reference_px}, past its {name} at {px}")
    return None
