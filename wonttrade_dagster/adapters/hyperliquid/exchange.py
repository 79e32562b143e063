"""HyperliquidVenue: one account on Hyperliquid, read and written through the official SDK.

Belongs here: which request answers which method of the ``Venue`` port, and what happens when the answer to
a write is lost.
Does not belong here: how requests travel (``connection``, ``signer``), what their JSON means (``parse``,
``answers``).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from hyperliquid.utils.types import Cloid
from pydantic import SecretStr

from wonttrade_dagster.adapters.hyperliquid.answers import ItemAnswer, normalise, parse_order_status
from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget, RequestBudget
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.parse import (
    parse_account,
    parse_contexts,
    parse_fills,
    parse_funding,
)
from wonttrade_dagster.adapters.hyperliquid.signer import Signer
from wonttrade_dagster.adapters.hyperliquid.transfers import LedgerUpdate, parse_ledger_updates
from wonttrade_dagster.core.errors import UnknownOutcomeError, VenueError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    ActionResult,
    ActionStatus,
    CancelOrder,
    Fill,
    Leg,
    PlaceOrder,
    SetLeverage,
    Transfer,
)
from wonttrade_dagster.core.ports import Clock, Venue

if TYPE_CHECKING:
    from hyperliquid.exchange import Exchange
    from hyperliquid.info import Info

Send = Callable[["Exchange"], Any]

LOOK_UP_PAUSES_SECONDS = (0.0, 0.5, 1.5)
"""An order whose answer was lost may reach the books a moment later."""
EXPIRES_AFTER_SECONDS = 10.0
ENTRY_LOOK_UP_PAUSES_SECONDS = (*LOOK_UP_PAUSES_SECONDS, 2.0, 3.0, 4.0)
"""An entry is looked for until it has expired: one that arrived later would stand without a stop."""
MAX_ROWS_PER_ANSWER = 500
"""A range answer of at least this many rows may have been cut off: ask on from its last time."""


class HyperliquidVenue(Venue):
    """The ``Venue`` port on Hyperliquid.

    Args:
        base_url: ``http(s)://host[:port]``, no trailing slash.
        account_address: the account that is traded; every question names it, never the agent.
        agent_private_key: signs; kept so that no repr shows it.
        timeout_seconds: of each request.
        symbols: the tracked ones; marks are read for them.
        clock: time stamps, nonces, expiry and pauses.
        read_attempts: how often a read is tried.
        expires_after_seconds: the venue drops an action that arrives later.

    Raises:
        ConfigurationError: for an address or key that must not be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        account_address: str,
        agent_private_key: SecretStr | str,
        timeout_seconds: float,
        symbols: Sequence[str],
        clock: Clock,
        read_attempts: int,
        expires_after_seconds: float = EXPIRES_AFTER_SECONDS,
    ) -> None:
        self._connection = SdkConnection(
            base_url=base_url, timeout_seconds=timeout_seconds, read_attempts=read_attempts, clock=clock
        )
        key = agent_private_key if isinstance(agent_private_key, SecretStr) else SecretStr(agent_private_key)
        self._signer = Signer(
            self._connection,
            account_address=account_address,
            agent_private_key=key,
            clock=clock,
            expires_after_seconds=expires_after_seconds,
        )
        self._address = account_address
        self._symbols = tuple(symbols)
        self._clock = clock

    def __repr__(self) -> str:
        return f"HyperliquidVenue({self._connection.base_url!r}, {self._address!r})"

    @property
    def budget(self) -> RequestBudget:
        """What this part has sent, and the venue's own figures once they were read."""
        return self._connection.budget

    def warm_up(self) -> None:
        """Import the signing half of the SDK (1-2 seconds), so that the first order need not wait for it."""
        _ = self._signer.address

    # --- reading -----------------------------------------------------------------------------------

    def account(self) -> AccountSnapshot:
        """Positions, open orders, account value and marks: three requests. Raises ``VenueError``."""
        read, address = self._connection.read, self._address
        asked_ms = list[int]()

        def ask(info: "Info") -> Any:  # noqa: ANN401 (JSON)
            asked_ms.append(self._clock.now_ms())  # of each attempt: the pauses between them are no latency
            return info.user_state(address)

        state = read("clearinghouseState", ask)
        answered_ms = self._clock.now_ms()
        orders = read("frontendOpenOrders", lambda info: info.frontend_open_orders(address))
        _, contexts = parse_contexts(read("metaAndAssetCtxs", lambda info: info.meta_and_asset_ctxs()))
        marks = [(s, contexts[s].price("markPx")) for s in self._symbols if s in contexts]
        account = parse_account(state, orders, marks, self._clock.now_ms())
        venue_ms = Row.of(state, "clearinghouseState").integer("time")
        self._signer.venue_clock.note(asked_ms=asked_ms[-1], answered_ms=answered_ms, venue_ms=venue_ms)
        return account

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """The account's fills since then, oldest first. Raises ``VenueError``."""
        found: dict[tuple[int, int, int], Fill] = {}
        while True:
            fills = self._fills_page(since_ms)
            before = len(found)
            found.update({(fill.time_ms, fill.tid, fill.oid): fill for fill in fills})
            if len(fills) < MAX_ROWS_PER_ANSWER or len(found) == before:
                return tuple(found[key] for key in sorted(found))
            since_ms = fills[-1].time_ms

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        """``activeAssetData`` of each symbol, weight 20 each; what is refused or unreadable is left out."""
        told: dict[str, int] = {}
        for symbol in symbols:
            with suppress(VenueError):
                question = {"type": "activeAssetData", "user": self._address, "coin": symbol}
                answer = self._connection.read("activeAssetData", partial(_post_info, question))
                told[symbol] = Row.of(answer, "activeAssetData").row("leverage").integer("value")
        return told

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Funding paid (+) or received (−) in ``[since_ms, until_ms)``. Raises ``VenueError``."""
        found: set[tuple[int, str, Decimal]] = set()
        while True:
            payments = self._funding_page(since_ms)
            before = len(found)
            found.update(payments)
            if len(payments) < MAX_ROWS_PER_ANSWER or len(found) == before:
                return sum((paid for time_ms, _, paid in found if time_ms < until_ms), Decimal(0))
            since_ms = payments[-1][0]

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        """Deposits and withdrawals in ``[since_ms, until_ms)``, weight 20. Raises ``VenueError``."""
        found: list[LedgerUpdate] = []
        while True:
            page = self._ledger_page(since_ms)
            # Rows have no identity of their own: those of the time that is asked for again are replaced.
            found = [update for update in found if update.time_ms < since_ms] + list(page)
            if len(page) < MAX_ROWS_PER_ANSWER or page[-1].time_ms == since_ms:
                return tuple(u.transfer for u in found if u.transfer is not None and u.time_ms < until_ms)
            since_ms = page[-1].time_ms

    def address_budget(self) -> AddressBudget:
        """Actions that the account has used and may use, weight 20. Raises ``VenueError``."""
        return read_address_budget(self._connection, self._address)

    def _fills_page(self, since_ms: int) -> tuple[Fill, ...]:
        read, address = self._connection.read, self._address
        return parse_fills(read("userFillsByTime", lambda info: info.user_fills_by_time(address, since_ms)))

    def _funding_page(self, since_ms: int) -> tuple[tuple[int, str, Decimal], ...]:
        read, address = self._connection.read, self._address
        return parse_funding(read("userFunding", lambda info: info.user_funding_history(address, since_ms)))

    def _ledger_page(self, since_ms: int) -> tuple[LedgerUpdate, ...]:
        read, address = self._connection.read, self._address
        name = "userNonFundingLedgerUpdates"
        answer = read(name, lambda info: info.user_non_funding_ledger_updates(address, since_ms))
        return parse_ledger_updates(answer, address)

    def find(self, cloid: str) -> ActionResult | None:
        """What the venue knows of a client order id. Raises ``VenueError``."""
        answer = self._connection.read(
            "orderStatus", lambda info: info.query_order_by_cloid(self._address, Cloid.from_str(cloid))
        )
        item = parse_order_status(answer)
        nothing = CancelOrder("", item.oid or 0 if item else 0, cloid, "asked for by id")
        return None if item is None else _result(nothing, item)

    # --- writing -----------------------------------------------------------------------------------

    def place(self, order: PlaceOrder) -> ActionResult:
        """Send one order, once; a lost answer is looked up by client order id."""
        sent_ms = self._clock.now_ms()
        item = self._write(order, f"the {order.purpose} of {order.symbol}", _order_call(order))
        if item.status in (ActionStatus.UNKNOWN, ActionStatus.DONE):  # "done" is no answer to an order
            item = self._look_up(order, item)
        return _result(order, item, sent_ms, self._clock.now_ms())

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        """Cancel by the venue's order id; "already gone" is done."""
        sent_ms = self._clock.now_ms()
        item = self._write(
            cancel,
            f"the cancel of {cancel.symbol} order {cancel.oid}",
            lambda exchange: exchange.cancel(cancel.symbol, cancel.oid),
        )
        if item.status is ActionStatus.UNKNOWN:
            item = self._look_up_cancel(cancel, item)
        return _result(cancel, item, sent_ms, self._clock.now_ms())

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        """Set the integer leverage together with the margin mode."""
        sent_ms = self._clock.now_ms()
        item = self._write(
            change,
            f"leverage {change.leverage}x of {change.symbol}",
            lambda exchange: exchange.update_leverage(change.leverage, change.symbol, change.is_cross),
        )
        return _result(change, item, sent_ms, self._clock.now_ms())

    def _write(self, action: Action, what: str, send: Send) -> ItemAnswer:
        try:
            if action.symbol not in self._connection.assets():
                return ItemAnswer(ActionStatus.ERROR, f"Hyperliquid lists no perpetual {action.symbol!r}")
            is_entry = isinstance(action, PlaceOrder) and action.purpose.increases_exposure
            good_until_ms = action.good_until_ms if isinstance(action, PlaceOrder) else None
            answer = self._signer.write(what, send, good_until_ms=good_until_ms, must_arrive=not is_entry)
            return normalise(answer, 1)[0]
        except UnknownOutcomeError as error:
            return ItemAnswer(ActionStatus.UNKNOWN, str(error))
        except (VenueError, ValueError) as error:
            # Refused, never sent, or a number that the SDK would have had to round: nothing was done.
            return ItemAnswer(ActionStatus.ERROR, str(error))

    def _look_up(self, order: PlaceOrder, lost: ItemAnswer) -> ItemAnswer:
        is_entry = order.purpose.increases_exposure
        for pause in ENTRY_LOOK_UP_PAUSES_SECONDS if is_entry else LOOK_UP_PAUSES_SECONDS:
            self._clock.sleep(pause)
            try:
                found = self.find(order.cloid)
            except VenueError:
                continue
            if found is not None and found.status is not ActionStatus.UNKNOWN:
                message = f"{found.message} (answer lost, found by client order id)"
                return ItemAnswer(found.status, message, found.oid, found.filled_base)
        said = lost.message or "the venue did not say what became of it"
        message = f"{said}; looking it up found nothing, which proves nothing"
        return replace(lost, status=ActionStatus.UNKNOWN, message=message)

    def _look_up_cancel(self, cancel: CancelOrder, lost: ItemAnswer) -> ItemAnswer:
        """A cancel whose answer was lost is done when the order stands no more."""
        try:
            answer = self._connection.read(
                "orderStatus", lambda info: info.query_order_by_oid(self._address, cancel.oid)
            )
            item = parse_order_status(answer)
        except VenueError:
            return lost
        if item is None or item.status in (ActionStatus.RESTING, ActionStatus.UNKNOWN):
            return lost
        return ItemAnswer(ActionStatus.DONE, f"{item.message} (answer lost, found by order id)")


def _post_info(question: Mapping[str, str], info: "Info") -> Any:  # noqa: ANN401 (JSON)
    """A question that the SDK's ``Info`` has no method for, sent as the SDK sends its own."""
    return info.post("/info", question)


def read_address_budget(connection: SdkConnection, address: str) -> AddressBudget:
    """``userRateLimit`` of an account; the connection's budget learns it, too. Raises ``VenueError``."""
    answer = connection.read("userRateLimit", lambda info: info.user_rate_limit(address))
    row = Row.of(answer, "userRateLimit")
    budget = AddressBudget(row.integer("nRequestsUsed"), row.integer("nRequestsCap"))
    connection.budget.learn(budget)
    return budget


def _order_call(order: PlaceOrder) -> Send:
    def send(exchange: "Exchange") -> Any:  # noqa: ANN401 (JSON)
        return exchange.order(
            order.symbol,
            order.is_buy,
            float(order.size_base),
            float(order.limit_px),
            _order_type(order),
            reduce_only=order.reduce_only,
            cloid=Cloid.from_str(order.cloid),
        )

    return send


def _order_type(order: PlaceOrder) -> dict[str, Any]:
    if order.trigger_px is None:
        return {"limit": {"tif": "Ioc"}}
    tpsl = "sl" if order.leg is Leg.STOP_LOSS else "tp"
    return {"trigger": {"triggerPx": float(order.trigger_px), "isMarket": True, "tpsl": tpsl}}


def _result(action: Action, item: ItemAnswer, sent_ms: int = 0, answered_ms: int = 0) -> ActionResult:
    return ActionResult(
        action=action,
        status=item.status,
        message=item.message,
        oid=item.oid,
        filled_base=item.filled_base,
        average_px=item.average_px,
        sent_at_ms=sent_ms,
        answered_at_ms=answered_ms,
    )
