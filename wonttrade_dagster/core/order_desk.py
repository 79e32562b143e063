"""How one order of one symbol is made: side, price, size and id on the venue's grid.

Belongs here: turning "close this position" or "a stop there" into a valid ``PlaceOrder``.
Does not belong here: whether and when an order is wanted (``core.reconcile``), sending (``core.execution``).
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from itertools import count

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.client_order_id import cloid
from wonttrade_dagster.core.model import AssetSpec, ExecutionRules, Leg, OrderPurpose, PlaceOrder
from wonttrade_dagster.core.precision import (
    PriceRounding,
    marketable_px,
    round_price,
    tick_px,
    trigger_limit_px,
)
from wonttrade_dagster.core.quick_init import quick_init

_PURPOSES = {leg: OrderPurpose(leg.value) for leg in Leg}


@quick_init
@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Makes the orders of one symbol in one cycle."""

    asset: AssetSpec
    cycle_ms: int
    rules: ExecutionRules

    def marketable(
        self,
        purpose: OrderPurpose,
        signed_base: Decimal,
        reference_px: Decimal,
        reason: str,
        *,
        attempt: int = 0,
    ) -> PlaceOrder:
        """An IOC order for ``signed_base`` (sign = direction of the trade) around ``reference_px``."""
        is_buy = signed_base > 0
        limit = marketable_px(
            reference_px, self.asset.size_decimals, is_buy=is_buy, slippage_bps=self.rules.slippage_bps
        )
        return PlaceOrder(
            symbol=self.asset.symbol,
            purpose=purpose,
            is_buy=is_buy,
            size_base=abs(signed_base),
            limit_px=limit,
            reduce_only=not purpose.increases_exposure,
            cloid=self.cloid(purpose, attempt),
            reason=reason,
        )

    def stop_close(
        self, held_base: Decimal, mark_px: Decimal, reason: str, *, attempt: int = 0
    ) -> PlaceOrder:
        """The close in place of a stop that is crossed, with the room of 10 % that the stop itself has.

        ``slippage_bps`` bounds what a decision may cost; a stop gets out of a thin book, too.
        """
        order = self.marketable(OrderPurpose.CLOSE, -held_base, mark_px, reason, attempt=attempt)
        limit = trigger_limit_px(mark_px, self.asset.size_decimals, is_buy=order.is_buy)
        return replace(order, limit_px=limit)

    def trigger(
        self,
        leg: Leg,
        trigger_px: Decimal,
        held_base: Decimal,
        reason: str,
        *,
        replaces_oid: int | None = None,
        taken_cloids: Collection[str | None] = (),
    ) -> PlaceOrder:
        """A reduce-only market trigger for a position of ``held_base``; ``trigger_px`` lies on the grid.

        Its id is the first of the cycle that no standing order has: a second plan of one cycle must not
        take the order that it replaces for its own.
        """
        purpose = _PURPOSES[leg]
        is_buy = held_base < 0
        return PlaceOrder(
            symbol=self.asset.symbol,
            purpose=purpose,
            is_buy=is_buy,
            size_base=abs(held_base),
            limit_px=trigger_limit_px(trigger_px, self.asset.size_decimals, is_buy=is_buy),
            reduce_only=True,
            cloid=next(c for n in count() if (c := self.cloid(purpose, n)) not in taken_cloids),
            reason=reason,
            trigger_px=trigger_px,
            replaces_oid=replaces_oid,
        )

    def trigger_px(self, leg: Leg, px: Decimal, *, is_long: bool) -> Decimal:
        """``px`` on the grid, rounded away from the market so that rounding never crosses it."""
        downward = (leg is Leg.STOP_LOSS) == is_long
        rounding = PriceRounding.DOWN if downward else PriceRounding.UP
        decimals = self.asset.size_decimals
        return round_price(px, decimals, rounding) or tick_px(px, decimals)

    def cloid(self, purpose: OrderPurpose, attempt: int) -> str:
        """The client order id of that step of this cycle."""
        return cloid(self.rules.cloid_tag, self.cycle_ms, self.asset.symbol, purpose.value, attempt)
