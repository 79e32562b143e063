"""A backtest that is killed and started again asks for no finished cycle twice and ends the same."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from loopback import CANARY_API_KEY, Loopback, generated_history

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.journal_line import sorted_digest
from wonttrade_dagster.cli.app import run as command
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import BacktestOutcome, run_backtest_range
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import Settings, load_settings

pytestmark = pytest.mark.e2e  # each kills a process of its own, half a minute of starting them

FIRST_MS = 1_748_736_000_000
DAY_MS = 86_400_000
CYCLES = 48
_VOLATILE = {"sent_at_ms", "received_at_ms", "decided_at_ms", "request_id", "model_latency_ms", "latency_ms"}

_RUN = """
import sys
from pathlib import Path
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import run_backtest_range
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import load_settings

settings = load_settings(Path(sys.argv[1]))
spec = BacktestSpec(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "loopback-rule", "trader/v1", 30)
run_backtest_range(settings, spec, market_history(settings), Executors(), print)
"""


@dataclass
class Ground:
    config: Path
    settings: Settings
    loopback: Loopback

    def spec(self, backtest_id: str) -> BacktestSpec:
        return BacktestSpec(backtest_id, FIRST_MS, FIRST_MS + DAY_MS, "loopback-rule", "trader/v1", 30)

    def run(self, backtest_id: str) -> BacktestOutcome:
        history = market_history(self.settings)
        return run_backtest_range(self.settings, self.spec(backtest_id), history, Executors(), print)

    def killed(self, backtest_id: str, is_time: Callable[[bytes], bool]) -> None:
        """Run it in a process of its own, and kill that once its results file looks like this."""
        range_ms = (str(FIRST_MS), str(FIRST_MS + DAY_MS))
        command = [sys.executable, "-c", _RUN, str(self.config), backtest_id, *range_ms]
        path = self.folder(backtest_id) / RESULTS_NAME
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (path.exists() and is_time(path.read_bytes())):
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
        assert not (self.folder(backtest_id) / SUMMARY_NAME).exists()

    def folder(self, backtest_id: str) -> Path:
        return backtest_folder(self.settings.data_dir, backtest_id)

    def cycles(self, backtest_id: str) -> list[Mapping[str, Any]]:
        """Bodies of the cycle lines, without what no two calls have in common."""
        return self.bodies(backtest_id, "cycle")

    def ends(self, backtest_id: str) -> list[Mapping[str, Any]]:
        """Bodies of the lines that say how the account ended."""
        return self.bodies(backtest_id, "end")

    def bodies(self, backtest_id: str, kind: str) -> list[Mapping[str, Any]]:
        lines = (self.folder(backtest_id) / RESULTS_NAME).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [lasting(record["body"]) for record in records if record["kind"] == kind]

    def summary(self, backtest_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.folder(backtest_id) / SUMMARY_NAME).read_text())
        return found


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: lasting(item) for name, item in value.items() if name not in _VOLATILE}
    return [lasting(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def ground(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    config = loopback.config(
        tmp_path_factory.mktemp("resume"),
        runtime__mode="BACKTEST",
        backtest__sync_every=1,
        backtest__latency=1,
        llm__deadline_seconds=30,
    )
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    made = Ground(config, settings, loopback)
    made.run("whole")
    return made


@pytest.mark.parametrize("after", [1, 20, CYCLES - 2, CYCLES, CYCLES + 1])
def test_a_killed_backtest_goes_on_and_ends_as_if_nothing_had_happened(ground: Ground, after: int) -> None:
    backtest_id = f"killed-{after}"
    ground.killed(backtest_id, lambda data: data.count(b"\n") > after)
    done = len(ground.cycles(backtest_id))
    before = ground.loopback.model_calls
    outcome = ground.run(backtest_id)
    assert ground.loopback.model_calls - before == CYCLES - done, "a finished cycle is never asked again"
    assert outcome.cycles == CYCLES
    assert ground.cycles(backtest_id) == ground.cycles("whole")
    assert ground.ends(backtest_id) == ground.ends("whole"), "one end, also where only a report was left"
    assert figures(ground.summary(backtest_id)) == figures(ground.summary("whole"))


def figures(summary: Mapping[str, Any]) -> Any:
    """What a summary says of money; ids and the model's own speed apart."""
    text = json.dumps(summary["performance"], sort_keys=True)
    assert "sharpe" in text
    return json.loads(text)


def test_a_line_that_was_torn_by_the_kill_is_run_again(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.killed("torn", lambda data: data.count(b"\n") > 5)
    path = ground.folder("torn") / RESULTS_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rstrip(b"\n").rfind(b"\n") + 200])
    ground.run("torn")
    assert ground.cycles("torn") == ground.cycles("whole")
    assert command(["replay", "--all", "--backtest", "torn", "--config", str(ground.config)]) == 0
    assert "damaged" not in capsys.readouterr().err


def test_one_whose_lines_each_tell_the_system_message_goes_on_that_way(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.killed("before", lambda data: data.count(b"\n") > 5)
    path = ground.folder("before") / RESULTS_NAME
    first, *rest = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True)[:5]]
    system = first["body"].pop("system")
    for cycle in rest:
        cycle["body"]["prompt"]["system"] = system
    for line in (first, *rest):
        line["sha256"] = sorted_digest(line["body"])
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in (first, *rest)))
    asked_before = ground.loopback.model_calls
    ground.run("before")
    assert ground.loopback.model_calls - asked_before == CYCLES - len(rest)
    assert {cycle["prompt"]["system"] for cycle in ground.cycles("before")} == {system}
    assert figures(ground.summary("before")) == figures(ground.summary("whole"))
    assert command(["replay", "--all", "--backtest", "before", "--config", str(ground.config)]) == 0
    assert "damaged" not in capsys.readouterr().err


def test_a_line_changed_in_the_middle_refuses_to_go_on(ground: Ground) -> None:
    ground.killed("changed", lambda data: data.count(b"\n") > 5)
    path = ground.folder("changed") / RESULTS_NAME
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'"outcome":"applied"', b'"outcome":"refused"', 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StorageError, match=r"line 3 of .* is damaged: run the backtest from its beginning"):
        ground.run("changed")
    assert path.read_bytes() == b"\n".join(lines), "and nothing that is there is lost"


def test_a_full_disk_ends_it_with_what_was_written_and_it_goes_on_later(ground: Ground) -> None:
    """A limit on the size of files stands for the disk: the write that passes it is refused by the system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=RESULTS_NAME):
            ground.run("full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    done = len(ground.cycles("full"))
    assert 5 < done < CYCLES
    assert not (ground.folder("full") / SUMMARY_NAME).exists()
    before = ground.loopback.model_calls
    ground.run("full")
    assert ground.loopback.model_calls - before == CYCLES - done
    assert ground.cycles("full") == ground.cycles("whole")
    assert figures(ground.summary("full")) == figures(ground.summary("whole"))


def test_the_command_goes_on_with_what_was_begun(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.killed("command", lambda data: data.count(b"\n") > 25)
    before, done = ground.loopback.model_calls, len(ground.cycles("command"))
    assert command(["backtest", "--resume", "command", "--config", str(ground.config)]) == 0
    assert ground.loopback.model_calls - before == CYCLES - done
    assert "command" in capsys.readouterr().out
    assert ground.cycles("command") == ground.cycles("whole")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--resume", "whole"], 2, "is finished: see wonttrade report whole"),
        (["--resume", "nothing"], 2, "no interrupted backtest nothing"),
        (["--resume", "whole", "--from", "2025-06-01"], 2, "leave the other options out"),
        (["--from", "2025-06-01"], 2, "give --from and --to"),
    ],
)
def test_what_cannot_go_on_is_refused_in_a_sentence(
    ground: Ground, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert command(["backtest", *arguments, "--config", str(ground.config)]) == code
    told = capsys.readouterr().err
    assert words in " ".join(told.split())
    assert "'whole'" not in told, "a finished one is none to go on with"
    assert "Traceback" not in told


def test_other_settings_do_not_go_on_with_it(
    ground: Ground, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ground.killed("other", lambda data: data.count(b"\n") > 3)
    text = ground.config.read_text()
    try:
        ground.config.write_text(text.replace("max_leverage = 3", "max_leverage = 2"))
        assert command(["backtest", "--resume", "other", "--config", str(ground.config)]) == 2
    finally:
        ground.config.write_text(text)
    assert "was begun with other settings" in " ".join(capsys.readouterr().err.split())


def test_another_key_and_a_remark_go_on_with_it(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that expires ends a backtest, whose error says to correct it."""
    ground.killed("key", lambda data: data.count(b"\n") > 3)
    text = ground.config.read_text()
    try:
        changed = text.replace(CANARY_API_KEY, CANARY_API_KEY[::-1])
        assert changed != text
        ground.config.write_text("# the new key\n" + changed)
        assert command(["backtest", "--resume", "key", "--config", str(ground.config)]) == 0
    finally:
        ground.config.write_text(text)
    assert ground.cycles("key") == ground.cycles("whole")


def test_a_history_that_was_changed_meanwhile_does_not_have_its_cycles_asked_for_again(
    ground: Ground, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The cycles that were paid for are neither thrown away nor paid for a second time."""
    ground.killed("history", lambda data: data.count(b"\n") > 3)
    path, history = ground.folder("history") / RESULTS_NAME, market_history(ground.settings)
    before, kept = ground.loopback.model_calls, path.read_bytes()
    candles = history.candles("BTC", "5m", FIRST_MS, FIRST_MS + DAY_MS)
    try:
        history.add_candles("BTC", "5m", candles.with_columns(pl.col("volume") + 1), "test", replace=True)
        assert command(["backtest", "--resume", "history", "--config", str(ground.config)]) != 0
    finally:
        history.add_candles("BTC", "5m", candles, "test", replace=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "backtest history was begun with other values of history_sha256" in said
    assert ground.loopback.model_calls == before
    assert path.read_bytes() == kept
