"""OrderSender: one order, asked for by its id, written down, sent once.

Belongs here: what must have happened before an order travels, and what an order sent before means.
Does not belong here: which order comes next (``core.execution``), how it travels (the ``Venue`` port).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.client_order_id import cloid
from wonttrade_dagster.core.errors import StorageError, VenueError
from wonttrade_dagster.core.model import ActionResult, ActionStatus, AssetSpec, ExecutionRules, PlaceOrder
from wonttrade_dagster.core.order_desk import OrderDesk
from wonttrade_dagster.core.ports import AuditSink, Clock, Venue
from wonttrade_dagster.core.read_back import ReadBack

MAX_ATTEMPTS = 4
"""Protection orders of one leg and cycle: an id that is used up (rejected, cancelled) is not sent again."""
STANDING = frozenset({ActionStatus.RESTING, ActionStatus.WAITING})
MAY_STAND = STANDING | {ActionStatus.UNKNOWN}


@dataclass(slots=True)
class OrderSender:
    """Sends the orders of one plan.

    Attributes:
        sent: results by the client order id in the plan; a result names the order as it was really sent.
        found: orders that an earlier run of this cycle had sent already.
        used: ids that were asked for, or sent, in this run.
        alerts: what a person must know of.
    """

    venue: Venue
    audit: AuditSink
    clock: Clock
    rules: ExecutionRules
    assets: Mapping[str, AssetSpec]
    cycle_ms: int
    read_back: ReadBack
    sent: dict[str, ActionResult] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    alerts: list[str] = field(default_factory=list)

    def desk(self, symbol: str) -> OrderDesk:
        """Makes the orders of a symbol in this cycle."""
        return OrderDesk(self.assets[symbol], self.cycle_ms, self.rules)

    def staleness(self) -> str:
        """Why the decision is too old to increase exposure, or ""."""
        age_ms = self.clock.now_ms() - self.cycle_ms
        if age_ms > self.rules.max_decision_age_ms:
            return f"stale_decision: {age_ms} ms old, {self.rules.max_decision_age_ms} ms are allowed"
        return ""

    def sent_cloid(self, planned_cloid: str) -> str:
        """The id under which a planned order went out."""
        action = self.sent[planned_cloid].action
        return action.cloid if isinstance(action, PlaceOrder) else planned_cloid

    def send_once(self, order: PlaceOrder) -> ActionResult:
        """Send it unless the venue knows it; protection whose id is used up goes out under the next one."""
        result = self._find_or_send(order)
        while order.leg and _cloid(result) in self.found and result.status not in MAY_STAND:
            candidate = self.next_id(order)
            if candidate is None:
                break
            result = self._find_or_send(candidate)
        self.sent[order.cloid] = result
        return result

    def send_again(self, order: PlaceOrder) -> ActionResult:
        """A reducing order that is not seen to stand, or to have filled, under an id that is not used yet.

        Never an entry: what was lost may arrive later, and only what is reduce-only does no harm twice.
        """
        if order.purpose.increases_exposure:
            raise ValueError(f"the {order.purpose} of {order.symbol} must not be sent again")
        candidate = self.next_id(order)
        if candidate is not None:
            self.sent[order.cloid] = self._find_or_send(candidate)
        return self.sent[order.cloid]

    def next_id(self, order: PlaceOrder) -> PlaceOrder | None:
        """The order under the next id of its step that this run has not used; None when all are used."""
        parts = self.rules.cloid_tag, self.cycle_ms, order.symbol, order.purpose.value
        ids = [cloid(*parts, attempt) for attempt in range(2 * MAX_ATTEMPTS)]
        # A plan may begin behind attempt 0: those before it are orders that stand, and are replaced.
        first = ids.index(order.cloid) + 1 if order.cloid in ids else 0
        fresh = (c for c in ids[first : first + MAX_ATTEMPTS - 1] if c not in self.used)
        return next((replace(order, cloid=c) for c in fresh), None)

    def sent_before(self, order: PlaceOrder, hindrance: str) -> ActionResult:
        """What a run of this cycle before this one made of an order that must not go out (any more)."""
        # That run is why what is held must be read: the plan's account is older than it.
        self.read_back.has_changed = self.read_back.has_traded = True
        try:
            known = self.venue.find(order.cloid)
        except VenueError:
            known = None
        if known is None:
            return ActionResult(order, ActionStatus.SKIPPED, hindrance)
        self.sent[order.cloid] = self._found(order, known)
        return self.sent[order.cloid]

    def _find_or_send(self, order: PlaceOrder) -> ActionResult:
        self.used.add(order.cloid)
        try:
            known = self.venue.find(order.cloid)
        except VenueError as error:
            return self._send_unasked(order, error)
        return self._journal_and_send(order) if known is None else self._found(order, known)

    def _send_unasked(self, order: PlaceOrder, error: VenueError) -> ActionResult:
        """Protection does not wait for an answered question: under the next id it is at worst a double."""
        candidate = self.next_id(order) if order.leg else None
        if candidate is not None:
            self.used.add(candidate.cloid)
            return self._journal_and_send(candidate)
        self.read_back.has_changed = True
        self.read_back.has_traded |= order.leg is None
        message = f"not sent: the venue could not be asked whether it knows this order ({error})"
        return ActionResult(order, ActionStatus.UNKNOWN, message)

    def _found(self, order: PlaceOrder, known: ActionResult) -> ActionResult:
        """An order that a run before this one sent: what it left behind must be read, not believed."""
        self.found.add(order.cloid)
        self.read_back.has_changed = True
        self.read_back.has_traded |= order.leg is None
        return replace(known, action=order, message=f"sent before in this cycle; {known.message}")

    def _journal_and_send(self, order: PlaceOrder) -> ActionResult:
        try:
            self.audit.intent(self.cycle_ms, order)
        except StorageError as error:
            if order.purpose.increases_exposure:
                return ActionResult(order, ActionStatus.ERROR, f"not sent: the journal failed ({error})")
            # Less risk is never refused: its id alone tells a later run what was sent.
            self.alerts.append(f"THE JOURNAL DID NOT TAKE THE {order.purpose} OF {order.symbol}: {error}")
        # Asked again: the question by id and the journal may have taken longer than the decision lives.
        if order.purpose.increases_exposure and (staleness := self.staleness()):
            return ActionResult(order, ActionStatus.SKIPPED, staleness)
        self.read_back.has_changed = True
        self.read_back.has_traded |= order.leg is None
        try:
            return self.venue.place(self._perishable(order))
        except VenueError as error:
            return ActionResult(order, ActionStatus.UNKNOWN, str(error))

    def _perishable(self, order: PlaceOrder) -> PlaceOrder:
        """An entry that the network held up must not trade on the past: the venue itself drops it."""
        if not order.purpose.increases_exposure:
            return order
        return replace(order, good_until_ms=self.cycle_ms + self.rules.max_decision_age_ms)


def _cloid(result: ActionResult) -> str | None:
    return result.action.cloid if isinstance(result.action, PlaceOrder) else None
