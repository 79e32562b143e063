"""Backtest cycles: what the model's HTTP call and the journal's fsync cost, and where the rest goes.

Belongs here: the product's loop over generated history in three variants: a model over HTTP, and its replies
handed out again with the journal synced in batches or always. Does not belong here: the report, the walk with
decisions made beforehand (``rule``).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

from bench.candles import MINUTE_MS, fill_history
from bench.ground import servers, work_folder, write_settings
from bench.measure import Figure, Laps, Result, peak_rss_mb, time_calls
from bench.meters import Canned, MeteredModel
from wonttrade_dagster.adapters.backtest_line import shared_of
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, BacktestResults, open_results
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.backtest import MemoryRecords
from wonttrade_dagster.core.cycle import EDGES, CycleRun
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import ModelReply, Stage
from wonttrade_dagster.defs.backtest_parts import Backtest, BacktestSpec, CycleWriter
from wonttrade_dagster.defs.backtest_run import replay_of
from wonttrade_dagster.defs.compose import Executors
from wonttrade_dagster.settings import Settings

FROM_MS = 1_748_736_000_000
CADENCE_MINUTES = 5
STEP_MS = CADENCE_MINUTES * MINUTE_MS
HISTORY_DAYS = 170
"""1,000 candles of four hours before the first decision."""
BATCH = 64
WARM_UP = 5
HTTP = "http_batched"
CANNED = {"canned_batched": BATCH, "canned_synced": 1}
GOALS = {"canned_batched": 1000.0, "canned_synced": 300.0}
"""Cycles per second without the model: as-of snapshot to ledger."""


def run(count: int, seed: int) -> Result:
    """``count`` cycles in each variant, and once more with a stopwatch on every stage."""
    with work_folder() as folder, servers(seed) as urls:
        settings = write_settings(folder, urls)
        spec = _spec(settings, WARM_UP + count)
        replay = _replay(settings, spec, seed)
        before_mb = peak_rss_mb()
        runs = {HTTP: _timed(_Backtest.of(settings, spec, replay, folder / HTTP, BATCH))}
        told = _answers(runs[HTTP])
        runs |= {
            name: _timed(_Backtest.of(settings, spec, replay, folder / name, sync_every, told))
            for name, sync_every in CANNED.items()
        }
        after_mb = peak_rss_mb()
        disk = _disk(folder / HTTP / RESULTS_NAME, count)
        stages = _Backtest.of(settings, spec, replay, folder / "stages", BATCH, told)
        laps = stages.run_by_stage()
    if len({each.equity_usd for each in (*runs.values(), stages)}) > 1:
        raise WontTradeError("the variants did not trade alike: their figures cannot be compared")
    return _result(runs, stages, laps, disk, {"peak_rss_mb_before": before_mb, "peak_rss_mb": after_mb})


def _spec(settings: Settings, cycles: int) -> BacktestSpec:
    llm, to_ms = settings.llm, FROM_MS + cycles * STEP_MS
    return BacktestSpec("bench", FROM_MS, to_ms, llm.model, llm.prompt, CADENCE_MINUTES)


def _replay(settings: Settings, spec: BacktestSpec, seed: int) -> BacktestReplayProvider:
    history = MarketHistory(settings.data_dir / "market.duckdb")
    fill_history(history, FROM_MS - HISTORY_DAYS * 24 * 60 * MINUTE_MS, spec.to_ms, seed)
    return replay_of(settings, history, FROM_MS, spec.to_ms)


@dataclass(slots=True)
class _Backtest:
    """The product's backtest with a stopwatch, without estimate and report."""

    backtest: Backtest
    results: BacktestResults
    writer: CycleWriter
    model: MeteredModel | None
    marks: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        settings: Settings,
        spec: BacktestSpec,
        replay: BacktestReplayProvider,
        folder: Path,
        sync_every: int,
        told: Sequence[ModelReply] = (),
    ) -> "_Backtest":
        """Asks the settings' model over HTTP, or hands out what it ``told`` before, without a stopwatch."""
        backtest = Backtest.of(settings, spec, replay, Executors())
        engine = backtest.parts.decision_engine
        model = None if told else MeteredModel(engine.model)
        parts = replace(backtest.parts, decision_engine=replace(engine, model=model or Canned(iter(told))))
        backtest = replace(backtest, parts=parts)
        results = open_results(folder, sync_every=sync_every, secrets=settings.secret_values())
        results.begin(shared_of(parts, replay.assets(), replay.snapshot(FROM_MS)), FROM_MS)
        return cls(backtest, results, CycleWriter(results, backtest.walk), model)

    @property
    def equity_usd(self) -> Decimal:
        return self.backtest.ledger.points[-1].account_value_usd

    def finished(self, records: MemoryRecords) -> None:
        self.writer.cycle(records)
        self.marks.append((perf_counter_ns(), process_time_ns()))

    def run(self) -> None:
        """The product's own loop."""
        with self.results.journal:
            self.backtest.run(self.finished)
        # The last batch's fsync belongs to the last cycle.
        self.marks[-1] = (perf_counter_ns(), process_time_ns())

    def run_by_stage(self) -> Mapping[str, Laps]:
        """The same loop, taken apart at the stages."""
        names = ("advance", *(stage.value for stage in EDGES), "think", "remember", "write")
        laps, records = {name: Laps() for name in names}, MemoryRecords()
        backtest, thinking = self.backtest, self.backtest.thinking
        with self.results.journal:
            for cycle_ms in backtest.grid:
                with laps["advance"].lap():
                    backtest.walk.advance(cycle_ms)
                cycle = CycleRun(backtest.parts, cycle_ms, records)
                for stage in EDGES:
                    with laps[stage.value].lap():
                        cycle.run(stage)
                    if stage is Stage.DECISIONS:
                        with laps["think"].lap():
                            thinking.pass_time(cycle_ms, thinking.latency_ms(0))
                with laps["remember"].lap():
                    backtest.ledger.remember(records)
                with laps["write"].lap():
                    self.writer.cycle(records)
        for each in laps.values():
            each.drop(WARM_UP)
        return laps


def _timed(backtest: _Backtest) -> _Backtest:
    backtest.run()
    if backtest.model is not None:
        backtest.model.laps.drop(WARM_UP)
    return backtest


def _answers(backtest: _Backtest) -> Sequence[ModelReply]:
    return () if backtest.model is None else backtest.model.replies


def _cycles(backtest: _Backtest) -> Laps:
    """The length of each cycle after the warm-up."""
    pairs = list(pairwise(backtest.marks[WARM_UP - 1 :]))
    wall, cpu = ([(late[i] - early[i]) / 1e6 for early, late in pairs] for i in (0, 1))
    return Laps(wall, cpu)


def _disk(results: Path, count: int) -> Laps:
    """What the disk alone takes to append and sync lines as long as those of the results."""
    lines = results.read_bytes().splitlines(keepends=True)[-count:]
    with results.with_name("disk").open("ab", buffering=0) as file:
        waiting = iter(lines)

        def append() -> None:
            file.write(next(waiting))
            os.fsync(file.fileno())

        return time_calls(append, len(lines), warm_up=0)


def _result(
    runs: Mapping[str, _Backtest],
    stages: _Backtest,
    laps: Mapping[str, Laps],
    disk: Laps,
    facts: dict[str, Any],
) -> Result:
    cycles = {name: _cycles(each) for name, each in runs.items()}
    figures = [
        *(_rate(f"cycles_per_second.{name}", each, GOALS.get(name)) for name, each in cycles.items()),
        *(Figure.of(f"cycle.{name}", each) for name, each in cycles.items()),
        *(
            Figure.of(f"model_call.{name}", each.model.laps)
            for name, each in runs.items()
            if each.model is not None
        ),
        *(Figure.of(f"stage.{name}", each) for name, each in laps.items()),
        Figure.of("append_and_sync_alone", disk),
    ]
    cpu_ms = {name: sum(each.cpu_ms) for name, each in laps.items()}
    shares = {f"cpu_share.{name}": each / sum(cpu_ms.values()) for name, each in cpu_ms.items()}
    ratios = {
        "http_to_canned": _mean(cycles[HTTP]) / _mean(cycles["canned_batched"]),
        "synced_to_batched": _mean(cycles["canned_synced"]) / _mean(cycles["canned_batched"]),
        "last_tenth_to_first": _growth(cycles["canned_batched"]),
    }
    facts |= {
        "fills": len(stages.results.fills),
        "final_equity_usd": str(stages.equity_usd),
        "batch": BATCH,
        "cadence_minutes": CADENCE_MINUTES,
    }
    return Result(figures, ratios | shares, facts)


def _rate(name: str, laps: Laps, goal: float | None) -> Figure:
    """Cycles a second over up to ten stretches of the backtest, each at least one batch of the journal."""
    size = max(len(laps.wall_ms) // 10, min(BATCH, len(laps.wall_ms)))
    starts = range(0, len(laps.wall_ms) - size + 1, size)
    wall, cpu = (
        [1000 * size / sum(ms[at : at + size]) for at in starts] for ms in (laps.wall_ms, laps.cpu_ms)
    )
    return Figure(name, "1/s", wall, cpu, goal, is_rate=True)


def _mean(laps: Laps) -> float:
    return sum(laps.wall_ms) / len(laps.wall_ms)


def _growth(laps: Laps) -> float:
    """CPU of the last cycles to the first: 1 when a cycle does not get slower as the backtest gets longer."""
    some = max(len(laps.cpu_ms) // 10, 1)
    return sum(laps.cpu_ms[-some:]) / sum(laps.cpu_ms[:some])
