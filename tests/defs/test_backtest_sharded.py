"""A backtest in shards: each an account of its own, none asked twice, merged once all are there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from loopback import DAY_MS, Loopback, failure_of, generated_history, instance_of

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_resume import stored_facts
from wonttrade_dagster.adapters.backtest_shards import ShardPlan, is_finished, read_plan
from wonttrade_dagster.cli.app import run as command
from wonttrade_dagster.cli.jobs import QUIET
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.shards import Window, windows_of
from wonttrade_dagster.defs.backtest import JOB_NAME, range_tags, run_config
from wonttrade_dagster.defs.backtest_shards import RunOutcome, run_windows
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import Settings, load_settings

FIRST_MS = 1_748_736_000_000
DAYS = ("2025-06-01", "2025-06-02", "2025-06-03")
CYCLES_PER_DAY = 6
PRICES = '[{ model = "loopback-rule", input_usd = 1.0, output_usd = 2.0 }]'

_RUN = """
import sys
from pathlib import Path
from wonttrade_dagster.adapters.backtest_shards import ShardPlan
from wonttrade_dagster.core.shards import windows_of
from wonttrade_dagster.defs.backtest_shards import run_windows
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import load_settings

settings = load_settings(Path(sys.argv[1]))
days, number = sys.argv[3].split(","), int(sys.argv[4])
plan = ShardPlan(sys.argv[2], windows_of(days, 1), "loopback-rule", "trader/v1", 240, settings.choices_sha256)
window = plan.windows[number]
run_windows(settings, plan, (window.from_ms, window.to_ms), market_history(settings), Executors(), print)
"""


@dataclass
class Ground:
    config: Path
    settings: Settings
    loopback: Loopback

    def plan(self, backtest_id: str, **changes: Any) -> ShardPlan:
        plan = ShardPlan(
            backtest_id, windows_of(DAYS, 1), "loopback-rule", "trader/v1", 240, self.settings.choices_sha256
        )
        return replace(plan, **changes)

    def run(self, plan: ShardPlan, *windows: Window, settings: Settings | None = None) -> list[str]:
        said: list[str] = []
        self.outcome(plan, windows, said, settings or self.settings)
        return said

    def outcome(
        self, plan: ShardPlan, windows: tuple[Window, ...], said: list[str], settings: Settings
    ) -> RunOutcome:
        span = (windows[0].from_ms, windows[-1].to_ms)
        return run_windows(settings, plan, span, market_history(settings), Executors(), said.append)

    def folder(self, backtest_id: str) -> Path:
        return backtest_folder(self.settings.data_dir, backtest_id)

    def summary(self, backtest_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.folder(backtest_id) / SUMMARY_NAME).read_text())
        return found


@pytest.fixture(scope="module")
def ground(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    config = loopback.config(
        tmp_path_factory.mktemp("sharded"),
        runtime__mode="BACKTEST",
        backtest__cycle_minutes=240,
        backtest__shard_days=1,
        backtest__sync_every=1,
        backtest__latency=0,
        llm__deadline_seconds=30,
    )
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 3)
    return Ground(config, settings, loopback)


@pytest.fixture(scope="module")
def whole(ground: Ground) -> Ground:
    plan = ground.plan("whole")
    ground.run(plan, *plan.windows)
    return ground


def test_each_shard_begins_anew_and_keeps_what_a_backtest_has(whole: Ground) -> None:
    for day in DAYS:
        folder = whole.folder(f"whole/{day}")
        facts = stored_facts(folder)
        assert facts is not None
        assert facts["backtest_id"] == f"whole/{day}"
        written = {path.name for path in folder.iterdir()}
        assert {"report.html", "summary.json", "equity.parquet", RESULTS_NAME} <= written
        performance = whole.summary(f"whole/{day}")["performance"]
        assert performance["opening_equity_usd"] == 10_000
        kinds = [json.loads(line)["kind"] for line in (folder / RESULTS_NAME).read_text().splitlines()]
        assert kinds == ["backtest", *["cycle"] * CYCLES_PER_DAY, "end"]
    merged = whole.summary("whole")
    assert [row["first_day"] for row in merged["shards"]] == list(DAYS)
    assert merged["decisions"]["cycles"] == 3 * CYCLES_PER_DAY


def test_shards_side_by_side_lose_no_time_of_the_days(whole: Ground) -> None:
    """Each account lives until the next one is opened, and the last one until the end of the last day."""
    merged = whole.summary("whole")
    equity = pl.read_parquet(whole.folder("whole") / "equity.parquet")
    ends = equity.group_by("shard", maintain_order=True).agg(pl.col("time_ms").max())
    assert ends["time_ms"].to_list() == [FIRST_MS + (number + 1) * DAY_MS for number in range(len(DAYS))]
    assert merged["to_ms"] == ends["time_ms"][-1]
    assert not [caveat for caveat in merged["caveats"] if "last decision" in caveat]
    for row in merged["shards"]:
        own = whole.summary(row["id"])
        prices = market_history(whole.settings).candles("BTC", "5m", own["from_ms"], own["to_ms"])
        held = prices["close"][-1] / prices["open"][0] - 1
        assert row["buy_and_hold_fraction"]["BTC"] == pytest.approx(held)
    for name, value in merged["pnl_by_symbol"]["BTC"].items():
        others = merged["pnl_by_symbol"]["ETH"][name]
        assert value + others == pytest.approx(merged["sums"][name], abs=1e-6), name


def test_shards_run_in_any_order_by_different_runs_and_the_last_one_merges(ground: Ground) -> None:
    plan = ground.plan("order")
    first, second, third = plan.windows
    before = ground.loopback.model_calls
    assert "2 of 3 shards are still missing" in ground.run(plan, third)[-1]
    assert "1 of 3 shards are still missing" in ground.run(plan, first)[-1]
    assert not is_finished(ground.folder("order"))
    assert "all 3 shards are merged" in ground.run(plan, second)[-1]
    assert ground.loopback.model_calls - before == 3 * CYCLES_PER_DAY


def test_shards_of_before_accounts_lived_on_are_told_apart(ground: Ground) -> None:
    """The first shard ends at its last decision, as one that was finished then does."""
    plan = ground.plan("mixed")
    first, *others = plan.windows
    ground.run(plan, first)
    curve = ground.folder(plan.id_of(first)) / "equity.parquet"
    pl.read_parquet(curve).head(-1).write_parquet(curve)
    for window in others:
        ground.run(plan, window)
    told = [caveat for caveat in ground.summary("mixed")["caveats"] if "last decision" in caveat]
    early = (
        "Finished before accounts lived on to the end of the range, without what followed the last decision"
    )
    assert told == [f"{early}: 1 of 3 shards."]


def test_a_finished_shard_is_never_asked_again(whole: Ground) -> None:
    plan, before = whole.plan("whole"), whole.loopback.model_calls
    inode = (whole.folder("whole") / SUMMARY_NAME).stat().st_ino
    said: list[str] = []
    outcome = whole.outcome(plan, plan.windows, said, whole.settings)
    assert whole.loopback.model_calls == before
    assert [line for line in said if "finished already" in line] == [
        f"shard whole/{day} is finished already" for day in DAYS
    ]
    assert outcome.cycles == 3 * CYCLES_PER_DAY
    assert dict(outcome.merged)["shards"].startswith("3 separate accounts")
    assert (whole.folder("whole") / SUMMARY_NAME).stat().st_ino == inode


def test_a_cycle_is_looked_up_in_its_shard(whole: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(whole.config)]
    shard = ["--backtest", f"whole/{DAYS[1]}"]
    assert command(["replay", "--all", *shard, *config]) == 0
    assert f"backtest whole/{DAYS[1]}" in " ".join(capsys.readouterr().out.split())
    assert command(["sql", "SELECT count(*) AS n FROM cycles", *shard, "--json", *config]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": CYCLES_PER_DAY}]
    assert command(["report", f"whole/{DAYS[1]}", "--json", *config]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["backtest_id"] == f"whole/{DAYS[1]}"
    for arguments in (["replay", "--all"], ["sql", "SELECT 1"], ["explain", "last"]):
        assert command([*arguments, "--backtest", "whole", *config]) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "backtest whole has 3 shards: name one of them, like whole/2025-06-01" in told


def test_a_run_over_other_days_than_a_window_is_refused(ground: Ground) -> None:
    plan = ground.plan("days", windows=windows_of(DAYS, 2))
    asked = ground.loopback.model_calls
    with pytest.raises(UsageError, match="begin on 2025-06-01, 2025-06-03"):
        ground.run(plan, Window(DAYS[1], DAYS[1]))
    assert ground.loopback.model_calls == asked


@pytest.mark.e2e
def test_after_a_killed_shard_the_command_runs_what_is_missing_and_merges(
    whole: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = whole.plan("killed")
    whole.run(plan, plan.windows[0])
    arguments = [str(whole.config), "killed", ",".join(DAYS), "1"]
    path = whole.folder(f"killed/{DAYS[1]}") / RESULTS_NAME
    with subprocess.Popen([sys.executable, "-c", _RUN, *arguments], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    done = sum(b'"kind":"cycle"' in line[:200] for line in whole_lines)
    before = whole.loopback.model_calls
    assert command(["backtest", "--resume", "killed", "--config", str(whole.config)]) == 0
    assert whole.loopback.model_calls - before == 2 * CYCLES_PER_DAY - done
    assert "3 separate accounts" in " ".join(capsys.readouterr().out.split())
    assert whole.summary("killed")["distribution"] == whole.summary("whole")["distribution"]
    assert command(["backtest", "--resume", "killed", "--config", str(whole.config)]) == 2
    assert "is finished: see wonttrade report killed" in capsys.readouterr().err


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_shards_stop_when_the_command_that_started_them_is_killed(ground: Ground) -> None:
    """Nobody would see what they spend; what they finished is there to go on from."""
    range_ = ["--from", DAYS[0], "--to", DAYS[1], "--cycle-minutes", "5", "--config", str(ground.config)]
    program = "from wonttrade_dagster.cli import main; main()"
    arguments = [sys.executable, "-c", program, "backtest", *range_]
    known = set(ground.settings.data_dir.glob("backtests/*"))
    before = ground.loopback.model_calls
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 90
        while ground.loopback.model_calls < before + 10:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    killed = time.monotonic()
    while (calls := ground.loopback.model_calls) != before:
        before = calls
        time.sleep(2)
        assert time.monotonic() < killed + 30, "they go on without anybody"
    (folder,) = set(ground.settings.data_dir.glob("backtests/*")) - known
    assert not is_finished(folder)
    lines = sum(path.read_bytes().count(b"\n") for path in folder.glob(f"shards/*/{RESULTS_NAME}"))
    assert 2 < lines < 2 * 288


@pytest.mark.e2e
def test_a_shard_that_fails_is_named_with_the_way_to_go_on(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.loopback.model("faults", [{"kind": "error", "status": 401, "times": 10}])
    arguments = ["backtest", "--from", DAYS[0], "--to", DAYS[2], "--config", str(ground.config)]
    assert command(arguments) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "refused the API key (HTTP 401): check [credentials]" in told
    assert "go on with wonttrade backtest --resume" in told
    assert "Traceback" not in told


def test_a_job_over_several_windows_runs_them_one_after_the_other(ground: Ground) -> None:
    job = build_defs(ground.config).resolve_job_def(JOB_NAME)
    with instance_of(ground.settings) as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config={**QUIET, **run_config()},
            tags=range_tags("job", DAYS[0], DAYS[1]),
            raise_on_error=False,
        )
    assert result.success, failure_of(result)
    plan = read_plan(ground.folder("job"))
    assert plan is not None
    assert [window.first_day for window in plan.windows] == list(DAYS[:2])
    events = result.asset_materializations_for_node("backtest_cycles")
    metadata = {event.asset_key.path[-1]: event.metadata for event in events}["cycle_reports"]
    assert metadata["shard"].value == "job/2025-06-01, job/2025-06-02"
    assert Path(str(metadata["all_shards_report"].value)).is_file()
    assert "estimate" in metadata


def test_the_policy_of_every_asset_of_the_family_is_that_of_the_shards(ground: Ground) -> None:
    graph = build_defs(ground.config).resolve_asset_graph()
    policies = {
        graph.get(key).backfill_policy for key in graph.get_all_asset_keys() if key.path[0] == "backtest"
    }
    assert [policy.max_partitions_per_run for policy in policies if policy] == [1]


# --- the estimate and the cap ----------------------------------------------------------------------


def priced(ground: Ground, folder: Path, max_usd: float) -> Path:
    """The same settings with a price and a cap; results go to a place of their own."""
    text = ground.config.read_text().replace("[llm]\n", f"[llm]\nprices = {PRICES}\n")
    text = text.replace("[backtest]\n", f"[backtest]\nmax_usd = {max_usd}\n")
    path = folder / "wonttrade.toml"
    path.write_text(text)
    (folder / "data").mkdir()
    for file in ground.settings.data_dir.glob("market*.duckdb"):
        (folder / "data" / file.name).write_bytes(file.read_bytes())
    return path


def test_an_estimate_above_the_cap_is_refused_before_any_call(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, asked = priced(ground, tmp_path, 0.01), ground.loopback.model_calls
    assert command(["backtest", "--from", DAYS[0], "--to", DAYS[2], "--config", str(config)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "the 18 calls would cost about" in told
    assert "more than backtest.max_usd (0.01): raise it, or choose fewer days or a longer cadence" in told
    assert "Traceback" not in told
    settings = load_settings(config)
    plan = replace(ground.plan("dear"), settings_sha256=settings.choices_sha256)
    with pytest.raises(UsageError, match="18 calls would cost about"):
        ground.run(plan, plan.windows[0], settings=settings)
    assert ground.loopback.model_calls == asked
    assert not (backtest_folder(settings.data_dir, f"dear/{DAYS[0]}") / RESULTS_NAME).exists()


def test_a_shard_may_spend_its_part_of_the_cap(ground: Ground, tmp_path: Path) -> None:
    settings = load_settings(priced(ground, tmp_path, 9.0))
    plan = replace(ground.plan("shares"), settings_sha256=settings.choices_sha256)
    said = ground.run(plan, plan.windows[0], settings=settings)
    assert any(
        "model calls 18; tokens in about" in line and "USD, repairs not counted" in line for line in said
    )
    facts = stored_facts(backtest_folder(settings.data_dir, f"shares/{DAYS[0]}"))
    assert facts is not None
    assert facts["setting"]["caps"]["in_all_usd"] == "3.000000"


def test_a_backtest_without_credentials_is_refused_in_one_sentence(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ground.config.read_text().splitlines()
    config = tmp_path / "wonttrade.toml"
    config.write_text("\n".join(line for line in lines if not line.startswith("openai_api_key")))
    asked = ground.loopback.model_calls
    assert command(["backtest", "--from", DAYS[0], "--to", DAYS[2], "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert "credentials.openai_api_key: found nothing, expected the API key" in " ".join(told.split())
    assert "Traceback" not in told
    assert ground.loopback.model_calls == asked
