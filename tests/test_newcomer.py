"""The way of a newcomer: the copied example, the sandbox, the preflight, and what is refused in words.

Belongs here: the first commands that the README tells to type, run in an empty folder.
Does not belong here: that the commands are spelled right (``test_document_commands.py``).
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
from document_pages import BIN, ROOT, text_of

from wonttrade_dagster.cli.app import run
from wonttrade_dagster.sandbox.server import Sandbox


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example as its settings, and the prompts beside it."""
    example = text_of(ROOT / "wonttrade.toml.example")
    (tmp_path / "wonttrade.toml").write_text(example, encoding="utf-8")
    (tmp_path / "prompts").symlink_to(ROOT / "prompts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def candles_csv(bars: int) -> str:
    rows = (f"{1_748_736_000_000 + n * 300_000},100,102,99,{100 + n % 2},5" for n in range(bars))
    return "\n".join(["open_time_ms,open,high,low,close,volume", *rows])


def test_the_sandbox_says_in_one_line_where_it_is_and_ends_when_asked(tmp_path: Path) -> None:
    command = [str(BIN / "wonttrade"), "sandbox", "--port", "0", "--model-port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()

    assert set(json.loads(line)) == {"venue", "model"}
    assert rest == ""
    assert process.returncode == 0


def test_the_copied_example_passes_the_preflight_against_the_sandbox(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    with Sandbox(seed=7) as sandbox:
        text = text_of(path).replace("http://127.0.0.1:8600", sandbox.venue_url)
        path.write_text(text.replace("http://127.0.0.1:8601/v1", sandbox.model_url), encoding="utf-8")

        code = run(["check"])

    said = capsys.readouterr().out
    assert code == 0, said
    assert "problem" not in said


def test_history_is_imported_and_the_status_shown_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "BTC-5m.csv").write_text(candles_csv(60), encoding="utf-8")

    assert run(["history", "import", "BTC-5m.csv"]) == 0
    assert run(["history", "import", "BTC-5m.csv", "--json"]) == 0
    assert '"new": 0' in capsys.readouterr().out
    assert run(["status"]) == 0
    assert "no cycle has run yet" in capsys.readouterr().out


def test_paper_trading_is_refused_as_the_readme_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    path.write_text(text_of(path).replace('mode = "TESTNET"', 'mode = "PAPER"'), encoding="utf-8")

    assert run(["status"]) == 2
    assert "paper trading does not exist" in " ".join(capsys.readouterr().err.split())


def test_real_money_is_refused_without_its_second_yes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wonttrade.toml"
    text = text_of(path).replace('mode = "TESTNET"', 'mode = "LIVE"').replace('"local"', '"mainnet"', 1)
    path.write_text(
        re.sub(r'^base_url = "http://127.0.0.1:8600".*$', "", text, flags=re.MULTILINE), encoding="utf-8"
    )

    assert run(["status"]) == 2
    assert "second yes" in capsys.readouterr().err
