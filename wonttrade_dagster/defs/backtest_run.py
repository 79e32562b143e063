"""One backtest over one range: parts, loop, results, report.

Belongs here: putting a backtest together and writing what came of it.
Does not belong here: Dagster, the loop itself (``core.backtest``), how fills are simulated.

A model call over HTTP happens in every cycle: no code path can answer a decision from a stored reply.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.core.backtest import decision_times
from wonttrade_dagster.settings import Settings


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


def backtest_folder(settings: Settings, backtest_id: str) -> Path:
    """Everything one backtest writes."""
    return settings.data_dir / "backtests" / backtest_id


def replay_of(settings: Settings, history: MarketHistory, from_ms: int, to_ms: int) -> BacktestReplayProvider:
    """The stored market of a range. Raises ``HistoryError`` naming every hole."""
    symbols = settings.symbols
    return BacktestReplayProvider(
        history,
        default_assets(symbols.tracked),
        symbols.tracked,
        intraday_interval=symbols.intraday_interval,
        long_interval=symbols.long_interval,
        history_bars=symbols.history_bars,
        from_ms=from_ms,
        to_ms=to_ms,
    )


@dataclass(slots=True)
class _Walk:
    """Lets the simulated exchange live from decision to decision, and remembers what happened."""

    executor: Any
    replay: BacktestReplayProvider
    clock: FixedClock
    symbols: tuple[str, ...]
    from_ms: int
    events: tuple[dict[str, Any], ...] = ()

    def advance(self, cycle_ms: int) -> None:
        """Walk the bars since the last decision."""
        since_ms = max(self.clock.now_ms(), self.from_ms)
        bars = {s: self.replay.bars(s, since_ms, cycle_ms) for s in self.symbols}
        funding = {s: self.replay.funding_between(s, since_ms, cycle_ms) for s in self.symbols}
        self.events = self.executor.advance(cycle_ms, bars, funding)
        self.clock.set(cycle_ms)
