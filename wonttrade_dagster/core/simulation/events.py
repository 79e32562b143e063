"""What happened on the simulated exchange, and what it answers.

Belongs here: frozen records of events and answers. Does not belong here: what an account holds and asks for
(``records``), the log of what happened (``history``).
"""

from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.model import Fill, Leg
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.simulation.records import ZERO, OrderStatus, StandingOrder


@quick_init
@dataclass(frozen=True, slots=True)
class Execution:
    """One fill in the venue's form (protocol.md §2.5).

    ``leg``: the protection leg whose trigger caused it; ``liquidation_mark_px``: of liquidations only;
    ``slippage_bps``: charged beyond the price that caused it, before the rounding to the tick.
    """

    symbol: str
    oid: int
    tid: int
    cloid: str | None
    time_ms: int
    px: Decimal
    is_buy: bool
    size_base: Decimal
    start_position_base: Decimal
    direction: str
    closed_pnl_usd: Decimal
    fee_usd: Decimal
    crossed: bool
    leg: Leg | None = None
    liquidation_mark_px: Decimal | None = None
    slippage_bps: Decimal = ZERO

    @property
    def signed_base(self) -> Decimal:
        """Positive bought, negative sold."""
        return self.size_base if self.is_buy else -self.size_base

    def fill(self) -> Fill:
        """The same fill as a contract of the cycle."""
        return Fill(
            symbol=self.symbol,
            time_ms=self.time_ms,
            px=self.px,
            size_base=self.signed_base,
            fee_usd=self.fee_usd,
            closed_pnl_usd=self.closed_pnl_usd,
            oid=self.oid,
            tid=self.tid,
            direction=self.direction,
            cloid=self.cloid,
            slippage_bps=self.slippage_bps,
        )


@quick_init
@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """An order changed its status; ``order.open_base`` is what was unfilled then."""

    order: StandingOrder
    status: OrderStatus
    time_ms: int


@dataclass(frozen=True, slots=True)
class TriggerFired:
    """The mark reached a trigger."""

    symbol: str
    oid: int
    cloid: str | None
    leg: Leg
    trigger_px: Decimal
    mark_px: Decimal
    time_ms: int


@quick_init
@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One hourly payment: ``paid_usd`` = size·oracle·rate, positive when the account paid."""

    symbol: str
    size_base: Decimal
    oracle_px: Decimal
    rate: Decimal
    paid_usd: Decimal
    time_ms: int


@dataclass(frozen=True, slots=True)
class Liquidation:
    """The venue closed ``size_base`` (signed as held): ``is_backstop`` took over all of its margin."""

    symbol: str
    size_base: Decimal
    mark_px: Decimal
    is_backstop: bool
    is_partial: bool
    equity_usd: Decimal
    maintenance_usd: Decimal
    time_ms: int
    is_cross: bool = True


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money was paid in."""

    amount_usd: Decimal
    time_ms: int


Event = Execution | OrderUpdate | TriggerFired | FundingPayment | Liquidation | Deposited


@quick_init
@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """What the venue answers to one order.

    Attributes:
        status: ``open`` (resting or waiting), ``filled`` (in part too: see ``filled_base``), or a rejection.
        oid: None for orders that the venue never numbers (broken price or size).
        error: the venue's sentence without its `` asset=N`` suffix; None when accepted.
        has_suffix: whether the venue puts `` asset=N`` behind that sentence.
        filled_base: unsigned ``totalSz``.
        average_px: of the fills, None without any.
        is_waiting: accepted as a trigger that waits.
        events: everything that happened, in order.
    """

    status: OrderStatus
    oid: int | None
    error: str | None = None
    has_suffix: bool = True
    filled_base: Decimal = ZERO
    average_px: Decimal | None = None
    is_waiting: bool = False
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """What the venue answers to a cancel, a leverage or a margin change; ``error`` None when done."""

    error: str | None = None
    events: tuple[Event, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.error is None
