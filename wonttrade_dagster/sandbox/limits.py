"""The venue's rate limits (protocol §11): weight per IP and minute, actions per traded dollar.

Belongs here: what an address and an account may still send.
Does not belong here: what a request weighs (``core.request_weight``), HTTP answers.
"""

from collections import deque
from collections.abc import Mapping
from math import ceil
from typing import Any

from wonttrade_dagster.core.request_weight import (
    WINDOW_MS,
    actions_in,
    exchange_weight,
    info_weight,
    items_weight,
)
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.options import VenueOptions

SLOW_ACTION_MS = 10_000
"""An account that has spent its budget may act once in so long."""
EXTRA_CANCELS = 100_000
EXPIRED_COST = 5
"""What a stale ``expiresAfter`` counts."""
_CANCELS = frozenset({"cancel", "cancelByCloid"})


class BudgetError(ValueError):
    """The account has sent too many actions; the message is the venue's sentence."""


def request_weight(path: str, body: Json) -> int:
    """What a request weighs before it is answered."""
    if not isinstance(body, dict):
        return info_weight("")
    if path == "exchange":
        action = body.get("action")
        return exchange_weight(actions_in(action if isinstance(action, dict) else {}))
    return info_weight(str(body.get("type")))


def answer_weight(body: Json, answer: Json) -> int:
    """What the items of an answer weigh on top."""
    if not isinstance(body, dict) or not isinstance(answer, list):
        return 0
    return items_weight(str(body.get("type")), len(answer))


class IpMeter:
    """Weights of the last minute by client address. Used under the venue's lock."""

    def __init__(self, options: VenueOptions) -> None:
        self._options = options
        self._spent: dict[str, deque[tuple[int, int]]] = {}

    def admits(self, address: str, weight: int, now_ms: int) -> bool:
        """Whether a request may pass; one that passes is counted."""
        if self._options.rate_limits and self.used(address, now_ms) + weight > (
            self._options.ip_weight_per_minute
        ):
            return False
        self.add(address, weight, now_ms)
        return True

    def add(self, address: str, weight: int, now_ms: int) -> None:
        """Count a weight that is only known once the answer is."""
        if weight:
            self._spent.setdefault(address, deque()).append((now_ms, weight))

    def used(self, address: str, now_ms: int) -> int:
        """The weight of the last minute."""
        spent = self._spent.setdefault(address, deque())
        while spent and spent[0][0] <= now_ms - WINDOW_MS:
            spent.popleft()
        return sum(weight for _, weight in spent)


def request_cap(account: Account, options: VenueOptions) -> int:
    """Actions that the account may send in all: one per traded dollar beside the free ones."""
    return options.free_requests + int(account.volume_usd())


def spend(account: Account, action: Mapping[str, Any], now_ms: int, options: VenueOptions) -> None:
    """Count an action against the account's budget.

    Raises:
        BudgetError: the budget is spent, and this is no cancel that is still allowed; nothing is counted.
    """
    count, cap = actions_in(action), request_cap(account, options)
    if options.rate_limits and account.requests_used + count > _cap_of(action, cap):
        if now_ms - account.last_free_action_ms < SLOW_ACTION_MS:
            raise BudgetError(_sentence(account, cap))
        account.last_free_action_ms = now_ms
    account.requests_used += count


def _cap_of(action: Mapping[str, Any], cap: int) -> int:
    return min(cap + EXTRA_CANCELS, 2 * cap) if action.get("type") in _CANCELS else cap


def _sentence(account: Account, cap: int) -> str:
    cents = ceil(account.volume_usd() * 100) / 100
    return (
        f"Too many cumulative requests sent ({account.requests_used} > {cap}) for cumulative volume traded "
        f"${cents:.2f}. Place taker orders to free up 1 request per USDC traded."
    )
