"""The simulated exchange behind the ports: ``SimulatedVenue`` and the backtest's ``SimulatedExecutor``.

Belongs here: holding one account's state between the calls, and the port's words for its answers.
Does not belong here: any rule of the exchange (``core.simulation``), the order logic (``core.execution``: the
backtest runs the live one), reading history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import polars as pl

from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    ActionStatus,
    AssetSpec,
    CancelOrder,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
    Fill,
    PlaceOrder,
    SetLeverage,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Executor, Venue
from wonttrade_dagster.core.simulation import (
    BarTable,
    Event,
    ExchangeState,
    History,
    LeverageSetting,
    OrderOutcome,
    OrderRequest,
    OrderStatus,
    Slippage,
    StandingOrder,
    Tif,
    Trigger,
    VenueRules,
    account_snapshot,
    average_px,
    bar_quote,
    cancel_order,
    check_identities,
    open_account,
    pay_funding,
    place_order,
    set_leverage,
    walk_bars,
)
from wonttrade_dagster.core.simulation.bars import exact

HOUR_MS = 3_600_000


class SimulatedVenue(Venue):
    """One account on the simulated exchange; a taker fills at the mark, slipped, in any size.

    Args:
        state: the account to begin with.
        rules: the venue's.
        slippage: on every taker fill.
        clock: the time of every request.
    """

    def __init__(self, state: ExchangeState, rules: VenueRules, slippage: Slippage, clock: Clock) -> None:
        self.state = state
        self.rules = rules
        self.slippage = slippage
        self.history = History()
        self._clock = clock

    def account(self) -> AccountSnapshot:
        """Everything at the marks of the last step."""
        now = replace(self.state, time_ms=max(self.state.time_ms, self._clock.now_ms()))
        return account_snapshot(now, self.rules)

    def set_marks(self, marks: Mapping[str, Decimal]) -> None:
        """Let these be the prices; nothing fires until bars are walked."""
        self.state = replace(self.state, marks={**self.state.marks, **marks})

    def place(self, order: PlaceOrder) -> ActionResult:
        """Judge and fill one order at the mark ± slippage; a symbol without a price is an error result."""
        if order.symbol not in self.state.marks:
            return self._result(order, ActionStatus.ERROR, f"no price of {order.symbol} is known yet")
        mark = self.state.marks[order.symbol]
        quotes = {order.symbol: bar_quote(order.symbol, mark, self.rules, self.slippage)}
        now_ms = self._clock.now_ms()
        self.state, outcome = place_order(self.state, _request(order), quotes, self.rules, now_ms)
        self.history.record(outcome.events)
        return self._answer(order, outcome)

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        """Cancel by oid; an order that is not open any more counts as done and says so."""
        self.state, outcome = cancel_order(self.state, cancel.oid, self._clock.now_ms())
        self.history.record(outcome.events)
        return self._result(cancel, ActionStatus.DONE, outcome.error or "")

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        """Set leverage and margin mode, or say why not."""
        setting = LeverageSetting(change.leverage, change.is_cross)
        self.state, outcome = set_leverage(
            self.state, change.symbol, setting, self.rules, self._clock.now_ms()
        )
        status = ActionStatus.DONE if outcome.ok else ActionStatus.ERROR
        return self._result(change, status, outcome.error or "")

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        """Fills since then, oldest first; a fill inside a bar bears the time just after its open."""
        return tuple(execution.fill() for execution in self.history.fills_since(since_ms))

    def find(self, cloid: str) -> ActionResult | None:
        """The latest order of that id: standing, filled (in part too), or dead with its status as message."""
        oid = self.history.oid(cloid)
        update = self.history.last_update(oid) if oid is not None else None
        if oid is None or update is None:
            return None
        fills = self.history.fills_of(oid)
        status = _standing(update.status, has_fills=bool(fills))
        return ActionResult(
            action=_as_sent(update.order),
            status=status,
            message=update.status.value,
            oid=oid,
            filled_base=sum((fill.size_base for fill in fills), Decimal(0)),
            average_px=average_px(fills),
            sent_at_ms=update.order.placed_at_ms,
            answered_at_ms=update.time_ms,
        )

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        """What the exchange has set for each symbol."""
        return {symbol: self.state.setting(symbol, self.rules).leverage for symbol in symbols}

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        """Funding paid (+) or received (−) in ``[since_ms, until_ms)``."""
        return self.history.funding_paid_usd(since_ms, until_ms)

    def _answer(self, order: PlaceOrder, outcome: OrderOutcome) -> ActionResult:
        if outcome.error is not None:
            asset_id = self.rules.assets[order.symbol].asset_id
            suffix = f" asset={asset_id}" if outcome.has_suffix else ""
            return replace(self._result(order, ActionStatus.ERROR, outcome.error + suffix), oid=outcome.oid)
        is_open = outcome.status is OrderStatus.OPEN
        result = self._result(order, ActionStatus.RESTING if is_open else ActionStatus.FILLED, "")
        return replace(
            result, oid=outcome.oid, filled_base=outcome.filled_base, average_px=outcome.average_px
        )

    def _result(
        self, action: PlaceOrder | CancelOrder | SetLeverage, status: ActionStatus, message: str
    ) -> ActionResult:
        now_ms = self._clock.now_ms()
        return ActionResult(action, status, message, sent_at_ms=now_ms, answered_at_ms=now_ms)


def _request(order: PlaceOrder) -> OrderRequest:
    trigger = None
    if order.trigger_px is not None and order.leg is not None:
        trigger = Trigger(order.trigger_px, is_market=True, leg=order.leg)
    return OrderRequest(
        symbol=order.symbol,
        is_buy=order.is_buy,
        size_base=order.size_base,
        limit_px=order.limit_px,
        tif=Tif.GTC if trigger else Tif.IOC,
        reduce_only=order.reduce_only,
        cloid=order.cloid,
        trigger=trigger,
    )


def _standing(status: OrderStatus, *, has_fills: bool) -> ActionStatus:
    if not status.is_terminal:
        return ActionStatus.RESTING
    return ActionStatus.FILLED if status is OrderStatus.FILLED or has_fills else ActionStatus.ERROR


def _as_sent(order: StandingOrder) -> CancelOrder:
    """An order is known here by its id only: the port says that this action is not meaningful."""
    return CancelOrder(order.symbol, order.oid, order.request.cloid, "as the venue knows it")


class SimulatedExecutor(Executor):
    """The live ``ExecutionService`` on a simulated account that lives through history between decisions.

    Args:
        assets: the venue's perpetuals by symbol.
        audit: takes the intents, as in live trading.
        clock: the backtest's; ``advance`` does not set it.
        rules: of the execution.
        deposit_usd: opening cash.
        taker_fee_rate: of the notional.
        slippage_bps: on every taker fill: entries, closes, fired triggers, liquidations.
        bar_ms: length of the bars, where known: a bar that ends after the decision time is then refused
            instead of letting the future in.
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
        slippage_bps: Decimal,
        bar_ms: int | None = None,
    ) -> None:
        now_ms = clock.now_ms()
        venue_rules = VenueRules(assets, taker_fee_rate=taker_fee_rate)
        state = open_account(deposit_usd, now_ms)
        self.venue = SimulatedVenue(state, venue_rules, Slippage(slippage_bps), clock)
        self._service = ExecutionService(self.venue, audit, clock, rules, assets)
        self._bar_ms = bar_ms
        self._walked_ms = now_ms

    def account(self) -> AccountSnapshot:
        """The simulated account at the last known prices."""
        return self.venue.account()

    def resume(self, state: ExchangeState, at_ms: int) -> None:
        """Go on with an account that has lived until ``at_ms``. Raises ``MoneyIdentityError``."""
        check_identities(state)
        self.venue.state = state
        self._walked_ms = at_ms

    def execute(self, plan: ExecutionPlan) -> ExecutionReport:
        """Carry out the plan exactly as in live trading, at the mark ± slippage."""
        return self._service.execute(plan)

    def advance(
        self, to_ms: int, bars: Mapping[str, pl.DataFrame], funding: Mapping[str, pl.DataFrame]
    ) -> tuple[Event, ...]:
        """Let the account live from where it stands until ``to_ms``.

        Bars of all symbols are walked in time order; funding is paid at its full hours in
        ``(last, to_ms]``, at the oracle stand-in: the open of the bar at that hour, or the last close before
        it when that bar is not there (its open is the same moment). Bars that open before the account's time
        were lived already: they only tell the price, so hand in some before the first decision.

        Args:
            to_ms: the decision time.
            bars: by symbol, ``CANDLE_SCHEMA``, ascending.
            funding: by symbol, columns ``time_ms`` and ``rate_hourly``.

        Returns:
            Everything that happened, in order: triggers, fills, order updates, liquidations, funding.

        Raises:
            HistoryError: a bar ends after ``to_ms``, or time would run backwards.
            MoneyIdentityError: the account does not add up.
        """
        table = BarTable.of(bars)
        end = table.index_of(to_ms)
        self._refuse(to_ms, table.open_time_ms[end - 1] if end else None)
        index = self._begin(table, end)
        events: list[Event] = []
        for hour_ms, payments in _by_hour(funding, self._walked_ms, to_ms).items():
            upto = min(table.index_of(hour_ms), end)
            events += self._walk(table, index, upto)
            index = max(index, upto)
            events += self._pay(table, index, hour_ms, payments)
        events += self._walk(table, index, end)
        self._walked_ms = to_ms
        self.venue.history.record(events)
        check_identities(self.venue.state)
        return tuple(events)

    def _refuse(self, to_ms: int, last_open_ms: int | None) -> None:
        if to_ms < self._walked_ms:
            raise HistoryError(f"the simulated account stands at {self._walked_ms}, not before {to_ms}")
        if self._bar_ms is not None and last_open_ms is not None and last_open_ms + self._bar_ms > to_ms:
            raise HistoryError(
                f"the bar that opens at {last_open_ms} is still open at {to_ms}: "
                "choose a cadence that is a multiple of the bars' length"
            )

    def _begin(self, table: BarTable, end: int) -> int:
        """The first bar to walk; the one before it gives the price to symbols that have none."""
        start = min(table.index_of(self._walked_ms), end)
        if start:
            closes = {symbol: exact(c.close[start - 1]) for symbol, c in table.columns.items()}
            self.venue.set_marks({**closes, **self.venue.state.marks})
        return start

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


def _by_hour(funding: Mapping[str, pl.DataFrame], after_ms: int, to_ms: int) -> dict[int, dict[str, Decimal]]:
    """Rates due in ``(after_ms, to_ms]`` by full hour, ascending; stamps are some ms past their hour."""
    found: dict[int, dict[str, Decimal]] = {}
    for symbol, frame in funding.items():
        if frame.is_empty():
            continue
        for time_ms, rate in frame.select("time_ms", "rate_hourly").iter_rows():
            hour_ms = time_ms - time_ms % HOUR_MS
            if after_ms < hour_ms <= to_ms:
                found.setdefault(hour_ms, {})[symbol] = exact(rate)
    return dict(sorted(found.items()))
