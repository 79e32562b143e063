"""StateLoader: market and account as values, whatever happens.

Belongs here: turning a failed read, a stale market or an empty account into a named ``StageFailure``.
Does not belong here: how the venue is asked, what is made of the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.errors import HistoryError, VenueError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    Booking,
    CycleReport,
    Fill,
    MarketSnapshot,
    PerformanceSoFar,
    Stage,
    StageFailure,
    Transfer,
)
from wonttrade_dagster.core.plausibility import offences
from wonttrade_dagster.core.ports import MarketData, Venue
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.transfers import (
    TOLERANCE_USD,
    WAITS,
    after_transfers,
    booking_of,
    cash_usd,
    earned_usd,
    is_only_funded,
    net_usd,
    return_at,
    transfer_alerts,
)

HOUR_MS = 3_600_000
_ZERO = Decimal(0)
FUNDING_LAG_MS = 60_000
"""A payment is stamped some milliseconds past its hour: it is asked for until so long after it."""

MOST_TOLD = 5
"""Offences named in the failure of an implausible market."""


@quick_init
@dataclass(frozen=True, slots=True)
class Activity:
    """What the account did between two reports, whoever caused it.

    Attributes:
        fills: oldest first.
        funding_paid_usd: positive when paid.
        until_ms: the window's end, by the venue's clock.
        transfers: deposits and withdrawals since the last booking, if all that the venue lists is known.
        withheld_usd: came (+) or went (−) and is not explained yet: not in the return until it is.
        alerts: a sentence for each movement of money that nobody can explain.
    """

    fills: tuple[Fill, ...]
    funding_paid_usd: Decimal
    until_ms: int
    transfers: tuple[Transfer, ...] = ()
    withheld_usd: Decimal = _ZERO
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StateLoader:
    """Reads market and account of one cycle.

    Attributes:
        market_data: the live feed or its replay.
        venue: the account's side of the exchange.
        max_market_age_ms: a snapshot completed later than this after its cycle is stale.
        symbols: the tracked ones, whose leverage is asked for while they are flat.
        max_price_jump_fraction: how far a price may be from the last close; None judges no snapshot, for
            one that was recorded and judged before.
    """

    market_data: MarketData
    venue: Venue
    max_market_age_ms: int
    symbols: tuple[str, ...] = ()
    max_price_jump_fraction: float | None = None

    def market(self, cycle_ms: int) -> MarketSnapshot | StageFailure:
        """The market at the cycle time, or why there is none."""
        try:
            snapshot = self.market_data.snapshot(cycle_ms)
        except VenueError as error:
            return StageFailure(Stage.MARKET_SNAPSHOTS, "venue_unavailable", str(error))
        except HistoryError as error:
            return StageFailure(Stage.MARKET_SNAPSHOTS, "history_missing", str(error))
        age_ms = snapshot.taken_at_ms - cycle_ms
        if age_ms > self.max_market_age_ms:
            detail = f"the market was complete {age_ms / 1000:.1f} s after the cycle, the limit is "
            detail += f"{self.max_market_age_ms / 1000:.1f} s (resilience.max_market_age_seconds)"
            return StageFailure(Stage.MARKET_SNAPSHOTS, "market_stale", detail)
        return self._believed(snapshot)

    def _believed(self, snapshot: MarketSnapshot) -> MarketSnapshot | StageFailure:
        """The snapshot, or what in it cannot be: nothing new is opened on that, protection still runs."""
        if self.max_price_jump_fraction is None:
            return snapshot
        found = offences(snapshot, self.symbols, self.max_price_jump_fraction)
        if not found:
            return snapshot
        detail = "; ".join(offence.detail for offence in found[:MOST_TOLD])
        more = f" (and {len(found) - MOST_TOLD} more)" if len(found) > MOST_TOLD else ""
        return StageFailure(Stage.MARKET_SNAPSHOTS, "market_implausible", detail + more)

    def account(self) -> AccountSnapshot | StageFailure:
        """The account now with the leverage of flat symbols, or why it cannot be traded."""
        account = self.holdings()
        if isinstance(account, StageFailure):
            return account
        return without_equity(account, Stage.ACCOUNT_SNAPSHOTS) or self._with_leverages(account)

    def holdings(self) -> AccountSnapshot | StageFailure:
        """The account now, whatever it is worth: its positions are protected all the same."""
        try:
            return self.venue.account()
        except VenueError as error:
            return StageFailure(Stage.ACCOUNT_SNAPSHOTS, "venue_unavailable", str(error))

    def assets(self) -> Mapping[str, AssetSpec]:
        """The venue's perpetuals. Raises ``VenueError``."""
        return self.market_data.assets()

    def activity(self, since_ms: int, until_ms: int) -> Activity:
        """Fills and funding of the account in ``[since_ms, until_ms)``. Raises ``VenueError``.

        ``until_ms`` must not lie ahead of the venue's clock: what it stamps later would never be booked.
        """
        fills = tuple([fill for fill in self.venue.fills(since_ms) if fill.time_ms < until_ms])
        is_due = (since_ms - FUNDING_LAG_MS) // HOUR_MS < (until_ms - 1) // HOUR_MS
        paid_usd = self.venue.funding_paid_usd(since_ms, until_ms) if is_due else _ZERO
        return Activity(fills, paid_usd, until_ms)

    def with_transfers(
        self, activity: Activity, account: AccountSnapshot, before: PerformanceSoFar
    ) -> Activity:
        """The activity with the transfers since the last booking.

        The question weighs 20 of the 1,200 a minute: it is asked only when the account's money is not what
        fills, fees and funding make of it. Marks have no part in that, so most cycles ask nothing. A list
        that does not explain the money may be late, and one that cannot be read is: the next reports ask.

        Args:
            activity: fills and funding up to the time of the account.
            account: as it is now.
            before: the totals of the last report.
        """
        booking = before.booking
        if booking is None:  # from before there were bookings: this report begins them
            return activity
        missing_usd = cash_usd(account) - booking.cash_usd
        missing_usd -= earned_usd(booking, activity.fills, activity.funding_paid_usd)
        if abs(missing_usd) <= TOLERANCE_USD:
            return activity
        try:
            found = self.venue.transfers(booking.until_ms, max(booking.until_ms, activity.until_ms))
        except VenueError:
            found = ()
        rest_usd = missing_usd - net_usd(found)
        if abs(rest_usd) <= TOLERANCE_USD:
            return replace(activity, transfers=found)
        if booking.waited < WAITS and all(transfer.usd is not None for transfer in found):
            return replace(activity, withheld_usd=missing_usd)
        return replace(activity, transfers=found, alerts=transfer_alerts(found, rest_usd))

    def performance_now(
        self, account: AccountSnapshot, last: CycleReport | None, cycle_ms: int
    ) -> PerformanceSoFar:
        """Performance at a cycle, without counting as return what no report has booked yet.

        In a cycle before which no money moved, or funding alone did, this asks the venue nothing. Where the
        venue cannot be asked, the return is that of the account value.
        """
        now = performance_at(account, last, cycle_ms)
        if last is None or last.performance is None or now.booking is None:
            return now
        if is_only_funded(now.booking, account, last.positions):
            return now
        until_ms = account.venue_time_ms or account.taken_at_ms + 1
        try:
            activity = self.activity(last.activity_until_ms, max(last.activity_until_ms, until_ms))
        except VenueError:
            return now
        return with_activity(now, account, self.with_transfers(activity, account, now))

    def _with_leverages(self, account: AccountSnapshot) -> AccountSnapshot:
        held = {position.symbol for position in account.positions}
        flat = [symbol for symbol in self.symbols if symbol not in held]
        return replace(account, leverages=tuple(self.venue.leverages(flat).items())) if flat else account


def without_equity(account: AccountSnapshot, stage: Stage) -> StageFailure | None:
    """Why nothing may be opened on an account that is worth nothing; None for any other."""
    if account.account_value_usd > _ZERO:
        return None
    detail = f"the account is worth {account.account_value_usd} USD: deposit before trading"
    return StageFailure(stage, "account_without_equity", detail)


def performance_at(account: AccountSnapshot, last: CycleReport | None, cycle_ms: int) -> PerformanceSoFar:
    """Performance at a cycle: totals of the last report, return from the account's value now.

    The first cycle writes the opening equity; it never changes afterwards. The Sharpe ratio is that of
    the last report: it is sampled once a cycle, when the cycle reports.
    """
    if last is None or last.performance is None:
        booking = booking_of(account, account.venue_time_ms or account.taken_at_ms)
        value_usd = account.account_value_usd
        return PerformanceSoFar(value_usd, 0.0, None, _ZERO, _ZERO, cycle_ms, 1, booking=booking)
    before = last.performance
    fraction = return_at(before, account.account_value_usd)
    return replace(before, invocations=before.invocations + 1, return_fraction=fraction)


def with_activity(
    performance: PerformanceSoFar, account: AccountSnapshot, activity: Activity
) -> PerformanceSoFar:
    """The performance with the return at the account's value, transfers and unexplained money apart."""
    return after_transfers(performance, account.account_value_usd - activity.withheld_usd, activity.transfers)


def booked(performance: PerformanceSoFar, account: AccountSnapshot, activity: Activity) -> PerformanceSoFar:
    """The performance with fees, funding and money booked: all of it, or what is explained so far."""
    fees_usd = sum([fill.fee_usd for fill in activity.fills], _ZERO)
    return replace(
        performance,
        fees_usd=performance.fees_usd + fees_usd,
        funding_usd=performance.funding_usd + activity.funding_paid_usd,
        booking=_booking(performance.booking, account, activity),
    )


def _booking(before: Booking | None, account: AccountSnapshot, activity: Activity) -> Booking:
    if before is None or not activity.withheld_usd:
        return booking_of(account, activity.until_ms)
    earned = earned_usd(before, activity.fills, activity.funding_paid_usd)
    return replace(before, cash_usd=before.cash_usd + earned, waited=before.waited + 1)
