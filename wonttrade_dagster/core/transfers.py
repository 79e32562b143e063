"""Deposits and withdrawals: when they must be asked for, and what they leave of a return.

Belongs here: what an account's money should be by its fills and funding, the time-weighted return, alerts.
Does not belong here: asking the venue (``core.state``), statistics over returns (``core.performance``).

The return is time-weighted: the returns between bookings are chained. What was paid in between two of them
counts as there from the first one on, what was taken out as there until the second one: so a transfer is
never a return, and money that comes to a nearly empty account and is traded at once makes no fabulous one.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Booking,
    Fill,
    PerformanceSoFar,
    Position,
    ReturnBasis,
    Transfer,
)
from wonttrade_dagster.core.utc import utc_text

TOLERANCE_USD = Decimal("0.01")
"""The venue rounds each of its figures to 6 decimals; a transfer below this is no matter."""

WAITS = 3
"""Reports that wait for the venue to list what moved the money, before it counts as gain or loss."""

MOST_TOLD = 3
"""Transfers of unknown effect named in the alerts of one report."""

ZERO, ONE = Decimal(0), Decimal(1)


def cash_usd(account: AccountSnapshot) -> Decimal:
    """The account's money without what its positions have gained: marks have no part in it."""
    return account.account_value_usd - sum([p.unrealized_pnl_usd for p in account.positions], ZERO)


def booking_of(account: AccountSnapshot, until_ms: int) -> Booking:
    """All of the account's money is explained as it is."""
    return Booking(until_ms, cash_usd(account), account.account_value_usd)


def earned_usd(booking: Booking, fills: Iterable[Fill], funding_paid_usd: Decimal) -> Decimal:
    """What fills and funding made of the account's money since a booking."""
    earned = -funding_paid_usd
    for fill in fills:
        if fill.time_ms >= booking.until_ms:
            earned += fill.closed_pnl_usd - fill.fee_usd
    return earned


def is_only_funded(booking: Booking, account: AccountSnapshot, before: Iterable[Position]) -> bool:
    """Whether funding of the positions held is all that happened to the money, by the account alone.

    Args:
        booking: the last one.
        account: now.
        before: the positions at the booking.
    """
    paid_before = {p.symbol: p.funding_since_open_usd for p in before}
    paid = [p.funding_since_open_usd - paid_before.get(p.symbol, ZERO) for p in account.positions]
    return abs(cash_usd(account) - booking.cash_usd + sum(paid, ZERO)) <= TOLERANCE_USD


def net_usd(transfers: Iterable[Transfer]) -> Decimal:
    """Paid in (+) or taken out (−), as far as it is known."""
    return sum([transfer.usd for transfer in transfers if transfer.usd is not None], ZERO)


def growth(performance: PerformanceSoFar, value_usd: Decimal) -> Decimal:
    """What one dollar of the opening equity has become at an account value; never below 0."""
    basis = performance.basis or ReturnBasis(ONE, performance.opening_equity_usd)
    if basis.value_usd <= ZERO:  # all of it was taken out: nothing is earned or lost until the next deposit
        return basis.growth
    return max(ZERO, basis.growth * value_usd / basis.value_usd)


def at_value(performance: PerformanceSoFar, value_usd: Decimal) -> PerformanceSoFar:
    """The performance with the return at an account value."""
    return replace(performance, return_fraction=return_at(performance, value_usd))


def return_at(performance: PerformanceSoFar, value_usd: Decimal) -> float:
    """The return at an account value, as a fraction."""
    if performance.basis is None:
        return float(value_usd / performance.opening_equity_usd) - 1.0
    return float(growth(performance, value_usd)) - 1.0


def after_transfers(
    performance: PerformanceSoFar, value_usd: Decimal, transfers: Sequence[Transfer]
) -> PerformanceSoFar:
    """The performance at an account value that holds these transfers, and none of them as a return.

    Args:
        performance: as of its booking; without transfers, it needs none.
        value_usd: the account value now.
        transfers: since the booking.
    """
    moved_usd, booking = net_usd(transfers), performance.booking
    if not moved_usd or booking is None:
        return at_value(performance, value_usd)
    grown, invested_usd = growth(performance, booking.value_usd), booking.value_usd + max(moved_usd, ZERO)
    if invested_usd > 0:
        grown *= max(ZERO, (value_usd + max(-moved_usd, ZERO)) / invested_usd)
    total_usd = performance.transfers_usd + moved_usd
    basis = ReturnBasis(grown, value_usd)
    return at_value(replace(performance, basis=basis, transfers_usd=total_usd), value_usd)


def is_emptied(performance: PerformanceSoFar) -> bool:
    """Whether the account's money was taken out: it earns and loses nothing until the next deposit."""
    return performance.basis is not None and performance.basis.value_usd <= ZERO


def transfer_alerts(transfers: Iterable[Transfer], rest_usd: Decimal) -> tuple[str, ...]:
    """What is told of money that moved without a known reason.

    Args:
        transfers: those that the venue lists.
        rest_usd: what they and everything else leave unexplained.
    """
    unknown = [transfer for transfer in transfers if transfer.usd is None][:MOST_TOLD]
    moved = f"{abs(rest_usd):,.2f} USD {'CAME TO' if rest_usd > 0 else 'LEFT'} THE ACCOUNT"
    counted = f"THIS COUNTS AS {'GAIN' if rest_usd > 0 else 'LOSS'}"
    if not unknown:
        return (f"{moved} WITHOUT A TRADE, FUNDING OR A TRANSFER THAT THE VENUE LISTS: {counted}",)
    return tuple(
        f"TRANSFER OF UNKNOWN EFFECT: THE VENUE BOOKED {transfer.kind!r} ON {utc_text(transfer.time_ms)}, "
        f"AND {moved}: {counted}"
        for transfer in unknown
    )
