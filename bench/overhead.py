"""What Dagster costs around a backtest: a backfill of the daemon against the same range called directly.

Belongs here: both runs of the same days, and where the difference goes.
Does not belong here: the cycles themselves (``bench.backtest``), shards (``bench.shards``).

A backfill waits for the daemon before its run is made and again before it is reported done: up to 30 s each
with Dagster's own daemon, a second or two with that of ``wonttrade up``, which is measured here. These waits
are shown apart; they do not grow with the range.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.days import days_of, fill_days, settings_of
from bench.ground import servers, work_folder
from bench.measure import Figure, Result
from wonttrade_dagster.adapters.backtest_results import backtest_folder
from wonttrade_dagster.adapters.backtest_shards import ShardPlan, is_finished
from wonttrade_dagster.cli.graphql import DagsterGraphQL
from wonttrade_dagster.cli.services import DagsterServices
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.shards import windows_of
from wonttrade_dagster.defs.backtest import FAMILY, run_config
from wonttrade_dagster.defs.backtest_shards import run_windows
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import Settings

CADENCE_MINUTES = 15
GOAL_SECONDS, GOAL_FRACTION = 15.0, 0.10
START_SECONDS = 180.0
POLL_SECONDS = 0.5
"""Each answer costs the webserver tens of milliseconds of the cores on which the run computes."""
_RUNNING = {"REQUESTED", "CANCELING"}


def run(count: int, seed: int) -> Result:
    """``count`` days at 15 minutes with a model that answers at once."""
    with work_folder() as folder, servers(seed) as urls:
        common = {"cycle_minutes": CADENCE_MINUTES, "latency": 0}
        direct, graph = (settings_of(folder / name, urls, **common) for name in ("direct", "graph"))
        fill_days(graph, count, seed)
        times = _through_the_daemon(graph, count)
        fill_days(direct, count, seed)
        direct_seconds = _directly(direct, count)
    goal = max(GOAL_SECONDS, GOAL_FRACTION * direct_seconds)
    figures = [
        Figure("overhead", "s", [times.reported - direct_seconds], goal=goal),
        Figure("overhead_without_waits", "s", [times.in_run - direct_seconds], goal=goal),
        Figure("backfill", "s", [times.reported]),
        Figure("direct", "s", [direct_seconds]),
        Figure("wait_for_the_daemon", "s", [times.begun]),
        Figure("run", "s", [times.in_run]),
        Figure("wait_until_reported", "s", [times.reported - times.begun - times.in_run]),
    ]
    facts = {"days": count, "cycles": count * 1440 // CADENCE_MINUTES, "cadence_minutes": CADENCE_MINUTES}
    return Result(figures, facts=facts)


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds: until the run was made, from there to its end, and until the backfill was reported done."""

    begun: float
    in_run: float
    reported: float


def _directly(settings: Settings, count: int) -> float:
    """The range in this process, by the function that the asset calls."""
    llm = settings.llm
    windows = windows_of(days_of(count), 0)
    plan = ShardPlan("direct", windows, llm.model, llm.prompt, CADENCE_MINUTES, settings.choices_sha256)
    begun = time.perf_counter()
    run_windows(
        settings,
        plan,
        (windows[0].from_ms, windows[0].to_ms),
        market_history(settings),
        Executors(),
        lambda _: None,
    )
    return time.perf_counter() - begun


def _through_the_daemon(settings: Settings, count: int) -> _Times:
    """The call that the UI makes, to a Dagster that is up."""
    with _dagster(settings) as dagster:
        begun = time.perf_counter()
        keys = [(FAMILY, stage.value) for stage in Stage]
        backfill_id = dagster.launch_backfill(keys, days_of(count), run_config(), {})
        made = ended = None
        while (state := dagster.backfill(backfill_id))["status"] in _RUNNING:
            now = time.perf_counter() - begun
            made = now if made is None and state["runs"] else made
            is_over = bool(state["runs"]) and all(
                r["status"] in {"SUCCESS", "FAILURE"} for r in state["runs"]
            )
            ended = now if ended is None and is_over else ended
            time.sleep(POLL_SECONDS)
        reported = time.perf_counter() - begun
    if not is_finished(backtest_folder(settings.data_dir, backfill_id)) or made is None:
        raise WontTradeError(f"the backfill did not succeed: {_why(state)}")
    return _Times(made, (ended or reported) - made, reported)


def _why(state: Mapping[str, Any]) -> str:
    return f"status {state['status']}, runs {state['runs']}, error {state['error']}"


@contextmanager
def _dagster(settings: Settings) -> Iterator[DagsterGraphQL]:
    """A webserver and a daemon that are up and have loaded the graph."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with DagsterServices(settings, port, autostart=False):
        dagster = DagsterGraphQL(f"http://127.0.0.1:{port}")
        dagster.wait_until_up(START_SECONDS)
        yield dagster
