"""Every benchmark runs at a tiny size, on real parts, and prints what docs/benchmarks.md names."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import BENCHMARKS, main
from bench.corpus import trial
from bench.measure import Figure, Laps, spread
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.model import Decision, Refusal

ROOT = Path(__file__).parents[1]
HEAD = {"benchmark", "seed", "count", "unit", "machine", "figures", "ratios", "facts"}
STAGES = {f"stage.{stage.value}" for stage in EDGES}


def figures_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json", "--seed", "3"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data.keys() == HEAD
    assert data["machine"]["cores"] == os.cpu_count()
    for name, figure in data["figures"].items():
        assert {"unit", "median", "low", "high", "samples"} <= figure.keys(), name
        assert figure["low"] <= figure["median"] <= figure["high"], name
    return data


def test_live_cycles_send_orders_and_account_for_their_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    clock = SystemClock.now_ms
    data = figures_of(capsys, "cycle", "--cycles", "1")
    figures = data["figures"]
    assert STAGES | {"own_cpu", "own_cpu_without_sdk", "wall_without_model", "model_call"} <= figures.keys()
    assert figures["own_cpu"]["samples"] == 1
    assert 0 < figures["own_cpu_without_sdk"]["median"] < figures["own_cpu"]["median"]
    assert 0 <= data["ratios"]["signing_share_of_own_cpu"] < 1
    assert sum(data["facts"]["outcomes"].values()) == 1
    assert SystemClock.now_ms is clock


def test_core_parts_stand_beside_their_goals(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "core", "--count", "4")
    goals = {name: figure["goal"] for name, figure in data["figures"].items() if "goal" in figure}
    assert goals == {
        "plan_open": 1.0,
        "plan_flip": 1.0,
        "plan_nothing": 1.0,
        "prompt": 1.0,
        "judge": 0.3,
        "indicators": 20.0,
        "indicators_further": 20.0,
        "indicators_year": 3000.0,
    }
    actions = data["facts"]["actions"]
    assert actions["plan_nothing"] == 0
    assert actions["plan_flip"] > actions["plan_open"] >= 6, "leverage, entry and two exits a symbol, or more"


def test_backtest_variants_trade_alike_and_show_where_the_time_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = figures_of(capsys, "backtest", "--count", "6")
    variants = ("http_batched", "canned_batched", "canned_synced")
    rates = {f"cycles_per_second.{name}" for name in variants}
    cycles = {f"cycle.{name}" for name in variants}
    assert rates | cycles | STAGES | {"stage.advance", "stage.write"} <= data["figures"].keys()
    assert all(data["figures"][name]["samples"] == 6 for name in cycles | STAGES)
    shares = [share for name, share in data["ratios"].items() if name.startswith("cpu_share.")]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert data["facts"]["fills"] >= 2
    assert data["facts"]["peak_rss_mb"] > 10


def test_hostile_replies_are_counted_by_what_became_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "replies", "--count", "300")
    facts = data["facts"]
    assert set(facts["outcomes"]) == {"applied", "invalid_json", "violations"}
    assert sum(facts["outcomes"].values()) == 300
    assert {name.removeprefix("judge.") for name in data["figures"]} == set(facts["outcomes"])
    assert (facts["crashes"], facts["broken_applied"]) == (0, 0)
    assert facts["corpus_cases"] >= 500
    assert facts["rules"]["malformed_json"] > 0


def without_stops(text: str, inputs: JudgementInputs) -> Decision | Refusal:
    """A judge with a fault: it loses the stops of what it applies."""
    outcome = judge(text, inputs)
    if isinstance(outcome, Refusal):
        return outcome
    return replace(outcome, targets=tuple(replace(target, stop_loss=None) for target in outcome.targets))


def crashes_at_zeros(text: str, inputs: JudgementInputs) -> Decision | Refusal:
    """Another one."""
    if '"target_size": 0,' in text:
        raise ZeroDivisionError("by a size")
    return judge(text, inputs)


@pytest.mark.parametrize(
    ("faulty", "fact", "says"),
    [
        (without_stops, "broken_applied", "not flat and without protection"),
        (crashes_at_zeros, "crashes", "ZeroDivisionError: by a size"),
    ],
)
def test_a_faulty_judge_fails_the_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, faulty: Any, fact: str, says: str
) -> None:
    monkeypatch.setattr(trial, "judge", faulty)
    assert main(["replies", "--count", "50", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["facts"][fact] > 5
    assert any(says in violation for violation in data["violations"])


@pytest.mark.e2e
def test_a_short_stream_campaign_ends_whole(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "stream", "--count", "3")
    facts = data["facts"]
    assert data["figures"]["recovery"]["goal"] == 5.0
    assert data["figures"]["recovery"]["samples"] == facts["faults"] == 3
    assert sum(times for name, times in facts.items() if name.startswith("fault.")) == 3
    assert facts["violations"] == facts["missed_minutes"] == facts["broken_messages"] == 0
    assert facts["bars_held"] == 4 * 150


def test_the_walk_passes_every_bar_without_reaching_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "walk", "--count", "2000")
    assert {"bars_per_second", "bars_per_second_two_symbols", "align_two_symbols"} <= data["figures"].keys()
    assert data["figures"]["bars_per_second"]["unit"] == "bars/s"


def test_without_a_name_every_benchmark_is_listed_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(BENCHMARKS)


def test_a_person_gets_a_table_with_goals_and_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", "--count", "500"]) == 0
    table = capsys.readouterr().out
    assert f"{os.cpu_count()} cores" in table
    assert "bars_per_second" in table


def test_an_unknown_name_is_one_sentence_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "bench", "cycles"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"bench: there is no benchmark 'cycles': choose one of {', '.join(BENCHMARKS)}"
    ]


@pytest.mark.parametrize("count", ["0", "-3", "1001"])
def test_a_count_that_cannot_be_run_is_refused_with_the_range(
    capsys: pytest.CaptureFixture[str], count: str
) -> None:
    assert main(["cycle", "--cycles", count]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "1 to 1000" in told.err


def test_a_goal_binds_the_median_from_the_right_side() -> None:
    quick = Figure("a", "ms", [1.0, 2.0, 9.0], goal=2.0)
    assert (quick.median, quick.is_met) == (2.0, True)
    assert Figure("a", "ms", [3.0], goal=2.0).is_met is False
    assert Figure("a", "1/s", [3.0], goal=2.0, is_rate=True).is_met is True
    assert Figure("a", "1/s", [3.0]).is_met is None


def test_the_spread_leaves_a_tenth_out_on_either_side() -> None:
    assert spread([float(i) for i in range(20, 0, -1)]) == (3.0, 18.0)
    assert spread([5.0, 1.0]) == (1.0, 5.0)


def test_a_lap_measures_the_block_and_not_what_lies_between() -> None:
    laps = Laps()
    for _ in range(3):
        with laps.lap():
            sum(range(1000))
    sum(range(3_000_000))
    assert len(laps.wall_ms) == len(laps.cpu_ms) == 3
    assert 0 < min(laps.wall_ms) <= max(laps.wall_ms) < 50


@pytest.mark.e2e
def test_shards_make_the_calls_of_one_run_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "shards", "--count", "12")
    figures = data["figures"]
    assert figures["times_faster"]["goal"] == 3.5
    assert figures["first_to_last_call.shards"]["median"] < figures["first_to_last_call.one"]["median"]
    assert data["facts"]["calls"] == 4 * 12
    assert figures["first_to_last_call.one"]["median"] >= 47 * 0.5


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_overhead_of_a_backfill_is_told_in_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    data = figures_of(capsys, "overhead", "--count", "1")
    figures = {name: figure["median"] for name, figure in data["figures"].items()}
    assert data["figures"]["overhead"]["goal"] == 15.0
    assert data["facts"]["cycles"] == 96
    parts = figures["wait_for_the_daemon"] + figures["run"] + figures["wait_until_reported"]
    assert parts == pytest.approx(figures["backfill"], rel=0.01)
    assert figures["overhead"] == pytest.approx(figures["backfill"] - figures["direct"], rel=0.01)
    assert max(figures["wait_for_the_daemon"], figures["wait_until_reported"]) < 15, "Dagster's own takes 30"
