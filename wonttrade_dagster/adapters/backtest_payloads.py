"""The records of a cycle, made again from its line in a backtest's results.

Belongs here: putting back what ``backtest_line`` left out, and reading lines from before.
Does not belong here: the file (``backtest_archive``, ``backtest_resume``), the market of the history.
"""

import json
from collections.abc import Mapping
from typing import Any

from wonttrade_dagster.adapters.backtest_line import REPORTED, SEALED, Json
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.seals import is_of_numbers

SAME = "same"
"""Stood in older lines for an account that is the one of the stage before; now the field is left out."""

_LATE = frozenset({Stage.DECISIONS, Stage.EXECUTION_PLANS, Stage.EXECUTIONS, Stage.CYCLE_REPORTS})


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


def _documents(line: Mapping[str, Any], shared: Mapping[str, Any], prior: Json | None) -> dict[Stage, Json]:
    made = {stage: dict(line["records"][stage.value]) for stage in Stage if stage.value in line["records"]}
    for stage in SEALED:
        if made.get(stage, {}).keys() & {"seal", "sha256"}:
            del made[stage]
    prompt = line["prompt"] and {"system": shared.get("system")} | line["prompt"]
    context = made.get(Stage.LLM_CONTEXTS)
    if context is not None and "prior" in context:
        known = {"setting": shared["setting"], "prompt_files": shared["prompt_files"], "prompt": prompt}
        made[Stage.LLM_CONTEXTS] = known | context | {"prior": context["prior"] | {"decision": prior}}
    made[Stage.DECISIONS] |= {"outcome": line["decision"], "prompt": prompt, "reply": line["reply"]}
    plan = made[Stage.EXECUTION_PLANS]
    plan["actions"] = line["actions"]
    if plan["basis"] is not None:
        plan["basis"] = {"setting": shared["setting"], "assets": shared["assets"]} | plan["basis"]
    _put_accounts_back(made, line["positions"], line["protection"])
    made[Stage.CYCLE_REPORTS] |= {name: line[name] for name in REPORTED}
    return made


def _put_accounts_back(made: dict[Stage, Json], positions: list[Json], protection: list[Json]) -> None:
    seen, plan = made.get(Stage.ACCOUNT_SNAPSHOTS, {}), made[Stage.EXECUTION_PLANS]
    execution, orders = made[Stage.EXECUTIONS], protection
    if "positions" in seen:  # else it is a failure
        orders = seen.setdefault("open_orders", protection)
    if plan.get("account", SAME) == SAME:
        plan["account"] = seen
    elif plan["account"] is not None:
        plan["account"] = {"positions": positions, "open_orders": orders} | plan["account"]
    if execution.get("account", SAME) == SAME:
        execution["account"] = plan["account"]
    elif execution["account"] is not None:
        execution["account"] = {"positions": positions, "open_orders": protection} | execution["account"]


def _told(line: Mapping[str, Any]) -> dict[Stage, Json]:
    """What an older line says, in the shape of the records."""
    reply, value, actions = line["reply"], line["account_value_usd"], line["actions"]
    results = [
        {"action": action, "status": status, "message": message}
        for action, (status, message) in zip(actions, line["results"], strict=False)
    ]
    decided_at_ms = reply["received_at_ms"] if reply else 0
    report = {name: line[name] for name in REPORTED}
    unknown = {"detail": "", "actions_failed": 0, "model_latency_ms": None, "finished_at_ms": 0}
    known = {"account_value_usd": None if value == "None" else value, "actions_planned": len(actions)}
    asked = {"outcome": line["decision"], "prompt": line["prompt"], "reply": reply}
    return {
        Stage.DECISIONS: asked | {"decided_at_ms": decided_at_ms},
        Stage.EXECUTION_PLANS: {"actions": actions},
        Stage.EXECUTIONS: {"results": results},
        Stage.CYCLE_REPORTS: report | unknown | known,
    }
