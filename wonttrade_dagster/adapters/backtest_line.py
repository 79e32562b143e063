"""One cycle of a backtest as a line of its results, and back.

Belongs here: what the line says to a person, what is added so that every record can be made again, and making
them. Does not belong here: the file (``backtest_results``), the history (``backtest_archive``).

A line says little twice: what the first line of the file, the history or another field of the line tells is
left out of ``records``, and put back from there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict

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
    Refusal,
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
    spell = adapter_of(_Line)
    return spelled(
        lambda: spell.dump_json(line, ensure_ascii=True, exclude=left_out),
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


_Known = Mapping[str, str] | StageFailure | None


@dataclass(frozen=True, slots=True)
class _Records:
    """Of the stages by name; None is left out."""

    market_snapshots: _Known
    indicators: _Known
    account_snapshots: AccountSnapshot | StageFailure | None
    llm_contexts: LlmContext | StageFailure | None
    decisions: DecisionRecord
    execution_plans: ExecutionPlan
    executions: ExecutionReport
    cycle_reports: CycleReport


@dataclass(frozen=True, slots=True)
class _Line:
    """First what a person looks for, then the rest of the records, then the market around the cycle."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")  # so that they are seen, and refused

    prior_plan: PriorPlan | None
    prompt: Prompt | None
    reply: ModelReply | None
    decision: Decision | Refusal
    actions: tuple[Action, ...]
    results: tuple[tuple[ActionStatus, str], ...]
    account_value_usd: str
    outcome: str
    reason: str
    alerts: tuple[str, ...]
    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    protection: tuple[OpenOrder, ...]
    records: _Records
    events: Sequence[Any]
    latency_ms: int
    exchange: ExchangeState | None


_TOLD = frozenset({"events", "latency_ms", "exchange"})


def _line(records: Mapping[Stage, Record], told: Mapping[str, Any]) -> _Line:
    by_name: dict[str, Any] = {stage.value: records.get(stage) for stage in Stage}
    by_name |= {stage.value: _sealed(stage, records[stage]) for stage in SEALED if stage in records}
    kept = _Records(**by_name)
    record, report = kept.decisions, kept.cycle_reports
    return _Line(
        prior_plan=record.outcome.prior_plan if isinstance(record.outcome, Decision) else None,
        prompt=record.prompt,
        reply=record.reply,
        decision=record.outcome,
        actions=kept.execution_plans.actions,
        results=tuple((result.status, result.message) for result in kept.executions.results),
        account_value_usd=str(report.account_value_usd),
        outcome=report.outcome,
        reason=report.reason,
        alerts=report.alerts,
        fills=report.fills,
        positions=report.positions,
        protection=report.protection,
        records=kept,
        events=told.get("events", ()),
        latency_ms=told.get("latency_ms", 0),
        exchange=told.get("exchange"),
    )


def _left_out(records: Mapping[Stage, Record], shared: SharedFacts) -> dict[str, Any]:
    """What another field, the first line or the cycle before says, as pydantic's ``exclude``."""
    plan, execution = records[Stage.EXECUTION_PLANS], records[Stage.EXECUTIONS]
    before = records.get(Stage.ACCOUNT_SNAPSHOTS)
    by_stage: dict[str, Any] = {stage.value: True for stage in Stage if stage not in records}
    by_stage[Stage.DECISIONS.value] = {"cycle_ms", "outcome", "prompt", "reply"}
    by_stage[Stage.CYCLE_REPORTS.value] = {"cycle_ms", *_REPORTED}
    planned: dict[str, Any] = {"cycle_ms": True, "actions": True}
    executed = {"cycle_ms"}
    context, record = records.get(Stage.LLM_CONTEXTS), records[Stage.DECISIONS]
    if isinstance(context, LlmContext) and isinstance(record, DecisionRecord):
        by_stage[Stage.LLM_CONTEXTS.value] = _left_out_of_context(context, record.prompt, shared)
    if isinstance(plan, ExecutionPlan) and isinstance(execution, ExecutionReport):
        if plan.account is not None and _is_same(plan.account, before):
            planned["account"] = True
        if plan.account is not None and _is_same(execution.account, plan.account):
            executed.add("account")
        if plan.basis is not None:
            named = ("setting", "assets")
            planned["basis"] = {name for name in named if shared.says(name, getattr(plan.basis, name))}
    by_stage |= {Stage.EXECUTION_PLANS.value: planned, Stage.EXECUTIONS.value: executed}
    return {"records": by_stage}


def _left_out_of_context(context: LlmContext, prompt: Prompt | None, shared: SharedFacts) -> dict[str, Any]:
    named = ("setting", "prompt_files")
    left_out: dict[str, Any] = {name: True for name in named if shared.says(name, getattr(context, name))}
    if context.prompt == prompt:
        left_out["prompt"] = True
    return left_out | {"cycle_ms": True, "prior": {"decision"}}


def _is_same(account: AccountSnapshot | None, other: object) -> bool:
    """Digit by digit: 1 and 1.0 are equal, and spelled differently."""
    return account is other or (account == other and jsonable(account) == jsonable(other))


def _sealed(stage: Stage, record: Record) -> _Known:
    if isinstance(record, StageFailure):
        return record
    if isinstance(record, MarketSnapshot):
        return {"seal": market_seal(record)}
    if isinstance(record, IndicatorSnapshot):
        return {"seal": indicator_seal(record)}
    raise TypeError(f"history does not give back the record of {stage}")


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
