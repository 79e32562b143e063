"""A backfill of the UI's kind becomes one run a shard, side by side, and one merged report."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from backfills import LAUNCH
from loopback import generated_history
from processes import BIN, child, free_port, graphql, is_up, process, sandbox, settings_file, wait_for

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_shards import is_finished, read_plan
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FIRST_MS = 1_748_736_000_000
DAEMON_DIED = "wonttrade: Dagster's daemon ended by itself with code -9"
DAYS = ["2025-06-01", "2025-06-02", "2025-06-03"]
RUNS = """
{ runsOrError(limit: 50) { ... on Runs { results { status startTime endTime tags { key value } } } } }
"""


def configured(folder: Path, urls: dict[str, str]) -> Path:
    path = settings_file(folder, urls, mode='"BACKTEST"', shard_days="1", history_bars="120")
    path.write_text(path.read_text().replace("cycle_minutes = 15", "cycle_minutes = 240"))
    generated_history(load_settings(path), FIRST_MS, len(DAYS))
    return path


def runs_of(url: str) -> list[dict[str, Any]]:
    """Of backfills: at a full hour there is one of the history's schedule, too."""
    found: list[dict[str, Any]] = graphql(url, RUNS)["runsOrError"]["results"]
    for run in found:
        run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
    return [run for run in found if "dagster/backfill" in run["tags"]]


def test_a_backfill_becomes_a_run_for_each_shard_and_one_report(tmp_path: Path) -> None:
    with sandbox(tmp_path) as urls:
        settings = load_settings(configured(tmp_path, urls))
        port, log = free_port(), tmp_path / "up.log"
        url = f"http://127.0.0.1:{port}"
        with process([str(BIN / "wonttrade"), "up", "--port", str(port)], tmp_path, log) as up:
            wait_for(lambda: is_up(url), 120, "the webserver")
            params = {
                "assetSelection": [{"path": ["backtest", stage.value]} for stage in Stage],
                "partitionNames": DAYS,
                "fromFailure": False,
                "tags": [],
            }
            launched = graphql(url, LAUNCH, {"backfillParams": params})["launchPartitionBackfill"]
            assert launched["__typename"] == "LaunchBackfillSuccess", launched
            folder = backtest_folder(settings.data_dir, launched["backfillId"])
            wait_for(lambda: is_finished(folder), 240, "the merged summary")
            ended = wait_for(lambda: _all_ended(url), 60, "the runs' end")
            os.kill(child(up.pid, "cli.daemon"), signal.SIGKILL)
            assert up.wait(60) == 1, "nobody would request a cycle any more"
            assert log.read_text().splitlines()[-1] == DAEMON_DIED
    _judge(folder, ended)


def _all_ended(url: str) -> list[dict[str, Any]]:
    runs = runs_of(url)
    return runs if all(run["status"] in {"SUCCESS", "FAILURE"} for run in runs) else []


def _judge(folder: Path, runs: list[dict[str, Any]]) -> None:
    ranges = [
        (run["tags"]["dagster/asset_partition_range_start"], run["tags"]["dagster/asset_partition_range_end"])
        for run in runs
    ]
    assert sorted(ranges) == [(day, day) for day in DAYS]
    assert [run["status"] for run in runs] == ["SUCCESS"] * 3
    first, second = sorted(runs, key=lambda run: run["startTime"])[:2]
    assert second["startTime"] < first["endTime"], "two runs side by side is what the settings allow"
    plan = read_plan(folder)
    assert plan is not None
    assert [window.first_day for window in plan.windows] == DAYS
    for day in DAYS:
        lines = (folder / "shards" / day / RESULTS_NAME).read_text().splitlines()
        assert len(lines) == 1 + 6 + 1, "what it is, its cycles, and where its account ended"
    summary = json.loads((folder / "summary.json").read_text())
    assert [row["first_day"] for row in summary["shards"]] == DAYS
    assert summary["latency"]["model_calls"] == 18
    assert (folder / "report.html").stat().st_size > 1_000_000
