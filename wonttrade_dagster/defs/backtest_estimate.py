"""The estimate of a backtest: some of its prompts are rendered, nothing is asked.

Belongs here: putting together what ``core.estimate`` needs, and the refusal under ``backtest.max_usd``.
Does not belong here: its arithmetic, showing it.
"""

import json
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal

from pydantic import TypeAdapter, ValidationError

from wonttrade_dagster.adapters.backtest_pace import measured_pace
from wonttrade_dagster.adapters.backtest_shards import ShardPlan
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.duckdb_file import read_copy_path
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.backtest import (
    MINUTE_MS,
    MemoryAudit,
    MemoryLedger,
    MemoryRecords,
    decision_times,
)
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.cycle import EDGES, CycleRun
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.estimate import BacktestEstimate, Pace, estimate_of, sample_of
from wonttrade_dagster.core.model import LlmContext, RuntimeMode, Stage
from wonttrade_dagster.core.shards import Window
from wonttrade_dagster.defs.compose import (
    Executors,
    compose_backtest_parts,
    journal,
    ledger,
    model_price,
)
from wonttrade_dagster.settings import Settings
from wonttrade_dagster.settings.fields import CycleMinutes

_BEFORE_THE_MODEL = tuple(EDGES)[: tuple(EDGES).index(Stage.DECISIONS)]


def estimated(
    settings: Settings, plan: ShardPlan, window: Window, replay: BacktestReplayProvider
) -> BacktestEstimate:
    """What the whole backtest will cost, by prompts of one of its windows.

    Args:
        settings: prices, and where calls are recorded.
        plan: of the whole backtest.
        window: whose prompts are rendered: the first, the middle and the last.
        replay: the stored market of at least that window.

    Raises:
        UsageError: the cadence is none, or decisions would come inside of a bar.
    """
    _refuse_cadence(plan.cycle_minutes, replay)
    grid = decision_times(window.from_ms, window.to_ms, plan.cycle_minutes)
    lengths = [_prompt_characters(settings, plan, replay, cycle_ms) for cycle_ms in sample_of(grid)]
    return estimate_of(
        plan.cycles,
        settings.backtest.max_concurrent_runs,
        [length for length in lengths if length],
        _pace(settings, plan.model),
        model_price(settings, plan.model),
        len(settings.symbols.tracked),
    )


def _refuse_cadence(cycle_minutes: int, replay: BacktestReplayProvider) -> None:
    """One of ``wonttrade.toml`` was judged there, but one of a command line or a run config was not."""
    try:
        TypeAdapter(CycleMinutes).validate_python(cycle_minutes)
    except ValidationError:
        raise UsageError(
            f"a cadence of {cycle_minutes} minutes is none: choose one that divides an hour, or whole hours "
            "that divide a day, e.g. 5, 15, 60, 240"
        ) from None
    for symbol, interval in replay.bar_intervals.items():
        if cycle_minutes * MINUTE_MS % interval_ms(interval):
            raise UsageError(
                f"a cadence of {cycle_minutes} minutes ends inside of the {interval} candles of {symbol}, "
                "the finest that cover the range: choose a multiple of them, or import finer ones"
            )


def refuse_above_cap(settings: Settings, estimate: BacktestEstimate) -> None:
    """Raises ``UsageError`` when the calls would cost more than ``backtest.max_usd``."""
    if why := estimate.above(settings.backtest.max_usd):
        raise UsageError(why)


def with_share_of_cap(settings: Settings, plan: ShardPlan, window: Window) -> Settings:
    """The settings of one shard: of ``backtest.max_usd`` it may spend its part of the cycles.

    The shards run in different processes and do not see each other's bills: only shares cannot add up to
    more than the cap.
    """
    cap_usd = settings.backtest.max_usd
    if cap_usd is None or not plan.is_sharded:
        return settings
    share = cap_usd * window.cycles(plan.cycle_minutes) / sum(plan.cycles)
    share_usd = share.quantize(Decimal("0.000001"), rounding=ROUND_DOWN)
    return settings.model_copy(
        update={"backtest": settings.backtest.model_copy(update={"max_usd": share_usd})}
    )


def _prompt_characters(
    settings: Settings, plan: ShardPlan, replay: BacktestReplayProvider, cycle_ms: int
) -> int:
    """Characters sent in one cycle by an account without a position, the reply's schema included.

    0 where nothing is sent: on a market that cannot be right nobody is asked.
    """
    clock, audit = FixedClock(cycle_ms), MemoryAudit()
    executor = Executors().for_backtest(settings, audit, clock, replay)
    parts = compose_backtest_parts(settings, plan.model, plan.prompt, plan.cycle_minutes, replay, executor)
    parts = replace(parts, audit=audit, ledger=MemoryLedger(), clock=clock)
    records = MemoryRecords()
    run = CycleRun(parts, cycle_ms, records)
    for stage in _BEFORE_THE_MODEL:
        run.run(stage)
    context = records.read(cycle_ms, Stage.LLM_CONTEXTS)
    if not isinstance(context, LlmContext):
        return 0
    schema = json.dumps(parts.decision_engine.schema)
    return len(context.prompt.system) + len(context.prompt.user) + len(schema)


def _pace(settings: Settings, model: str) -> Pace:
    copy = None
    if settings.runtime.mode is not RuntimeMode.BACKTEST:
        copy = read_copy_path(ledger(settings, journal(settings)).path)
    return measured_pace(model, copy, settings.data_dir / "backtests")
