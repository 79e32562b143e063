"""The rule's decisions, traded on the product's simulated exchange.

Belongs here: the account's life through the bars: funding at full hours, orders at the decisions.
Does not belong here: the decisions, any rule of the exchange, clocks.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import AssetSpec, Leg
from wonttrade_dagster.core.precision import marketable_px, trigger_limit_px
from wonttrade_dagster.core.simulation import (
    BarTable,
    Event,
    ExchangeState,
    LeverageSetting,
    OrderRequest,
    Quote,
    Slippage,
    Tif,
    Trigger,
    VenueRules,
    bar_quote,
    check_identities,
    open_account,
    pay_funding,
    place_order,
    set_leverage,
    walk_bars,
)
from wonttrade_dagster.core.simulation.bars import exact

HOUR_MS = 3_600_000
DEPOSIT_USD = Decimal(10_000_000)
SIZE_BASE = Decimal(1)
FUNDING_RATE_HOURLY = Decimal("0.0000125")
ALLOWANCE_BPS = Decimal(50)
LEVERAGE = LeverageSetting(20)
_NO_SLIPPAGE = Slippage()


@dataclass(frozen=True, slots=True)
class RuleDecision:
    """One row of the table, in the venue's numbers; ``exits``: stop and take-profit as they are sent."""

    bar: int
    time_ms: int
    symbol: str
    is_long: bool
    exits: tuple[OrderRequest, OrderRequest]


def rows(decisions: pl.DataFrame, assets: Mapping[str, AssetSpec]) -> Sequence[RuleDecision]:
    """The table (``DECISION_SCHEMA``) row by row."""
    return [
        RuleDecision(
            bar,
            time_ms,
            symbol,
            side > 0,
            (
                _exit(assets[symbol], Leg.STOP_LOSS, exact(stop), is_long=side > 0),
                _exit(assets[symbol], Leg.TAKE_PROFIT, exact(profit), is_long=side > 0),
            ),
        )
        for bar, time_ms, symbol, side, stop, profit in decisions.iter_rows()
    ]


def _exit(spec: AssetSpec, leg: Leg, px: Decimal, *, is_long: bool) -> OrderRequest:
    limit_px = trigger_limit_px(px, spec.size_decimals, is_buy=not is_long)
    trigger = Trigger(px, is_market=True, leg=leg)
    return OrderRequest(spec.symbol, not is_long, SIZE_BASE, limit_px, reduce_only=True, trigger=trigger)


@dataclass(slots=True)
class RuleTrader:
    """One account that lives through ``table``; ``events`` are all that happened, in order."""

    table: BarTable
    rules: VenueRules
    state: ExchangeState = field(init=False)
    events: list[Event] = field(default_factory=list)
    decisions: int = 0
    entries: int = 0
    _hours: Mapping[int, int] = field(init=False)
    _hour_bars: Sequence[int] = field(init=False)
    _at: int = 0

    def __post_init__(self) -> None:
        times = self.table.open_time_ms
        self.state = open_account(DEPOSIT_USD, times[0])
        for symbol in self.table.columns:  # as the product's plan does before an entry
            self.state, _ = set_leverage(self.state, symbol, LEVERAGE, self.rules, times[0])
        first, last = -(-times[0] // HOUR_MS) * HOUR_MS, times[-1]
        self._hours = {self.table.index_of(hour): hour for hour in range(first, last + 1, HOUR_MS)}
        self._hour_bars = list(self._hours)

    def trade(self, decisions: Sequence[RuleDecision]) -> None:
        """All decisions, then the rest of the bars."""
        for decision in decisions:
            self.live_until(decision.bar)
            self.obey(decision)
            check_identities(self.state)
            self.decisions += 1
        self.live_until(len(self.table.open_time_ms))
        check_identities(self.state)

    def live_until(self, bar: int) -> None:
        """Walk the bars before ``bar``; a position pays funding at every full hour on the way."""
        while self._at < bar:
            upto = min(self._next_hour(), bar) if self.state.positions else bar
            self.walk(upto)
            if self.state.positions and upto in self._hours:
                self.pay(upto)

    def walk(self, upto: int) -> None:
        """Standing triggers fire inside the bars."""
        self.state, events = walk_bars(self.state, self.table, self.rules, _NO_SLIPPAGE, self._at, upto)
        self.events += events
        self._at = upto

    def pay(self, bar: int) -> None:
        """The oracle stand-in is the open of the bar that begins at the hour."""
        for symbol in tuple(self.state.positions):
            oracle_px = exact(self.table.columns[symbol].open[bar])
            self.state, events = pay_funding(
                self.state, symbol, FUNDING_RATE_HOURLY, oracle_px, self._hours[bar]
            )
            self.events += events

    def obey(self, decision: RuleDecision) -> None:
        """Close what stands the other way, open, protect: four orders, or three when flat."""
        symbol = decision.symbol
        mark, held = self.state.marks[symbol], self.state.size_base(symbol)
        # Without slippage the market is the same for every order of one moment.
        quotes = {symbol: bar_quote(symbol, mark, self.rules, _NO_SLIPPAGE)}
        if held:
            self._send(
                self._ioc(symbol, mark, abs(held), is_buy=held < 0, reduce_only=True), quotes, decision
            )
        entry = self._ioc(symbol, mark, SIZE_BASE, is_buy=decision.is_long, reduce_only=False)
        for request in (entry, *decision.exits):
            self._send(request, quotes, decision)
        self.entries += 1

    def _ioc(
        self, symbol: str, mark: Decimal, size_base: Decimal, *, is_buy: bool, reduce_only: bool
    ) -> OrderRequest:
        decimals = self.rules.assets[symbol].size_decimals
        limit_px = marketable_px(mark, decimals, is_buy=is_buy, slippage_bps=ALLOWANCE_BPS)
        return OrderRequest(symbol, is_buy, size_base, limit_px, Tif.IOC, reduce_only)

    def _send(self, request: OrderRequest, quotes: Mapping[str, Quote], decision: RuleDecision) -> None:
        self.state, outcome = place_order(self.state, request, quotes, self.rules, decision.time_ms)
        if outcome.error is not None:
            raise WontTradeError(f"the rule's own order was refused: {outcome.error}")
        self.events += outcome.events

    def _next_hour(self) -> int:
        after = bisect_right(self._hour_bars, self._at)
        return self._hour_bars[after] if after < len(self._hour_bars) else len(self.table.open_time_ms)
