"""What requests cost: weight per IP and rolling minute, actions per address (Hyperliquid, "Rate limits").

Belongs here: the arithmetic of both limits, and the count of what this process has sent.
Does not belong here: sending (``session``), asking for the address's limit (``exchange``), showing it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

IP_WEIGHT_PER_MINUTE = 1_200
WINDOW_MS = 60_000
LOW_FRACTION = 0.1
"""Less of the address's budget than this left is worth a warning."""

_LIGHT = frozenset(
    {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
)
_LIGHT_WEIGHT, _INFO_WEIGHT = 2, 20
_HEAVY: Mapping[str, int] = {"userRole": 60}
_ITEMS_PER_WEIGHT: Mapping[str, int] = {
    "candleSnapshot": 60,
    "recentTrades": 20,
    "historicalOrders": 20,
    "userFills": 20,
    "userFillsByTime": 20,
    "fundingHistory": 20,
    "userFunding": 20,
    "userNonFundingLedgerUpdates": 20,
}
_ORDERS_PER_WEIGHT = 40
_BATCHES = ("orders", "cancels", "modifies")


def info_weight(kind: str) -> int:
    """The weight of an ``/info`` request of a type, before its answer is known."""
    return _LIGHT_WEIGHT if kind in _LIGHT else _HEAVY.get(kind, _INFO_WEIGHT)


def items_weight(kind: str, items: int) -> int:
    """What ``items`` rows in the answer weigh on top of the request."""
    per_weight = _ITEMS_PER_WEIGHT.get(kind)
    return items // per_weight if per_weight else 0


def exchange_weight(actions: int) -> int:
    """The weight of an ``/exchange`` request with so many actions in its batch."""
    return 1 + actions // _ORDERS_PER_WEIGHT


def weighs_by_items(kind: str) -> bool:
    """Whether the answer's length counts."""
    return kind in _ITEMS_PER_WEIGHT


def actions_in(action: Mapping[str, Any]) -> int:
    """How many actions an ``/exchange`` request counts for: the length of its batch, at least one."""
    batches = (action.get(name) for name in _BATCHES)
    return max([1, *(len(batch) for batch in batches if isinstance(batch, list))])


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

    @property
    def address(self) -> AddressBudget | None:
        """The venue's figures as they were read last in this process; None before that."""
        return self._address

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
