"""ExecutionService: carries a plan out on a venue and reads back what it holds now.

Belongs here: when an order may go out, what must be true before the next one does, and what is reported.
Does not belong here: which orders are wanted (``core.reconcile``), how they travel (the ``Venue`` port),
seeing protection through (``core.safeguard``), when the account is read again (``core.read_back``).

The money rules it keeps: an order is written down before it is sent; the venue is asked by client order id
first, and a failed question is never proof of absence; only a fresh decision increases exposure; protection
is sized to what is really held and counts once it is seen among the open orders; the old protection goes
only after that; a flip opens only after the account was seen flat.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from wonttrade_dagster.core.alerts import stop_alert
from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    ActionResult,
    ActionStatus,
    AssetSpec,
    CancelOrder,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
    Fill,
    OrderPurpose,
    PlaceOrder,
    SetLeverage,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Executor, Venue
from wonttrade_dagster.core.read_back import Exposure, ReadBack
from wonttrade_dagster.core.request_weight import RequestRoom
from wonttrade_dagster.core.safeguard import Safeguard
from wonttrade_dagster.core.sending import MAY_STAND, OrderSender

FILL_CLOCK_TOLERANCE_MS = 60_000
"""Fills are asked for from this long before the first order: the venue's clock is not ours."""
_MAY_HAVE_FILLED = frozenset({ActionStatus.FILLED, ActionStatus.UNKNOWN})


class ExecutionService(Executor):
    """The ``Executor`` on a venue; keeps no state between two plans.

    Args:
        venue: the account that is traded.
        audit: the journal; an intent is written there before its order is sent.
        clock: measures freshness and unprotected seconds.
        rules: freshness, slippage and what to do with a crossed stop.
        assets: the venue's perpetuals by symbol.
        room: what the venue's limits still allow, asked for before each entry. Never raises.
    """

    def __init__(
        self,
        venue: Venue,
        audit: AuditSink,
        clock: Clock,
        rules: ExecutionRules,
        assets: Mapping[str, AssetSpec],
        room: Callable[[], RequestRoom] = RequestRoom,
    ) -> None:
        self._venue = venue
        self._audit = audit
        self._clock = clock
        self._rules = rules
        self._assets = assets
        self._room = room

    def account(self) -> AccountSnapshot:
        """The account now. Raises ``VenueError``."""
        return self._venue.account()

    def execute(self, plan: ExecutionPlan) -> ExecutionReport:
        """Carry out the plan in its order, confirm the protection, read back. Never raises ``VenueError``."""
        read_back = ReadBack(self._venue, self._clock, plan.account)
        sender = OrderSender(
            self._venue, self._audit, self._clock, self._rules, self._assets, plan.cycle_ms, read_back
        )
        run = _Run(self._venue, self._clock, self._rules, plan, read_back, sender, self._room)
        return run.carry_out()


@dataclass(slots=True)
class _Run:
    """The execution of one plan."""

    venue: Venue
    clock: Clock
    rules: ExecutionRules
    plan: ExecutionPlan
    read_back: ReadBack
    sender: OrderSender
    room: Callable[[], RequestRoom]
    results: list[ActionResult] = field(default_factory=list)
    expected: dict[str, Decimal] = field(default_factory=dict)
    """Signed sizes that the answers so far promise."""
    blocked: dict[str, str] = field(default_factory=dict)
    safeguard: Safeguard = field(init=False)

    def __post_init__(self) -> None:
        self.safeguard = Safeguard(
            self.plan,
            self.clock,
            self.rules,
            self.read_back,
            self.sender,
            self._trade,
            self.results,
            self.expected,
        )

    @property
    def alerts(self) -> list[str]:
        return self.sender.alerts

    def carry_out(self) -> ExecutionReport:
        started_ms = self.clock.now_ms()
        for action in self.plan.actions:
            self._attempt(action)
        self.safeguard.confirm()
        is_fresh = self.read_back.is_fresh()
        if self.results and not is_fresh:
            self.alerts.append(
                "THE ACCOUNT COULD NOT BE READ BACK: WHAT IS SHOWN OF IT IS OLDER THAN THE ORDERS"
            )
        if is_fresh:
            self._tell_what_is_bare()
        fills = self._fills(started_ms - FILL_CLOCK_TOLERANCE_MS)  # may add an alert
        return ExecutionReport(
            self.plan.cycle_ms,
            tuple(self.results),
            fills,
            self.read_back.account if is_fresh else None,
            self.read_back.unprotected_seconds(),
            tuple(self.alerts),
        )

    def _attempt(self, action: Action) -> None:
        """An action that meets what nobody foresaw must not leave the positions behind it bare."""
        try:
            self._do(action)
        except VenueError as error:
            self._give_up(action, str(error))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            self._give_up(action, f"it met {type(error).__name__}")

    def _give_up(self, action: Action, why: str) -> None:
        what = action.purpose.value if isinstance(action, PlaceOrder) else action.kind
        self.results.append(ActionResult(action, ActionStatus.UNKNOWN, f"given up: {why}"))
        self.alerts.append(f"THE {what} OF {action.symbol} WAS GIVEN UP IN ITS MIDDLE: {why}")
        self.blocked[action.symbol] = f"the {what} of {action.symbol} was given up"
        self.read_back.has_changed = self.read_back.has_traded = True

    def _do(self, action: Action) -> None:
        if isinstance(action, CancelOrder):
            self.results.append(self._cancel(action))
        elif isinstance(action, SetLeverage):
            self.results.append(self._set_leverage(action))
        elif action.purpose is OrderPurpose.CLOSE and self.plan.refusal is not None:
            self.safeguard.close(action)  # without a decision only a crossed stop closes
        elif action.leg is None:
            self.results.append(self._trade(action))
        else:
            self.safeguard.protect(action, action.leg)

    # --- entries, reductions, closes ---------------------------------------------------------------

    def _trade(self, order: PlaceOrder) -> ActionResult:
        hindrance = self._hindrance(order) if order.purpose.increases_exposure else ""
        held_before = self.expected.get(order.symbol, self.read_back.size_base(order.symbol))
        result = self.sender.sent_before(order, hindrance) if hindrance else self.sender.send_once(order)
        if order.cloid not in self.sender.found and result.status is not ActionStatus.SKIPPED:
            signed = result.filled_base if order.is_buy else -result.filled_base
            self.expected[order.symbol] = held_before + signed
        if order.purpose.increases_exposure and result.status in _MAY_HAVE_FILLED:
            since_ms = result.answered_at_ms or self.clock.now_ms()
            self.read_back.exposures.setdefault(order.symbol, Exposure(since_ms))
        return result

    def _hindrance(self, order: PlaceOrder) -> str:
        """Why an order that increases exposure must not go out now, or ""."""
        if order.symbol in self.blocked:
            return f"not sent: {self.blocked[order.symbol]}"
        if self._is_flip(order.symbol) and not self._is_flat(order.symbol):
            return "not sent: the account was not seen flat after the close of the other side"
        return self.sender.staleness() or self._lack_of_room(order)

    def _lack_of_room(self, order: PlaceOrder) -> str:
        """An entry whose stop the venue's limits would stop must not begin."""
        at = self.plan.actions.index(order)
        needed = sum(action.symbol == order.symbol for action in self.plan.actions[at:])
        return self.room().hindrance(needed)

    def _is_flip(self, symbol: str) -> bool:
        orders = (action for action in self.plan.actions if isinstance(action, PlaceOrder))
        return any(order.symbol == symbol and order.purpose is OrderPurpose.CLOSE for order in orders)

    def _is_flat(self, symbol: str) -> bool:
        is_flat = self.read_back.holds(symbol, Decimal(0), patient=self.expected.get(symbol) == 0)
        if is_flat and symbol in self.expected:
            self.expected[symbol] = Decimal(0)  # a close whose answer was lost has filled
        return is_flat

    def _set_leverage(self, change: SetLeverage) -> ActionResult:
        self.read_back.has_changed = True
        try:
            result = self.venue.set_leverage(change)
        except VenueError as error:
            result = ActionResult(change, ActionStatus.UNKNOWN, str(error))
        if result.status is not ActionStatus.DONE:
            self.blocked[change.symbol] = f"leverage {change.leverage}x was not set ({result.message})"
        return result

    # --- cancels -----------------------------------------------------------------------------------

    def _cancel(self, cancel: CancelOrder) -> ActionResult:
        if cancel.after_cloid is not None and not self._has_come_true(cancel.after_cloid):
            return ActionResult(cancel, ActionStatus.SKIPPED, "kept: what it waits for is not confirmed")
        if not self.read_back.has_changed and self.read_back.order(cancel.oid) is None:
            # The venue cancels reduce-only triggers itself once the position is closed, and counts actions.
            return ActionResult(cancel, ActionStatus.DONE, "already gone")
        self.read_back.has_changed = True
        try:
            return self.venue.cancel(cancel)
        except VenueError as error:
            return ActionResult(cancel, ActionStatus.UNKNOWN, str(error))

    def _has_come_true(self, planned_cloid: str) -> bool:
        """A protection order is standing, or a close has left the account flat: both as read back."""
        result = self.sender.sent.get(planned_cloid)
        if result is None or not isinstance(result.action, PlaceOrder):
            return False
        if result.action.leg is None:
            return self._is_flat(result.action.symbol)
        return result.status in MAY_STAND and self.read_back.is_standing(result.action.cloid)

    # --- the report --------------------------------------------------------------------------------

    def _tell_what_is_bare(self) -> None:
        """Whatever the reason, a tracked position never ends a cycle without its stop and without a word.

        The commonest is a remainder below the venue's minimum, which takes neither a close nor a stop.
        """
        account = self.read_back.account
        if account is None:
            return
        told = (*self.plan.alerts, *self.alerts)
        for position in account.positions:
            alert, symbol = stop_alert(position, account), position.symbol
            is_tracked = account.mark_px(symbol) is not None
            if alert and is_tracked and not any(symbol in sentence for sentence in told):
                self.alerts.append(alert)

    def _fills(self, since_ms: int) -> tuple[Fill, ...]:
        """Fills of this plan's orders; when they cannot be read an alert says so."""
        sent = self.sender.sent.values()
        if not sent or not any(r.filled_base or r.status is ActionStatus.UNKNOWN for r in sent):
            return ()
        cloids, oids = {_cloid(r) for r in sent}, {r.oid for r in sent}
        try:
            fills = self.venue.fills(since_ms)
        except VenueError as error:
            self.alerts.append(f"THE FILLS OF THIS CYCLE COULD NOT BE READ: {error}")
            return ()
        return tuple(f for f in fills if f.oid in oids or (f.cloid is not None and f.cloid in cloids))


def _cloid(result: ActionResult) -> str | None:
    return result.action.cloid if isinstance(result.action, PlaceOrder) else None
