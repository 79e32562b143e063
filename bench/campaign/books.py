"""The account as the official SDK shows it: orders, fills and positions ever seen.

Belongs here: reading, and gathering what the venue shows only in part. Does not belong here: judgement.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hyperliquid.info import Info

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS


@dataclass(frozen=True, slots=True)
class Standing:
    """One open order."""

    symbol: str
    oid: int
    cloid: str | None
    is_buy: bool
    size_base: Decimal
    trigger_px: Decimal | None
    is_stop: bool
    reduce_only: bool


@dataclass(frozen=True, slots=True)
class Look:
    """The account at one moment."""

    held: dict[str, Decimal]
    orders: tuple[Standing, ...]
    mids: dict[str, Decimal]
    value_usd: Decimal

    def legs(self, symbol: str, *, is_stop: bool) -> list[Standing]:
        """Triggers that can reduce the position held."""
        held = self.held.get(symbol, Decimal(0))
        return [
            order
            for order in self.orders
            if order.symbol == symbol
            and order.trigger_px is not None
            and order.is_stop == is_stop
            and order.reduce_only
            and order.is_buy == (held < 0)
        ]

    def is_covered(self, symbol: str, *, is_stop: bool) -> bool:
        """Whether the triggers of one leg close the whole position."""
        total = sum((order.size_base for order in self.legs(symbol, is_stop=is_stop)), Decimal(0))
        return total >= abs(self.held.get(symbol, Decimal(0)))


@dataclass(slots=True)
class Books:
    """Everything that the venue ever showed of the account.

    Attributes:
        info: the official SDK's reading half.
        statuses: every status of every order, by order id, with the order's last row.
        fills: every fill by trade id.
    """

    info: Info
    statuses: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    fills: dict[int, dict[str, Any]] = field(default_factory=dict)
    _newest_ms: int = 0

    def look(self) -> Look:
        """Read positions, open orders and prices."""
        state = self.info.user_state(SANDBOX_ACCOUNT_ADDRESS)
        orders = self.info.frontend_open_orders(SANDBOX_ACCOUNT_ADDRESS)
        held = {row["position"]["coin"]: Decimal(row["position"]["szi"]) for row in state["assetPositions"]}
        return Look(
            {symbol: size for symbol, size in held.items() if size},
            tuple(_standing(row) for row in orders),
            {coin: Decimal(px) for coin, px in self.info.all_mids().items()},
            Decimal(state["marginSummary"]["accountValue"]),
        )

    def gather(self) -> bool:
        """Take in new orders and fills; False when the venue showed too few of them to know all."""
        rows = self.info.historical_orders(SANDBOX_ACCOUNT_ADDRESS)
        known = len(self.statuses)
        overlaps = not known or any(row["order"]["oid"] in self.statuses for row in rows)
        for row in rows:
            self.statuses.setdefault(row["order"]["oid"], {})[row["status"]] = row
        fills = self.info.user_fills_by_time(SANDBOX_ACCOUNT_ADDRESS, self._newest_ms)
        for fill in fills:
            self.fills[fill["tid"]] = fill
            self._newest_ms = max(self._newest_ms, fill["time"])
        return overlaps

    def order(self, oid: int) -> dict[str, Any]:
        """The row of an order."""
        row: dict[str, Any] = next(iter(self.statuses[oid].values()))["order"]
        return row


def _standing(row: dict[str, Any]) -> Standing:
    return Standing(
        symbol=row["coin"],
        oid=row["oid"],
        cloid=row["cloid"],
        is_buy=row["side"] == "B",
        size_base=Decimal(row["sz"]),
        trigger_px=Decimal(row["triggerPx"]) if row["isTrigger"] else None,
        is_stop=row["orderType"].startswith("Stop"),
        reduce_only=row["reduceOnly"],
    )
