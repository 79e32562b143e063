"""`wonttrade demo` as a newcomer runs it, twice."""

import json
import time
from pathlib import Path

import pytest
from processes import wonttrade

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_the_demo_trades_and_backtests_within_two_minutes(
    attempt: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "demo"
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    done = wonttrade("demo", "--json", "--data-dir", "show", cwd=folder)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert seconds < 120, f"the {attempt} demo took {seconds:.0f} s"
    assert [cycle["outcome"] for cycle in shown["cycles"]] == ["applied", "applied"]
    assert shown["cycles"][0]["actions"] > 0
    assert shown["positions"], "no position is open"
    for position in shown["positions"]:
        assert position["stop_loss_px"] != "None", position
        assert position["take_profit_px"] != "None", position
    assert shown["backtest"]["summary"]["decisions"]["cycles"] == 96
    assert (folder / shown["report"]).is_file() or Path(shown["report"]).is_file()


def test_the_demo_keeps_away_from_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    refused = wonttrade("demo", "--data-dir", ".", cwd=tmp_path)
    assert refused.returncode == 2
    assert "not a demo's" in refused.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep me"
