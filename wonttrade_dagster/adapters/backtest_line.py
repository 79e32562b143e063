"""One cycle of a backtest as a line of its results, and back.

Belongs here: what the line says to a person, what is added so that every record can be made again, and making
them. Does not belong here: the file (``backtest_results``), the history (``backtest_archive``).

A line says little twice: what the first line of the file, the history or another field of the line tells is
left out of ``records``, and put back from there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import is_
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

from wonttrade_dagster.adapters.journal_line import spelled
from wonttrade_dagster.core.codec import adapter_of, decode, encode, jsonable
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
from wonttrade_dagster.core.seals import indicator_seal, is_of_numbers, market_seal
from wonttrade_dagster.core.simulation import ExchangeState

Json = dict[str, Any]

SAME = "same"
"""Stood in older lines for an account that is the one of the stage before; now the field is left out."""

SEALED = (Stage.MARKET_SNAPSHOTS, Stage.INDICATORS)
"""What the history gives back: a line holds its seal only."""

_REPORTED = ("outcome", "reason", "alerts", "fills", "positions", "protection")
"""Fields of the report that stand in the line under their own names."""


@dataclass(slots=True)
class SharedFacts:
    """What the first line of a file says of all its cycles.

    Attributes:
        facts: of the line: ``setting``, ``assets``, ``prompt_files``.
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


def shared_of(parts: CycleParts, assets: Mapping[str, AssetSpec]) -> Json:
    """What all cycles of a backtest are computed with, for the first line of its file."""
    listed = [assets[symbol] for symbol in parts.symbols if symbol in assets]
    files = [list(file) for file in parts.context_builder.template.files]
    return {
        "setting": _json(parts.setting),
        "assets": [_json(asset) for asset in listed],
        "prompt_files": files,
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


def is_whole(line: Mapping[str, Any]) -> bool:
    """Whether every record can be made from it; False for a line from before that was kept."""
    return "records" in line


def payloads_of(
    line: Mapping[str, Any], shared: Mapping[str, Any], cycle_ms: int, prior: Json | None
) -> dict[Stage, bytes]:
    """The JSON of the stages that a line tells, as live trading would have recorded it.

    Args:
        line: the body of the line.
        shared: what the first line of the file says.
        cycle_ms: the cycle.
        prior: JSON of the decision that was the prior one; None without.

    Returns:
        All but the market and the indicators (their failures are told). From a line that is not whole, the
        stages from the decision on with the little that it says of them.

    Raises:
        ValueError: the line is no line of ours, or damaged.
    """
    documents = _documents(line, shared, prior) if is_whole(line) else _told(line)
    made = dict[Stage, bytes]()
    for stage, document in documents.items():
        kind = STAGE_RECORDS[stage]
        whole = document if "kind" in document and stage not in _LATE else document | {"cycle_ms": cycle_ms}
        made[stage] = encode(decode(kind, json.dumps(whole)), kind)
    return made


def seals_of(line: Mapping[str, Any]) -> dict[Stage, str]:
    """The seal of each stage of which only that is stored; those of before were of other things."""
    kept = line.get("records", {})
    told = {stage: kept[stage.value].get("seal", "") for stage in SEALED if stage.value in kept}
    return {stage: seal for stage, seal in told.items() if is_of_numbers(seal)}


def prior_cycle_ms(line: Mapping[str, Any]) -> int | None:
    """The cycle of the decision that the model was shown as the prior one."""
    context = line.get("records", {}).get(Stage.LLM_CONTEXTS.value, {})
    at_ms: int | None = context.get("prior", {}).get("decided_cycle_ms")
    return at_ms


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
    Stage.CYCLE_REPORTS: {"cycle_ms", *_REPORTED},
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
    plan, execution = records[Stage.EXECUTION_PLANS], records[Stage.EXECUTIONS]
    planned: dict[str, Any] = {"cycle_ms": True, "actions": True}
    executed = {"cycle_ms"}
    by_stage = _ALWAYS_LEFT_OUT | {Stage.EXECUTION_PLANS: planned, Stage.EXECUTIONS: executed}
    by_stage |= {stage: True for stage in STAGE_RECORDS if stage not in records}
    if isinstance(context, LlmContext) and isinstance(record, DecisionRecord):
        by_stage[Stage.LLM_CONTEXTS] = _left_out_of_context(context, record.prompt, shared)
    if isinstance(plan, ExecutionPlan) and isinstance(execution, ExecutionReport):
        if plan.account is not None and _is_same(plan.account, records.get(Stage.ACCOUNT_SNAPSHOTS)):
            planned["account"] = True
        if plan.account is not None and _is_same(execution.account, plan.account):
            executed.add("account")
        if plan.basis is not None:
            named = ("setting", "assets")
            planned["basis"] = {name for name in named if shared.says(name, getattr(plan.basis, name))}
    return {"records": by_stage}


def _left_out_of_context(context: LlmContext, prompt: Prompt | None, shared: SharedFacts) -> dict[str, Any]:
    named = ("setting", "prompt_files")
    left_out: dict[str, Any] = {name: True for name in named if shared.says(name, getattr(context, name))}
    if context.prompt is prompt or context.prompt == prompt:
        left_out["prompt"] = True
    return left_out | {"cycle_ms": True, "prior": {"decision"}}


def _is_same(account: AccountSnapshot | None, other: object) -> bool:
    """Digit by digit: 1 and 1.0 are equal, and spelled differently."""
    return account is other or (account == other and jsonable(account) == jsonable(other))


def _sealed(record: Record | None) -> _Seal | StageFailure | None:
    if isinstance(record, MarketSnapshot):
        return _Seal(market_seal(record))
    if isinstance(record, IndicatorSnapshot):
        return _Seal(indicator_seal(record))
    if record is None or isinstance(record, StageFailure):
        return record
    raise TypeError(f"history does not give back a {type(record).__name__}")


# --- and put back ----------------------------------------------------------------------------------


def _documents(line: Mapping[str, Any], shared: Mapping[str, Any], prior: Json | None) -> dict[Stage, Json]:
    made = {stage: dict(line["records"][stage.value]) for stage in Stage if stage.value in line["records"]}
    for stage in SEALED:
        if made.get(stage, {}).keys() & {"seal", "sha256"}:
            del made[stage]
    context = made.get(Stage.LLM_CONTEXTS)
    if context is not None and "prior" in context:
        known = {
            "setting": shared["setting"],
            "prompt_files": shared["prompt_files"],
            "prompt": line["prompt"],
        }
        made[Stage.LLM_CONTEXTS] = known | context | {"prior": context["prior"] | {"decision": prior}}
    asked = {"outcome": line["decision"], "prompt": line["prompt"], "reply": line["reply"]}
    made[Stage.DECISIONS] |= asked
    plan = made[Stage.EXECUTION_PLANS]
    plan["actions"] = line["actions"]
    if plan.get("account", SAME) == SAME:
        plan["account"] = made[Stage.ACCOUNT_SNAPSHOTS]
    if plan["basis"] is not None:
        plan["basis"] = {"setting": shared["setting"], "assets": shared["assets"]} | plan["basis"]
    if made[Stage.EXECUTIONS].get("account", SAME) == SAME:
        made[Stage.EXECUTIONS]["account"] = plan["account"]
    made[Stage.CYCLE_REPORTS] |= {name: line[name] for name in _REPORTED}
    return made


def _told(line: Mapping[str, Any]) -> dict[Stage, Json]:
    """What an older line says, in the shape of the records."""
    reply, value, actions = line["reply"], line["account_value_usd"], line["actions"]
    results = [
        {"action": action, "status": status, "message": message}
        for action, (status, message) in zip(actions, line["results"], strict=False)
    ]
    decided_at_ms = reply["received_at_ms"] if reply else 0
    report = {name: line[name] for name in _REPORTED}
    unknown = {"detail": "", "actions_failed": 0, "model_latency_ms": None, "finished_at_ms": 0}
    known = {"account_value_usd": None if value == "None" else value, "actions_planned": len(actions)}
    asked = {"outcome": line["decision"], "prompt": line["prompt"], "reply": reply}
    return {
        Stage.DECISIONS: asked | {"decided_at_ms": decided_at_ms},
        Stage.EXECUTION_PLANS: {"actions": actions},
        Stage.EXECUTIONS: {"results": results},
        Stage.CYCLE_REPORTS: report | unknown | known,
    }


_LATE = frozenset({Stage.DECISIONS, Stage.EXECUTION_PLANS, Stage.EXECUTIONS, Stage.CYCLE_REPORTS})


def _json(record: object, stage: Stage | None = None) -> Json:
    document: Json = jsonable(record, STAGE_RECORDS[stage] if stage else None)
    return document
