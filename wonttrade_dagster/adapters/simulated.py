"""The backtest's ``SimulatedExecutor``: the live order logic on an account that lives through history.

Belongs here: letting the simulated account live from bar to bar, and carrying a plan out on it.
Does not belong here: any rule of the exchange (``core.simulation``), the order logic (``core.execution``: the
backtest runs the live one), the port's answers (``simulated_venue``), reading history.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import polars as pl

from wonttrade_dagster.adapters.simulated_venue import SimulatedVenue
from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Executor
from wonttrade_dagster.core.simulation import (
    BarStretch,
    BarTable,
    Event,
    ExchangeState,
    Slippage,
    VenueRules,
    check_identities,
    open_account,
    pay_funding,
    walk_bars,
    walk_opens,
)
from wonttrade_dagster.core.simulation.bars import exact

HOUR_MS = 3_600_000

Bars = Mapping[str, pl.DataFrame | BarStretch]
"""Candles by symbol, ``CANDLE_SCHEMA``, ascending: frames, or stretches of what is walked again and again."""
Funding = Mapping[str, pl.DataFrame | Sequence[tuple[int, float]]]
"""Rates by symbol: frames with ``time_ms`` and ``rate_hourly``, or their rows."""


class SimulatedExecutor(Executor):
    """The live ``ExecutionService`` on a simulated account that lives through history between decisions.

    Args:
        assets: the venue's perpetuals by symbol.
        audit: takes the intents, as in live trading.
        clock: the backtest's; ``advance`` does not set it.
        rules: of the execution.
        deposit_usd: opening cash.
        taker_fee_rate: of the notional.
        slippage: on every taker fill: entries, closes, fired triggers, liquidations.
        bar_ms: length of the bars by symbol, where known: a bar that ends after the decision time is then
            refused instead of letting the future in. :meth:`think` needs it of every symbol.
    """

    def __init__(
        self,
        *,
        assets: Mapping[str, AssetSpec],
        audit: AuditSink,
        clock: Clock,
        rules: ExecutionRules,
        deposit_usd: Decimal,
        taker_fee_rate: Decimal,
        slippage: Slippage,
        bar_ms: Mapping[str, int] | None = None,
    ) -> None:
        now_ms = clock.now_ms()
        venue_rules = VenueRules(assets, taker_fee_rate=taker_fee_rate)
        state = open_account(deposit_usd, now_ms)
        self.venue = SimulatedVenue(state, venue_rules, slippage, clock)
        self._service = ExecutionService(self.venue, audit, clock, rules, assets)
        self._bar_ms = dict(bar_ms or {})
        self._walked_ms = now_ms
        self._checked: ExchangeState | None = None

    def account(self) -> AccountSnapshot:
        """The simulated account at the last known prices."""
        return self.venue.account()

    def resume(self, state: ExchangeState, at_ms: int) -> None:
        """Go on with an account that has lived until ``at_ms``. Raises ``MoneyIdentityError``.

        The next bars handed in must reach back to the last one that had ended then: slippage knows it.
        """
        check_identities(state)
        self.venue.state = state
        self._walked_ms = at_ms

    def execute(self, plan: ExecutionPlan) -> ExecutionReport:
        """Carry out the plan exactly as in live trading, at the mark ± slippage."""
        return self._service.execute(plan)

    def advance(self, to_ms: int, bars: Bars, funding: Funding) -> tuple[Event, ...]:
        """Let the account live from where it stands until ``to_ms``.

        Bars of all symbols are walked in time order; funding is paid at its full hours in
        ``(last, to_ms]``, at the oracle stand-in: the open of the bar at that hour, or the last close before
        it when that bar is not there (its open is the same moment); one that opens at ``to_ms`` is not looked
        at. Bars that open before the account's time were lived already: they only tell the price, so hand in
        some before the first decision.

        Args:
            to_ms: the decision time.
            bars: by symbol.
            funding: by symbol.

        Returns:
            Everything that happened, in order: triggers, fills, order updates, liquidations, funding.

        Raises:
            HistoryError: a bar ends after ``to_ms``, or time would run backwards.
            MoneyIdentityError: the account does not add up.
        """
        ended: dict[str, BarStretch] = {}
        for symbol, stretch in _stretches(bars).items():
            ended[symbol] = opened = stretch.rows(stretch.start, stretch.opened_before(to_ms))
            self._refuse_open(symbol, opened, to_ms)
        if to_ms > self._walked_ms:
            # Whoever booked what had happened until then asks for what is later: the rest of a bar that was
            # half over is, although it opened before.
            state = self.venue.state
            self.venue.state = replace(state, time_ms=max(state.time_ms, self._walked_ms + 1))
        return self._live(to_ms, ended, funding)

    def think(self, to_ms: int, bars: Bars, funding: Funding) -> tuple[Event, ...]:
        """Let the account live until ``to_ms`` while a decision is made, maybe into the middle of a bar.

        Bars that have ended are walked as in :meth:`advance`. Of the bar that holds ``to_ms`` only the open
        is used: it becomes the price, and whatever lies beyond it fires. The next call walks it as a whole,
        so bars must be handed in from the one that held the account's time on.

        Args:
            to_ms: when the decision is there.
            bars: by symbol, as for :meth:`advance`; later ones are not looked at.
            funding: as for :meth:`advance`.

        Returns:
            Everything that happened, in order.

        Raises:
            HistoryError: time would run backwards, or the length of a symbol's bars is not known.
            MoneyIdentityError: the account does not add up.
        """
        self._refuse_unknown(bars)
        ended: dict[str, BarStretch] = {}
        opens: dict[str, Decimal] = {}
        last_ms = 0
        for symbol, stretch in _stretches(bars).items():
            row = stretch.opened_before(to_ms - self._bar_ms[symbol] + 1)
            ended[symbol] = stretch.rows(stretch.start, row)
            if row < stretch.stop and stretch.open_time_ms[row] <= to_ms:
                opens[symbol] = exact(stretch.columns.open[row])
                last_ms = max(last_ms, stretch.open_time_ms[row])
        events = self._live(to_ms, ended, funding)
        if not opens:
            return events
        venue = self.venue
        # Just after the open, as in a walked bar, but never after the moment itself.
        at_ms = min(last_ms + 1, to_ms)
        venue.state, more = walk_opens(
            venue.state, opens, venue.rules, venue.slippage, venue.known_bars, at_ms
        )
        venue.history.record(more)
        return events + more

    def _live(self, to_ms: int, ended: Mapping[str, BarStretch], funding: Funding) -> tuple[Event, ...]:
        """Until then, through bars that have ended by then."""
        if to_ms < self._walked_ms:
            raise HistoryError(f"the simulated account stands at {self._walked_ms}, not before {to_ms}")
        unlived = {symbol: self._unlived(symbol, bars) for symbol, bars in ended.items()}
        table = BarTable.over(
            {
                symbol: bars.rows(unlived[symbol], bars.stop)
                for symbol, bars in ended.items()
                if unlived[symbol] < bars.stop
            }
        )
        index, end = 0, len(table.open_time_ms)
        events: list[Event] = []
        for hour_ms, payments in _by_hour(funding, self._walked_ms, to_ms).items():
            upto = table.index_of(hour_ms)
            events += self._walk(table, index, upto)
            index = max(index, upto)
            events += self._pay(table, index, hour_ms, payments)
        events += self._walk(table, index, end)
        for symbol, bars in ended.items():
            self._know(symbol, bars)
        self._walked_ms = to_ms
        self.venue.history.record(events)
        self._check()
        return tuple(events)

    def _check(self) -> None:
        """Whether the account adds up; once for each state of it."""
        state = self.venue.state
        if state is not self._checked:
            check_identities(state)
            self._checked = state

    def _refuse_unknown(self, bars: Bars) -> None:
        unknown = bars.keys() - self._bar_ms.keys()
        if unknown:
            raise HistoryError(f"how long the bars of {', '.join(sorted(unknown))} are is not known")

    def _refuse_open(self, symbol: str, bars: BarStretch, to_ms: int) -> None:
        if bars.start == bars.stop:
            return
        last_ms = bars.open_time_ms[bars.stop - 1]
        if last_ms + self._bar_ms.get(symbol, 0) > to_ms:
            raise HistoryError(
                f"the bar that opens at {last_ms} is still open at {to_ms}: "
                "choose a cadence that is a multiple of the bars' length"
            )

    def _unlived(self, symbol: str, bars: BarStretch) -> int:
        """The first row to walk; the bar before them gives the price to a symbol that has none."""
        lived_ms = self._walked_ms - self._walked_ms % self._bar_ms.get(symbol, 1)
        start = bars.opened_before(lived_ms)
        if start > bars.start and symbol not in self.venue.state.marks:
            self.venue.set_marks({symbol: exact(bars.columns.close[start - 1])})
        return start

    def _know(self, symbol: str, bars: BarStretch) -> None:
        """The last bar that has ended is the newest that is known."""
        if bars.start == bars.stop:
            return
        known, row = self.venue.known_bars.get(symbol), bars.stop - 1
        if known is None or known.open_time_ms != bars.open_time_ms[row]:
            self.venue.known_bars[symbol] = bars.bar(row)

    def _walk(self, table: BarTable, start: int, stop: int) -> tuple[Event, ...]:
        if start >= stop:
            return ()
        venue = self.venue
        venue.state, events = walk_bars(venue.state, table, venue.rules, venue.slippage, start, stop)
        return events

    def _pay(self, table: BarTable, index: int, hour_ms: int, payments: Mapping[str, Decimal]) -> list[Event]:
        has_bar = index < len(table.open_time_ms) and table.open_time_ms[index] == hour_ms
        paid: list[Event] = []
        for symbol, rate in payments.items():
            if symbol not in self.venue.state.positions:
                continue
            oracle = self.venue.state.marks[symbol]
            if has_bar and symbol in table.columns:
                oracle = exact(table.columns[symbol].open[index])
            self.venue.state, events = pay_funding(self.venue.state, symbol, rate, oracle, hour_ms)
            paid += events
        return paid


def _stretches(bars: Bars) -> dict[str, BarStretch]:
    return {s: BarStretch.of(each) if isinstance(each, pl.DataFrame) else each for s, each in bars.items()}


def _by_hour(funding: Funding, after_ms: int, to_ms: int) -> dict[int, dict[str, Decimal]]:
    """Rates due in ``(after_ms, to_ms]`` by full hour, ascending; stamps are some ms past their hour."""
    found: dict[int, dict[str, Decimal]] = {}
    for symbol, rates in funding.items():
        for time_ms, rate in _rows(rates):
            hour_ms = time_ms - time_ms % HOUR_MS
            if after_ms < hour_ms <= to_ms:
                found.setdefault(hour_ms, {})[symbol] = exact(rate)
    return dict(sorted(found.items()))


def _rows(rates: pl.DataFrame | Sequence[tuple[int, float]]) -> Iterable[tuple[int, float]]:
    if not isinstance(rates, pl.DataFrame):
        return rates
    return () if rates.is_empty() else rates.select("time_ms", "rate_hourly").iter_rows()
