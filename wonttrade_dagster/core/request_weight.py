"""The venue's rate limits as arithmetic: weight per IP and rolling minute, actions per address.

Belongs here: what a request weighs, how many actions it is (Hyperliquid documentation "Rate limits"), and
whether what is left is enough for an entry.
Does not belong here: counting what was sent (``adapters.hyperliquid.budget``), turning requests away
(``sandbox.limits``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IP_WEIGHT_PER_MINUTE = 1_200
WINDOW_MS = 60_000
ENTRY_WEIGHT = 120
"""An entry seen through: it, its protection, the account read behind them, the fills (114 measured)."""
SPENT_ADDRESS = "Too many cumulative requests sent"
"""How the venue begins its refusal of an action beyond the address's budget."""
SPENT_ADDRESS_PAUSE_SECONDS = 10.0
"""An address without budget is allowed one action in so long."""

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
    "userTwapSliceFills": 20,
}
_ORDERS_PER_WEIGHT = 40
_BATCHES = ("orders", "cancels", "modifies")


@dataclass(frozen=True, slots=True)
class RequestRoom:
    """What may still be sent, as far as this process knows; None where it does not know.

    Attributes:
        actions: of the address, at full speed.
        weight: of the IP, in this rolling minute.
    """

    actions: int | None = None
    weight: int | None = None

    def hindrance(self, actions: int) -> str:
        """Why an entry that needs so many actions, its protection included, must not begin; or ""."""
        if self.actions is not None and self.actions < actions:
            return f"address_budget_spent: {self.actions} actions are left, it needs {actions}"
        if self.weight is not None and self.weight < ENTRY_WEIGHT:
            return f"ip_weight_spent: {self.weight} are left of this minute, it needs {ENTRY_WEIGHT}"
        return ""


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
