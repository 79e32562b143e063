"""Shards side by side against one run: the same days, the same slow model, first call to last call.

Belongs here: the two backtests, as the command runs them without a daemon.
Does not belong here: the cost of Dagster around a backtest (``bench.overhead``).
"""

import time
from pathlib import Path

from bench.days import calls_of, days_of, fill_days, settings_of
from bench.ground import servers, work_folder
from bench.measure import Figure, Result
from wonttrade_dagster.adapters.backtest_results import backtest_folder
from wonttrade_dagster.cli.backtest import BacktestRequest, Launch, check_request, in_foreground
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.settings import Settings

SHARDS = 4
LATENCY_MS = 500
GOAL_TIMES = 3.5
CADENCES_MINUTES = (1440, 720, 480, 360, 240, 180, 120, 60, 30, 15, 10, 5)


def run(count: int, seed: int) -> Result:
    """At least ``count`` calls a shard, one day each, at the slowest cadence that makes so many."""
    cadence = next(minutes for minutes in CADENCES_MINUTES if 1440 // minutes >= count)
    with work_folder() as folder, servers(seed, model_latency_ms=LATENCY_MS) as urls:
        common = {"cycle_minutes": cadence, "max_concurrent_runs": SHARDS, "latency": 0}
        one = settings_of(folder / "one", urls, **common)
        several = settings_of(folder / "several", urls, shard_days=1, **common)
        found = {name: _timed(each, seed) for name, each in (("one", one), ("shards", several))}
    calls = {name: calls for name, (calls, _, _) in found.items()}
    if set(calls.values()) != {SHARDS * 1440 // cadence}:
        raise WontTradeError(f"the backtests did not make the same calls: {calls}")
    seconds = {name: seconds for name, (_, seconds, _) in found.items()}
    figures = [
        Figure("times_faster", "x", [seconds["one"] / seconds["shards"]], goal=GOAL_TIMES, is_rate=True),
        *(Figure(f"first_to_last_call.{name}", "s", [value]) for name, value in seconds.items()),
        *(Figure(f"command.{name}", "s", [wall]) for name, (_, _, wall) in found.items()),
    ]
    facts = {
        "shards": SHARDS,
        "calls": calls["shards"],
        "latency_ms": LATENCY_MS,
        "cadence_minutes": cadence,
        "least_seconds_one": calls["one"] * LATENCY_MS / 1000,
    }
    return Result(figures, facts=facts)


def _timed(settings: Settings, seed: int) -> tuple[int, float, float]:
    """Calls, seconds from the first to the last of them, and of the whole command."""
    days = days_of(SHARDS)
    fill_days(settings, SHARDS, seed)
    launch = check_request(settings, BacktestRequest(days[0], days[-1]))
    begun = time.perf_counter()
    backtest_id = in_foreground(launch)
    wall_seconds = time.perf_counter() - begun
    return *calls_of(_folders(launch, backtest_id)), wall_seconds


def _folders(launch: Launch, backtest_id: str) -> list[Path]:
    base = backtest_folder(launch.settings.data_dir, backtest_id)
    return [path.parent for path in base.glob("**/backtest-results.ndjson")]
