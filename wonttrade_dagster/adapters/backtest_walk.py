"""The simulated account between decisions: bars and funding of the history, handed to it in time.

Belongs here: which stretch of the history comes next, the backtest's clock, and what happened meanwhile.
Does not belong here: what a bar does to an account (``simulated``), the loop (``core.backtest``).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.codec import jsonable
from wonttrade_dagster.core.simulation import BarStretch, ExchangeState

_END_OF_TIME_MS = 4_102_444_800_000
"""2100: behind every bar and rate of any history."""


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
    _history: Mapping[str, BarStretch] = field(init=False, repr=False)
    _look_back_ms: Mapping[str, int] = field(init=False, repr=False)
    """By symbol: two bars."""
    _rates: Mapping[str, tuple[Sequence[int], Sequence[float]]] = field(init=False, repr=False)
    """By symbol: times, ascending, and hourly rates."""

    def __post_init__(self) -> None:
        replay, intervals = self.replay, self.replay.bar_intervals
        self._history = {s: BarStretch.of(replay.bars(s, 0, _END_OF_TIME_MS)) for s in intervals}
        self._look_back_ms = {s: 2 * interval_ms(interval) for s, interval in intervals.items()}
        rates = {s: replay.funding_between(s, 0, _END_OF_TIME_MS) for s in intervals}
        self._rates = {s: (tuple(each["time_ms"]), tuple(each["rate_hourly"])) for s, each in rates.items()}

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

    def _lived(self, until_ms: int) -> None:
        self.lived_until_ms = until_ms
        self.clock.set(until_ms)

    def _bars(self, before_ms: int) -> dict[str, BarStretch]:
        """From the last bar that has closed on, which slippage is measured by, to those open at the end."""
        since_ms, back_ms = self.lived_until_ms, self._look_back_ms
        return {s: bars.between(since_ms - back_ms[s], before_ms) for s, bars in self._history.items()}

    def _funding(self, since_ms: int, to_ms: int) -> dict[str, Sequence[tuple[int, float]]]:
        """Due in ``(since_ms, to_ms]``: who opens a position at the full hour does not pay that hour's."""
        return {s: _due(times, rates, since_ms, to_ms) for s, (times, rates) in self._rates.items()}


def _due(
    times: Sequence[int], rates: Sequence[float], since_ms: int, to_ms: int
) -> Sequence[tuple[int, float]]:
    start, end = bisect_right(times, since_ms), bisect_right(times, to_ms)
    return tuple(zip(times[start:end], rates[start:end], strict=True)) if start < end else ()


def _plain(event: object) -> Mapping[str, Any]:
    return {"event": type(event).__name__, **jsonable(event)}
