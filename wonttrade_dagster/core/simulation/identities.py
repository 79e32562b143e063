"""The money identities, checked wherever money moves.

Belongs here: the check and nothing else.
Does not belong here: any repair. A state that fails must not be used further.
"""

from decimal import Decimal

from wonttrade_dagster.core.errors import MoneyIdentityError
from wonttrade_dagster.core.simulation.margin import account_value_usd, unrealized_usd
from wonttrade_dagster.core.simulation.records import ZERO, ExchangeState

RELATIVE_TOLERANCE = Decimal("1e-15")
"""Of the largest amount involved. Average entry prices and takeover prices are quotients of 28 digits;
everything else is exact, so a real mistake is larger by many orders of magnitude."""


def check_identities(state: ExchangeState) -> None:
    """Raise ``MoneyIdentityError`` unless the books of ``state`` add up at its own marks.

    Account value (from ``raw``) = deposits + realised PnL + unrealised PnL − fees − funding; the sum of all
    fills is the position; no position of size 0, no price or open size that is not positive.
    """
    _check_value(state)
    _check_positions(state)
    for order in state.orders.values():
        if order.open_base <= ZERO and not order.request.is_whole_position:
            raise MoneyIdentityError(f"order {order.oid} stands with an open size of {order.open_base}")


def _check_value(state: ExchangeState) -> None:
    unrealized = ZERO
    for position in state.positions.values():
        unrealized += unrealized_usd(state, position)
    value = account_value_usd(state)
    booked = state.deposits_usd + state.realized_pnl_usd + unrealized - state.fees_usd - state.funding_usd
    if value == booked:
        return
    scale = abs(state.deposits_usd) + abs(state.realized_pnl_usd) + abs(state.cross_raw_usd) + 1
    scale += sum((abs(p.size_base) * p.entry_px for p in state.positions.values()), ZERO)
    if abs(value - booked) > scale * RELATIVE_TOLERANCE:
        raise MoneyIdentityError(
            f"the simulated account does not add up at {state.time_ms}: its value is {value} USD, "
            f"deposits + realised + unrealised − fees − funding give {booked} USD"
        )


def _check_positions(state: ExchangeState) -> None:
    for symbol, filled in state.net_filled_base.items():
        if filled != state.size_base(symbol):
            raise MoneyIdentityError(
                f"fills of {symbol} sum up to {filled}, but the position holds {state.size_base(symbol)}"
            )
    for position in state.positions.values():
        if not position.size_base or position.entry_px <= ZERO:
            raise MoneyIdentityError(f"{position} is not a position")
        if position.symbol not in state.net_filled_base:
            raise MoneyIdentityError(f"the position in {position.symbol} was never filled")
