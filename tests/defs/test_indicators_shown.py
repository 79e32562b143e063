"""A prompt of one's own with every further column and other lengths: traded live, backtested, replayed."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import (
    PROMPTS,
    Loopback,
    SetBackClock,
    failure_of,
    generated_history,
    run_stages,
    trade_replies,
)
from replays import asking
from test_backtest_job import FIRST_MS, backtest

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, backtest_folder
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.settings import load_settings

DAY = "2025-06-01"
LENGTHS = {"ema_fast_bars": 34, "ema_slow_bars": 89, "vwap_bars": 48, "volume_z_score_bars": 30}
SHOWN = """
{% for s in facts.symbols %}
{% for w in (s.intraday, s.long_term) %}
{{ s.symbol }} {{ w.interval }} {{ facts.labels.ema_slow }} {{ w.latest.ema_slow }}
{{ facts.labels.volatility }} {{ w.series.volatility }} {{ facts.labels.roc }} {{ w.series.roc }}
{{ facts.labels.vwap }} {{ w.series.vwap }} {{ facts.labels.bollinger_width }} {{ w.series.bollinger_width }}
{{ facts.labels.volume_z_score }} {{ w.series.volume_z_score }}
{% endfor %}
{% endfor %}
"""
FURTHER_NAMES = ["volatility_20", "roc_10", "vwap_48", "bollinger_width_20", "volume_z_score_30"]


@dataclass
class Shown:
    """A folder with a prompt that shows everything."""

    config: Path
    prompts: list[str]


def written(folder: Path, loopback: Loopback, prompt: str = "mine/v1") -> Path:
    shutil.copytree(PROMPTS, folder / "prompts")
    shutil.copytree(PROMPTS / "trader/v1", folder / "prompts/mine/v1")
    user = folder / "prompts/mine/v1/user.md.j2"
    user.write_text(SHOWN + user.read_text(encoding="utf-8"), encoding="utf-8")
    changes = {f"indicators__{name}": bars for name, bars in LENGTHS.items()}
    return loopback.config(folder, runtime__prompts_dir="prompts", llm__prompt=prompt, **changes)


@pytest.fixture(scope="module")
def live(loopback: Loopback, clock: SetBackClock, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    config = written(tmp_path_factory.mktemp("live"), loopback)
    trade_replies(loopback, clock, config, (None,))
    return Shown(config, [])


@pytest.fixture(scope="module")
def backtested(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    config = written(tmp_path_factory.mktemp("backtest"), loopback)
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    result = backtest(config, "shown", (DAY, DAY), model="loopback-rule", prompt="mine/v1", cycle_minutes=240)
    assert result.success, failure_of(result)
    lines = (backtest_folder(settings.data_dir, "shown") / RESULTS_NAME).read_text(encoding="utf-8")
    bodies = [json.loads(line) for line in lines.splitlines()]
    return Shown(config, [b["body"]["prompt"]["user"] for b in bodies if b["kind"] == "cycle"])


def data_of(prompt: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(prompt.split("```json\n")[1].partition("\n```")[0])
    return data


def assert_shows_everything(prompt: str) -> None:
    assert prompt.count("VWAP48 [") == 4
    assert prompt.count("volume z-score of 30 bars [") == 4
    market = prompt.split("# Account", maxsplit=1)[0]
    assert "EMA34" in market
    assert "EMA89" in market
    assert "EMA20" not in market
    assert "EMA50" not in market
    for symbol in data_of(prompt)["symbols"].values():
        assert list(symbol["intraday"])[:2] == ["ema_34", "ema_89"]
        assert list(symbol["intraday"])[-5:] == FURTHER_NAMES


def test_a_backtest_shows_it_in_every_cycle_and_replays(
    backtested: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(backtested.prompts) == 6
    for prompt in backtested.prompts:
        assert_shows_everything(prompt)
    code, told = asking(capsys)(backtested.config, "--all", "--backtest", "shown")
    assert (code, told["cycles"], told["same"]) == (0, 6, 6)


def test_a_live_cycle_shows_it_and_replays(live: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = asking(capsys)(live.config, "--all")
    assert (code, told["cycles"], told["same"]) == (0, 1, 1)
    assert run(["explain", "last", "--prompt", "--json", "--config", str(live.config)]) == 0
    story = capsys.readouterr().out
    assert "VWAP48 [" in story
    assert "volume_z_score_30" in story


def test_a_prompt_of_other_lengths_is_refused_before_anything_is_asked(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    config = written(tmp_path, loopback)
    user = tmp_path / "prompts/mine/v1/user.md.j2"
    user.write_text("{{ facts.symbols[0].intraday.latest.ema_20 }}", encoding="utf-8")
    said = "mine/v1 shows ema_20, computed is ema_34, ema_89"
    calls = loopback.model_calls
    report = run_stages(compose_live_cycle(load_settings(config), Executors()), clock)
    assert (report.outcome, report.reason) == ("refused", "prompt_broken")
    assert said in report.detail
    generated_history(load_settings(config), FIRST_MS, 1)
    result = backtest(config, "other", (DAY, DAY), prompt="mine/v1")
    assert said in failure_of(result)
    assert loopback.model_calls == calls
