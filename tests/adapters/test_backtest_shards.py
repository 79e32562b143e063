"""Shards on the disk: one plan, one writer, one merge, whichever processes take part."""

import json
import multiprocessing
import shutil
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from market_samples import DAY_MS
from report_samples import FROM, HOSTILE, report_data
from test_report import Elements

from wonttrade_dagster.adapters.backtest_merge import merge_when_complete
from wonttrade_dagster.adapters.backtest_pace import measured_pace
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_shards import (
    PLAN_NAME,
    ShardPlan,
    claim_plan,
    is_finished,
    missing_windows,
    read_plan,
    sole_writer,
)
from wonttrade_dagster.adapters.report import write_report
from wonttrade_dagster.core.errors import StorageError, UsageError
from wonttrade_dagster.core.shards import Window

DAYS = ("2025-06-01", "2025-06-02", "2025-06-03")


def plan_of(**changes: Any) -> ShardPlan:
    windows = tuple(Window(day, day) for day in DAYS)
    return replace(ShardPlan("bt", windows, f"model {HOSTILE}", "trader/v1", 15, "cd" * 32), **changes)


def write_shard(data_dir: Path, plan: ShardPlan, number: int, **changes: Any) -> None:
    """A shard's folder as a run leaves it; each earns another return."""
    window = plan.windows[number]
    folder, shift_ms = backtest_folder(data_dir, plan.id_of(window)), number * DAY_MS
    data = report_data()
    grown = pl.col("account_value_usd") * (1 + 0.01 * number * pl.int_range(pl.len()) / pl.len())
    frames = {
        "equity": data.equity.with_columns(pl.col("time_ms") + shift_ms, grown),
        "fills": data.fills.with_columns(pl.col("time_ms") + shift_ms),
        "latency": data.latency.with_columns(pl.col("cycle_ms") + shift_ms),
    }
    times = {"from_ms": window.from_ms, "to_ms": window.to_ms}
    write_report(folder, report_data(backtest_id=plan.id_of(window), **times, **frames, **changes))


@pytest.fixture(scope="module")
def finished_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All shards, written once: the page alone takes a second."""
    data_dir = tmp_path_factory.mktemp("shards")
    for number in range(len(DAYS)):
        write_shard(data_dir, plan_of(), number)
    return backtest_folder(data_dir, "bt") / "shards"


@pytest.fixture
def folder(finished_shards: Path, tmp_path: Path) -> Path:
    """A backtest whose shards are all finished and not merged."""
    shutil.copytree(finished_shards, tmp_path / "backtests" / "bt" / "shards")
    return tmp_path / "backtests" / "bt"


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    return found


# --- the plan --------------------------------------------------------------------------------------


def test_the_plan_is_written_once_and_read_by_everybody(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    claim_plan(tmp_path, plan_of())
    before = (tmp_path / PLAN_NAME).stat().st_ino
    claim_plan(tmp_path, plan_of())
    assert read_plan(tmp_path) == plan_of()
    assert (tmp_path / PLAN_NAME).stat().st_ino == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings_sha256": "00" * 32}, "begun with other settings"),
        ({"model": "other"}, "other days, model, prompt or cadence"),
        ({"cycle_minutes": 5}, "other days, model, prompt or cadence"),
        ({"windows": plan_of().windows[:2]}, "other days, model, prompt or cadence"),
    ],
)
def test_another_backtest_of_the_same_id_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    claim_plan(tmp_path, plan_of())
    with pytest.raises(UsageError, match=words):
        claim_plan(tmp_path, plan_of(**changes))
    assert read_plan(tmp_path) == plan_of()


def test_a_backtest_of_one_window_does_not_become_one_of_several(tmp_path: Path) -> None:
    (tmp_path / RESULTS_NAME).write_text("{}\n")
    with pytest.raises(UsageError, match="is one window"):
        claim_plan(tmp_path, plan_of())
    assert not (tmp_path / PLAN_NAME).exists()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"windows": [{"first_day": "June", "last_day": "July"}]}']
)
def test_a_damaged_plan_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / PLAN_NAME).write_text(content)
    with pytest.raises(StorageError, match="cannot be read: start a new backtest"):
        read_plan(tmp_path)


def test_a_run_finds_its_windows_or_is_refused() -> None:
    plan = plan_of(windows=(Window("2025-06-01", "2025-06-02"), Window("2025-06-03", "2025-06-04")))
    assert plan.within(FROM, FROM + 2 * DAY_MS) == plan.windows[:1]
    assert plan.within(FROM, FROM + 4 * DAY_MS) == plan.windows
    for from_day, to_day in ((0, 1), (1, 2), (0, 3), (4, 6)):
        with pytest.raises(UsageError, match="begin on 2025-06-01, 2025-06-03"):
            plan.within(FROM + from_day * DAY_MS, FROM + to_day * DAY_MS)


def test_one_process_at_a_time_runs_in_a_folder(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path),
        pytest.raises(UsageError, match="another process is running"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        pass


# --- the merge -------------------------------------------------------------------------------------


def test_nothing_is_merged_before_the_last_shard(finished_shards: Path, tmp_path: Path) -> None:
    plan = plan_of()
    folder = backtest_folder(tmp_path, "bt")
    for number, day in enumerate(DAYS[:2]):
        shutil.copytree(finished_shards / day, folder / "shards" / day)
        assert merge_when_complete(folder, plan, None) is None
        assert len(missing_windows(folder, plan)) == 2 - number
    assert sorted(path.name for path in folder.iterdir()) == ["shards"]
    shutil.copytree(finished_shards / DAYS[2], folder / "shards" / DAYS[2])
    assert merge_when_complete(folder, plan, None) == folder / "report.html"
    assert is_finished(folder)


def test_the_summary_tells_shards_apart_and_chains_nothing(folder: Path) -> None:
    plan = plan_of()
    merge_when_complete(folder, plan, None)
    merged = summary_of(folder)
    own = [summary_of(folder / "shards" / day) for day in DAYS]
    returns = [summary["performance"]["total_return_fraction"] for summary in own]
    assert [row["total_return_fraction"] for row in merged["shards"]] == returns
    assert [row["id"] for row in merged["shards"]] == [f"bt/{day}" for day in DAYS]
    spread = merged["distribution"]["total_return_fraction"]
    assert (spread["worst"], spread["median"], spread["best"]) == (
        min(returns),
        sorted(returns)[1],
        max(returns),
    )
    assert "performance" not in merged
    assert any("must not be chained" in caveat for caveat in merged["caveats"])
    assert merged["decisions"]["cycles"] == 3 * 96
    assert merged["decisions"]["by_outcome"] == {"applied": 3 * 86, "refused": 3 * 10}
    assert merged["sums"]["fees_usd"] == pytest.approx(sum(s["pnl"]["fees_usd"] for s in own))
    assert merged["pnl_by_symbol"]["BTC"]["fees_usd"] == pytest.approx(merged["sums"]["fees_usd"])
    assert merged["latency"]["model_calls"] == 3 * 96
    assert merged["latency"]["cost_usd"] == pytest.approx(3 * 0.96)
    assert (merged["from_ms"], merged["to_ms"]) == (FROM, FROM + 3 * DAY_MS)


def test_the_series_of_all_shards_stand_under_each_other(folder: Path) -> None:
    plan = plan_of()
    merge_when_complete(folder, plan, None)
    for name in ("equity", "drawdown", "latency", "fills"):
        merged = pl.read_parquet(folder / f"{name}.parquet")
        own = [pl.read_parquet(folder / "shards" / day / f"{name}.parquet") for day in DAYS]
        assert merged.columns == ["shard", *own[0].columns]
        assert merged["shard"].unique(maintain_order=True).to_list() == list(DAYS)
        assert merged.drop("shard").equals(pl.concat(own))


def test_the_page_leads_to_every_shard_and_loads_nothing(folder: Path) -> None:
    plan = plan_of()
    page = merge_when_complete(folder, plan, None)
    assert page is not None
    text = page.read_text(encoding="utf-8")
    words = " ".join(" ".join(Elements(text).words).split())
    assert "separate accounts" in words
    assert "Lower quartile" in words
    for day in DAYS:
        assert f'href="shards/{day}/report.html"' in text
        assert (folder / "shards" / day / "report.html").is_file()
    assert HOSTILE not in text
    assert "http://" not in text.split("<script>")[0]


def test_a_killed_merge_is_made_again_and_a_finished_one_stays(folder: Path) -> None:
    plan = plan_of()
    (folder / "report.html").write_text("half")
    merge_when_complete(folder, plan, None)
    merged = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert merged["report.html"] != b"half"
    inode = (folder / SUMMARY_NAME).stat().st_ino
    merge_when_complete(folder, plan, None)
    assert (folder / SUMMARY_NAME).stat().st_ino == inode
    (folder / SUMMARY_NAME).unlink()
    merge_when_complete(folder, plan, None)
    assert merged == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _merge_at(folder: Path, plan: ShardPlan, pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()
    merge_when_complete(folder, plan, None)
    pipe.send((folder / SUMMARY_NAME).stat().st_ino)


def test_of_processes_that_end_together_one_merges(folder: Path) -> None:
    """A second merge would put a new file in the place of the first one's."""
    plan = plan_of()
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(4):
        ours, theirs = context.Pipe()
        context.Process(target=_merge_at, args=(folder, plan, theirs), daemon=True).start()
        pipes.append(ours)
    assert [pipe.recv() for pipe in pipes] == ["ready"] * 4
    for pipe in pipes:
        pipe.send("go")
    assert len({pipe.recv() for pipe in pipes}) == 1


def test_shards_of_another_prompt_are_not_merged(folder: Path, tmp_path: Path) -> None:
    write_shard(tmp_path, plan_of(), 2, prompt_sha256="00" * 32)
    with pytest.raises(UsageError, match="were run with different prompt"):
        merge_when_complete(folder, plan_of(), None)
    assert not is_finished(folder)


def test_a_shard_whose_series_are_gone_is_named(folder: Path) -> None:
    plan = plan_of()
    (folder / "shards" / DAYS[1] / "fills.parquet").write_bytes(b"")
    with pytest.raises(StorageError, match="2025-06-02"):
        merge_when_complete(folder, plan, None)
    assert not is_finished(folder)


# --- the pace --------------------------------------------------------------------------------------


def test_the_newest_backtest_of_the_model_tells_its_pace(tmp_path: Path) -> None:
    write_report(tmp_path / "a", report_data(model="m"))
    write_report(tmp_path / "b", report_data(model="other"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / SUMMARY_NAME).write_text("broken")
    pace = measured_pace("m", None, tmp_path)
    assert (pace.latency_ms, pace.reply_tokens, pace.source) == (1_048.0, 100.0, "of backtest a")
    unknown = measured_pace("nobody", tmp_path / "no.read.duckdb", tmp_path)
    assert (unknown.latency_ms, unknown.reply_tokens, unknown.source) == (None, None, "")
