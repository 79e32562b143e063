"""What a decision was worth until the next one that was applied.

Belongs here: the sums over the reports in between. Does not belong here: reading them, the figures of a whole
run (``core.performance``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import AccountSnapshot, CycleReport, Fill, Transfer
from wonttrade_dagster.core.transfers import net_usd


@dataclass(frozen=True, slots=True, eq=False)
class CycleEnd:
    """One cycle as its successors and predecessors see it; None for what was not stored."""

    cycle_ms: int
    account: AccountSnapshot | None
    report: CycleReport | None

    @property
    def is_applied(self) -> bool:
        """Whether its decision was taken on, even if an action failed."""
        return self.report is not None and self.report.outcome != "refused"

    @property
    def value_before_usd(self) -> Decimal | None:
        """Account value before its decision."""
        if self.account is not None:
            return self.account.account_value_usd
        return self.report.account_value_usd if self.report else None


@dataclass(frozen=True, slots=True)
class Worth:
    """From one decision to the next one that was applied; None where the records do not tell.

    Attributes:
        until_ms: that next decision, or the newest report while there is none, or the end of a backtest.
        is_over: whether there was a next one.
        cycles: cycles in between, their decisions refused.
        equity_before_usd: account value right before this decision.
        equity_after_usd: right before the next one, or in the newest report, or at the end.
        realised_pnl_usd: of the fills in between, before fees.
        fees_usd: of the same fills.
        funding_paid_usd: booked after this decision's report, positive when paid.
        transfers_usd: paid in (+) or taken out (−) in between, as far as it is known.
        is_at_end: whether the account lived on to the end of a backtest instead of a next decision.
    """

    until_ms: int
    is_over: bool
    cycles: int
    equity_before_usd: Decimal | None
    equity_after_usd: Decimal | None
    realised_pnl_usd: Decimal
    fees_usd: Decimal
    funding_paid_usd: Decimal | None
    transfers_usd: Decimal = Decimal(0)
    is_at_end: bool = False

    @property
    def equity_change_usd(self) -> Decimal | None:
        """After minus before, without what was paid in or taken out."""
        if self.equity_before_usd is None or self.equity_after_usd is None:
            return None
        return self.equity_after_usd - self.equity_before_usd - self.transfers_usd


def worth_of(this: CycleEnd, following: Iterable[CycleEnd], end: AccountEnd | None = None) -> Worth:
    """Sum up what happened until the next applied decision.

    Args:
        this: the cycle.
        following: the cycles after it, ascending; read no further than needed.
        end: where the account of a backtest ended; counts where there was no such decision.
    """
    last, cycles, is_over = this, 0, False
    fills = list(this.report.fills if this.report else ())
    transfers = list(this.report.transfers if this.report else ())
    for later in following:
        last = later
        fills += later.report.fills if later.report else ()
        transfers += later.report.transfers if later.report else ()
        if later.is_applied:
            is_over = True
            break
        cycles += 1
    end_ms = last.cycle_ms if is_over else None
    mine = [fill for fill in fills if _is_inside(fill, this.cycle_ms, end_ms)]
    newest = last.report.account_value_usd if last.report else None
    worth = Worth(
        until_ms=last.cycle_ms,
        is_over=is_over,
        cycles=cycles,
        equity_before_usd=this.value_before_usd,
        equity_after_usd=last.value_before_usd if is_over else newest,
        realised_pnl_usd=_sum(fill.closed_pnl_usd for fill in mine),
        fees_usd=_sum(fill.fee_usd for fill in mine),
        funding_paid_usd=_funding_paid_usd(this, last),
        transfers_usd=net_usd(t for t in transfers if _is_inside(t, this.cycle_ms, end_ms)),
    )
    return worth if is_over or end is None else _at_end(worth, end)


def _at_end(worth: Worth, end: AccountEnd) -> Worth:
    """The worth until the newest report, and what the account lived through after it."""
    funding_usd = worth.funding_paid_usd
    return replace(
        worth,
        until_ms=end.time_ms,
        is_at_end=True,
        equity_after_usd=end.account_value_usd,
        realised_pnl_usd=worth.realised_pnl_usd + _sum(fill.closed_pnl_usd for fill in end.fills),
        fees_usd=worth.fees_usd + _sum(fill.fee_usd for fill in end.fills),
        funding_paid_usd=None if funding_usd is None else funding_usd + end.funding_paid_usd,
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _funding_paid_usd(this: CycleEnd, last: CycleEnd) -> Decimal | None:
    """A report books what was due before its decision: this one's is not this decision's doing."""
    before = this.report.performance if this.report else None
    after = last.report.performance if last.report else None
    return after.funding_usd - before.funding_usd if before and after else None


def _is_inside(event: Fill | Transfer, from_ms: int, until_ms: int | None) -> bool:
    return from_ms <= event.time_ms and (until_ms is None or event.time_ms < until_ms)
