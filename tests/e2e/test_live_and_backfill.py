"""The live system as a user runs it: sensor-driven cycles, then a backfill by the call the UI makes."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from backfills import LAUNCH
from hyperliquid.info import Info
from processes import (
    BIN,
    child,
    free_port,
    graphql,
    is_up,
    process,
    sandbox,
    settings_file,
    stop,
    wait_for,
    wonttrade,
)

from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAYS = ("2025-06-02", "2025-06-03")
RUNS = """
{ runsOrError(limit: 50) { ... on Runs { results { runId status jobName tags { key value } } } } }
"""
SERVER = """
{ workspaceOrError { ... on Workspace { locationEntries {
    locationOrLoadError { ... on RepositoryLocation { serverId } } } } } }
"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs(limit: 10) { runId status } error { message } }
  }
}
"""


@dataclass(frozen=True)
class System:
    folder: Path
    url: str
    venue_url: str
    up: "subprocess.Popen[bytes]"

    def runs(self, job: str) -> list[dict[str, Any]]:
        results = graphql(self.url, RUNS)["runsOrError"]["results"]
        for run in results:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return [run for run in results if run["jobName"] == job]

    def finished_cycles(self) -> list[str]:
        done = [run for run in self.runs("trade_cycle") if run["status"] in {"SUCCESS", "FAILURE"}]
        assert all(run["status"] == "SUCCESS" for run in done), done
        return sorted(run["tags"]["dagster/partition"] for run in done)


WALKED_FROM_MS, WALKED_DAYS = 1_747_958_400_000, 12


def random_walk(symbol: str, first_px: float, seed: int, folder: Path) -> Path:
    """Twelve days of 5-minute candles that end with the backtested days, as a user's file."""
    rng = np.random.default_rng(seed)
    bars, start_ms = WALKED_DAYS * 288, WALKED_FROM_MS
    close = first_px * np.exp(np.cumsum(rng.normal(0, 0.001, bars)))
    open_ = np.concatenate([[first_px], close[:-1]])
    frame = pl.DataFrame(
        {
            "open_time": start_ms + np.arange(bars) * 300_000,
            "symbol": [symbol] * bars,
            "open": open_,
            "high": np.maximum(open_, close) * 1.0005,
            "low": np.minimum(open_, close) * 0.9995,
            "close": close,
            "volume": rng.uniform(1, 50, bars),
        }
    )
    path = folder / f"{symbol}-5m.parquet"
    frame.write_parquet(path)
    return path


def funding(symbol: str, folder: Path) -> Path:
    """The hourly rates of those days."""
    hours = WALKED_FROM_MS + np.arange(WALKED_DAYS * 24) * 3_600_000
    frame = pl.DataFrame({"time": hours, "symbol": [symbol] * len(hours), "funding_rate": 0.0000125})
    path = folder / f"{symbol}-funding.parquet"
    frame.write_parquet(path)
    return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("live")
    with sandbox(folder) as urls:
        settings_file(folder, urls, cycle_minutes="1", deadline_seconds="20", history_bars="300")
        port = free_port()
        command = [str(BIN / "wonttrade"), "up", "--port", str(port)]
        with process(command, folder, folder / "up.log") as up:
            live = System(folder, f"http://127.0.0.1:{port}", urls["venue"], up)
            wait_for(lambda: is_up(live.url), 90, "Dagster")
            yield live
            assert stop(up) == 0, (folder / "up.log").read_text()[-2000:]


def test_the_sensor_runs_two_consecutive_one_minute_cycles_and_the_venue_holds_protected_positions(
    system: System,
) -> None:
    def two_in_a_row() -> bool:
        minutes = [int(key[-5:-3]) * 60 + int(key[-2:]) for key in system.finished_cycles()]
        return any((later - earlier) % 1440 == 1 for earlier, later in pairwise(minutes))

    wait_for(two_in_a_row, 300, "two consecutive cycles")
    info = Info(system.venue_url, skip_ws=True, timeout=10)
    positions = info.user_state(SANDBOX_ACCOUNT_ADDRESS)["assetPositions"]
    orders = info.frontend_open_orders(SANDBOX_ACCOUNT_ADDRESS)
    assert positions, "no position stands on the venue"
    for position in (item["position"] for item in positions):
        kinds = {o["orderType"] for o in orders if o["coin"] == position["coin"] and o["reduceOnly"]}
        assert {"Stop Market", "Take Profit Market"} <= kinds, (position, orders)


def test_a_second_up_on_the_same_data_is_refused_in_one_sentence(system: System) -> None:
    second = wonttrade("up", "--port", str(free_port()), cwd=system.folder)
    assert second.returncode == 2
    assert "another wonttrade up runs on" in second.stderr
    assert "Traceback" not in second.stderr + second.stdout


def test_a_code_server_that_dies_is_started_again(system: System) -> None:
    def server() -> Any:
        (entry,) = graphql(system.url, SERVER)["workspaceOrError"]["locationEntries"]
        return (entry["locationOrLoadError"] or {}).get("serverId")

    first = wait_for(server, 30, "the code server")
    os.kill(child(system.up.pid, "code-server"), signal.SIGKILL)
    wait_for(lambda: server() not in {None, first}, 60, "another code server")
    assert "code server ended with code -9: started again" in (system.folder / "up.log").read_text()


def test_a_backfill_launched_as_the_ui_does_ends_in_one_successful_run(system: System) -> None:
    files = [random_walk("BTC", 100_000, 1, system.folder), random_walk("ETH", 2_500, 2, system.folder)]
    files += [funding(symbol, system.folder) for symbol in ("BTC", "ETH")]
    imported = wonttrade("history", "import", *map(str, files), cwd=system.folder)
    assert imported.returncode == 0, imported.stderr

    params = {
        "assetSelection": [{"path": ["backtest", stage.value]} for stage in Stage],
        "partitionNames": list(DAYS),
        "fromFailure": False,
        "tags": [],
    }
    launched = graphql(system.url, LAUNCH, {"backfillParams": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    backfill_id = launched["backfillId"]

    def ended() -> Any:
        state = graphql(system.url, BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
        return state if state["status"] not in {"REQUESTED", "CANCELING"} else None

    state = wait_for(ended, 240, "the backfill's end")
    assert state["status"] == "COMPLETED_SUCCESS", state
    assert [run["status"] for run in state["runs"]] == ["SUCCESS"]
    folder = system.folder / "data" / "backtests" / backfill_id
    lines = [json.loads(line) for line in (folder / "backtest-results.ndjson").read_text().splitlines()]
    cycles = [line for line in lines if line["kind"] == "cycle"]
    assert len(cycles) == 2 * 96, "every quarter of an hour of both days is a cycle"
    assert all(line["body"]["reply"]["request_id"] for line in cycles)
    assert (folder / "report.html").stat().st_size > 1_000_000

    shown = wonttrade("report", backfill_id, "--json", cwd=system.folder)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["backtest_id"] == backfill_id
