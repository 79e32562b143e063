"""The simulated exchange behind the port ``Venue``.

Belongs here: holding one account's state between the calls, and the port's words for its answers.
Does not belong here: any rule of the exchange (``core.simulation``), letting time pass (``simulated``).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    ActionStatus,
    CancelOrder,
    Fill,
    OpenOrder,
    PlaceOrder,
    SetLeverage,
    Transfer,
)
from wonttrade_dagster.core.ports import Clock, Venue
from wonttrade_dagster.core.simulation import (
    Bar,
    ExchangeState,
    History,
    LeverageSetting,
    OrderOutcome,
    OrderRequest,
    OrderStatus,
    Slippage,
    StandingOrder,
    Taking,
    Tif,
    Trigger,
    VenueRules,
    account_snapshot,
    average_px,
    bar_quote,
    cancel_order,
    open_orders,
    place_order,
    set_leverage,
    with_slippage,
)


class SimulatedVenue(Venue):
    """One account on the simulated exchange; a taker fills at the mark, slipped, in any size.

    Args:
        state: the account to begin with.
        rules: the venue's.
        slippage: on every taker fill.
        clock: the time of every request.

    Attributes:
        known_bars: the last closed bar by symbol, for the slippage of orders that are sent.
    """

    def __init__(self, state: ExchangeState, rules: VenueRules, slippage: Slippage, clock: Clock) -> None:
        self.state = state
        self.rules = rules
        self.slippage = slippage
        self.history = History()
        self.known_bars: dict[str, Bar] = {}
        self._clock = clock
        self._told = state, open_orders(state)

    def account(self) -> AccountSnapshot:
        """Everything at the marks of the last step."""
        return account_snapshot(self.state, self.rules, self._clock.now_ms(), self._open_orders())

    def _open_orders(self) -> tuple[OpenOrder, ...]:
        """Told anew once an order or a position has changed: most stand for many readings."""
        state, (of, told) = self.state, self._told
        if state.orders is not of.orders or state.positions is not of.positions:
            told = open_orders(state)
            self._told = state, told
        return told

    def set_marks(self, marks: Mapping[str, Decimal]) -> None:
        """Let these be the prices; nothing fires until bars are walked."""
        self.state = replace(self.state, marks={**self.state.marks, **marks})

    def place(self, order: PlaceOrder) -> ActionResult:
        """Judge and fill one order at the mark ± slippage; a symbol without a price is an error result."""
        if order.symbol not in self.state.marks:
            return self._result(order, ActionStatus.ERROR, f"no price of {order.symbol} is known yet")
        known = self.known_bars.get(order.symbol)
        taking = Taking(order.symbol, order.size_base, self.state.next_oid, known)
        mark = self.state.marks[order.symbol]
        quote = bar_quote(order.symbol, mark, self.rules, self.slippage, taking)
        now_ms = self._clock.now_ms()
        self.state, outcome = place_order(
            self.state, _request(order), {order.symbol: quote}, self.rules, now_ms
        )
        self.history.record(with_slippage(outcome.events, (quote,)))
        return self._answer(order, outcome)

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        """Cancel by oid; an order that is not open any more counts as done and says so."""
        self.state, outcome = cancel_order(self.state, cancel.oid, self._clock.now_ms())
        self.history.record(outcome.events)
        return self._result(cancel, ActionStatus.DONE, outcome.error or "")

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        """Set leverage and margin mode, or say why not."""
        setting = LeverageSetting(change.leverage, change.is_cross)
        self.state, outcome = set_leverage(
            self.state, change.symbol, setting, self.rules, self._clock.now_ms()
        )
        status = ActionStatus.DONE if outcome.ok else ActionStatus.ERROR
        return self._result(change, status, outcome.error or "")

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """Fills since then, oldest first; a fill inside a bar bears the time just after its open."""
        return tuple(execution.fill() for execution in self.history.fills_since(since_ms))

    def find(self, cloid: str) -> ActionResult | None:
        """The latest order of that id: standing, filled (in part too), or dead with its status as message."""
        oid = self.history.oid(cloid)
        update = self.history.last_update(oid) if oid is not None else None
        if oid is None or update is None:
            return None
        fills = self.history.fills_of(oid)
        status = _standing(update.status, has_fills=bool(fills))
        return ActionResult(
            action=_as_sent(update.order),
            status=status,
            message=update.status.value,
            oid=oid,
            filled_base=sum((fill.size_base for fill in fills), Decimal(0)),
            average_px=average_px(fills),
            sent_at_ms=update.order.placed_at_ms,
            answered_at_ms=update.time_ms,
        )

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        """What the exchange has set for each symbol."""
        return {symbol: self.state.setting(symbol, self.rules).leverage for symbol in symbols}

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Funding paid (+) or received (−) in ``[since_ms, until_ms)``."""
        return self.history.funding_paid_usd(since_ms, until_ms)

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        """None: the deposit is the opening equity, and nothing is paid in or taken out later."""
        del since_ms, until_ms
        return ()

    def _answer(self, order: PlaceOrder, outcome: OrderOutcome) -> ActionResult:
        if outcome.error is not None:
            asset_id = self.rules.assets[order.symbol].asset_id
            suffix = f" asset={asset_id}" if outcome.has_suffix else ""
            return replace(self._result(order, ActionStatus.ERROR, outcome.error + suffix), oid=outcome.oid)
        is_open = outcome.status is OrderStatus.OPEN
        result = self._result(order, ActionStatus.RESTING if is_open else ActionStatus.FILLED, "")
        return replace(
            result, oid=outcome.oid, filled_base=outcome.filled_base, average_px=outcome.average_px
        )

    def _result(
        self, action: PlaceOrder | CancelOrder | SetLeverage, status: ActionStatus, message: str
    ) -> ActionResult:
        now_ms = self._clock.now_ms()
        return ActionResult(action, status, message, sent_at_ms=now_ms, answered_at_ms=now_ms)


def _request(order: PlaceOrder) -> OrderRequest:
    trigger = None
    if order.trigger_px is not None and order.leg is not None:
        trigger = Trigger(order.trigger_px, is_market=True, leg=order.leg)
    return OrderRequest(
        symbol=order.symbol,
        is_buy=order.is_buy,
        size_base=order.size_base,
        limit_px=order.limit_px,
        tif=Tif.GTC if trigger else Tif.IOC,
        reduce_only=order.reduce_only,
        cloid=order.cloid,
        trigger=trigger,
    )


def _standing(status: OrderStatus, *, has_fills: bool) -> ActionStatus:
    if not status.is_terminal:
        return ActionStatus.RESTING
    return ActionStatus.FILLED if status is OrderStatus.FILLED or has_fills else ActionStatus.ERROR


def _as_sent(order: StandingOrder) -> CancelOrder:
    """An order is known here by its id only: the port says that this action is not meaningful."""
    return CancelOrder(order.symbol, order.oid, order.request.cloid, "as the venue knows it")
