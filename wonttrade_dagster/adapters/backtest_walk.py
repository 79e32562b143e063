"""The simulated account between decisions and after the last one: bars and funding, handed to it in time.

Belongs here: which stretch of the history comes next, the backtest's clock, and what happened meanwhile.
Does not belong here: what a bar does to an account (``simulated``), the loop (``core.backtest``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.adapters.simulated import HOUR_MS, SimulatedExecutor
from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.codec import jsonable
from wonttrade_dagster.core.simulation import BarStretch, Event, ExchangeState, Execution, FundingPayment


@dataclass(slots=True)
class BacktestWalk:
    """Lets the simulated exchange live from decision to decision, and remembers what happened.

    Attributes:
        executor: the simulated account.
        replay: the history.
        lived_until_ms: the account's time; before the first decision, from where on bars are looked at.
        clock: of the backtest.
        decided_ms: the last decision time that was lived through; None before the first.
        latency_ms: how long that decision took.
        events: what happened since the decision before it, as it is written into its line.
    """

    executor: SimulatedExecutor
    replay: BacktestReplayProvider
    lived_until_ms: int
    clock: FixedClock
    decided_ms: int | None = None
    latency_ms: int = 0
    events: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def busy_until_ms(self) -> int:
        """When the last decision was there; 0 before the first."""
        return 0 if self.decided_ms is None else self.decided_ms + self.latency_ms

    def stand(self, decided_ms: int, latency_ms: int, exchange: ExchangeState) -> None:
        """Begin from an account as it was left by the decision of ``decided_ms``."""
        self.decided_ms, self.latency_ms = decided_ms, latency_ms
        self.executor.resume(exchange, self.busy_until_ms)
        self._lived(self.busy_until_ms)

    def advance(self, cycle_ms: int) -> None:
        """Walk the bars since the last decision and pay the funding due."""
        since_ms = self.lived_until_ms
        happened = self.executor.advance(cycle_ms, self._bars(cycle_ms), self._funding(since_ms, cycle_ms))
        self.events = [_plain(event) for event in happened]
        self.decided_ms, self.latency_ms = cycle_ms, 0
        self._lived(cycle_ms)

    def think(self, cycle_ms: int, latency_ms: int) -> None:
        """Let the time pass that the decision of ``cycle_ms`` takes: its orders meet the market after it."""
        to_ms, since_ms = cycle_ms + latency_ms, self.lived_until_ms
        happened = self.executor.think(to_ms, self._bars(to_ms + 1), self._funding(since_ms, to_ms))
        self.events += [_plain(event) for event in happened]
        self.latency_ms = latency_ms
        self._lived(to_ms)

    def live_on(self, to_ms: int) -> AccountEnd:
        """Let the account live from its last decision to the end of the range, where nobody decides.

        Where that decision was there after the end only, nothing happens any more.
        """
        since_ms, happened = self.lived_until_ms, tuple[Event, ...]()
        if since_ms < to_ms:
            happened = self.executor.advance(to_ms, self._bars(to_ms), self._funding(since_ms, to_ms))
            self._lived(to_ms)
        account = self.executor.account()
        return AccountEnd(
            time_ms=to_ms,
            account_value_usd=account.account_value_usd,
            positions=account.positions,
            protection=tuple(order for order in account.open_orders if order.leg is not None),
            fills=tuple(event.fill() for event in happened if isinstance(event, Execution)),
            funding_paid_usd=sum(
                (event.paid_usd for event in happened if isinstance(event, FundingPayment)), Decimal(0)
            ),
            events=tuple(_plain(event) for event in happened),
        )

    def _lived(self, until_ms: int) -> None:
        self.lived_until_ms = until_ms
        self.clock.set(until_ms)

    def _bars(self, before_ms: int) -> dict[str, BarStretch]:
        """From the last bar that has closed on, which slippage is measured by, to those open at the end."""
        found = {}
        for symbol, interval in self.replay.bar_intervals.items():
            since_ms = self.lived_until_ms - 2 * interval_ms(interval)
            found[symbol] = self.replay.stretch(symbol, since_ms, before_ms)
        return found

    def _funding(self, since_ms: int, to_ms: int) -> dict[str, tuple[tuple[int, float], ...]]:
        if since_ms // HOUR_MS == to_ms // HOUR_MS:  # stored rates are those of full hours
            return {}
        replay = self.replay
        return {symbol: replay.funding_between(symbol, since_ms, to_ms) for symbol in replay.bar_intervals}


def _plain(event: object) -> Mapping[str, Any]:
    return {"event": type(event).__name__, **jsonable(event)}
