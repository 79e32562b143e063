"""One cycle of a backtest as a line of its results.

Belongs here: what the line says to a person, and what is added so that every record can be made again.
Does not belong here: making them (``backtest_payloads``), the file (``backtest_results``).

A line says little twice: what the first line of the file, the history or another field of the line tells is
left out of ``records``, and put back from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import is_
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

from wonttrade_dagster.adapters.journal_line import spelled
from wonttrade_dagster.core.codec import adapter_of, jsonable
from wonttrade_dagster.core.cycle import STAGE_RECORDS, Record
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    ActionStatus,
    AssetSpec,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    IndicatorSnapshot,
    LlmContext,
    MarketSnapshot,
    ModelReply,
    OpenOrder,
    Position,
    PriorPlan,
    Prompt,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.seals import indicator_seal, market_seal
from wonttrade_dagster.core.simulation import ExchangeState

Json = dict[str, Any]

SEALED = (Stage.MARKET_SNAPSHOTS, Stage.INDICATORS)
"""What the history gives back: a line holds its seal only."""

REPORTED = ("outcome", "reason", "alerts", "fills", "positions", "protection")
"""Fields of the report that stand in the line under their own names."""


@dataclass(slots=True)
class SharedFacts:
    """What the first line of a file says of all its cycles.

    Attributes:
        facts: of the line: ``setting``, ``assets``, ``prompt_files``, ``system`` (the first message).
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    _found: dict[str, object] = field(default_factory=dict)

    def says(self, name: str, value: object) -> bool:
        """Whether the line says ``value`` under ``name``; mostly it is the same object in every cycle."""
        if name in self._found and _is_identical(self._found[name], value):
            return True
        is_said: bool = jsonable(value) == self.facts.get(name)
        if is_said:
            self._found[name] = value
        return is_said


def _is_identical(value: object, other: object) -> bool:
    if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
        return all(map(is_, value, other))
    return value is other


def shared_of(parts: CycleParts, assets: Mapping[str, AssetSpec], market: MarketSnapshot) -> Json:
    """What all cycles of a backtest are computed with, for the first line of its file.

    Args:
        parts: of every cycle.
        assets: the venue's rules.
        market: of any cycle; the system message names its symbols and intervals.
    """
    listed = [assets[symbol] for symbol in parts.symbols if symbol in assets]
    files = [list(file) for file in parts.context_builder.template.files]
    return {
        "setting": jsonable(parts.setting),
        "assets": [jsonable(asset) for asset in listed],
        "prompt_files": files,
        "system": parts.context_builder.system_message(market),
    }


def line_of(
    records: Mapping[Stage, Record], shared: SharedFacts, told: Mapping[str, Any] = MappingProxyType({})
) -> bytes:
    """The line of a finished cycle, as the journal writes it.

    Args:
        records: of its stages; those from the decision on must be there.
        shared: what the first line of the file says.
        told: further fields, if any: ``events`` (JSON), ``latency_ms`` and ``exchange``.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    line, left_out = _line(records, told), _left_out(records, shared)
    left_out |= dict.fromkeys(_TOLD - told.keys(), True)
    spell = _adapter_of(*map(type, _kinds_of(line)))
    return spelled(
        lambda: spell.dump_json(line, exclude=left_out),
        lambda: spell.dump_python(line, mode="json", exclude=left_out),
    )


# --- what is written, and what is left out --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seal:
    """All that a line keeps of a record that the history gives back."""

    seal: str


_Outcome = TypeVar("_Outcome")
_Market = TypeVar("_Market")
_Indicators = TypeVar("_Indicators")
_Account = TypeVar("_Account")
_Context = TypeVar("_Context")


@dataclass(frozen=True, slots=True)
class _Records(Generic[_Market, _Indicators, _Account, _Context]):
    """Of the stages by name; None is left out."""

    market_snapshots: _Market
    indicators: _Indicators
    account_snapshots: _Account
    llm_contexts: _Context
    decisions: DecisionRecord
    execution_plans: ExecutionPlan
    executions: ExecutionReport
    cycle_reports: CycleReport


@dataclass(frozen=True, slots=True)
class _Line(Generic[_Outcome, _Market, _Indicators, _Account, _Context]):
    """First what a person looks for, then the rest of the records, then the market around the cycle.

    What may be of several types is spelled by the one that it is of: of a union, pydantic makes it twice.
    """

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")  # so that they are seen, and refused

    prior_plan: PriorPlan | None
    prompt: Prompt | None
    reply: ModelReply | None
    decision: _Outcome
    actions: tuple[Action, ...]
    results: tuple[tuple[ActionStatus, str], ...]
    account_value_usd: str
    outcome: str
    reason: str
    alerts: tuple[str, ...]
    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    protection: tuple[OpenOrder, ...]
    records: _Records[_Market, _Indicators, _Account, _Context]
    events: list[Any]
    latency_ms: int
    exchange: ExchangeState | None


_AnyLine = _Line[Any, Any, Any, Any, Any]


def _kinds_of(line: _AnyLine) -> tuple[object, ...]:
    kept = line.records
    return line.decision, kept.market_snapshots, kept.indicators, kept.account_snapshots, kept.llm_contexts


@lru_cache(maxsize=64)
def _adapter_of(*kinds: type) -> TypeAdapter[Any]:
    of_kinds: Any = _Line
    return adapter_of(of_kinds[kinds])


_TOLD = frozenset({"events", "latency_ms", "exchange"})

_ALWAYS_LEFT_OUT: dict[str, Any] = {
    Stage.DECISIONS: {"cycle_ms", "outcome", "prompt", "reply"},
    Stage.CYCLE_REPORTS: {"cycle_ms", *REPORTED},
}


def _line(records: Mapping[Stage, Any], told: Mapping[str, Any]) -> _AnyLine:
    record: DecisionRecord = records[Stage.DECISIONS]
    plan: ExecutionPlan = records[Stage.EXECUTION_PLANS]
    execution: ExecutionReport = records[Stage.EXECUTIONS]
    report: CycleReport = records[Stage.CYCLE_REPORTS]
    outcome = record.outcome
    return _Line(
        outcome.prior_plan if isinstance(outcome, Decision) else None,
        record.prompt,
        record.reply,
        outcome,
        plan.actions,
        tuple([(result.status, result.message) for result in execution.results]),
        str(report.account_value_usd),
        report.outcome,
        report.reason,
        report.alerts,
        report.fills,
        report.positions,
        report.protection,
        _Records(
            _sealed(records.get(Stage.MARKET_SNAPSHOTS)),
            _sealed(records.get(Stage.INDICATORS)),
            records.get(Stage.ACCOUNT_SNAPSHOTS),
            records.get(Stage.LLM_CONTEXTS),
            record,
            plan,
            execution,
            report,
        ),
        list(told.get("events", ())),
        told.get("latency_ms", 0),
        told.get("exchange"),
    )


def _left_out(records: Mapping[Stage, Record], shared: SharedFacts) -> dict[str, Any]:
    """What another field, the first line or the cycle before says, as pydantic's ``exclude``."""
    context, record = records.get(Stage.LLM_CONTEXTS), records[Stage.DECISIONS]
    by_stage = _ALWAYS_LEFT_OUT | _left_out_of_accounts(records)
    by_stage |= {stage: True for stage in STAGE_RECORDS if stage not in records}
    left_out: dict[str, Any] = {"records": by_stage}
    prompt = record.prompt if isinstance(record, DecisionRecord) else None
    if prompt is not None and shared.says("system", prompt.system):
        left_out["prompt"] = {"system"}
    if isinstance(context, LlmContext):
        by_stage[Stage.LLM_CONTEXTS] = _left_out_of_context(context, prompt, shared)
    plan = records[Stage.EXECUTION_PLANS]
    if isinstance(plan, ExecutionPlan) and plan.basis is not None:
        said = {name for name in ("setting", "assets") if shared.says(name, getattr(plan.basis, name))}
        by_stage[Stage.EXECUTION_PLANS]["basis"] = said
    return left_out


def _left_out_of_context(context: LlmContext, prompt: Prompt | None, shared: SharedFacts) -> dict[str, Any]:
    named = ("setting", "prompt_files")
    left_out: dict[str, Any] = {name: True for name in named if shared.says(name, getattr(context, name))}
    if context.prompt is prompt or context.prompt == prompt:
        left_out["prompt"] = True
    return left_out | {"cycle_ms": True, "prior": {"decision"}}


def _left_out_of_accounts(records: Mapping[Stage, Any]) -> dict[str, Any]:
    """An account that is the one of the stage before; else those of its lists that the line shows already."""
    seen, plan = records.get(Stage.ACCOUNT_SNAPSHOTS), records[Stage.EXECUTION_PLANS]
    execution, report = records[Stage.EXECUTIONS], records[Stage.CYCLE_REPORTS]
    orders: tuple[OpenOrder, ...] = report.protection
    planned: dict[str, Any] = {"cycle_ms": True, "actions": True}
    executed: dict[str, Any] = {"cycle_ms": True}
    left_out: dict[str, Any] = {Stage.EXECUTION_PLANS: planned, Stage.EXECUTIONS: executed}
    if isinstance(seen, AccountSnapshot):
        if _is_same(seen.open_orders, report.protection):
            left_out[Stage.ACCOUNT_SNAPSHOTS] = {"open_orders"}
        orders = seen.open_orders
    if plan.account is not None:
        same = _is_same(plan.account, seen)
        planned["account"] = same or _left_out_of_account(plan.account, report.positions, orders)
    if execution.account is not None:
        same = plan.account is not None and _is_same(execution.account, plan.account)
        shown = report.positions, report.protection
        executed["account"] = same or _left_out_of_account(execution.account, *shown)
    return left_out


def _left_out_of_account(
    account: AccountSnapshot, positions: tuple[Position, ...], orders: tuple[OpenOrder, ...]
) -> set[str]:
    left_out = {"positions"} if _is_same(account.positions, positions) else set()
    return left_out | {"open_orders"} if _is_same(account.open_orders, orders) else left_out


def _is_same(value: object, other: object) -> bool:
    """Digit by digit: 1 and 1.0 are equal, and spelled differently."""
    return value is other or (value == other and jsonable(value) == jsonable(other))


def _sealed(record: Record | None) -> _Seal | StageFailure | None:
    if isinstance(record, MarketSnapshot):
        return _Seal(market_seal(record))
    if isinstance(record, IndicatorSnapshot):
        return _Seal(indicator_seal(record))
    if record is None or isinstance(record, StageFailure):
        return record
    raise TypeError(f"history does not give back a {type(record).__name__}")
