"""Safeguard: carries the protection of a plan out until it is seen to stand.

Belongs here: how large a stop must be, what is done about one that was rejected, lost or overtaken by the
price, and the close that takes the place of a crossed one.
Does not belong here: which protection is wanted (``core.reconcile``), entries and reductions
(``core.execution``), how one order travels (``core.sending``).

Everything sent here is reduce-only: a stop too many, or one too large, does no harm and goes in the next
cycle; one too few leaves a position bare. That is why it is tried again where an entry never is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.model import (
    ActionResult,
    ActionStatus,
    ExecutionPlan,
    ExecutionRules,
    Leg,
    OrderPurpose,
    PlaceOrder,
)
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.core.precision import wire
from wonttrade_dagster.core.protection import covers, is_crossed
from wonttrade_dagster.core.read_back import Exposure, ReadBack
from wonttrade_dagster.core.request_weight import SPENT_ADDRESS, SPENT_ADDRESS_PAUSE_SECONDS
from wonttrade_dagster.core.sending import MAY_STAND, STANDING, OrderSender

REJECTED_PAUSE_SECONDS = 0.5
"""Before a rejected stop is sent once more: a mark that jumped may be back, a full book emptier."""
CLOSE_TRIES = 3
"""Orders that a close in place of a crossed stop may take: a fall empties the book for a moment."""


@dataclass(slots=True)
class Safeguard:
    """The protection of one plan.

    Attributes:
        plan: what is carried out.
        clock: measures pauses and unprotected seconds.
        rules: what to do with a crossed stop.
        read_back: the account as it is read again.
        sender: sends each order.
        trade: carries out a reducing order, and books what it promises.
        results: of the whole execution; what is done here goes to its end.
        expected: signed sizes that the answers to trades promise.
    """

    plan: ExecutionPlan
    clock: Clock
    rules: ExecutionRules
    read_back: ReadBack
    sender: OrderSender
    trade: Callable[[PlaceOrder], ActionResult]
    results: list[ActionResult]
    expected: dict[str, Decimal]
    _stops: dict[str, PlaceOrder] = field(default_factory=dict)
    """By symbol: the stop-loss that was sent, under its id in the plan."""

    def protect(self, order: PlaceOrder, leg: Leg) -> None:
        """Place one leg for what is held; a stop is tried again, or closed with, while nothing covers."""
        held = self._held(order)
        if held == 0 or order.is_buy != (held < 0):
            self.results.append(ActionResult(order, ActionStatus.SKIPPED, "no position of that side is held"))
            return
        sized = order if order.size_base == abs(held) else replace(order, size_base=abs(held))
        if self._stands_already(sized):
            self.results.append(ActionResult(sized, ActionStatus.SKIPPED, "the same protection stands"))
            return
        result = self.sender.send_once(sized)
        if leg is Leg.STOP_LOSS and self._is_bare(order, held):
            result = self._tried_again(sized, result)
        self.results.append(result)
        if leg is Leg.STOP_LOSS:
            self._watch_stop(sized)
        if result.status is ActionStatus.ERROR:
            self._on_rejected(sized, result.message, held)

    def _held(self, order: PlaceOrder) -> Decimal:
        """Signed size that protection must cover: what is really held, or what the answers promise.

        The larger of the two where both are of one side: an account that lags behind an increase must
        not leave the added size bare. On two sides the answers are the newer ones.
        """
        believed = self.expected.get(order.symbol, self.read_back.size_base(order.symbol))
        self.read_back.holds(order.symbol, believed, patient=order.symbol in self.expected)
        if self.read_back.has_traded:
            # The account cannot be read. Reduce-only protection of the planned size cannot do harm.
            return -order.size_base if order.is_buy else order.size_base
        shown = self.read_back.size_base(order.symbol)
        if order.symbol not in self.expected or believed == 0:
            return shown or believed
        return shown if shown * believed > 0 and abs(shown) > abs(believed) else believed

    def _stands_already(self, order: PlaceOrder) -> bool:
        """The old one still fits: an increase that was meant to resize it has not filled."""
        old = self.read_back.order(order.replaces_oid)
        return old is not None and (old.trigger_px, old.size_base) == (order.trigger_px, order.size_base)

    def _is_bare(self, order: PlaceOrder, held: Decimal) -> bool:
        """Whether a part of the position stands open until this order stands: the old one is too small."""
        old = self.read_back.order(order.replaces_oid)
        return old is None or not covers((old,), held)

    def _watch_stop(self, order: PlaceOrder) -> None:
        exposures = self.read_back.exposures
        if order.symbol not in exposures:
            if order.replaces_oid is not None:
                return  # a moved stop: the old one stands until this one does
            account = self.plan.account
            exposures[order.symbol] = Exposure(account.taken_at_ms if account else self.clock.now_ms())
        exposures[order.symbol].stop_cloids |= {order.cloid, self.sender.sent_cloid(order.cloid)}
        self._stops[order.symbol] = order

    # --- a stop that does not stand ----------------------------------------------------------------

    def _tried_again(self, order: PlaceOrder, result: ActionResult) -> ActionResult:
        """A stop that was rejected, or lost on its way, leaves the position bare until the next cycle."""
        if result.status is ActionStatus.ERROR and not self._was_crossed(order):
            is_spent = SPENT_ADDRESS in result.message
            self.clock.sleep(SPENT_ADDRESS_PAUSE_SECONDS if is_spent else REJECTED_PAUSE_SECONDS)
            again = self.sender.send_once(order)
            return replace(again, message=f"{again.message} (rejected at first: {result.message})".lstrip())
        is_lost = result.status is ActionStatus.UNKNOWN
        if is_lost and not self.read_back.is_standing(self.sender.sent_cloid(order.cloid)):
            return self.sender.send_again(order)
        return result

    def _was_crossed(self, order: PlaceOrder) -> bool:
        """Whether the mark has passed a trigger that the venue did not take."""
        account = self.read_back.read()
        mark = account.mark_px(order.symbol) if account else None
        if account is None or mark is None or order.trigger_px is None or order.leg is None:
            return False
        held = account.size_base(order.symbol)
        return held != 0 and is_crossed(order.leg, order.trigger_px, mark, is_long=held > 0)

    def _on_rejected(self, order: PlaceOrder, message: str, held: Decimal) -> None:
        name = order.purpose.value.replace("_", "-").upper()
        self.sender.alerts.append(
            f"THE {name} FOR {wire(abs(held))} {order.symbol} DOES NOT STAND: {message}"
        )
        is_stop = order.purpose is OrderPurpose.STOP_LOSS
        if is_stop and self.rules.crossed_stop == "close" and self._was_crossed(order):
            self._close_crossed(order)

    def _close_crossed(self, stop: PlaceOrder) -> None:
        """A stop that the price has passed cannot rest: it becomes the close that it would have been."""
        account = self.read_back.account
        mark = account.mark_px(stop.symbol) if account else None
        if account is None or mark is None or stop.trigger_px is None:
            return
        reason = f"its stop at {wire(stop.trigger_px)} was crossed before it could rest"
        held = account.size_base(stop.symbol)
        self.close(self.sender.desk(stop.symbol).stop_close(held, mark, reason, attempt=1))

    def close(self, order: PlaceOrder) -> None:
        """The close in place of a crossed stop, sent again while the account still shows the position."""
        result = self.trade(order)
        self.results.append(result)
        for _ in range(CLOSE_TRIES - 1):
            if self._is_closed(result, order.symbol):
                return
            self.clock.sleep(REJECTED_PAUSE_SECONDS)
            again = self._close_again(order)
            if again is None:
                return
            result = self.trade(again)
            self.results.append(result)

    def _is_closed(self, result: ActionResult, symbol: str) -> bool:
        if self.expected.get(symbol) == 0:
            return True
        return self.read_back.holds(symbol, Decimal(0), patient=result.status is ActionStatus.UNKNOWN)

    def _close_again(self, order: PlaceOrder) -> PlaceOrder | None:
        """The close of what is left at the mark as it is now; None where nothing is left to close."""
        account = self.read_back.account
        mark = account.mark_px(order.symbol) if account else None
        if account is None or mark is None or account.size_base(order.symbol) == 0:
            return None
        held = account.size_base(order.symbol)
        close = self.sender.desk(order.symbol).stop_close(held, mark, order.reason)
        return self.sender.next_id(replace(close, cloid=order.cloid))

    # --- the end of the plan -----------------------------------------------------------------------

    def confirm(self) -> None:
        """See every stop among the open orders; send again what the venue does not know; tell the rest."""
        if not self.read_back.exposures:
            return
        stops = {
            c for e in self.read_back.exposures.values() if e.confirmed_ms is None for c in e.stop_cloids
        }
        sent = self.sender.sent
        hopeful = any(result.status in MAY_STAND for cloid, result in sent.items() if cloid in stops)
        self.read_back.await_confirmations(patient=hopeful)
        sent_again = [symbol for symbol in self.read_back.unconfirmed() if self._sends_again(symbol)]
        if sent_again:
            self.read_back.await_confirmations(patient=True)
        for symbol in self.read_back.unconfirmed():
            held = wire(abs(self.read_back.size_base(symbol)))
            seen = f"{held} {symbol} STANDS" if held != "0" else f"WHAT WAS FILLED OF {symbol} MAY STAND"
            self.sender.alerts.append(f"{seen} WITHOUT A CONFIRMED STOP-LOSS")

    def _sends_again(self, symbol: str) -> bool:
        """Send the stop again that an answer promised and the venue does not know; whether it was sent."""
        stop = self._stops.get(symbol)
        if stop is None:
            return self._sends_belatedly(symbol)
        last = self.sender.sent.get(stop.cloid)
        if last is None or last.status not in MAY_STAND or self._is_known(last):
            return False
        again = self.sender.send_again(stop)
        self.results[:] = [again if _same_order(result, last) else result for result in self.results]
        self.read_back.exposures[symbol].stop_cloids.add(self.sender.sent_cloid(stop.cloid))
        return again.status in MAY_STAND

    def _sends_belatedly(self, symbol: str) -> bool:
        """The stop of an entry whose answer was lost and whose fill the account shows only now."""
        orders = (action for action in self.plan.actions if isinstance(action, PlaceOrder))
        stop = next((o for o in orders if o.symbol == symbol and o.leg is Leg.STOP_LOSS), None)
        if stop is None or self.read_back.size_base(symbol) == 0:
            return False
        self.protect(stop, Leg.STOP_LOSS)
        return symbol in self._stops

    def _is_known(self, last: ActionResult) -> bool:
        """Whether the venue holds the stop, or did with it what a stop is for."""
        if not isinstance(last.action, PlaceOrder):
            return False
        try:
            known = self.sender.venue.find(last.action.cloid)
        except VenueError:
            return last.status in STANDING  # it was acknowledged; a lost one may as well not be there
        return known is not None and known.status in MAY_STAND | {ActionStatus.FILLED}


def _same_order(one: ActionResult, other: ActionResult) -> bool:
    """Whether both tell of one order as it was sent."""
    if not isinstance(one.action, PlaceOrder) or not isinstance(other.action, PlaceOrder):
        return False
    return one.action.cloid == other.action.cloid
