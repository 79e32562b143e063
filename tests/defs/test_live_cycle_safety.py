"""What must not keep a cycle from putting protection in order, stage by stage, without Dagster around it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from loopback import BOTH_LEGS, CANARY_KEY, Loopback, SetBackClock, run_stages

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    PriorPlan,
    Stage,
    StageFailure,
    TargetPosition,
)
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.settings import Settings, load_settings

PROSE = "I would rather wait."


def answer(loopback: Loopback, text: str) -> None:
    loopback.model("faults", [])
    # Twice: a reply that is no good is asked for once more.
    loopback.model("faults", {"on": "*", "kind": "reply", "text": text, "times": 2})


def long_btc(loopback: Loopback) -> str:
    px = float(loopback.info().all_mids()["BTC"])
    flat = {"target_size": 0, "stop_loss": None, "take_profit": None}
    held = {"target_size": 0.01, "stop_loss": round(px * 0.95), "take_profit": round(px * 1.1)}
    common = {"confidence": 0.5, "rationale": "r", "margin": None}
    return json.dumps(
        {
            "explanation": "e",
            "invalidation_condition": "i",
            "prior_plan": "none",
            "replaced_because": None,
            "targets": [{"symbol": "BTC", **held, **common}, {"symbol": "ETH", **flat, **common}],
        }
    )


@pytest.fixture
def naked(loopback: Loopback, clock: SetBackClock, tmp_path: Path) -> Iterator[Settings]:
    """An account that is long BTC by a decision of ours, and whose stop somebody cancelled."""
    # Cycles run a minute or more apart here: none of five minutes is missing between them.
    settings = load_settings(loopback.config(tmp_path, runtime__cycle_minutes=5))
    answer(loopback, long_btc(loopback))
    report = run_stages(compose_live_cycle(settings, Executors()), clock)
    assert report.outcome == "applied"
    exchange = Exchange(
        Account.from_key(CANARY_KEY), loopback.sandbox.venue_url, account_address=SANDBOX_ACCOUNT_ADDRESS
    )
    for order in loopback.info().frontend_open_orders(SANDBOX_ACCOUNT_ADDRESS):
        if order["orderType"] == "Stop Market":
            exchange.cancel("BTC", order["oid"])
    assert loopback.triggers() == {"BTC": ["Take Profit Market"]}
    yield settings
    for coin in loopback.positions():
        exchange.market_close(coin)


def is_protected(loopback: Loopback) -> bool:
    return loopback.positions() == {"BTC": 0.01} and loopback.triggers() == {"BTC": BOTH_LEGS}


def crash(*_: Any) -> Any:
    raise ZeroDivisionError("sk-canary-in-the-words-of-an-unknown-exception")


def test_an_early_stage_that_crashes_is_a_value_and_protection_is_put_back(
    naked: Settings, loopback: Loopback, clock: SetBackClock
) -> None:
    live = compose_live_cycle(naked, Executors())
    live.parts = replace(live.parts, indicators=crash)
    report = run_stages(live, clock)
    assert is_protected(loopback)
    assert (report.outcome, report.reason) == ("refused", "stage_crashed")
    assert "indicators met a ZeroDivisionError in crash" in report.detail
    assert "canary" not in report.detail
    log = [json.loads(line) for line in naked.log_path.read_text().splitlines()]
    (told,) = [line for line in log if line["event"] == "stage_crashed"]
    assert "ZeroDivisionError" in json.dumps(told["exception"])


def test_an_early_stage_whose_configuration_is_at_fault_is_a_value_too(
    naked: Settings, loopback: Loopback, clock: SetBackClock
) -> None:
    def misconfigured(_: object) -> Any:
        raise ConfigurationError("indicators.ema_fast_bars must be smaller")

    live = compose_live_cycle(naked, Executors())
    live.parts = replace(live.parts, indicators=misconfigured)
    report = run_stages(live, clock)
    assert is_protected(loopback)
    assert (report.outcome, report.reason) == ("refused", "stage_crashed")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("user.md.j2", None),
        ("system.md.j2", "{% for %}"),
        ("user.md.j2", "{{ facts.nonsense }}"),
        ("schema.json", "{"),
    ],
)
def test_a_prompt_that_is_broken_on_disk_refuses_by_name_and_protection_is_put_back(
    naked: Settings, loopback: Loopback, clock: SetBackClock, tmp_path: Path, file: str, text: str | None
) -> None:
    prompts = tmp_path / "prompts"
    shutil.copytree(naked.prompts_dir, prompts)
    config = loopback.config(tmp_path, runtime__prompts_dir=str(prompts))
    broken = prompts / naked.llm.prompt / file
    broken.unlink() if text is None else broken.write_text(text, encoding="utf-8")
    calls = loopback.model_calls
    report = run_stages(compose_live_cycle(load_settings(config), Executors()), clock)
    assert (report.outcome, report.reason, loopback.model_calls) == ("refused", "prompt_broken", calls)
    assert is_protected(loopback)
    shutil.copytree(naked.prompts_dir, prompts, dirs_exist_ok=True)
    answer(loopback, PROSE)
    report = run_stages(compose_live_cycle(load_settings(config), Executors()), clock)
    assert report.reason == "invalid_json", "it is read anew in each cycle"


def test_a_decision_that_crashes_the_plan_is_not_applied_and_protection_is_put_back(
    naked: Settings, loopback: Loopback, clock: SetBackClock
) -> None:
    @dataclass(frozen=True)
    class Unforeseen(LLMDecisionEngine):
        def decide(self, cycle_ms: int, *_: object) -> DecisionRecord:
            btc = TargetPosition("BTC", Decimal("0.02"), Decimal(0), Decimal(900_000), 0.5, "r")
            flat = TargetPosition("ETH", Decimal(0), None, None, 0.5, "r")
            outcome = Decision("e", "i", (btc, flat), PriorPlan.NONE)
            return DecisionRecord(cycle_ms, outcome, None, None, cycle_ms)

    live = compose_live_cycle(naked, Executors())
    engine = live.parts.decision_engine
    like = Unforeseen(engine.model, engine.schema, engine.limits, engine.clock, engine.deadline_ms)
    live.parts = replace(live.parts, decision_engine=like)
    report = run_stages(live, clock)
    assert is_protected(loopback)
    assert (report.outcome, report.reason) == ("refused", "stage_crashed")


@pytest.mark.parametrize("stage", list(Stage)[:-1])
def test_a_data_directory_that_turns_into_a_file_in_mid_cycle_stops_nothing(
    naked: Settings, loopback: Loopback, clock: SetBackClock, stage: Stage
) -> None:
    answer(loopback, PROSE)
    live = compose_live_cycle(naked, Executors())
    cycle_ms = clock.next_minute()
    for each in Stage:
        record = live.run(each, cycle_ms, None)
        if each is stage:
            shutil.rmtree(naked.data_dir)
            naked.data_dir.write_text("in the way")
    live.lease.release()
    assert isinstance(record, CycleReport)
    assert live.records.faults
    assert is_protected(loopback), "the stop to put back was read with the cycle's first question"


def test_a_record_that_is_no_json_stays_in_memory_for_the_stages_behind_it(
    naked: Settings, clock: SetBackClock
) -> None:
    live = compose_live_cycle(naked, Executors())
    failure = StageFailure(Stage.INDICATORS, "half", "half a surrogate pair: \ud800")
    cycle_ms = clock.next_minute()
    live.records.keep(cycle_ms, Stage.INDICATORS, failure)
    assert live.records.read(cycle_ms, Stage.INDICATORS) is failure
    assert "is no JSON and was not stored" in live.records.faults[0]


def test_a_second_machine_with_a_journal_of_its_own_is_noticed_by_the_first(
    naked: Settings, loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    clock.next_minute()
    loopback.cancel_triggers("BTC")
    other = load_settings(loopback.config(tmp_path / "another"))
    answer(loopback, long_btc(loopback))
    assert run_stages(compose_live_cycle(other, Executors()), clock).outcome == "applied"
    assert is_protected(loopback)
    replaced = long_btc(loopback).replace('"none"', '"replaced"')
    replaced = replaced.replace('"replaced_because": null', '"replaced_because": "the trend is over"')
    answer(loopback, replaced)
    report = run_stages(compose_live_cycle(naked, Executors()), clock)
    assert (report.outcome, report.reason) == ("refused", "second_machine"), report.detail
    assert any("SECOND MACHINE" in alert for alert in report.alerts)
    assert is_protected(loopback)
    loopback.cancel_triggers("BTC")
    answer(loopback, PROSE)
    assert run_stages(compose_live_cycle(naked, Executors()), clock).reason == "invalid_json"
    assert is_protected(loopback)
    answer(loopback, replaced)
    assert run_stages(compose_live_cycle(naked, Executors()), clock).outcome == "applied"
