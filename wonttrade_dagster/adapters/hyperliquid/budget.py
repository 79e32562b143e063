"""What this process has spent of the venue's limits: weight per IP and rolling minute, actions per address.

Belongs here: the count of what was sent, and what is left.
Does not belong here: what a request weighs (``core.request_weight``), sending (``session``), asking for the
address's limit (``exchange``), showing it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.request_weight import (
    IP_WEIGHT_PER_MINUTE,
    WINDOW_MS,
    RequestRoom,
    actions_in,
    exchange_weight,
    info_weight,
    items_weight,
)

LOW_FRACTION = 0.1
"""Less of the address's budget than this left is worth a warning."""


@dataclass(frozen=True, slots=True)
class AddressBudget:
    """What an address has sent since its beginning, and what it may send (``userRateLimit``)."""

    used: int
    cap: int

    @property
    def left(self) -> int:
        """Actions that it may still send at full speed; beyond that one every 10 s."""
        return max(self.cap - self.used, 0)

    @property
    def is_low(self) -> bool:
        """Whether less than a tenth is left."""
        return self.left < self.cap * LOW_FRACTION

    def sentence(self) -> str:
        """The figures in words."""
        return f"{self.used} of {self.cap} actions of the address are used, {self.left} are left"


@dataclass(frozen=True, slots=True)
class Spent:
    """What this process has sent: weight in the last minute and in all, actions in all."""

    weight_last_minute: int
    weight: int
    actions: int


class RequestBudget:
    """Counts what one connection sends; a process sums its connections up, see :func:`total`.

    Args:
        now_ms: the time, for the rolling minute.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._lock = Lock()
        self._recent: deque[tuple[int, int]] = deque()
        self._weight = 0
        self._actions = 0
        self._address: AddressBudget | None = None
        self._actions_at_address = 0

    def request(self, path: str, body: Mapping[str, Any]) -> None:
        """Count a request that is about to be sent; attempts that fail count, too."""
        if path.rstrip("/").endswith("/exchange"):
            action = body.get("action")
            actions = actions_in(action if isinstance(action, Mapping) else {})
            self._add(exchange_weight(actions), actions)
        else:
            self._add(info_weight(str(body.get("type"))), 0)

    def answer(self, kind: str, items: int) -> None:
        """Count what the rows of an answer weigh on top."""
        self._add(items_weight(kind, items), 0)

    def learn(self, address: AddressBudget) -> None:
        """Take the venue's own figures of the address."""
        with self._lock:
            self._address = address
            self._actions_at_address = self._actions

    @property
    def address(self) -> AddressBudget | None:
        """The venue's figures as they were read last in this process; None before that."""
        return self._address

    @property
    def actions_left(self) -> int | None:
        """What was left at that reading, without what was sent since; None before the first one."""
        with self._lock:
            if self._address is None:
                return None
            return max(self._address.left - (self._actions - self._actions_at_address), 0)

    def spent(self) -> Spent:
        """What was sent so far."""
        with self._lock:
            self._forget(self._now_ms())
            return Spent(sum(weight for _, weight in self._recent), self._weight, self._actions)

    def _add(self, weight: int, actions: int) -> None:
        with self._lock:
            now_ms = self._now_ms()
            self._forget(now_ms)
            self._recent.append((now_ms, weight))
            self._weight += weight
            self._actions += actions

    def _forget(self, now_ms: int) -> None:
        while self._recent and self._recent[0][0] <= now_ms - WINDOW_MS:
            self._recent.popleft()


def total(budgets: Iterable[RequestBudget]) -> Spent:
    """What several connections have sent together."""
    spent = [budget.spent() for budget in budgets]
    return Spent(
        sum(s.weight_last_minute for s in spent), sum(s.weight for s in spent), sum(s.actions for s in spent)
    )


@dataclass(frozen=True, slots=True)
class RoomLeft:
    """What this process may still send: of the IP's weight, and of the address's actions.

    Attributes:
        account: the connection that sends the actions.
        others: further connections of the process, which share the IP.
        ask_address: reads the venue's figures of the address into ``account`` (weight 20); done once.
    """

    account: RequestBudget
    others: tuple[RequestBudget, ...]
    ask_address: Callable[[], AddressBudget]

    def __call__(self) -> RequestRoom:
        """Now; figures that the venue does not tell hinder nothing."""
        if self.account.actions_left is None:
            with suppress(VenueError):
                self.account.learn(self.ask_address())
        weight = total((self.account, *self.others)).weight_last_minute
        return RequestRoom(self.account.actions_left, max(IP_WEIGHT_PER_MINUTE - weight, 0))


@dataclass(frozen=True, slots=True)
class Usage:
    """What was sent since the last reading.

    Attributes:
        weight: of all requests since then, by the venue's rules.
        weight_last_minute: what counts against the IP's limit now, as far as this process knows.
        actions: sent since then.
        address: the venue's figures of the address; None when they were not asked for, or not told.
    """

    weight: int
    weight_last_minute: int
    actions: int
    address: AddressBudget | None
