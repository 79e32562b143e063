"""The backtest family through the real job: a range of days in one run, a model call in every cycle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from loopback import DAY_MS, Loopback, failure_of, generated_history, instance_of

from wonttrade_dagster.adapters.backtest_results import (
    DATABASE_NAME,
    RESULTS_NAME,
    SUMMARY_NAME,
    backtest_folder,
)
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.cli.jobs import QUIET
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.backtest import BACKTEST_ID_TAG, JOB_NAME, run_config
from wonttrade_dagster.defs.backtest_run import replay_of
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle, execution_rules, market_history
from wonttrade_dagster.defs.stages import stage_key
from wonttrade_dagster.settings import Settings, load_settings

FIRST_MS = 1_748_736_000_000
DAYS = ("2025-06-01", "2025-06-02")
CYCLES = 2 * 24


def backtest(
    config: Path, backtest_id: str, days: tuple[str, str] = DAYS, **changed: Any
) -> dg.ExecuteInProcessResult:
    tags = {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": days[1],
        BACKTEST_ID_TAG: backtest_id,
    }
    job = build_defs(config).resolve_job_def(JOB_NAME)
    with instance_of(load_settings(config)) as instance:
        return job.execute_in_process(
            instance=instance, run_config={**QUIET, **run_config(**changed)}, tags=tags, raise_on_error=False
        )


@dataclass
class Finished:
    """A backtest that has run."""

    config: Path
    settings: Settings
    result: dg.ExecuteInProcessResult
    folder: Path
    model_calls: int

    def lines(self) -> list[Mapping[str, Any]]:
        text = (self.folder / RESULTS_NAME).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def cycles(self) -> list[Mapping[str, Any]]:
        return [line for line in self.lines() if line["kind"] == "cycle"]

    def end(self) -> Mapping[str, Any]:
        """The body of the last line."""
        last = self.lines()[-1]
        assert last["kind"] == "end"
        return last["body"]

    def bodies(self) -> list[Mapping[str, Any]]:
        """Of the cycles, and of the stretch after the last one."""
        return [*(line["body"] for line in self.cycles()), self.end()]

    def metadata(self, stage: Stage) -> Mapping[str, Any]:
        (event,) = self.result.asset_materializations_for_node("backtest_cycles")[:1]
        for event in self.result.asset_materializations_for_node("backtest_cycles"):
            if event.asset_key == stage_key("backtest", stage):
                return {name: value.value for name, value in event.metadata.items()}
        raise AssertionError(stage)


@pytest.fixture(scope="module")
def history(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings with three days of history and its warm-up."""
    # Four attempts wait 5 s at most: each of them is made, whatever the jitter, and faults can be counted.
    changed = {"runtime__mode": "BACKTEST", "llm__deadline_seconds": 30}
    config = loopback.config(tmp_path_factory.mktemp("backtest"), **changed)
    generated_history(load_settings(config), FIRST_MS, 3)
    return config


@pytest.fixture(scope="module")
def finished(history: Path, loopback: Loopback) -> Finished:
    settings, before = load_settings(history), loopback.model_calls
    result = backtest(history, "first", model="loopback-rule", prompt="trader/v1", cycle_minutes=60)
    assert result.success, failure_of(result)
    calls = loopback.model_calls - before
    return Finished(history, settings, result, backtest_folder(settings.data_dir, "first"), calls)


# --- one run ---------------------------------------------------------------------------------------


def test_one_run_materialises_every_stage_for_every_day(finished: Finished) -> None:
    with instance_of(finished.settings) as instance:
        assert len(instance.get_runs()) == 1
        for stage in Stage:
            done = instance.get_materialized_partitions(stage_key("backtest", stage))
            assert done == set(DAYS), stage


def test_the_model_is_asked_once_in_every_cycle(finished: Finished) -> None:
    assert finished.model_calls == CYCLES == len(finished.cycles())
    assert len({line["body"]["reply"]["request_id"] for line in finished.cycles()}) == CYCLES


def test_the_run_config_is_echoed_in_results_and_metadata(finished: Finished) -> None:
    facts = finished.lines()[0]
    assert facts["kind"] == "backtest"
    expected = {"backtest_id": "first", "model": "loopback-rule", "prompt": "trader/v1", "cycle_minutes": 60}
    assert expected.items() <= facts["body"].items()
    assert facts["body"]["settings_sha256"] == finished.settings.choices_sha256
    metadata = finished.metadata(Stage.DECISIONS)
    assert expected.items() <= metadata.items()
    assert metadata["cycles"] == CYCLES


def test_the_equity_curve_is_a_picture_and_the_report_a_path(finished: Finished) -> None:
    metadata = finished.metadata(Stage.CYCLE_REPORTS)
    assert "data:image/png;base64," in metadata["equity"]
    assert Path(metadata["report"]).read_text(encoding="utf-8").startswith("<!")


# --- the results file ------------------------------------------------------------------------------


def test_each_line_holds_prompt_reply_timestamps_model_and_a_true_checksum(finished: Finished) -> None:
    expected_ms = FIRST_MS
    system = finished.lines()[0]["body"]["system"]
    raw = (finished.folder / "backtest-results.ndjson").read_bytes().splitlines()
    for number, (line, text) in enumerate(zip(finished.lines(), raw, strict=True), start=1):
        body = text.split(b',"body":', 1)[1].rsplit(b',"sha256":', 1)[0]
        assert hashlib.sha256(body).hexdigest() == line["sha256"]
        assert line["seq"] == number
        if line["kind"] != "cycle":
            continue
        assert line["cycle_ms"] == expected_ms
        expected_ms += 3_600_000
        prompt, reply = line["body"]["prompt"], line["body"]["reply"]
        assert "system" not in prompt  # the same in every cycle: the first line tells it
        both = f"{system}\0{prompt['user']}".encode()
        assert hashlib.sha256(both).hexdigest() == prompt["prompt_sha256"]
        assert (
            datetime.fromtimestamp(line["cycle_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M") in prompt["user"]
        )
        assert prompt["template"] == "trader/v1"
        assert json.loads(reply["text"])["targets"]
        assert reply["model"] == "loopback-rule"
        assert 0 < reply["sent_at_ms"] <= reply["received_at_ms"]
    assert expected_ms == FIRST_MS + 2 * DAY_MS


def test_each_line_says_whether_the_prior_plan_was_reused(finished: Finished) -> None:
    said = [line["body"]["prior_plan"] for line in finished.cycles()]
    assert said[0] == "none"
    assert {"kept", "replaced"} <= set(said)


def test_the_equity_is_the_deposit_and_everything_that_was_booked(finished: Finished) -> None:
    """value = deposit + realised − fees − funding + unrealised, at every point, from the lines alone."""
    fees, realised = Decimal(0), Decimal(0)
    traded = False
    for body in finished.bodies():
        for fill in body["fills"]:
            fees += Decimal(fill["fee_usd"])
            realised += Decimal(fill["closed_pnl_usd"])
        unrealised = sum((Decimal(p["unrealized_pnl_usd"]) for p in body["positions"]), Decimal(0))
        funding = Decimal(10_000) + realised - fees + unrealised - Decimal(body["account_value_usd"])
        assert abs(funding) < Decimal(20), "what is left is funding, and there is little of it"
        traded |= bool(body["fills"])
    assert traded
    with duckdb.connect(str(finished.folder / DATABASE_NAME), read_only=True) as connection:
        rows = connection.execute("select count(*), last(account_value_usd) from equity").fetchone()
    assert rows is not None
    assert rows[0] == CYCLES + 2, "the deposit, each cycle, the end"
    assert rows[1] == pytest.approx(float(finished.end()["account_value_usd"]))


def test_funding_is_the_rest_of_the_equity_to_the_cent(finished: Finished) -> None:
    paid = sum(
        (
            Decimal(event["paid_usd"])
            for body in finished.bodies()
            for event in body["events"]
            if event["event"] == "FundingPayment"
        ),
        Decimal(0),
    )
    last = finished.end()
    fills = [fill for body in finished.bodies() for fill in body["fills"]]
    realised = sum((Decimal(f["closed_pnl_usd"]) - Decimal(f["fee_usd"]) for f in fills), Decimal(0))
    unrealised = sum((Decimal(p["unrealized_pnl_usd"]) for p in last["positions"]), Decimal(0))
    value = Decimal(10_000) + realised + unrealised - paid
    assert abs(value - Decimal(last["account_value_usd"])) < Decimal("0.01")


def test_the_result_is_split_by_symbol_and_the_parts_add_up(finished: Finished) -> None:
    summary = json.loads((finished.folder / SUMMARY_NAME).read_text())
    total, by_symbol = summary["pnl"], summary["pnl_by_symbol"]
    assert set(by_symbol) == {"BTC", "ETH"}
    for name, value in total.items():
        assert sum(split[name] for split in by_symbol.values()) == pytest.approx(value, abs=1e-6), name
    for symbol, split in by_symbol.items():
        paid = [
            Decimal(event["paid_usd"])
            for body in finished.bodies()
            for event in body["events"]
            if event["event"] == "FundingPayment" and event["symbol"] == symbol
        ]
        assert split["funding_usd"] == pytest.approx(float(sum(paid)))
        assert split["funding_usd"] != 0
        parts = split["price_usd"] - split["slippage_usd"] - split["fees_usd"] - split["funding_usd"]
        assert parts == pytest.approx(split["result_usd"])


def test_every_position_is_protected_after_every_cycle(finished: Finished) -> None:
    for line in finished.cycles():
        held = {position["symbol"] for position in line["body"]["positions"]}
        for leg in ("stop_loss", "take_profit"):
            assert held == {o["symbol"] for o in line["body"]["protection"] if o["leg"] == leg}


def flat_answer(finished: Finished, prior_plan: str = "kept") -> str:
    """A decision that is good at any price: no position in any symbol."""
    decision = json.loads(finished.cycles()[0]["body"]["reply"]["text"])
    none = {"target_size": 0, "stop_loss": None, "take_profit": None}
    targets = [{**target, **none} for target in decision["targets"]]
    return json.dumps({**decision, "targets": targets, "prior_plan": prior_plan, "replaced_because": None})


# --- many side by side -----------------------------------------------------------------------------


def test_a_finished_backtest_is_never_overwritten(finished: Finished, loopback: Loopback) -> None:
    before = {path: path.read_bytes() for path in finished.folder.iterdir() if path.is_file()}
    asked = loopback.model_calls
    result = backtest(finished.config, "first", ("2025-06-01", "2025-06-01"))
    assert not result.success
    assert failure_of(result) == (
        f"backtest first is finished: start a new one, or read its report in {finished.folder}"
    )
    assert loopback.model_calls == asked
    assert before == {path: path.read_bytes() for path in finished.folder.iterdir() if path.is_file()}


def test_a_model_that_is_refused_half_of_the_time_does_not_end_a_backtest(
    finished: Finished, loopback: Loopback
) -> None:
    kinds = ("invalid_json", "refusal", "length", "wrong_schema") * 3
    begun = {"kind": "reply", "text": flat_answer(finished, prior_plan="none")}
    repaired = {"invalid_json", "wrong_schema"}  # is asked for once more: twice in a row is refused
    script = [
        fault
        for kind in kinds
        for fault in (
            {"kind": kind, "times": 2 if kind in repaired else 1},
            {"kind": "reply", "text": flat_answer(finished)},
        )
    ]
    loopback.model("faults", [begun, *script])
    result = backtest(finished.config, "half", ("2025-06-01", "2025-06-01"))
    assert result.success, failure_of(result)
    text = (backtest_folder(finished.settings.data_dir, "half") / RESULTS_NAME).read_text()
    lines = text.splitlines()[1:-1]
    outcomes = [json.loads(line)["body"]["outcome"] for line in lines]
    assert len(outcomes) == 24
    assert outcomes.count("refused") == len(kinds)
    assert set(outcomes) == {"applied", "refused"}
    reasons = {json.loads(line)["body"]["reason"] for line in lines}
    assert {"invalid_json", "model_refused", "reply_truncated"} <= reasons


@pytest.mark.e2e
def test_a_model_server_that_dies_on_the_way_ends_the_backtest_and_what_it_wrote_stays(
    finished: Finished, loopback: Loopback
) -> None:
    """One gap is a refused cycle; three in a row would measure the outage."""
    begun = {"kind": "reply", "text": flat_answer(finished, prior_plan="none")}
    good = {"kind": "reply", "text": flat_answer(finished)}
    gone = {"kind": "reset", "times": 4}
    loopback.model("faults", [gone, begun])
    first = backtest(finished.config, "no-first-answer", ("2025-06-01", "2025-06-01"), cycle_minutes=240)
    assert "cannot be reached" in failure_of(first)
    unasked = backtest_folder(finished.settings.data_dir, "no-first-answer") / RESULTS_NAME
    assert '"kind":"cycle"' not in unasked.read_text(), "its first decision is still to be asked for"
    loopback.model("faults", [])
    loopback.model("faults", [begun, gone, good, {"kind": "reset", "times": 12}])
    later = backtest(finished.config, "dies", ("2025-06-01", "2025-06-01"), cycle_minutes=180)
    assert "the cycles it finished are in" in failure_of(later)
    folder = backtest_folder(finished.settings.data_dir, "dies")
    lines = [json.loads(line) for line in (folder / RESULTS_NAME).read_text().splitlines()[1:]]
    assert [line["body"]["reply"] is not None for line in lines] == [True, False, True]
    assert not (folder / SUMMARY_NAME).exists()
    loopback.model("faults", [{"kind": "reply", "text": flat_answer(finished)}] * 8)
    assert backtest(finished.config, "dies", ("2025-06-01", "2025-06-01"), cycle_minutes=180).success
    lines = [json.loads(line) for line in (folder / RESULTS_NAME).read_text().splitlines()[1:-1]]
    answered = [line["body"]["reply"] is not None for line in lines]
    assert answered == [True, False, *[True] * 6], "those of the outage that ended it were asked for again"


def test_days_without_candles_are_refused_by_name_and_nothing_is_written(
    finished: Finished, loopback: Loopback
) -> None:
    asked = loopback.model_calls
    result = backtest(finished.config, "holes", ("2025-06-03", "2025-06-04"))
    assert not result.success
    assert "2025-06-04" in failure_of(result)
    assert "BTC" in failure_of(result)
    assert loopback.model_calls == asked
    assert not (backtest_folder(finished.settings.data_dir, "holes") / SUMMARY_NAME).exists()


@pytest.mark.parametrize(
    ("cycle_minutes", "words"),
    [
        (-5, "a cadence of -5 minutes is none"),
        (7000, "none"),
        (7, "none"),
        (12, "inside of the 5m candles of BTC"),
    ],
)
def test_a_cadence_that_is_none_is_refused_before_any_call(
    finished: Finished, loopback: Loopback, cycle_minutes: int, words: str
) -> None:
    asked, backtest_id = loopback.model_calls, f"cadence{cycle_minutes}"
    result = backtest(finished.config, backtest_id, ("2025-06-01", "2025-06-01"), cycle_minutes=cycle_minutes)
    assert words in failure_of(result)
    assert loopback.model_calls == asked
    assert not (backtest_folder(finished.settings.data_dir, backtest_id) / RESULTS_NAME).exists()


def test_a_run_cannot_write_into_the_shard_of_another_backtest(finished: Finished) -> None:
    result = backtest(finished.config, "other/2025-06-01", ("2025-06-02", "2025-06-02"), cycle_minutes=720)
    assert "other/2025-06-01 names a shard" in failure_of(result)
    assert not (finished.settings.data_dir / "backtests" / "other").exists()


def test_a_prompt_that_does_not_exist_is_refused_by_name(finished: Finished) -> None:
    result = backtest(finished.config, "prompt", ("2025-06-01", "2025-06-01"), prompt="trader/v99")
    assert not result.success
    assert "trader/v99" in failure_of(result)


def test_an_unfinished_attempt_is_moved_aside_and_the_backtest_runs_again(finished: Finished) -> None:
    folder = backtest_folder(finished.settings.data_dir, "again")
    folder.mkdir(parents=True)
    (folder / RESULTS_NAME).write_text("an earlier attempt\n")
    result = backtest(finished.config, "again", ("2025-06-01", "2025-06-01"), cycle_minutes=720)
    assert result.success, failure_of(result)
    assert (folder / f"{RESULTS_NAME}.attempt-1").read_text() == "an earlier attempt\n"
    kinds = [json.loads(line)["kind"] for line in (folder / RESULTS_NAME).read_text().splitlines()]
    assert kinds == ["backtest", "cycle", "cycle", "end"]


# --- the executor ----------------------------------------------------------------------------------


def test_the_executor_is_the_service_live_and_the_simulation_in_a_backtest(
    finished: Finished, loopback: Loopback, tmp_path: Path
) -> None:
    resources = build_defs(finished.config).get_repository_def().get_top_level_resources()
    assert "executor" in resources
    live = compose_live_cycle(load_settings(loopback.config(tmp_path)), Executors())
    assert type(live.parts.executor) is ExecutionService
    settings = finished.settings
    replay = replay_of(settings, market_history(settings), FIRST_MS, FIRST_MS + DAY_MS)
    simulated = Executors().for_backtest(settings, MemoryAudit(), FixedClock(FIRST_MS), replay)
    assert type(simulated) is SimulatedExecutor
    assert execution_rules(settings) == live.parts.rules
