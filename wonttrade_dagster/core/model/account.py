"""The account: positions, orders, and how it did so far.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from wonttrade_dagster.core.quick_init import quick_init

_ZERO = Decimal(0)


class Leg(StrEnum):
    """The two protection orders of a position."""

    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


@quick_init
@dataclass(frozen=True, slots=True)
class Position:
    """One open position, as the venue reports it. ``size_base`` is signed and never 0."""

    symbol: str
    size_base: Decimal
    entry_px: Decimal
    leverage: int
    is_cross: bool
    unrealized_pnl_usd: Decimal
    margin_used_usd: Decimal
    liquidation_px: Decimal | None
    funding_since_open_usd: Decimal = Decimal(0)
    """Positive when the holder has paid."""


@quick_init
@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One order that rests or waits on the venue. ``size_base`` is unsigned, what is still open."""

    symbol: str
    oid: int
    cloid: str | None
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    reduce_only: bool
    placed_at_ms: int
    trigger_px: Decimal | None = None
    leg: Leg | None = None
    """Set for trigger orders: which protection leg its type and side make it."""
    is_whole_position: bool = False
    """``isPositionTpsl`` with size 0: follows the position's size."""


@quick_init
@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account as the venue showed it at ``taken_at_ms``: the truth of a cycle."""

    taken_at_ms: int
    account_value_usd: Decimal
    free_margin_usd: Decimal
    margin_used_usd: Decimal
    positions: tuple[Position, ...]
    open_orders: tuple[OpenOrder, ...]
    marks: tuple[tuple[str, Decimal], ...] = ()
    """Mark price per tracked symbol read together with the account, where the venue has one."""
    leverages: tuple[tuple[str, int], ...] = ()
    """Leverage in force of tracked symbols without a position, where it was asked for and told."""
    venue_time_ms: int | None = None
    """The venue's own clock at the reading; what happened before it is in the venue's lists by now."""

    def position(self, symbol: str) -> Position | None:
        """The open position in ``symbol``, or None when flat."""
        for position in self.positions:
            if position.symbol == symbol:
                return position
        return None

    def size_base(self, symbol: str) -> Decimal:
        """Signed size held, 0 when flat."""
        position = self.position(symbol)
        return _ZERO if position is None else position.size_base

    def mark_px(self, symbol: str) -> Decimal | None:
        """Mark read with the account, or None."""
        for name, px in self.marks:
            if name == symbol:
                return px
        return None

    def leverage(self, symbol: str) -> int | None:
        """The leverage that an order in ``symbol`` would get; None when nobody told."""
        position = self.position(symbol)
        if position is not None:
            return position.leverage
        for name, leverage in self.leverages:
            if name == symbol:
                return leverage
        return None

    def protection(self, symbol: str) -> tuple[OpenOrder, ...]:
        """Trigger orders standing for ``symbol``, ours or not."""
        return tuple([o for o in self.open_orders if o.symbol == symbol and o.leg is not None])


@quick_init
@dataclass(frozen=True, slots=True)
class ReturnSums:
    """What a Sharpe ratio needs to know of all returns so far, whatever their number.

    Attributes:
        first_at_ms: time of the opening equity.
        last_at_ms: time of the newest account value.
        last_value_usd: that value.
        count: simple returns between the points.
        mean: of the returns.
        squares: sum of the squared deviations from the mean (Welford's ``M2``).
        is_defined: False for good once a return started from an account that was worth nothing.
    """

    first_at_ms: int
    last_at_ms: int
    last_value_usd: float
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    is_defined: bool = True


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money that came to or left the account without a trade and without funding.

    Attributes:
        time_ms: by the venue's clock.
        kind: the venue's word for it (``deposit``, ``withdraw``, …).
        usd: added to (+) or taken from (−) the account value; None where that is not known.
    """

    time_ms: int
    kind: str
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class ReturnBasis:
    """What the return is counted from after a transfer.

    Attributes:
        growth: what one dollar of the opening equity had become by then.
        value_usd: the account value then, the transfer included.
    """

    growth: Decimal
    value_usd: Decimal


@quick_init
@dataclass(frozen=True, slots=True)
class Booking:
    """Up to where the account's money is explained by trades, funding and transfers.

    Attributes:
        until_ms: transfers are booked up to then, by the venue's clock.
        cash_usd: what fills, funding and booked transfers make of the account's money, see
            ``core.transfers.cash_usd``.
        value_usd: the account value at ``until_ms``.
        waited: reports since then in which something was left unexplained.
    """

    until_ms: int
    cash_usd: Decimal
    value_usd: Decimal
    waited: int = 0


@quick_init
@dataclass(frozen=True, slots=True)
class PerformanceSoFar:
    """How the account did since its opening equity was written; all from account value and fills.

    The return is time-weighted, and so are the returns of ``sharpe``: see ``core.transfers``.
    ``sharpe`` is annualised from equity sampled once a cycle, None below two returns or zero variance.
    ``returns`` is what it is made of, None in reports from before it was kept.
    """

    opening_equity_usd: Decimal
    return_fraction: float
    sharpe: float | None
    fees_usd: Decimal
    funding_usd: Decimal
    started_at_ms: int
    invocations: int
    returns: ReturnSums | None = None
    transfers_usd: Decimal = Decimal(0)
    """Paid in (+) or taken out (−) since the opening equity, all together."""
    basis: ReturnBasis | None = None
    """None: nothing was paid in or taken out, the return is counted from the opening equity."""
    booking: Booking | None = None
    """None in reports from before transfers were booked."""


@quick_init
@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. ``size_base`` signed by direction; ``closed_pnl_usd`` excludes the fee."""

    symbol: str
    time_ms: int
    px: Decimal
    size_base: Decimal
    fee_usd: Decimal
    closed_pnl_usd: Decimal
    oid: int
    tid: int
    direction: str
    cloid: str | None = None
    slippage_bps: Decimal | None = None
    """Charged by the simulator beyond the price that caused it; None where a venue filled."""
