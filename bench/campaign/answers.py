"""Random decisions: from a prompt and a seed to the text of a reply.

Belongs here: replies that follow the rules, and replies that break one. Does not belong here: HTTP.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.precision import PriceRounding, floor_size, round_price
from wonttrade_dagster.sandbox.rule_model import read_block

MOST_OF_VALUE = 4.2
"""The largest position, in units of the account's value: a large jump liquidates it."""

SMALL_USD = 100.0

Block = Mapping[str, Any]


def reply_text(prompt: str, style: str, seed: str) -> str:
    """The reply to a prompt; ``style`` is ``valid``, ``close_stops`` or ``invalid``."""
    block = read_block(prompt)
    if block is None:
        return "there is no json block in the prompt"
    draws = random.Random(seed)
    reply = _reply(block, draws, is_close=style == "close_stops")
    if style != "invalid":
        return json.dumps(reply)
    spoil = draws.choice(_SPOILERS)
    return spoil(reply, block)


def _reply(block: Block, draws: random.Random, *, is_close: bool) -> dict[str, Any]:
    prior = {row["symbol"]: row for row in (block["prior"] or {}).get("targets", ())}
    keeps_all = bool(prior) and draws.random() < 0.25
    targets, kept = [], []
    for symbol, facts in block["symbols"].items():
        holds = symbol in prior and _still_holds(prior[symbol], facts, block)
        if holds and (keeps_all or draws.random() < 0.2):
            targets.append(_worded(dict(prior[symbol])))
            kept.append(symbol)
        else:
            targets.append(_worded(_fresh(symbol, facts, block, draws, is_close=is_close)))
    plan = "none" if not prior else "kept" if len(kept) == len(prior) == len(targets) else "replaced"
    return {
        "explanation": "Drawn at random.",
        "invalidation_condition": "The next draw.",
        "prior_plan": plan,
        "replaced_because": "Another draw." if plan == "replaced" else None,
        "targets": targets,
    }


def _worded(target: dict[str, Any]) -> dict[str, Any]:
    return {"margin": None, **target, "confidence": 0.5, "rationale": "Drawn."}


def _still_holds(row: Block, facts: Block, block: Block) -> bool:
    size, stop, take = row["target_size"], row["stop_loss"], row["take_profit"]
    if not size:
        return True
    is_between = min(stop, take) * 1.0005 < facts["mark"] < max(stop, take) * 0.9995
    return is_between and bool(abs(size) * facts["mark"] < _cap_usd(block))


def _cap_usd(block: Block) -> float:
    limits = block["limits"]
    share = min(limits["max_position_usd"], limits["max_gross_exposure_usd"] / len(block["symbols"]))
    return float(min(share, block["account"]["value_usd"] * MOST_OF_VALUE)) * 0.9


def _fresh(
    symbol: str, facts: Block, block: Block, draws: random.Random, *, is_close: bool
) -> dict[str, Any]:
    flat = {"symbol": symbol, "target_size": 0, "stop_loss": None, "take_profit": None}
    value_usd = draws.choice((13.0, 60.0, 900.0, *(_cap_usd(block) * part for part in (0.5, 1.0, 1.0))))
    px, side = facts["mark"], draws.choice((-1, 1))
    decimals = facts["size_decimals"]
    size = float(floor_size(Decimal(value_usd / px), decimals))
    if draws.random() < 0.18 or size * px < facts["min_value_usd"] * 1.05:
        return flat
    reach = (0.0003, 0.0015) if is_close else (0.004, 0.05)
    stop, take = (px * (1 - side * draws.uniform(*reach)), px * (1 + side * draws.uniform(*reach)))
    target = {"symbol": symbol, "target_size": size * side}
    target |= {"stop_loss": _grid(stop, decimals), "take_profit": _grid(take, decimals)}
    if value_usd > SMALL_USD or draws.random() < 0.3:
        target["margin"] = _margin_usd(size * px, facts, block, draws)
    return target


def _margin_usd(value_usd: float, facts: Block, block: Block, draws: random.Random) -> float:
    """So much leverage that every symbol at once could have its largest position."""
    most = min(facts["max_leverage"], block["limits"]["max_leverage"])
    least = min(most, max(1, math.ceil(most * value_usd / _cap_usd(block))))
    return round(value_usd / draws.randint(least, most) * 1.01, 2)


def _grid(px: float, decimals: int) -> float:
    return float(round_price(Decimal(px), decimals, PriceRounding.NEAREST))


def _without_a_symbol(reply: dict[str, Any], _block: Block) -> str:
    return json.dumps(reply | {"targets": reply["targets"][1:]})


def _too_large(reply: dict[str, Any], block: Block) -> str:
    first = dict(reply["targets"][0])
    px = block["symbols"][first["symbol"]]["mark"]
    first |= {"target_size": 1_000.0, "stop_loss": px * 0.9, "take_profit": px * 1.1}
    return json.dumps(reply | {"targets": [first, *reply["targets"][1:]]})


def _wrong_side(reply: dict[str, Any], block: Block) -> str:
    first = dict(reply["targets"][0])
    px = block["symbols"][first["symbol"]]["mark"]
    first |= {"target_size": 0.01, "stop_loss": px * 1.1, "take_profit": px * 0.9}
    return json.dumps(reply | {"targets": [first, *reply["targets"][1:]]})


def _other_plan(reply: dict[str, Any], _block: Block) -> str:
    return json.dumps(reply | {"prior_plan": "none" if reply["prior_plan"] != "none" else "kept"})


def _no_json(_reply: dict[str, Any], _block: Block) -> str:
    return "I would rather wait."


def _not_a_number(reply: dict[str, Any], _block: Block) -> str:
    first = dict(reply["targets"][0]) | {"target_size": float("nan")}
    return json.dumps(reply | {"targets": [first, *reply["targets"][1:]]})


_SPOILERS: tuple[Callable[[dict[str, Any], Block], str], ...] = (
    _without_a_symbol,
    _too_large,
    _wrong_side,
    _other_plan,
    _no_json,
    _not_a_number,
)
