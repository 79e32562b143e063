"""The corpus on disk: ``tests/corpus/replies/*.ndjson``, one case a line.

Belongs here: from a line to the reply's text and to what is expected of its judgement.
Does not belong here: the judgement. The lines' keys are explained in ``tests/corpus/replies/README.md``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from bench.corpus.scenes import SCENES
from wonttrade_dagster.core.model import Decision, PriorPlan, TargetPosition

FOLDER = Path(__file__).parents[2] / "tests" / "corpus" / "replies"


@dataclass(frozen=True, slots=True)
class Case:
    """One reply and what must become of it.

    Attributes:
        family: the file's name without its ending.
        name: what is special about the reply.
        scene: the name of the situation it is judged in.
        text: the raw reply.
        decision: what must be applied, or None when the reply must be refused.
        reason: the refusal's reason; "" for an applied reply.
        rules: names of the violations, sorted; a rule stands as often as it is broken.
        allows_others: further violations may stand beside these.
    """

    family: str
    name: str
    scene: str
    text: str
    decision: Decision | None
    reason: str
    rules: tuple[str, ...]
    allows_others: bool


@cache
def corpus() -> tuple[Case, ...]:
    """Every case of every family, in the order of the files."""
    bases = json.loads((FOLDER / "bases.json").read_text(encoding="utf-8"))
    by_scene = {scene: base for base in bases.values() for scene in base["scenes"]}
    return tuple(
        _case(path.stem, json.loads(line), by_scene)
        for path in sorted(FOLDER.glob("*.ndjson"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    )


def _case(family: str, row: Mapping[str, Any], bases: Mapping[str, Any]) -> Case:
    unknown = row.keys() - {"name", "scene", "text", "set", "swap", "parts", "decision", "refused", "rules"}
    if unknown - {"others"} or ("decision" in row) == ("refused" in row):
        raise ValueError(f"{family}: {row.get('name')!r} does not have the keys of a case")
    scene = row.get("scene", "flat")
    base = bases[scene]
    return Case(
        family=family,
        name=row["name"],
        scene=scene,
        text=_text(row, base["reply"]),
        decision=_decision(base["decision"], row["decision"], scene) if "decision" in row else None,
        reason=row.get("refused", ""),
        rules=tuple(sorted(row.get("rules", ()))),
        allows_others=row.get("others", False),
    )


# --- the reply's text ------------------------------------------------------------------------------


def _text(row: Mapping[str, Any], reply: Mapping[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    whole = _written(reply, row.get("set", {}))
    for old, new in row.get("swap", ()):
        if old not in whole:
            raise ValueError(f"{row['name']!r}: {old!r} does not occur in the reply")
        whole = whole.replace(old, new, 1)
    return _joined(row.get("parts", ({"reply": True},)), whole)


def _joined(parts: Sequence[str | Mapping[str, Any]], whole: str = "") -> str:
    return "".join(_part(part, whole) for part in parts)


def _part(part: str | Mapping[str, Any], whole: str) -> str:
    if isinstance(part, str):
        return part
    if "reply" in part:
        return whole
    if "each" in part:
        return "".join(str(part["each"]).replace("{}", str(i)) for i in range(part["times"]))
    return str(part["repeat"]) * int(part["times"])


def _written(reply: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    changes = {path: _literal(value) for path, value in settings.items()}
    targets = []
    for target in reply["targets"]:
        symbol = target["symbol"]
        of_target = {
            k.removeprefix(f"{symbol}."): v for k, v in changes.items() if k.startswith(f"{symbol}.")
        }
        written = changes[symbol] if symbol in changes else _object(target, of_target)
        targets += [] if written is None else [written]
    at_top = {k: v for k, v in changes.items() if k.split(".")[0] not in SYMBOLS}
    return _object({**reply, "targets": None}, {"targets": f"[{', '.join(targets)}]", **at_top})


def _literal(value: str | list[Any] | None) -> str | None:
    return _joined(value) if isinstance(value, list) else value


def _object(fields: Mapping[str, Any], literals: Mapping[str, str | None]) -> str:
    written = {name: json.dumps(value) for name, value in fields.items()} | dict(literals)
    members = (f"{json.dumps(name)}: {text}" for name, text in written.items() if text is not None)
    return "{" + ", ".join(members) + "}"


# --- the expected decision -------------------------------------------------------------------------

SYMBOLS = frozenset(market.symbol for inputs in SCENES.values() for market in inputs.market.markets)
"""Every symbol that some scene tracks."""


def _decision(base: Mapping[str, Any], settings: Mapping[str, Any], scene: str) -> Decision:
    changes = {
        path: _literal(value) if isinstance(value, list) else value for path, value in settings.items()
    }
    body: dict[str, Any] = {name: changes.get(name, value) for name, value in base.items()}
    tracked: Sequence[str] = [market.symbol for market in SCENES[scene].market.markets]
    targets = (
        {name: changes.get(f"{symbol}.{name}", value) for name, value in base["targets"][symbol].items()}
        | {"symbol": symbol}
        for symbol in tracked
    )
    return Decision(
        explanation=body["explanation"],
        invalidation_condition=body["invalidation_condition"],
        targets=tuple(map(_target, targets)),
        prior_plan=PriorPlan(body["prior_plan"]),
        replaced_because=body["replaced_because"],
    )


def _target(body: Mapping[str, Any]) -> TargetPosition:
    return TargetPosition(
        symbol=body["symbol"],
        target_size=Decimal(body["target_size"]),
        stop_loss=_decimal(body["stop_loss"]),
        take_profit=_decimal(body["take_profit"]),
        confidence=body["confidence"],
        rationale=body["rationale"],
        margin_usd=_decimal(body["margin"]),
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
