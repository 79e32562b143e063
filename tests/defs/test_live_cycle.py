"""The live family through the real Dagster job, against the loopback venue and the loopback model."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from loopback import BOTH_LEGS, Loopback, SetBackClock, failure_of, instance_of, trade

from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS, Record
from wonttrade_dagster.core.model import (
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    LlmContext,
    MarketSnapshot,
    PlaceOrder,
    Stage,
)
from wonttrade_dagster.core.precision import wire
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.compose import journal, ledger
from wonttrade_dagster.defs.live import SETTINGS_TAG
from wonttrade_dagster.defs.partitions import cycle_key, cycle_ms_of
from wonttrade_dagster.defs.stages import stage_key
from wonttrade_dagster.settings import Settings, load_settings


@dataclass
class Traded:
    """An account that traded one cycle."""

    config: Path
    settings: Settings
    cycle_ms: int
    result: dg.ExecuteInProcessResult
    positions: dict[str, float]

    def record(self, stage: Stage) -> Record | None:
        return stored(self.settings, self.cycle_ms, stage)

    def report(self) -> CycleReport:
        report = self.record(Stage.CYCLE_REPORTS)
        assert isinstance(report, CycleReport)
        return report


def stored(settings: Settings, cycle_ms: int, stage: Stage) -> Record | None:
    payload = ledger(settings, journal(settings)).load(cycle_ms, stage)
    return None if payload is None else decode(STAGE_RECORDS[stage], payload)


@pytest.fixture(scope="module")
def traded(loopback: Loopback, clock: SetBackClock, tmp_path_factory: pytest.TempPathFactory) -> Traded:
    config = loopback.config(tmp_path_factory.mktemp("live"))
    cycle_ms = clock.next_minute()
    result = trade(config, cycle_ms)
    return Traded(config, load_settings(config), cycle_ms, result, loopback.positions())


def test_a_cycle_opens_positions_that_stand_protected_on_the_venue(
    traded: Traded, loopback: Loopback
) -> None:
    assert traded.result.success
    assert traded.positions
    triggers = loopback.triggers()
    assert {symbol: triggers[symbol] for symbol in traded.positions} == dict.fromkeys(
        traded.positions, BOTH_LEGS
    )


def test_the_report_says_what_the_venue_says(traded: Traded) -> None:
    report = traded.report()
    assert (report.outcome, report.actions_failed, report.alerts) == ("applied", 0, ())
    assert {p.symbol: float(p.size_base) for p in report.positions} == traded.positions
    assert {fill.symbol for fill in report.fills} == set(traded.positions)
    assert report.performance is not None
    assert report.performance.fees_usd > 0


def test_every_stage_is_materialised_and_stored(traded: Traded) -> None:
    family = traded.settings.family
    seen = {event.asset_key for event in traded.result.get_asset_materialization_events()}
    assert seen == {stage_key(family, stage) for stage in Stage}
    assert all(traded.record(stage) is not None for stage in Stage)


def test_the_check_sees_every_position_protected(traded: Traded) -> None:
    passed = {found.check_name: found.passed for found in traded.result.get_asset_check_evaluations()}
    assert passed == {"positions_protected": True, "market_plausible": True}


def test_telemetry_tells_of_the_cycle(traded: Traded) -> None:
    heartbeat = json.loads(traded.settings.heartbeat_path.read_text())
    assert heartbeat["cycle_ms"] == traded.cycle_ms
    lines = [json.loads(line) for line in traded.settings.log_path.read_text().splitlines()]
    assert {line["category"] for line in lines} == {"market", "decision", "execution", "risk", "health"}
    assert "wonttrade_" in traded.settings.metrics_path.read_text()


def test_a_post_mortem_walks_from_an_execution_back_to_its_candles(traded: Traded) -> None:
    """Upstream through the asset graph, and at each asset to the record it stored for that partition."""
    family, key = traded.settings.family, cycle_key(traded.cycle_ms)
    graph = build_defs(traded.config).resolve_asset_graph()
    with instance_of(traded.settings) as instance:
        event = instance.get_latest_materialization_event(stage_key(family, Stage.EXECUTIONS))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == key

    found: dict[Stage, Record | None] = {}
    waiting = [event.asset_materialization.asset_key]
    while waiting:
        asset_key = waiting.pop()
        stage = Stage(asset_key.path[-1])
        if stage in found:
            continue
        found[stage] = stored(traded.settings, cycle_ms_of(key), stage)
        waiting += [parent for parent in graph.get(asset_key).parent_keys if parent != asset_key]

    execution, plan = found[Stage.EXECUTIONS], found[Stage.EXECUTION_PLANS]
    decision, context = found[Stage.DECISIONS], found[Stage.LLM_CONTEXTS]
    market = found[Stage.MARKET_SNAPSHOTS]
    assert isinstance(execution, ExecutionReport)
    assert isinstance(plan, ExecutionPlan)
    assert isinstance(decision, DecisionRecord)
    assert isinstance(decision.outcome, Decision)
    assert isinstance(context, LlmContext)
    assert isinstance(market, MarketSnapshot)
    fill = execution.fills[0]
    order = next(a for a in plan.actions if isinstance(a, PlaceOrder) and a.cloid == fill.cloid)
    assert decision.outcome.target(order.symbol).target_size == fill.size_base
    assert decision.prompt == context.prompt
    candles = market.market(order.symbol).intraday.frame
    assert candles.height == traded.settings.symbols.history_bars
    assert candles["open_time_ms"][-1] + 5 * 60_000 <= traded.cycle_ms
    assert wire(market.market(order.symbol).last_close_px) in context.prompt.user


# --- materialised again ----------------------------------------------------------------------------


def test_a_past_cycle_is_stale_before_any_call_and_stays_as_it_was_stored(
    traded: Traded, loopback: Loopback, clock: SetBackClock
) -> None:
    before = {stage: traded.record(stage) is not None for stage in Stage}
    asked = loopback.model_calls
    loopback.refuse_requests()
    result = trade(traded.config, traded.cycle_ms - 120_000)
    assert not result.success
    assert "this cycle is stale" in failure_of(result)
    assert "missed cycles stay missing" in failure_of(result)
    assert (loopback.refused_requests, loopback.model_calls - asked) == (0, 0)
    assert before == {stage: traded.record(stage) is not None for stage in Stage}


def test_the_running_cycle_materialised_again_fails_before_any_call(
    traded: Traded, loopback: Loopback
) -> None:
    payloads = {s: ledger(traded.settings, journal(traded.settings)).load(traded.cycle_ms, s) for s in Stage}
    loopback.refuse_requests()
    result = trade(traded.config, traded.cycle_ms)
    assert not result.success
    assert "stored already: it is never overwritten" in failure_of(result)
    assert loopback.refused_requests == 0
    again = {s: ledger(traded.settings, journal(traded.settings)).load(traded.cycle_ms, s) for s in Stage}
    assert again == payloads


def test_a_run_asked_for_under_other_settings_refuses_before_any_call(
    traded: Traded, loopback: Loopback, clock: SetBackClock
) -> None:
    loopback.refuse_requests()
    result = trade(traded.config, clock.next_minute(), {SETTINGS_TAG: "0" * 64})
    assert not result.success
    assert "wonttrade.toml changed" in failure_of(result)
    assert "000000000000" in failure_of(result)
    assert loopback.refused_requests == 0


def test_the_digest_that_the_sensor_saw_is_accepted(
    traded: Traded, loopback: Loopback, clock: SetBackClock
) -> None:
    result = trade(traded.config, clock.next_minute(), {SETTINGS_TAG: traded.settings.sha256})
    assert result.success
    assert loopback.positions() == traded.positions, "the same plan is kept: nothing was traded twice"


# --- the venue is the truth ------------------------------------------------------------------------


def test_with_the_whole_data_directory_deleted_the_next_cycle_runs(
    traded: Traded, loopback: Loopback, clock: SetBackClock
) -> None:
    before = loopback.positions()
    shutil.rmtree(traded.settings.data_dir)
    cycle_ms = clock.next_minute()
    result = trade(traded.config, cycle_ms)
    assert result.success, failure_of(result)
    report = stored(traded.settings, cycle_ms, Stage.CYCLE_REPORTS)
    assert isinstance(report, CycleReport)
    assert report.outcome == "applied"
    after = loopback.positions()
    assert set(after) == set(before)
    assert all(loopback.triggers()[symbol] == BOTH_LEGS for symbol in after)
