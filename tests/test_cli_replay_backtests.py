"""Stored cycles of a backtest computed again: whole, tampered with, and from before the echo was kept."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from loopback import Loopback, SetBackClock, generated_history
from replays import Kept, Replay, asking, detail, differing, found

from wonttrade_dagster.adapters.archive import cycle_text
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, backtest_folder
from wonttrade_dagster.adapters.journal_line import sorted_digest
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import run_backtest_range
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000
HOUR_MS = 3_600_000
CYCLES = 12
ID = "b-1"


@dataclass
class Finished(Kept):
    """A folder with one backtest."""

    @property
    def results(self) -> Path:
        return backtest_folder(self.settings.data_dir, ID) / RESULTS_NAME

    def rewrite(self, number: int, change: Callable[[dict[str, Any]], None], *, sealed: bool = False) -> None:
        """Change one line; ``sealed`` gives it the checksum of its new content."""
        lines = self.results.read_text(encoding="utf-8").splitlines()
        line = json.loads(lines[number])
        change(line["body"])
        if sealed:
            line["sha256"] = sorted_digest(line["body"])
        lines[number] = json.dumps(line, separators=(",", ":"))
        self.results.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def backtested(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    clock = SetBackClock()
    folder = tmp_path_factory.mktemp("backtest")
    with Loopback.serving(clock) as loopback:
        settings = load_settings(loopback.config(folder))
        generated_history(settings, FIRST_MS, 1)
        loopback.model(
            "faults", [{"kind": "invalid_json", "times": 1, "after": 3}, {"kind": "500", "times": 1}]
        )
        spec = BacktestSpec(ID, FIRST_MS, FIRST_MS + CYCLES * HOUR_MS, "loopback-rule", "trader/v1", 60)
        run_backtest_range(settings, spec, market_history(settings), Executors(), lambda _: None)
    return Finished(folder)


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    return asking(capsys)


@pytest.fixture
def finished(backtested: Finished, tmp_path: Path) -> Finished:
    shutil.copytree(backtested.folder, tmp_path, dirs_exist_ok=True)
    return Finished(tmp_path)


def cycle_at(hour: int) -> str:
    return cycle_text(FIRST_MS + hour * HOUR_MS)


def test_every_cycle_of_a_backtest_is_the_same(finished: Finished, replay: Replay) -> None:
    code, told = replay(finished.config, "--all", "--backtest", ID)
    assert (code, told["cycles"], told["same"], told["damage"]) == (0, CYCLES, CYCLES, [])


def test_other_settings_now_change_nothing_about_then(finished: Finished, replay: Replay) -> None:
    text = finished.config.read_text(encoding="utf-8")
    changed = text.replace("max_position_usd = 3000", "max_position_usd = 30")
    finished.config.write_text(changed.replace("history_bars = 120", "history_bars = 90"), encoding="utf-8")
    assert replay(finished.config, "--all", "--backtest", ID)[0] == 0


def test_a_history_that_was_changed_is_blamed_and_not_the_code(finished: Finished, replay: Replay) -> None:
    history = market_history(finished.settings)
    at_ms = FIRST_MS + 4 * HOUR_MS
    candle = history.candles("BTC", "5m", at_ms, at_ms + 300_000)
    history.add_candles(
        "BTC", "5m", candle.with_columns(close=pl.col("open"), high=pl.col("high") + 5), "test", replace=True
    )
    code, told = replay(finished.config, cycle_at(6), "--backtest", ID)
    assert code == 1
    assert "the stored history was changed" in detail(told, Stage.INDICATORS)
    assert differing(told) == [Stage.INDICATORS, Stage.LLM_CONTEXTS]
    assert detail(told, Stage.LLM_CONTEXTS).startswith("the stored history was changed")
    newest = replay(finished.config, cycle_at(4) + ":00", "--backtest", ID)[1]
    assert differing(newest) == [], "the candle that opens there had not closed yet"
    assert replay(finished.config, cycle_at(2), "--backtest", ID)[0] == 0, (
        "before the change all is as it was"
    )


def test_without_the_history_the_rest_is_still_computed(finished: Finished, replay: Replay) -> None:
    (finished.settings.data_dir / "market.duckdb").unlink()
    code, told = replay(finished.config, cycle_at(3), "--backtest", ID)
    assert code == 1
    assert differing(told) == []
    assert "candles are missing" in detail(told, Stage.MARKET_SNAPSHOTS)
    assert found(told)[Stage.EXECUTION_PLANS] == "same"


def test_a_changed_line_is_found_by_what_it_says_and_by_its_checksum(
    finished: Finished, replay: Replay
) -> None:
    def change(body: dict[str, Any]) -> None:
        body["decision"]["targets"][0]["confidence"] = 0.01

    finished.rewrite(4, change)
    code, told = replay(finished.config, cycle_at(3), "--backtest", ID)
    assert code == 1
    assert differing(told) == [Stage.DECISIONS, Stage.CYCLE_REPORTS]
    assert "checksum" in detail(told, Stage.CYCLE_REPORTS)


def test_a_line_that_was_changed_together_with_its_checksum_is_found_by_what_it_says(
    finished: Finished, replay: Replay
) -> None:
    def change(body: dict[str, Any]) -> None:
        body["records"]["account_snapshots"]["account_value_usd"] = "123456"

    finished.rewrite(4, change, sealed=True)
    told = replay(finished.config, cycle_at(3), "--backtest", ID)[1]
    assert Stage.LLM_CONTEXTS in differing(told)


def test_a_cut_line_is_told_and_the_others_are_whole(finished: Finished, replay: Replay) -> None:
    lines = finished.results.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5][:400] + b"\n"
    finished.results.write_bytes(b"".join(lines))
    code, told = replay(finished.config, "--all", "--backtest", ID)
    assert (code, told["cycles"]) == (1, CYCLES)
    (broken,) = [cycle for cycle in told["unequal"] if "damaged" in json.dumps(cycle["stages"])]
    assert broken["cycle"] == cycle_at(4)


def test_a_line_without_its_beginning_is_told_by_its_number(finished: Finished, replay: Replay) -> None:
    lines = finished.results.read_bytes().splitlines(keepends=True)
    lines[5] = b"\x00" * 40 + b"\n"
    finished.results.write_bytes(b"".join(lines))
    code, told = replay(finished.config, "--all", "--backtest", ID)
    assert (code, told["cycles"]) == (1, CYCLES - 1)
    assert "line 6 of" in told["damage"][0]


def as_before(finished: Finished) -> None:
    """The results as they were written before the echo was kept."""
    added = {"setting", "assets", "prompt_files", "system", "windows", "history_sha256", "records"}
    system: list[str] = []

    def before(body: dict[str, Any]) -> None:
        system.extend([body["system"]] if "system" in body else [])
        if "prompt" in body and "user" in body["prompt"]:
            body["prompt"]["system"] = system[0]
        for name in added & body.keys():
            del body[name]

    for number in range(CYCLES + 1):
        finished.rewrite(number, before, sealed=True)


def test_results_from_before_are_not_stored_and_no_crash(finished: Finished, replay: Replay) -> None:
    as_before(finished)
    code, told = replay(finished.config, "--all", "--backtest", ID)
    assert (code, told["cycles"], told["same"]) == (1, CYCLES, 0)
    assert all(counts["not stored"] == CYCLES for counts in told["stages"].values())


def test_results_from_before_can_still_be_explained(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    as_before(finished)
    words = ["explain", cycle_at(3), "--backtest", ID, "--json", "--config", str(finished.config)]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    judged = next(c for c in told["chapters"] if c["title"] == "Judged")
    assert {table["title"] for table in judged["tables"]} == {"Targets"}


def test_a_backtests_cycle_is_explained_with_the_market_of_the_history(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", "last", "--backtest", ID, "--json", "--config", str(finished.config)]) == 0
    told = json.loads(capsys.readouterr().out)
    seen = next(c for c in told["chapters"] if c["title"] == "Seen")
    assert {"Market", "Indicators, newest closed candle"} <= {table["title"] for table in seen["tables"]}
    assert told["cycle"] == cycle_at(CYCLES - 1)
