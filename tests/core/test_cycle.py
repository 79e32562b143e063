"""The order of the parts, and a cycle that goes well."""

import pytest
from desk import BOTH_LEGS, KEPT, LONG_BTC, D, Desk
from fakes import ScriptedModel
from trader_samples import CYCLE_MS

from wonttrade_dagster.core.backtest import MemoryRecords
from wonttrade_dagster.core.cycle import EDGES, STAGE_RECORDS, CycleRun
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import Stage

# --- the order -------------------------------------------------------------------------------------


def test_every_stage_comes_after_the_stages_it_reads() -> None:
    order = list(EDGES)
    for stage, upstream in EDGES.items():
        assert all(order.index(read) < order.index(stage) for read in upstream), stage


def test_every_stage_has_edges_and_a_record_type() -> None:
    assert set(EDGES) == set(STAGE_RECORDS) == set(Stage)


def test_a_stage_reads_no_record_that_its_edges_do_not_name() -> None:
    class Watched(MemoryRecords):
        def read(self, cycle_ms: int, stage: Stage) -> object:
            reads.append(stage)
            return super().read(cycle_ms, stage)

    reads: list[Stage] = []
    desk = Desk()
    desk.clock.time_ms = CYCLE_MS + 500
    run = CycleRun(desk.parts(), CYCLE_MS, Watched())
    for stage in EDGES:
        reads.clear()
        run.run(stage)
        assert set(reads) <= set(EDGES[stage]), stage


# --- a cycle that goes well ------------------------------------------------------------------------


def test_an_applied_cycle_opens_the_position_and_leaves_it_protected() -> None:
    desk = Desk()
    report = desk.cycle()
    assert (report.outcome, report.reason) == ("applied", "applied")
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}
    assert {order.leg for order in report.protection} == BOTH_LEGS
    assert report.stage_failures == ()
    assert report.model_latency_ms == 2_500
    assert [fill.symbol for fill in report.fills] == ["BTC"]


def test_the_next_prompt_is_told_of_the_decision_before_it_and_what_was_filled() -> None:
    desk = Desk()
    desk.cycle(0)
    desk.cycle(1)
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert context.prior.decided_cycle_ms == CYCLE_MS
    assert [fill.size_base for fill in context.prior.fills] == [D("0.5")]
    assert context.performance.invocations == 2


def test_the_same_decision_again_sends_nothing() -> None:
    desk = Desk(ScriptedModel(LONG_BTC, KEPT))
    desk.cycle(0)
    sent = len(desk.venue.log)
    report = desk.cycle(1)
    assert (report.outcome, report.actions_planned, len(desk.venue.log)) == ("applied", 0, sent)


def test_a_stored_record_is_never_overwritten() -> None:
    desk = Desk()
    desk.cycle()
    with pytest.raises(StorageError, match="stored already"):
        CycleRun(desk.parts(), CYCLE_MS, desk.records).run(Stage.MARKET_SNAPSHOTS)
