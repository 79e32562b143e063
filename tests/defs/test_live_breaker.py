"""Breaker and spending cap through whole live cycles, each in parts composed anew, as after a restart."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import BOTH_LEGS, Loopback, SetBackClock, run_stages, set_back

from wonttrade_dagster.core.model import CycleReport, Stage
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.settings import Settings, load_settings

MINUTE_MS = 60_000
PRICES = 'prices = [{ model = "loopback-rule", input_usd = 1000, output_usd = 0 }]'


@pytest.fixture
def clock() -> Iterator[SetBackClock]:
    with set_back() as clock:
        yield clock


@pytest.fixture
def loopback(clock: SetBackClock) -> Iterator[Loopback]:
    with Loopback.serving(clock) as made:
        yield made


def with_prices(loopback: Loopback, folder: Path, *lines: str) -> Settings:
    path = loopback.config(folder)
    text = path.read_text(encoding="utf-8")
    assert "[llm]\n" in text
    path.write_text(text.replace("[llm]\n", "[llm]\n" + "\n".join(lines) + "\n"), encoding="utf-8")
    return load_settings(path)


def cycle(settings: Settings, clock: SetBackClock) -> CycleReport:
    return run_stages(compose_live_cycle(settings, Executors()), clock)


def asked(loopback: Loopback) -> int:
    return loopback.model_calls


def test_failures_in_a_row_pause_the_model_and_a_restart_does_not_forget_it(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    limits = {"failures": 2, "first_pause_seconds": 120, "max_pause_seconds": 120}
    changes = {f"resilience__breaker_{name}": value for name, value in limits.items()}
    settings = load_settings(loopback.config(tmp_path, **changes))
    assert cycle(settings, clock).outcome == "applied"
    held = loopback.positions()
    loopback.model("faults", [{"kind": "refusal", "times": 2}])
    failed = [cycle(settings, clock) for _ in range(2)]
    assert [report.reason for report in failed] == ["model_refused"] * 2
    opened_ms = failed[-1].cycle_ms
    before, symbol = asked(loopback), next(iter(held))
    loopback.cancel_triggers(symbol)
    paused = cycle(settings, clock)
    assert (paused.outcome, paused.reason) == ("refused", "breaker_open")
    assert asked(loopback) == before, "the model was not asked"
    assert loopback.positions() == held
    assert loopback.triggers()[symbol] == BOTH_LEGS, "and protection was put in order all the same"
    beat = json.loads(settings.heartbeat_path.read_text())
    assert beat["model"]["failing_since_ms"] == failed[0].cycle_ms
    assert beat["model"]["paused_until_ms"] == opened_ms + 2 * MINUTE_MS
    assert "model_refused" in beat["model"]["failing_because"]
    assert "wonttrade_breaker_open 1.0" in settings.metrics_path.read_text()
    probe = cycle(settings, clock)
    assert (probe.outcome, asked(loopback)) == ("applied", before + 1)
    assert probe.breaker.open_until_ms is None
    prompt = compose_live_cycle(settings, Executors()).ledger.load(probe.cycle_ms, Stage.LLM_CONTEXTS)
    assert prompt is not None
    assert b"YOU WERE NOT ASKED FOR A WHILE: 2 cycles in a row failed" in prompt


def test_the_daily_cap_stops_calls_and_says_what_was_spent(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    settings = with_prices(loopback, tmp_path, PRICES, "max_usd_per_day = 0.01")
    first = cycle(settings, clock)
    assert first.outcome == "applied"
    assert first.spending.day_usd > 0
    before = asked(loopback)
    capped = cycle(settings, clock)
    assert (capped.outcome, capped.reason) == ("refused", "spending_cap")
    assert "llm.max_usd_per_day" in capped.detail
    assert asked(loopback) == before
    beat = json.loads(settings.heartbeat_path.read_text())
    assert beat["model"]["usd_today"] == str(first.spending.day_usd)
