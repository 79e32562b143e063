"""The venue's rate limits as arithmetic: weight per IP and rolling minute, actions per address.

Belongs here: what a request weighs and how many actions it is (Hyperliquid documentation "Rate limits").
Does not belong here: counting what was sent (``adapters.hyperliquid.budget``), turning requests away
(``sandbox.limits``).
"""

from collections.abc import Mapping
from typing import Any

IP_WEIGHT_PER_MINUTE = 1_200
WINDOW_MS = 60_000

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
