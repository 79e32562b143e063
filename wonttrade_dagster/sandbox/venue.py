"""The loopback venue: many accounts on one market, behind one lock.

Belongs here: accounts, agents and nonces of one venue, its clock, and carrying requests to the simulated
exchange. Does not belong here: HTTP and JSON (``venue_app``), who signed (``signatures``), exchange rules
(``core.simulation``).
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from wonttrade_dagster.core.simulation.events import (
    ChangeOutcome,
    Event,
    OrderOutcome,
    OrderUpdate,
)
from wonttrade_dagster.core.simulation.margin import account_value_usd
from wonttrade_dagster.core.simulation.marks import mark_to, pay_funding
from wonttrade_dagster.core.simulation.orders import (
    cancel_order,
    deposit,
    place_order,
    set_leverage,
    update_isolated_margin,
    with_marks,
)
from wonttrade_dagster.core.simulation.records import (
    ExchangeState,
    Level,
    LeverageSetting,
    OrderRequest,
    OrderStatus,
    Quote,
    VenueRules,
)
from wonttrade_dagster.sandbox import brackets, passage
from wonttrade_dagster.sandbox.account_log import OPEN, Account, StatusRow, TpslGroup
from wonttrade_dagster.sandbox.agents import AgentBook
from wonttrade_dagster.sandbox.clock import VenueClock
from wonttrade_dagster.sandbox.market import Market
from wonttrade_dagster.sandbox.nonces import NonceBook
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.universe import assets_by_symbol

FIRST_OID = 311_642_020_084
"""The venue's order ids do not fit into 32 bits; neither do these."""
FIRST_TID = 343_484_124_188_045

SCHEDULED_CANCEL = "scheduledCancel"

Reshape = Callable[[Quote], Quote]
Step = tuple[ExchangeState, Sequence[Event]]


class LoopbackVenue:
    """Every account of the sandbox. Each public method holds the lock for as long as it takes."""

    def __init__(
        self,
        market: Market,
        clock: VenueClock,
        rules: VenueRules | None = None,
        options: VenueOptions | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.market = market
        self.clock = clock
        self.rules = rules or VenueRules(assets_by_symbol())
        self.options = options or VenueOptions()
        self.agents = AgentBook()
        self.nonces = NonceBook()
        self.accounts: dict[str, Account] = {}
        self.next_oid, self.next_tid = FIRST_OID, FIRST_TID
        self.settled_ms = clock.now_ms()
        self.revision = 0
        """Grows with everything that cannot be had again from seed and time."""

    def knows(self, user: str) -> bool:
        """Whether the user has ever been funded."""
        return user in self.accounts

    def account(self, user: str) -> Account:
        """The account of a user as of now; an empty one, not kept, for a user who never paid in."""
        with self.lock:
            self.settle()
            return self.accounts.get(user) or Account(user, ExchangeState(self.settled_ms))

    def open(self, user: str) -> Account:
        """The account of a user, which is kept from now on."""
        return self.accounts.setdefault(user, self.account(user))

    def apply(self, account: Account, step: Callable[[ExchangeState], Step]) -> None:
        """Let a step of the exchange happen to an account, at the marks of now."""
        with self.lock:
            self.settle()
            quotes = self.quotes(account.state.positions, self.settled_ms)
            self._step(account, lambda state: step(with_marks(state, quotes)))

    def fund(self, user: str, usdc: Decimal) -> Account:
        """Pay in. Raises ``UsageError`` for an amount that is not positive."""
        with self.lock:
            self.settle()
            account = self.account(user)
            self._step(account, lambda state: deposit(state, usdc, self.settled_ms))
            self.accounts[user] = account
            account.sample_equity(self.settled_ms, account_value_usd(account.state))
            return account

    def set_price(self, coin: str, mid: Decimal, hold_ms: int, after_ms: int = 0) -> None:
        """Move a mid now, or ``after_ms`` from now. Raises ``KeyError``, ``ValueError``."""
        with self.lock:
            self.settle()
            self.market.set_price(coin, mid, hold_ms, after_ms)
            self.revision += 1
            self._feel(self.clock.now_ms())

    def advance(self, milliseconds: int) -> int:
        """Let time pass on the venue: prices move, triggers fire, funding is paid; the new time."""
        with self.lock:
            self.settle()
            self.clock.advance(milliseconds)
            self.settle()
            return self.settled_ms

    def place(
        self, user: str, request: OrderRequest, *, reshape: Reshape | None = None, bracket: bool = False
    ) -> OrderOutcome:
        """Place one order of a known user.

        Args:
            user: who.
            request: what.
            reshape: changes the quote that the order meets (a fault).
            bracket: the parent of a ``normalTpsl`` group follows up only when the group is complete.
        """
        with self.lock:
            self.settle()
            return self._place(self.accounts[user], request, reshape, follow=not bracket)

    def cancel(self, user: str, key: int | str) -> ChangeOutcome:
        """Cancel by oid or client order id, a bracket's child that waits for its parent too."""
        with self.lock:
            self.settle()
            for order in reversed(self.accounts[user].waiting_children()):
                if key in (order.oid, order.request.cloid):
                    self.accounts[user].drop_waiting(order, self.settled_ms)
                    return ChangeOutcome()
        return self._change(user, lambda state: cancel_order(state, key, self.settled_ms))

    def set_leverage(self, user: str, symbol: str, setting: LeverageSetting) -> ChangeOutcome:
        """Set leverage and margin mode."""
        return self._change(user, lambda s: set_leverage(s, symbol, setting, self.rules, self.settled_ms))

    def move_margin(self, user: str, symbol: str, amount_usd: Decimal) -> ChangeOutcome:
        """Add to (or take from) an isolated position's margin."""
        return self._change(
            user, lambda s: update_isolated_margin(s, symbol, amount_usd, self.rules, self.settled_ms)
        )

    def number_children(self, account: Account, group: TpslGroup) -> None:
        """Give a bracket's waiting children their oids: the parent rests, and they are listed with it."""
        with self.lock:
            for index, order in enumerate(group.waiting):
                numbered = replace(order, oid=self.next_oid)
                self.next_oid += 1
                group.waiting[index] = numbered
                account.statuses.append(StatusRow(numbered, OPEN, self.settled_ms))

    def settle(self) -> None:
        """Bring every account to now: what happened since the last time happens, in order."""
        with self.lock:
            now_ms = self.clock.now_ms()
            if now_ms <= self.settled_ms:
                return
            active = [account for account in self.accounts.values() if account.is_active]
            watched = passage.thresholds((account.state for account in active), self.rules)
            due = passage.fundings(self.market, watched, self.settled_ms, now_ms)
            switches = [a.cancel_all_at_ms for a in active if a.cancel_all_at_ms is not None]
            for moment in passage.moments(self.market, watched, self.settled_ms, now_ms, switches):
                while due and due[0].time_ms <= moment:
                    self._pay(due.pop(0))
                self._feel(moment)

    def quotes(self, coins: Iterable[str], time_ms: int) -> Mapping[str, Quote]:
        """The market of some coins at a moment, as the simulated exchange reads it."""
        return {coin: self._quote(coin, time_ms) for coin in coins if coin in self.market.coins()}

    def follow_up(self, account: Account) -> None:
        """Act on brackets whose parent or child has come to an end."""
        for oid, status in brackets.siblings_to_cancel(account):
            self.cancel_as(account, oid, status)
        for group in brackets.groups_to_place(account):
            waiting, group.waiting = group.waiting, []
            outcomes = [
                self._place(account, order.request, None, follow=False, oid=order.oid) for order in waiting
            ]
            group.child_oids = [o.oid for o in outcomes if o.oid is not None and o.error is None]
        for order in brackets.ended(account):
            if order.oid:
                account.drop_waiting(order, self.settled_ms)
        account.groups = brackets.alive(account)

    def cancel_as(self, account: Account, oid: int, status: str) -> None:
        """The venue itself cancels a standing order, for a reason that has a word of its own."""
        self._step(account, partial(self._cancelled, oid), follow=False)
        account.relabel(oid, status)

    def _place(
        self,
        account: Account,
        request: OrderRequest,
        reshape: Reshape | None,
        *,
        follow: bool,
        oid: int = 0,
    ) -> OrderOutcome:
        quotes = dict(self.quotes({request.symbol, *account.state.positions}, self.settled_ms))
        if reshape is not None:
            quotes[request.symbol] = reshape(quotes[request.symbol])
        outcomes: list[OrderOutcome] = []

        def step(state: ExchangeState) -> Step:
            state, outcome = place_order(state, request, quotes, self.rules, self.settled_ms)
            outcomes.append(outcome)
            return state, [e for e in outcome.events if not (oid and _is_opening(e))]

        self._step(account, step, follow=follow, oid=oid)
        return outcomes[0]

    def _pay(self, due: passage.FundingDue) -> None:
        for account in self.accounts.values():
            if due.coin in account.state.positions:
                self._step(account, lambda s: pay_funding(s, due.coin, due.rate, due.oracle_px, due.time_ms))

    def _feel(self, moment_ms: int) -> None:
        self.settled_ms = moment_ms
        active = [account for account in self.accounts.values() if account.is_active]
        coins = {
            coin
            for a in active
            for coin in [*a.state.positions, *(o.symbol for o in a.state.orders.values())]
        }
        quotes = self.quotes(coins, moment_ms)
        for account in active:
            self._step(account, lambda s: mark_to(s, quotes, self.rules, moment_ms))
            if account.cancel_all_at_ms is not None and account.cancel_all_at_ms <= moment_ms:
                self._cancel_all(account)
        for account in self.accounts.values():
            account.sample_equity(moment_ms, account_value_usd(account.state))

    def _step(
        self,
        account: Account,
        step: Callable[[ExchangeState], Step],
        *,
        follow: bool = True,
        oid: int = 0,
    ) -> None:
        """One step of one account; ids are the venue's, so that no two accounts share one."""
        numbered = replace(account.state, next_oid=oid or self.next_oid, next_tid=self.next_tid)
        account.state, events = step(numbered)
        self.next_oid = max(self.next_oid, account.state.next_oid)
        self.next_tid = account.state.next_tid
        account.record(events)
        self.revision += bool(events)
        if events and follow and account.groups:
            self.follow_up(account)

    def _change(
        self, user: str, change: Callable[[ExchangeState], tuple[ExchangeState, ChangeOutcome]]
    ) -> ChangeOutcome:
        with self.lock:
            self.settle()
            account, outcomes = self.accounts[user], list[ChangeOutcome]()
            quotes = self.quotes(account.state.positions, self.settled_ms)

            def step(state: ExchangeState) -> Step:
                state, outcome = change(with_marks(state, quotes))
                outcomes.append(outcome)
                return state, outcome.events

            self._step(account, step)
            return outcomes[0]

    def _cancelled(self, oid: int, state: ExchangeState) -> Step:
        state, outcome = cancel_order(state, oid, self.settled_ms)
        return state, outcome.events

    def _cancel_all(self, account: Account) -> None:
        """The dead-man switch fires: every order goes, protective stops too."""
        account.cancel_all_at_ms = None
        account.cancel_all_fired_ms.append(self.settled_ms)
        for order in account.waiting_children():
            account.drop_waiting(order, self.settled_ms)
            account.relabel(order.oid, SCHEDULED_CANCEL)
        for oid in tuple(account.state.orders):
            self.cancel_as(account, oid, SCHEDULED_CANCEL)
        account.groups = brackets.alive(account)

    def _quote(self, coin: str, time_ms: int) -> Quote:
        book = self.market.book(coin, time_ms)
        bids, asks = (tuple(Level(x.px, x.size_base) for x in side) for side in (book.bids, book.asks))
        return Quote(
            coin, bids, asks, self.market.mark_px(coin, time_ms), self.market.oracle_px(coin, time_ms)
        )


def _is_opening(event: Event) -> bool:
    return isinstance(event, OrderUpdate) and event.status is OrderStatus.OPEN
