"""The plan: the actions that lead from holding to target.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from wonttrade_dagster.core.model.account import AccountSnapshot, Leg
from wonttrade_dagster.core.model.decision import Refusal
from wonttrade_dagster.core.model.market import AssetSpec
from wonttrade_dagster.core.model.rules import CycleSetting
from wonttrade_dagster.core.quick_init import quick_init


class OrderPurpose(StrEnum):
    """Why an order exists; decides its urgency and whether freshness binds it."""

    OPEN = "open"
    INCREASE = "increase"
    REDUCE = "reduce"
    CLOSE = "close"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"

    @property
    def increases_exposure(self) -> bool:
        """Only these are bound by the freshness of the decision."""
        return self in (OrderPurpose.OPEN, OrderPurpose.INCREASE)


@quick_init
@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Send one order. ``size_base`` is unsigned; prices lie on the venue's grid.

    Entries and closes are IOC limits (the venue's market orders); with ``trigger_px`` it is a
    reduce-only market trigger. A protection order's size is what the plan expects to hold: the
    executor sizes it to what was really filled.
    """

    symbol: str
    purpose: OrderPurpose
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    reduce_only: bool
    cloid: str
    reason: str
    trigger_px: Decimal | None = None
    replaces_oid: int | None = None
    """The old protection order that a CancelOrder of the same plan removes once this one stands."""
    good_until_ms: int | None = None
    """The venue must drop the order when it arrives later: set for orders that increase exposure."""
    kind: Literal["place"] = "place"

    @property
    def leg(self) -> Leg | None:
        """The protection leg, or None for an entry, reduction or close."""
        if self.purpose is OrderPurpose.STOP_LOSS:
            return Leg.STOP_LOSS
        return Leg.TAKE_PROFIT if self.purpose is OrderPurpose.TAKE_PROFIT else None


@quick_init
@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel one order of ours. ``after_cloid`` waits until that order is confirmed standing."""

    symbol: str
    oid: int
    cloid: str | None
    reason: str
    after_cloid: str | None = None
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class SetLeverage:
    """Set the integer leverage of a symbol, together with its margin mode."""

    symbol: str
    leverage: int
    is_cross: bool
    reason: str
    kind: Literal["leverage"] = "leverage"


Action = PlaceOrder | CancelOrder | SetLeverage


@dataclass(frozen=True, slots=True)
class SkippedDelta:
    """A difference between target and holding that was left alone, and why."""

    symbol: str
    delta_base: Decimal
    reason: str


@quick_init
@dataclass(frozen=True, slots=True)
class PlanBasis:
    """What a plan was made from beside the decision, the account and the market: for whoever plans it again.

    Attributes:
        planned_at_ms: the time of planning; the decision's age ends there.
        assets: the tracked symbols that the venue listed, as it described them.
        prior_cycle_ms: the cycle whose decision missing protection is put back from; None without one.
        stranger_oids: open orders under our tag that the journal proved to be another machine's.
        setting: limits, rules and symbols.
    """

    planned_at_ms: int
    assets: tuple[AssetSpec, ...]
    prior_cycle_ms: int | None
    stranger_oids: tuple[int, ...]
    setting: CycleSetting


@quick_init
@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """The minimal ordered list of actions, risk-reducing ones first.

    ``refusal`` is set when the decision was not applied; the plan then holds protection only.
    ``alerts`` name positions that stand unprotected and cannot be helped from here.
    """

    cycle_ms: int
    actions: tuple[Action, ...]
    skipped: tuple[SkippedDelta, ...] = ()
    refusal: Refusal | None = None
    alerts: tuple[str, ...] = ()
    account: AccountSnapshot | None = None
    """The account as read for this plan, after the decision; None when it could not be read."""
    basis: PlanBasis | None = None
    """None in records from before it was kept."""
