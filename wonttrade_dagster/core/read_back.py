"""ReadBack: the account as it is read again while a plan is carried out.

Belongs here: when the account must be read, waiting for it to show what an answer promised, and since when
a symbol stands without a confirmed stop.
Does not belong here: what is sent (``core.execution``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.model import AccountSnapshot, OpenOrder
from wonttrade_dagster.core.ports import Clock, Venue

PAUSES_SECONDS = (0.3, 1.0)
"""The venue's answers may be ahead of its account state: read again after these pauses."""


@dataclass(slots=True)
class Exposure:
    """A symbol that stands, or stood, without a confirmed stop since ``since_ms``."""

    since_ms: int
    stop_cloids: set[str] = field(default_factory=set)
    """Ids under which its stop was sent: any of them may be the one that stands."""
    confirmed_ms: int | None = None


@dataclass(slots=True)
class ReadBack:
    """The latest account of one execution; ``account`` is None until it could be read."""

    venue: Venue
    clock: Clock
    account: AccountSnapshot | None
    exposures: dict[str, Exposure] = field(default_factory=dict)
    has_traded: bool = False
    """Positions may have changed since the account was read."""
    has_changed: bool = False
    """Orders or positions may have changed since the account was read."""

    def __post_init__(self) -> None:
        self.has_traded = self.has_changed = self.account is None

    def size_base(self, symbol: str) -> Decimal:
        """Signed size in the latest account, 0 when there is none."""
        return self.account.size_base(symbol) if self.account else Decimal(0)

    def order(self, oid: int | None) -> OpenOrder | None:
        """An open order of the latest account."""
        orders = self.account.open_orders if self.account else ()
        return next((order for order in orders if order.oid == oid), None)

    def is_fresh(self) -> bool:
        """Whether the account shows what has been sent so far; reads it if it does not yet."""
        is_known = self.account is not None and not self.has_changed
        return is_known or self.read() is not None

    def holds(self, symbol: str, size_base: Decimal, *, patient: bool) -> bool:
        """Whether the account holds exactly that; ``patient`` where an answer promised it."""
        return self._until(
            lambda a: a.size_base(symbol) == size_base, is_stale=self.has_traded, patient=patient
        )

    def is_standing(self, cloid: str) -> bool:
        """Whether that order is among the open orders."""
        return self._until(lambda account: _has(account, cloid), is_stale=self.has_changed, patient=True)

    def await_confirmations(self, *, patient: bool) -> None:
        """Read until every watched stop is seen standing."""
        if any(e.confirmed_ms is None for e in self.exposures.values()):
            self._until(lambda _: self._all_confirmed(), is_stale=True, patient=patient)

    def read(self) -> AccountSnapshot | None:
        """Read the account now; None when the venue could not be read."""
        try:
            account = self.venue.account()
        except VenueError:
            return None
        self.account = account
        self.has_traded = self.has_changed = False
        for exposure in self.exposures.values():
            if exposure.confirmed_ms is None and any(_has(account, c) for c in exposure.stop_cloids):
                exposure.confirmed_ms = self.clock.now_ms()
        return account

    def unprotected_seconds(self) -> tuple[tuple[str, float], ...]:
        """Per symbol that was filled: until its stop was seen standing, or until now."""
        if not self.exposures:
            return ()
        now_ms = self.clock.now_ms()
        return tuple(
            (symbol, ((now_ms if e.confirmed_ms is None else e.confirmed_ms) - e.since_ms) / 1000)
            for symbol, e in self.exposures.items()
            if e.confirmed_ms is not None or self._may_hold(symbol)
        )

    def unconfirmed(self) -> tuple[str, ...]:
        """Symbols that are, or may be, held while no stop was seen standing for what was filled."""
        pending = (symbol for symbol, e in self.exposures.items() if e.confirmed_ms is None)
        return tuple(symbol for symbol in pending if self._may_hold(symbol))

    def _may_hold(self, symbol: str) -> bool:
        """An account that was not read since the trade says nothing: the position counts as there."""
        return self.has_traded or self.size_base(symbol) != 0

    def _all_confirmed(self) -> bool:
        return all(e.confirmed_ms is not None for e in self.exposures.values())

    def _until(
        self, is_true: Callable[[AccountSnapshot], bool], *, is_stale: bool, patient: bool = False
    ) -> bool:
        if not is_stale and self.account is not None and is_true(self.account):
            return True
        for pause in (0.0, *(PAUSES_SECONDS if patient else ())):
            if pause:
                self.clock.sleep(pause)
            account = self.read()
            if account is None:
                return False  # the venue's own retries are used up: waiting longer leaves a position bare
            if is_true(account):
                return True
        return False


def _has(account: AccountSnapshot, cloid: str) -> bool:
    return any(order.cloid == cloid for order in account.open_orders)
