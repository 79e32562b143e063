"""The loop of a backtest: its grid, its memory, and the order of market and decision."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from fakes import ScriptedMarket, ScriptedModel
from hypothesis import given
from hypothesis import strategies as st
from paper_venue import ManualClock, PaperVenue
from trader_samples import CYCLE_MS, LIMITS, RULES, builder, market, reply

from wonttrade_dagster.core.backtest import (
    MINUTE_MS,
    MemoryAudit,
    MemoryLedger,
    MemoryRecords,
    Thinking,
    decision_times,
    run_backtest,
)
from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import ModelUnavailableError, StorageError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import ModelReply, Prompt, Stage
from wonttrade_dagster.core.state import StateLoader

STEP_MS = 300_000
GRID = [CYCLE_MS + n * STEP_MS for n in range(3)]
KEPT = reply(prior_plan="kept")


@given(
    from_ms=st.integers(0, 10**13),
    length_ms=st.integers(0, 3 * 86_400_000),
    minutes=st.sampled_from([1, 5, 15, 60, 240]),
)
def test_decision_times_are_every_multiple_of_the_cadence_in_the_range(
    from_ms: int, length_ms: int, minutes: int
) -> None:
    to_ms, step_ms = from_ms + length_ms, minutes * MINUTE_MS
    times = decision_times(from_ms, to_ms, minutes)
    assert all(from_ms <= t < to_ms and t % step_ms == 0 for t in (*times[:2], *times[-2:]))
    assert len(times) == (to_ms - 1) // step_ms - (from_ms - 1) // step_ms


class SlowModel(ScriptedModel):
    """Answers after so many seconds of the clock."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__(reply(), KEPT)
        self.clock, self.seconds = clock, seconds

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        self.clock.sleep(self.seconds)
        return super().complete(prompt, schema, deadline_ms)


class Bench:
    """A backtest on a venue in memory, and everything that it called."""

    def __init__(self, *script: object) -> None:
        self.model = ScriptedModel(*(script or (reply(), KEPT)))
        self.clock = ManualClock(CYCLE_MS)
        self.venue = PaperVenue(self.clock, {"BTC": Decimal(100_000), "ETH": Decimal(4_000)})
        self.ledger = MemoryLedger()
        self.log: list[tuple[str, int]] = []
        self.lines: list[MemoryRecords] = []
        self.planned_after_ms: list[int] = []

    def parts(self) -> CycleParts:
        feed, audit = ScriptedMarket(market()), MemoryAudit()
        return CycleParts(
            StateLoader(feed, self.venue, 30_000),
            IndicatorEngine().compute,
            builder(),
            LLMDecisionEngine(self.model, {}, LIMITS, self.clock, 45_000),
            ExecutionService(self.venue, audit, self.clock, RULES, feed.assets()),
            audit,
            self.ledger,
            self.clock,
            ("BTC", "ETH"),
            LIMITS,
            RULES,
        )

    def advance(self, cycle_ms: int) -> None:
        self.log.append(("advance", cycle_ms))
        self.clock.time_ms = cycle_ms

    def finished(self, records: MemoryRecords) -> None:
        assert set(records.records) == set(EDGES), "a finished cycle has every record"
        self.log.append(("finished", records.cycle_ms))
        basis = records.read(records.cycle_ms, Stage.EXECUTION_PLANS).basis
        self.planned_after_ms.append(basis.planned_at_ms - records.cycle_ms)

    def think(self, cycle_ms: int, latency_ms: int) -> None:
        self.log.append((f"think {latency_ms}", cycle_ms))
        self.clock.time_ms = cycle_ms + latency_ms

    def run(self, thinking: Thinking | None = None) -> int:
        return run_backtest(self.parts(), self.ledger, GRID, self.advance, self.finished, thinking)


def test_the_market_moves_then_the_cycle_decides_then_its_line_is_written() -> None:
    bench = Bench()
    assert bench.run() == 3
    assert bench.log == [(what, t) for t in GRID for what in ("advance", "finished")]


@pytest.mark.parametrize(
    ("measured_ms", "fixed_ms", "expected_ms"),
    [(0, None, 1_000), (3, None, 1_000), (1_000, None, 1_000), (1_001, None, 2_000), (44_500, None, 45_000),
     (44_500, 0, 0), (3, 2_500, 2_500)],
)  # fmt: skip
def test_a_measured_latency_counts_in_whole_seconds(
    measured_ms: int, fixed_ms: int | None, expected_ms: int
) -> None:
    assert Thinking(lambda *_: None, fixed_ms).latency_ms(measured_ms) == expected_ms


def test_time_passes_after_the_decision_and_before_its_plan() -> None:
    """The plan of the first cycle is made 20 s after its prices, so its orders are."""
    bench = Bench()
    assert bench.run(Thinking(bench.think, 20_000)) == 3
    assert bench.log == [(what, t) for t in GRID for what in ("advance", "think 20000", "finished")]
    assert bench.planned_after_ms == [20_000] * 3


def test_a_measured_latency_is_the_time_that_the_call_took() -> None:
    bench = Bench()
    bench.model = SlowModel(bench.clock, 7.2)
    bench.run(Thinking(bench.think))
    assert [what for what, _ in bench.log if "think" in what] == ["think 8000"] * 3


@pytest.mark.parametrize(
    ("latency_ms", "decided"),
    [
        (STEP_MS - 1, GRID),
        (STEP_MS, GRID),
        (STEP_MS + 1, GRID[::2]),
        (2 * STEP_MS, GRID[::2]),
        (10**9, GRID[:1]),
    ],
)
def test_a_time_that_comes_while_the_model_still_thinks_is_skipped(
    latency_ms: int, decided: list[int]
) -> None:
    bench = Bench()
    assert bench.run(Thinking(bench.think, latency_ms)) == len(decided) == len(bench.model.prompts)
    assert [t for what, t in bench.log if what == "advance"] == decided


def test_what_was_busy_before_an_interruption_is_busy_after_it() -> None:
    bench = Bench()
    assert bench.run(Thinking(bench.think, 0, busy_until_ms=GRID[1])) == 2
    assert bench.log[0] == ("advance", GRID[1])


def test_a_decision_that_took_too_long_is_refused_as_in_live_trading() -> None:
    bench = Bench(reply())
    bench.run(Thinking(bench.think, RULES.max_decision_age_ms + 1))
    assert bench.ledger.refusal is not None
    assert bench.ledger.refusal.reason == "stale_decision"
    assert bench.venue.account().positions == ()


def test_the_model_is_asked_in_every_cycle() -> None:
    bench = Bench()
    bench.run()
    assert len(bench.model.prompts) == 3


def test_refusals_and_a_dead_model_do_not_end_a_backtest() -> None:
    bench = Bench("no json", ModelUnavailableError("gone"), reply())
    assert bench.run() == 3
    assert bench.ledger.applied_cycle_ms == GRID[-1]
    assert bench.ledger.refusal is None


def test_the_ledger_remembers_equity_the_last_report_and_the_applied_decision() -> None:
    bench = Bench(reply(), "no json")
    bench.run()
    assert [point.time_ms for point in bench.ledger.equity()] == GRID
    assert bench.ledger.last_report(GRID[-1] + 1).cycle_ms == GRID[-1]
    assert bench.ledger.last_report(GRID[0]) is None
    prior = bench.ledger.prior(GRID[-1] + STEP_MS)
    assert prior.decided_cycle_ms == GRID[0]
    assert prior.decision is not None
    assert prior.last_refusal is not None
    assert prior.last_refusal.reason == "invalid_json"
    assert [fill.symbol for fill in prior.fills] == ["BTC"]


def test_a_refusal_is_forgotten_once_a_decision_is_applied_again() -> None:
    bench = Bench(reply(), "no json", KEPT)
    bench.run()
    prior = bench.ledger.prior(GRID[-1] + STEP_MS)
    assert (prior.last_refusal, prior.decided_cycle_ms) == (None, GRID[-1])


def test_records_of_a_cycle_are_kept_once_and_forgotten_with_the_next() -> None:
    records = MemoryRecords()
    records.keep(1, Stage.DECISIONS, "record")
    with pytest.raises(StorageError, match="stored already"):
        records.keep(1, Stage.DECISIONS, "another")
    records.keep(2, Stage.EXECUTIONS, "later")
    with pytest.raises(StorageError, match="has not run"):
        records.read(1, Stage.DECISIONS)
    with pytest.raises(StorageError, match="has not run"):
        records.read(2, Stage.DECISIONS)


def test_a_backtest_has_no_stored_reply_to_answer_from() -> None:
    ledger = MemoryLedger()
    with pytest.raises(StorageError):
        ledger.record(1, Stage.DECISIONS, b"{}")
    assert ledger.load(1, Stage.DECISIONS) is None
