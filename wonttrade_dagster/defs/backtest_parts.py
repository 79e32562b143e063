"""One backtest put together: the cycle's parts on a simulated account, and the loop over them.

Belongs here: what a backtest is made of, and going through its decision times.
Does not belong here: its history, its folder and its report (``backtest_run``), the loop itself
(``core.backtest``), how fills are simulated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wonttrade_dagster.adapters.backtest_results import BacktestResults
from wonttrade_dagster.adapters.backtest_resume import EXCHANGE
from wonttrade_dagster.adapters.backtest_walk import BacktestWalk
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.backtest import (
    AccountEnd,
    MemoryAudit,
    MemoryLedger,
    MemoryRecords,
    Thinking,
    decision_times,
    run_backtest,
)
from wonttrade_dagster.core.breaker import UNANSWERED
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import ModelUnavailableError
from wonttrade_dagster.core.model import Refusal, Stage
from wonttrade_dagster.core.simulation import ExchangeState
from wonttrade_dagster.defs.compose import Executors, compose_backtest_parts
from wonttrade_dagster.settings import Settings

LOOK_BACK_MS = 4 * 3_600_000
"""Bars before the first decision only tell the simulated exchange what the price is."""

MAX_UNANSWERED_CYCLES = 3
"""So many cycles in a row without any answer end a backtest; without a first answer, a single one does."""


@dataclass(frozen=True, slots=True)
class BacktestSpec:
    """What one backtest is: its range, and what may differ from the settings.

    Attributes:
        backtest_id: names its folder.
        from_ms: first decision time, start of a UTC day.
        to_ms: end of the range, excluded.
        model: the model asked.
        prompt: the prompt directory used.
        cycle_minutes: the cadence.
    """

    backtest_id: str
    from_ms: int
    to_ms: int
    model: str
    prompt: str
    cycle_minutes: int

    @property
    def cycles(self) -> int:
        """Decision times in the range."""
        return len(decision_times(self.from_ms, self.to_ms, self.cycle_minutes))


@dataclass(frozen=True, slots=True)
class Backtest:
    """A backtest that can run.

    Attributes:
        spec: its range and cadence.
        parts: of every cycle; ``ledger``, ``audit`` and clock are those below.
        ledger: the account's story so far.
        audit: the decision in force.
        walk: the simulated account between decisions.
        fixed_latency_ms: how long every decision takes; None measures each.
    """

    spec: BacktestSpec
    parts: CycleParts
    ledger: MemoryLedger
    audit: MemoryAudit
    walk: BacktestWalk
    fixed_latency_ms: int | None

    @classmethod
    def of(
        cls, settings: Settings, spec: BacktestSpec, replay: BacktestReplayProvider, executors: Executors
    ) -> "Backtest":
        """A fresh account at the start of the range."""
        ledger, clock, audit = MemoryLedger(), FixedClock(spec.from_ms), MemoryAudit()
        executor = executors.for_backtest(settings, audit, clock, replay)
        parts = compose_backtest_parts(
            settings, spec.model, spec.prompt, spec.cycle_minutes, replay, executor
        )
        parts = replace(parts, audit=audit, ledger=ledger, clock=clock)
        walk = BacktestWalk(executor, replay, spec.from_ms - LOOK_BACK_MS, clock)
        seconds = settings.backtest.latency
        return cls(
            spec, parts, ledger, audit, walk, None if isinstance(seconds, str) else round(seconds * 1000)
        )

    @property
    def grid(self) -> range:
        """The decision times that are left."""
        decided_ms = self.walk.decided_ms
        since_ms = self.spec.from_ms if decided_ms is None else decided_ms + 1
        return decision_times(since_ms, self.spec.to_ms, self.spec.cycle_minutes)

    @property
    def thinking(self) -> Thinking:
        """Lets the simulated market go on while a decision is made."""
        return Thinking(self.walk.think, self.fixed_latency_ms, self.walk.busy_until_ms)

    def stand(self, cycle_ms: int, latency_ms: int, exchange: ExchangeState) -> None:
        """Begin behind the last finished cycle, which the ledger knows already."""
        if self.ledger.applied is not None and self.ledger.applied_cycle_ms is not None:
            self.audit.applied(self.ledger.applied_cycle_ms, self.ledger.applied)
        self.walk.stand(cycle_ms, latency_ms, exchange)

    def live_on(self) -> AccountEnd:
        """Let the account live from the last decision to the end of the range."""
        return self.walk.live_on(self.spec.to_ms)

    def run(self, finished: Callable[[MemoryRecords], None]) -> None:
        """Go through what is left; ``finished`` takes the records of each cycle."""
        run_backtest(self.parts, self.ledger, self.grid, self.walk.advance, finished, self.thinking)


@dataclass(slots=True)
class CycleWriter:
    """Writes each finished cycle, and ends a backtest whose model's server has gone.

    A refused reply is a result. No reply at all is not: the figures would be those of the outage. So an
    unanswered cycle is written only once a later one was answered, or with the end of the range: a backtest
    that the outage ended asks for it again when it is resumed.
    """

    results: BacktestResults
    walk: BacktestWalk
    was_answered: bool = False
    held: list[tuple[MemoryRecords, Mapping[str, Any]]] = field(default_factory=list)

    def cycle(self, records: MemoryRecords) -> None:
        """Take a cycle. Raises ``ModelUnavailableError`` after too many without an answer."""
        state = self.walk.executor.venue.state
        told = {"events": self.walk.events, "latency_ms": self.walk.latency_ms, EXCHANGE: state}
        self.held.append((MemoryRecords(records.cycle_ms, records.records), told))
        outcome = records.read(records.cycle_ms, Stage.DECISIONS).outcome
        if not isinstance(outcome, Refusal) or outcome.reason not in UNANSWERED:
            self.was_answered = True
            self.end()
        elif not self.was_answered or len(self.held) == MAX_UNANSWERED_CYCLES:
            raise ModelUnavailableError(
                f"{outcome.detail}; the backtest ended, the cycles it finished are in {self.results.folder}"
            )

    def end(self) -> None:
        """Write what is held back."""
        for records, told in self.held:
            self.results.cycle(records, told)
        self.held.clear()
