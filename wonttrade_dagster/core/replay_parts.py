"""The world of a cycle as its records tell it: the ports of a replay.

Belongs here: doubles that answer from records, and refuse whatever would reach the model or the venue.
Does not belong here: what is computed with them (``core.replay``), reading the records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Never

from wonttrade_dagster.core.broken_prompt import NO_TEMPLATE
from wonttrade_dagster.core.context import ContextBuilder
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import StorageError, UsageError, VenueUnavailableError
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    AssetSpec,
    CancelOrder,
    CycleReport,
    CycleSetting,
    Decision,
    EquityPoint,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    MarketSnapshot,
    ModelReply,
    OpenOrder,
    PlaceOrder,
    PriorDecision,
    Prompt,
    SetLeverage,
    Stage,
    Transfer,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Executor, LanguageModel, Ledger, MarketData, Venue
from wonttrade_dagster.core.state import StateLoader


@dataclass(frozen=True, slots=True)
class RecordedWorld:
    """What a plan's own record says of the world at its planning.

    Attributes:
        account: as read for the plan; None when it could not be read.
        unreadable: why it could not.
        assets: the tracked symbols that were listed.
        planned_at_ms: the time.
        prior: the last applied decision, with its cycle.
        stranger_oids: orders that the journal proved to be another machine's.
        journal_fault: what the journal said instead of taking the decision on; None when it took it.
    """

    account: AccountSnapshot | None
    unreadable: str
    assets: Mapping[str, AssetSpec]
    planned_at_ms: int
    prior: tuple[int, Decision] | None
    stranger_oids: frozenset[int]
    journal_fault: str | None


def parts_of(world: RecordedWorld, setting: CycleSetting) -> CycleParts:
    """Parts of a cycle with which a plan can be made again, and nothing be asked or sent."""
    clock, venue = _Then(world.planned_at_ms), _RecordedVenue(world)
    limits, shown = setting.limits, setting.indicators
    return CycleParts(
        state=StateLoader(_RecordedMarket(world), venue, 0, setting.symbols),
        indicators=IndicatorEngine(setting.series_points, shown).compute,
        context_builder=ContextBuilder(NO_TEMPLATE, limits, setting.rules, setting.cycle_minutes, shown),
        decision_engine=LLMDecisionEngine(
            model=_NoModel(),
            schema={},
            limits=limits,
            clock=clock,
            deadline_ms=0,
            entry_cost_bps=setting.entry_cost_bps,
            price=setting.price,
            caps=setting.caps,
        ),
        executor=_NoExecutor(),
        audit=_RecordedAudit(world),
        ledger=_NoLedger(),
        clock=clock,
        symbols=setting.symbols,
        limits=limits,
        rules=setting.rules,
        series_points=setting.series_points,
        settings_sha256=setting.settings_sha256,
    )


def _never(what: str) -> Never:
    raise UsageError(f"a replay {what}: only stored records are read")


@dataclass(frozen=True, slots=True)
class _Then(Clock):
    """The time of the planning stands still."""

    time_ms: int

    def now_ms(self) -> int:
        return self.time_ms

    def sleep(self, seconds: float) -> None:
        _never(f"waits for nothing, not {seconds} s")


@dataclass(frozen=True, slots=True)
class _RecordedMarket(MarketData):
    world: RecordedWorld

    def assets(self) -> Mapping[str, AssetSpec]:
        return self.world.assets

    def snapshot(self, cycle_ms: int) -> MarketSnapshot:
        _never(f"asks for no market of {cycle_ms}")


@dataclass(frozen=True, slots=True)
class _RecordedVenue(Venue):
    world: RecordedWorld

    def account(self) -> AccountSnapshot:
        if self.world.account is None:
            raise VenueUnavailableError(self.world.unreadable)
        return self.world.account

    def place(self, order: PlaceOrder) -> ActionResult:
        _never(f"sends no order ({order.cloid})")

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        _never(f"cancels no order ({cancel.oid})")

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        _never(f"sets no leverage ({change.symbol})")

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        _never(f"asks for no fills since {since_ms}")

    def find(self, cloid: str) -> ActionResult | None:
        _never(f"asks for no order {cloid}")

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        _never(f"asks for no leverage of {symbols}")

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        _never(f"asks for no funding from {since_ms} to {until_ms}")

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        _never(f"asks for no transfers from {since_ms} to {until_ms}")


@dataclass(frozen=True, slots=True)
class _RecordedAudit(AuditSink):
    world: RecordedWorld

    def last_applied(self) -> tuple[int, Decision] | None:
        # Without a prior decision it cannot be told whether reading or writing failed: the plan is the same.
        if self.world.prior is None:
            self._fail()
        return self.world.prior

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        del cycle_ms, decision
        self._fail()

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        return tuple(order for order in orders if order.oid in self.world.stranger_oids)

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        _never(f"writes no intent ({cycle_ms}, {order.cloid})")

    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any]) -> None:
        _never(f"writes no {kind} of {cycle_ms} with {len(body)} fields")

    def _fail(self) -> None:
        if self.world.journal_fault is not None:
            raise StorageError(self.world.journal_fault)


class _NoLedger(Ledger):
    def record(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        _never(f"writes no {stage} of {cycle_ms} ({len(payload)} bytes)")

    def load(self, cycle_ms: int, stage: Stage) -> bytes | None:
        _never(f"loads no {stage} of {cycle_ms}")

    def last_report(self, before_ms: int) -> CycleReport | None:
        _never(f"asks for no report before {before_ms}")

    def equity(self) -> Sequence[EquityPoint]:
        _never("asks for no equity")

    def prior(self, before_ms: int) -> PriorDecision:
        """The journal's word, or none: the record says which decision it was."""
        del before_ms
        return PriorDecision(None, None)


class _NoModel(LanguageModel):
    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        _never(f"asks no model ({prompt.prompt_sha256}, {len(schema)}, {deadline_ms})")


class _NoExecutor(Executor):
    def account(self) -> AccountSnapshot:
        _never("asks for no account")

    def execute(self, plan: ExecutionPlan) -> ExecutionReport:
        _never(f"carries out no plan of {len(plan.actions)} actions")
