"""PositionReconciler: from what is held to what is wanted, in the fewest orders.

Belongs here: which orders, cancels and leverage changes a cycle needs, and in which order.
Does not belong here: judging the decision itself (``core.decision``), sending (``core.execution``), how a
single order is priced (``core.order_desk``).

Pure and deterministic: the same arguments give the same plan, and planning again from the account that a
plan leads to gives an empty one. Foreign orders, those without this account's tag, are never touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from wonttrade_dagster.core.buying_power import asked_leverage
from wonttrade_dagster.core.client_order_id import is_ours
from wonttrade_dagster.core.freshness import LEG_NAMES, still_holds
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    AssetSpec,
    CancelOrder,
    Decision,
    ExecutionPlan,
    ExecutionRules,
    Leg,
    OpenOrder,
    OrderPurpose,
    PlaceOrder,
    Position,
    Refusal,
    RiskLimits,
    SetLeverage,
    SkippedDelta,
    TargetPosition,
)
from wonttrade_dagster.core.order_desk import OrderDesk
from wonttrade_dagster.core.precision import floor_size, is_below_minimum, wire
from wonttrade_dagster.core.protection import covers, covers_exactly, is_crossed, protection_px, protects
from wonttrade_dagster.core.quick_init import quick_init

_ZERO = Decimal(0)
_BPS = Decimal(10_000)
_LEGS = tuple(Leg)


@dataclass(slots=True)
class _Draft:
    """The plan while it is made; the lists are executed in this order."""

    orphans: list[Action] = field(default_factory=list)
    reductions: list[Action] = field(default_factory=list)
    protection: list[Action] = field(default_factory=list)
    growth: list[Action] = field(default_factory=list)
    skipped: list[SkippedDelta] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    def actions(self) -> tuple[Action, ...]:
        return (*self.orphans, *self.reductions, *self.protection, *self.growth)


@quick_init
@dataclass(frozen=True, slots=True)
class _Scene:
    """One symbol as the account shows it."""

    symbol: str
    desk: OrderDesk
    position: Position | None
    held: Decimal
    reference_px: Decimal | None
    triggers: tuple[OpenOrder, ...]
    """Protection standing on the venue, ours or not."""
    ours: tuple[OpenOrder, ...]
    tag: str

    @property
    def is_remainder(self) -> bool:
        """Worth less than the venue's minimum: what is left of a partly filled order, for instance."""
        reference = self.reference_px
        return bool(self.held) and reference is not None and is_below_minimum(self.held, reference)

    def side(self) -> str:
        return "LONG" if self.held > 0 else "SHORT"


class PositionReconciler:
    """Makes the plan of a cycle.

    Args:
        assets: the venue's perpetuals by symbol; holds every tracked one.
        symbols: the tracked symbols, in the configured order.
        limits: only ``max_leverage`` is used here; the others bind the judgement.
        rules: slippage, stop moves, the decision's freshness, the tag of our orders.
    """

    def __init__(
        self,
        assets: Mapping[str, AssetSpec],
        symbols: Sequence[str],
        limits: RiskLimits,
        rules: ExecutionRules,
    ) -> None:
        self._assets = dict(assets)
        self._symbols = tuple(symbols)
        self._limits = limits
        self._rules = rules

    def plan(
        self,
        *,
        cycle_ms: int,
        outcome: Decision | Refusal,
        account: AccountSnapshot,
        reference_px: Mapping[str, Decimal],
        prior: Decision | None,
        now_ms: int,
    ) -> ExecutionPlan:
        """The fewest actions that bring ``account`` to the decision, risk-reducing ones first.

        Args:
            cycle_ms: the decision time; the decision's age counts from it.
            outcome: the judged decision; a refusal changes no exposure.
            account: as read after the decision.
            reference_px: mark (else mid, else last close) per tracked symbol.
            prior: the last applied decision: names the protection to put back when this one is refused.
            now_ms: the time of planning.

        Returns:
            A plan whose ``refusal`` is set when the decision is not applied: refused before, older than
            ``max_decision_age_ms``, or overtaken by a price that crossed a target's stop or take-profit.
        """
        applied = still_holds(outcome, self._symbols, reference_px, now_ms - cycle_ms, self._rules)
        draft = _Draft()
        self._sweep_untracked(account, draft)
        for symbol in self._symbols:
            scene = self._scene(symbol, cycle_ms, account, reference_px)
            self._settle(scene, applied, _target(prior, symbol), draft)
        refusal = applied if isinstance(applied, Refusal) else None
        return ExecutionPlan(
            cycle_ms, draft.actions(), tuple(draft.skipped), refusal, tuple(draft.alerts), account
        )

    def _settle(
        self, scene: _Scene, applied: Decision | Refusal, prior: TargetPosition | None, draft: _Draft
    ) -> None:
        """One symbol: what the decision wants of it, or without one what stands."""
        if isinstance(applied, Decision):
            self._follow(scene, applied.target(scene.symbol), prior, draft)
        else:
            self._keep(scene, prior, draft)

    # --- reading the account -----------------------------------------------------------------------

    def _scene(
        self, symbol: str, cycle_ms: int, account: AccountSnapshot, reference_px: Mapping[str, Decimal]
    ) -> _Scene:
        position, triggers = account.position(symbol), account.protection(symbol)
        tag = self._rules.cloid_tag
        return _Scene(
            symbol,
            OrderDesk(self._assets[symbol], cycle_ms, self._rules),
            position,
            position.size_base if position else _ZERO,
            reference_px.get(symbol),
            triggers,
            tuple([order for order in triggers if is_ours(order.cloid, tag)]),
            tag,
        )

    def _sweep_untracked(self, account: AccountSnapshot, draft: _Draft) -> None:
        """Orphans of symbols that are no longer tracked."""
        for order in account.open_orders:
            strange = order.symbol not in self._symbols and account.position(order.symbol) is None
            if strange and order.leg is not None and is_ours(order.cloid, self._rules.cloid_tag):
                draft.orphans.append(_cancel(order, "orphan: no position, and the symbol is not tracked"))

    # --- a decision that is applied ----------------------------------------------------------------

    def _follow(
        self, scene: _Scene, target: TargetPosition, prior: TargetPosition | None, draft: _Draft
    ) -> None:
        goal = floor_size(target.target_size, scene.desk.asset.size_decimals)
        if scene.is_remainder and (goal == scene.held or is_below_minimum(goal, _known(scene))):
            self._leave(scene, goal - scene.held, draft)
        elif not scene.held or scene.held * goal < _ZERO:
            self._enter_from_flat(scene, target, goal, draft)
        elif not goal or (goal != scene.held and is_below_minimum(goal, _known(scene))):
            self._close(scene, _close_reason(goal), draft)
        else:
            self._resize(scene, target, prior, goal, draft)

    def _enter_from_flat(self, scene: _Scene, target: TargetPosition, goal: Decimal, draft: _Draft) -> None:
        """Opens, and flips: close, then open once the executor has seen the account flat.

        A remainder of the other side, which takes no close of its own, is crossed by the opening order.
        """
        if scene.held == 0 or scene.is_remainder:
            draft.orphans.extend(_cancel(order, "orphan: no position to close") for order in scene.ours)
        else:
            self._close(scene, "flip: the other side is closed first", draft)
        if goal == 0:
            return
        if is_below_minimum(goal, _known(scene)):
            draft.skipped.append(SkippedDelta(scene.symbol, goal, "below_minimum_value"))
            return
        draft.growth.extend(self._leverage(scene, target))
        size = goal - scene.held if scene.is_remainder else goal
        entry = scene.desk.marketable(OrderPurpose.OPEN, size, _known(scene), f"open {_signed(goal)}")
        draft.growth.append(entry)
        self._protect(scene, target, goal, (), draft.growth, draft.alerts)

    def _resize(
        self,
        scene: _Scene,
        target: TargetPosition,
        prior: TargetPosition | None,
        goal: Decimal,
        draft: _Draft,
    ) -> None:
        """Same side: grow, shrink or stand; then protection for what will be held."""
        delta = goal - scene.held
        grows = delta * scene.held > _ZERO
        if delta and is_below_minimum(delta, _known(scene)):
            draft.skipped.append(SkippedDelta(scene.symbol, delta, "below_minimum_value"))
            delta, grows, goal = Decimal(0), False, scene.held
        # While the size stands, leverage follows a changed margin only: the price alone must not move it.
        if grows or (prior is not None and prior.margin_usd != target.margin_usd):
            draft.growth.extend(self._leverage(scene, target))
        if delta:
            purpose = OrderPurpose.INCREASE if grows else OrderPurpose.REDUCE
            reason = f"{purpose} {_signed(scene.held)} to {_signed(goal)}"
            order = scene.desk.marketable(purpose, delta, _known(scene), reason)
            (draft.growth if grows else draft.reductions).append(order)
        protection = draft.growth if grows else draft.protection
        self._protect(scene, target, goal, self._usable(scene, draft), protection, draft.alerts)

    def _leave(self, scene: _Scene, delta_base: Decimal, draft: _Draft) -> None:
        """The venue takes no order of that value, neither a close nor a stop: it stands and is told."""
        if delta_base:
            draft.skipped.append(SkippedDelta(scene.symbol, delta_base, "below_minimum_value"))
        held = f"{wire(abs(scene.held))} {scene.symbol}"
        draft.alerts.append(
            f"A REMAINDER OF {held} IS WORTH LESS THAN 10 USD: IT CAN NEITHER BE CLOSED NOR PROTECTED ALONE"
        )

    def _close(self, scene: _Scene, reason: str, draft: _Draft) -> None:
        order = scene.desk.marketable(OrderPurpose.CLOSE, -scene.held, _known(scene), reason)
        self._close_by(order, scene, draft)

    def _close_by(self, order: PlaceOrder, scene: _Scene, draft: _Draft) -> None:
        draft.reductions.append(order)
        for old in scene.ours:
            draft.reductions.append(_cancel(old, "its position is closed", after_cloid=order.cloid))

    def _leverage(self, scene: _Scene, target: TargetPosition) -> list[Action]:
        """ceil(notional / margin) within the asset's and the configured maximum; nothing without a margin."""
        if target.margin_usd is None or target.margin_usd <= 0:
            return []
        notional = abs(target.target_size) * _known(scene)
        asked = asked_leverage(notional, target.margin_usd)
        leverage = max(1, min(asked, scene.desk.asset.max_leverage, self._limits.max_leverage))
        if scene.position is not None and scene.position.leverage == leverage:
            return []
        is_cross = not scene.desk.asset.only_isolated if scene.position is None else scene.position.is_cross
        reason = f"margin of {wire(target.margin_usd)} USD asks for {asked}x"
        return [SetLeverage(scene.symbol, leverage, is_cross, reason)]

    # --- protection --------------------------------------------------------------------------------

    def _usable(self, scene: _Scene, draft: _Draft) -> tuple[OpenOrder, ...]:
        """Our triggers that close the position held; those of the wrong side are orphans."""
        usable: list[OpenOrder] = []
        for order in scene.ours:
            if protects(order, scene.held):
                usable.append(order)
            else:
                draft.orphans.append(_cancel(order, "orphan: cannot reduce the position held"))
        return tuple(usable)

    def _protect(
        self,
        scene: _Scene,
        target: TargetPosition,
        held: Decimal,
        standing: tuple[OpenOrder, ...],
        actions: list[Action],
        alerts: list[str],
    ) -> None:
        is_long = held > 0
        for leg in _LEGS:
            px = protection_px(target, leg)
            if px is not None:
                on_grid = scene.desk.trigger_px(leg, px, is_long=is_long)
                of_leg = tuple([order for order in standing if order.leg is leg])
                self._protect_leg(scene, leg, on_grid, held, of_leg, actions, alerts)

    def _protect_leg(
        self,
        scene: _Scene,
        leg: Leg,
        px: Decimal,
        held: Decimal,
        standing: tuple[OpenOrder, ...],
        actions: list[Action],
        alerts: list[str],
    ) -> None:
        """Keep the one that fits and drop its doubles; else the new one first, then the old ones go."""
        kept = next((order for order in standing if self._fits(order, px, held)), None)
        if kept is not None and len(standing) == 1:
            return
        after_cloid = None
        if kept is None:
            replaces = standing[0].oid if standing else None
            why = f"{leg} at {wire(px)} for {_signed(held)}"
            taken = frozenset(order.cloid for order in scene.triggers)
            order = scene.desk.trigger(leg, px, held, why, replaces_oid=replaces, taken_cloids=taken)
            if is_below_minimum(order.size_base, min(px, order.limit_px)):
                name = f"{LEG_NAMES[leg]} OF {wire(order.size_base)} {scene.symbol} AT {wire(px)}"
                alerts.append(f"THE {name} IS WORTH LESS THAN 10 USD: THE VENUE TAKES NO SUCH ORDER")
                return
            actions.append(order)
            after_cloid = order.cloid
        reason = f"another {leg} stands for it"
        actions.extend(_cancel(old, reason, after_cloid=after_cloid) for old in standing if old is not kept)

    def _fits(self, order: OpenOrder, px: Decimal, held: Decimal) -> bool:
        if order.trigger_px is None or not covers_exactly(order, held):
            return False
        return abs(order.trigger_px - px) / px * _BPS <= self._rules.min_stop_move_bps

    # --- a decision that is not applied ------------------------------------------------------------

    def _keep(self, scene: _Scene, prior: TargetPosition | None, draft: _Draft) -> None:
        """No exposure changes; standing protection stays; what is missing is put back."""
        if scene.held == 0:
            draft.orphans.extend(_cancel(order, "orphan: no position") for order in scene.ours)
            return
        if scene.is_remainder:
            self._leave(scene, Decimal(0), draft)
            return
        for leg in _LEGS:
            of_leg = tuple(o for o in scene.triggers if o.leg is leg and protects(o, scene.held))
            if not covers(of_leg, scene.held):
                closed = self._reinstate(scene, leg, of_leg, prior, draft)
                if closed:
                    return

    def _reinstate(
        self,
        scene: _Scene,
        leg: Leg,
        standing: tuple[OpenOrder, ...],
        prior: TargetPosition | None,
        draft: _Draft,
    ) -> bool:
        """Puts one leg back from the last applied decision; True when the position is closed instead."""
        px = protection_px(prior, leg) if prior and prior.target_size * scene.held > 0 else None
        missing = f"NO {LEG_NAMES[leg]} COVERS THE {scene.side()} OF {wire(abs(scene.held))} {scene.symbol}"
        if px is None:
            draft.alerts.append(f"{missing}, AND THE LAST APPLIED DECISION NAMES NONE FOR IT.")
            return False
        on_grid = scene.desk.trigger_px(leg, px, is_long=scene.held > 0)
        reference = scene.reference_px
        if reference is None or not is_crossed(leg, on_grid, reference, is_long=scene.held > 0):
            ours = tuple(order for order in standing if is_ours(order.cloid, scene.tag))
            self._protect_leg(scene, leg, on_grid, scene.held, ours, draft.protection, draft.alerts)
            return False
        if leg is Leg.STOP_LOSS and self._rules.crossed_stop == "close":
            reason = f"its stop at {wire(on_grid)} is crossed and cannot rest"
            self._close_by(scene.desk.stop_close(scene.held, reference, reason), scene, draft)
            return True
        draft.alerts.append(f"{missing}: THE PRICE {wire(reference)} IS ALREADY PAST {wire(on_grid)}.")
        return False


def _target(decision: Decision | None, symbol: str) -> TargetPosition | None:
    """The target for ``symbol``; an older decision may not know a symbol that is tracked now."""
    targets = decision.targets if decision else ()
    return next((target for target in targets if target.symbol == symbol), None)


def _cancel(order: OpenOrder, reason: str, *, after_cloid: str | None = None) -> CancelOrder:
    return CancelOrder(order.symbol, order.oid, order.cloid, reason, after_cloid)


def _known(scene: _Scene) -> Decimal:
    """The reference price where the decision's judgement has made sure of one."""
    if scene.reference_px is None:
        raise ValueError(f"{scene.symbol} has no reference price")
    return scene.reference_px


def _close_reason(goal: Decimal) -> str:
    # A remainder below the venue's minimum could never be closed on its own: it goes with the rest.
    return "target 0" if goal == 0 else f"target {_signed(goal)} is below the minimum value: closed whole"


def _signed(size_base: Decimal) -> str:
    return f"{'-' if size_base < 0 else ''}{wire(abs(size_base))}"
