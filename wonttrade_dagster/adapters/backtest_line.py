"""One cycle of a backtest as a line of its results, and back.

Belongs here: what the line says to a person, what is added so that every record can be made again, and making
them. Does not belong here: the file (``backtest_results``), the history (``backtest_archive``).

A line says little twice: what the first line of the file, the history or another field of the line tells is
left out of ``records``, and put back from there.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from wonttrade_dagster.core.codec import decode, encode, jsonable
from wonttrade_dagster.core.cycle import STAGE_RECORDS, Record
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.model import AssetSpec, IndicatorSnapshot, MarketSnapshot, Stage, StageFailure
from wonttrade_dagster.core.seals import indicator_seal, is_of_numbers, market_seal

Json = dict[str, Any]

SAME = "same"
"""Stands for an account that is the one of the stage before."""

SEALED = (Stage.MARKET_SNAPSHOTS, Stage.INDICATORS)
"""What the history gives back: a line holds its seal only."""

_REPORTED = ("outcome", "reason", "alerts", "fills", "positions", "protection")
"""Fields of the report that stand in the line under their own names."""


def shared_of(parts: CycleParts, assets: Mapping[str, AssetSpec]) -> Json:
    """What all cycles of a backtest are computed with, for the first line of its file."""
    listed = [assets[symbol] for symbol in parts.symbols if symbol in assets]
    files = [list(file) for file in parts.context_builder.template.files]
    return {
        "setting": _json(parts.setting),
        "assets": [_json(asset) for asset in listed],
        "prompt_files": files,
    }


def line_of(records: Mapping[Stage, Record], shared: Mapping[str, Any]) -> Json:
    """The line of a finished cycle.

    Args:
        records: of its stages; those from the decision on must be there.
        shared: see :func:`shared_of`.
    """
    plain = {stage: _json(record, stage) for stage, record in records.items() if stage not in SEALED}
    decision, plan = plain[Stage.DECISIONS], plain[Stage.EXECUTION_PLANS]
    execution, report = plain[Stage.EXECUTIONS], plain[Stage.CYCLE_REPORTS]
    told = {
        "prior_plan": decision["outcome"].get("prior_plan"),
        "prompt": decision["prompt"],
        "reply": decision["reply"],
        "decision": decision["outcome"],
        "actions": plan["actions"],
        "results": [[result["status"], result["message"]] for result in execution["results"]],
        "account_value_usd": str(report["account_value_usd"]),
    }
    told |= {name: report[name] for name in _REPORTED}
    sealed = {stage: _sealed(stage, records[stage]) for stage in SEALED if stage in records}
    kept = sealed | {stage: _REST[stage](document, plain, shared) for stage, document in plain.items()}
    return told | {"records": {stage.value: document for stage, document in kept.items()}}


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


# --- what is left out ------------------------------------------------------------------------------


def _sealed(stage: Stage, record: Record) -> Json:
    if isinstance(record, StageFailure):
        return _json(record, stage)
    if isinstance(record, MarketSnapshot):
        return {"seal": market_seal(record)}
    if isinstance(record, IndicatorSnapshot):
        return {"seal": indicator_seal(record)}
    raise TypeError(f"history does not give back the record of {stage}")


def _without(document: Json, *names: str) -> Json:
    return {name: value for name, value in document.items() if name not in ("cycle_ms", *names)}


def _whole(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    del plain, shared
    return document


def _context(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    if "prompt" not in document:  # a failure
        return document
    known = {name: shared.get(name) for name in ("setting", "prompt_files")}
    known["prompt"] = plain[Stage.DECISIONS]["prompt"]
    kept = _without(document, *(name for name, value in known.items() if document[name] == value))
    return kept | {"prior": document["prior"] | {"decision": None}}


def _decision(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    del plain, shared
    return _without(document, "outcome", "prompt", "reply")


def _plan(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    kept = _without(document, "actions")
    before = plain.get(Stage.ACCOUNT_SNAPSHOTS)
    if before is not None and document["account"] == before:
        kept["account"] = SAME
    if document["basis"] is not None:
        known = {name: shared.get(name) for name in ("setting", "assets")}
        kept["basis"] = {n: v for n, v in document["basis"].items() if n not in known or known[n] != v}
    return kept


def _execution(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    del shared
    kept, planned = _without(document), plain[Stage.EXECUTION_PLANS]["account"]
    if planned is not None and document["account"] == planned:
        kept["account"] = SAME
    return kept


def _report(document: Json, plain: Mapping[Stage, Json], shared: Mapping[str, Any]) -> Json:
    del plain, shared
    return _without(document, *_REPORTED)


_REST: Mapping[Stage, Callable[[Json, Mapping[Stage, Json], Mapping[str, Any]], Json]] = {
    Stage.ACCOUNT_SNAPSHOTS: _whole,
    Stage.LLM_CONTEXTS: _context,
    Stage.DECISIONS: _decision,
    Stage.EXECUTION_PLANS: _plan,
    Stage.EXECUTIONS: _execution,
    Stage.CYCLE_REPORTS: _report,
}


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
    if plan["account"] == SAME:
        plan["account"] = made[Stage.ACCOUNT_SNAPSHOTS]
    if plan["basis"] is not None:
        plan["basis"] = {"setting": shared["setting"], "assets": shared["assets"]} | plan["basis"]
    if made[Stage.EXECUTIONS]["account"] == SAME:
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
