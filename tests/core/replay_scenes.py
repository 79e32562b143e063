"""Scenes of a cycle for the tests of its replay: how it went, and its records as a ledger would keep them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from desk import DOWN, FLAT_NOW, KEPT, LONG_BTC, MOVED_STOP, Desk
from fakes import ScriptedMarket, ScriptedModel
from trader_samples import LIMITS, RULES

from wonttrade_dagster.adapters.prompts import template_of
from wonttrade_dagster.core.backtest import MemoryLedger
from wonttrade_dagster.core.broken_prompt import broken_prompt
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.errors import ModelAnswerError, ModelUnavailableError, StorageError
from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    AssetSpec,
    BreakerState,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    LlmContext,
    Stage,
)
from wonttrade_dagster.core.replay import StoredCycle


def stored(desk: Desk, decisions: Mapping[int, Decision]) -> StoredCycle:
    """The desk's newest cycle, as a ledger would keep it."""
    records = desk.records.records
    payloads = {stage: encode(record, STAGE_RECORDS[stage]) for stage, record in records.items()}
    plan, context = records[Stage.EXECUTION_PLANS], records[Stage.LLM_CONTEXTS]
    assert isinstance(plan, ExecutionPlan)
    at_ms = plan.basis.prior_cycle_ms if plan.basis else None
    files = context.prompt_files if isinstance(context, LlmContext) else ()
    return StoredCycle(
        desk.records.cycle_ms,
        payloads,
        template=template_of("trader/v1", files) if files else None,
        prior=None if at_ms is None else decisions[at_ms],
    )


def unreadable_account(desk: Desk) -> None:
    desk.venue.is_readable = False


def slow_model(desk: Desk) -> None:
    decide = desk.model.complete

    def late(*args: Any) -> Any:
        desk.clock.time_ms += 120_000
        return decide(*args)

    desk.model.complete = late  # type: ignore[method-assign] # a stand-in for one method


def journal_takes_nothing(desk: Desk) -> None:
    desk.audit.takes_writes = False


def journal_is_unreadable(desk: Desk) -> None:
    desk.audit.can_be_read = False


def stop_is_gone(desk: Desk) -> None:
    desk.venue.orders.clear()


def price_has_fallen(desk: Desk) -> None:
    desk.venue.marks["BTC"] = Decimal(94_000)


def market_is_down(desk: Desk) -> None:
    desk.market.failure = DOWN


def assets_unreadable(desk: Desk) -> None:
    """For the planning; the desk's executor has asked before."""
    desk.market = AssetsOnce(desk.market.template)


class AssetsOnce(ScriptedMarket):
    def assets(self) -> Mapping[str, AssetSpec]:
        if self.asked_for_assets:
            self.assets_failure = DOWN
        return super().assets()


def account_is_empty(desk: Desk) -> None:
    desk.venue.value = Decimal(0)


def money_was_paid_in(desk: Desk) -> None:
    desk.venue.pay_in(Decimal(10_000))


def money_is_not_listed_yet(desk: Desk) -> None:
    desk.venue.pay_in(Decimal(10_000), lists=False)


def model_is_paused(desk: Desk) -> None:
    assert desk.ledger.report is not None
    until_ms = desk.clock.time_ms + 86_400_000
    broken = BreakerState(5, "model_unavailable", desk.clock.time_ms, 1, until_ms)
    desk.ledger.report = replace(desk.ledger.report, breaker=broken)


def prompt_is_broken(desk: Desk) -> None:
    parts = desk.parts()
    builder = broken_prompt("the prompt lacks its file user.md.j2", LIMITS, RULES, 5, USUAL_INDICATORS)
    broken = replace(parts, context_builder=builder)
    desk.parts = lambda: broken  # type: ignore[method-assign] # a stand-in for one method


def ledger_is_unreadable(desk: Desk) -> None:
    desk.ledger = UnreadableLedger(report=desk.ledger.report)


class UnreadableLedger(MemoryLedger):
    def last_report(self, before_ms: int) -> CycleReport | None:
        raise StorageError(f"nothing before {before_ms} can be read")


def nothing(desk: Desk) -> None:
    del desk


Answers = tuple[Any, ...]
SCENES: Mapping[str, tuple[Callable[[Desk], None], Answers]] = {
    "kept": (nothing, (KEPT,)),
    "moved stop": (nothing, (MOVED_STOP,)),
    "closed": (nothing, (FLAT_NOW,)),
    "no JSON": (nothing, ("I would buy",)),
    "violations": (nothing, (LONG_BTC,)),
    "model down": (nothing, (ModelUnavailableError("gone"),)),
    "model nonsense": (nothing, (ModelAnswerError("<html>"),)),
    "model paused": (model_is_paused, (KEPT,)),
    "stale": (slow_model, (FLAT_NOW,)),
    "stop gone": (stop_is_gone, (KEPT,)),
    "stop gone, refused": (stop_is_gone, ("I would buy",)),
    "crossed stop": (price_has_fallen, (KEPT,)),
    "account unreadable": (unreadable_account, (KEPT,)),
    "market down": (market_is_down, (KEPT,)),
    "assets unreadable": (assets_unreadable, (KEPT,)),
    "nothing in the account": (account_is_empty, (KEPT,)),
    "deposit": (money_was_paid_in, (KEPT,)),
    "deposit not listed": (money_is_not_listed_yet, (KEPT,)),
    "journal full": (journal_takes_nothing, (FLAT_NOW,)),
    "journal unreadable": (journal_is_unreadable, (KEPT,)),
    "prompt broken": (prompt_is_broken, (KEPT,)),
    "ledger unreadable": (ledger_is_unreadable, (KEPT,)),
}


def second_cycle(scene: str) -> StoredCycle:
    """A cycle that opens BTC, and the next one under the scene's conditions."""
    prepare, answers = SCENES[scene]
    desk = Desk(ScriptedModel(LONG_BTC, *answers))
    desk.cycle(0)
    first = desk.stage(Stage.DECISIONS)
    assert isinstance(first, DecisionRecord)
    assert isinstance(first.outcome, Decision)
    decisions = {desk.records.cycle_ms: first.outcome}
    prepare(desk)
    desk.cycle(1)
    second = desk.stage(Stage.DECISIONS)
    if isinstance(second, DecisionRecord) and isinstance(second.outcome, Decision):
        decisions[desk.records.cycle_ms] = second.outcome
    return stored(desk, decisions)
