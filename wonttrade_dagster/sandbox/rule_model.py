"""The loopback stand-in for a language model: a fixed, transparent rule. It is NOT a model.

Belongs here: from the prompt's text to the reply's text, as a pure function. Does not belong here: HTTP.

The rule reads the last fenced ``json`` block of the prompt. Per symbol it is long when EMA20 is above EMA50
of the intraday window and short when below (MACD decides a tie), with a stop 2 ATR14 and a take-profit 3
ATR14 away, and at least 0.3 % and 0.45 %. It keeps its prior plan while the side is the same and the price
lies between stop and take-profit. Without ATR or account value it is flat. It exists to move the plumbing;
whether it earns anything is of no interest.
"""

import json
import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from wonttrade_dagster.core.precision import MAX_PRICE_DECIMALS, PriceRounding, floor_size, round_price

MODEL_NAME = "loopback-rule"
DISCLOSURE = "loopback stand-in: a fixed rule, not a model"

STOP_ATRS = Decimal(2)
TAKE_PROFIT_ATRS = Decimal(3)
MIN_STOP_FRACTION = Decimal("0.003")
MIN_TAKE_PROFIT_FRACTION = Decimal("0.0045")
MAX_DISTANCE_FRACTION = Decimal("0.5")
USED_FRACTION = Decimal("0.4")
"""Share of the smallest limit that is used, so that a price that drifts does not break the limit."""
MIN_VALUE_MARGIN = Decimal("1.2")

_BLOCK = re.compile(r"```json\s*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the rule knows of one symbol; prices in USD, sizes in base units."""

    symbol: str
    px: Decimal
    tick: Decimal
    size_decimals: int
    side: int
    agrees: bool
    atr: Decimal
    cap_usd: Decimal
    min_value_usd: Decimal


def reply_text(prompt: str) -> str:
    """The reply to a prompt, as JSON text by the schema of a decision. Never raises."""
    block = read_block(prompt)
    if block is None:
        return json.dumps(_reply("none", None, [], "There is no json block with symbols in the prompt."))
    symbols = list(block["symbols"])
    prior = _prior_targets(block)
    fresh = {symbol: _fresh_target(symbol, block) for symbol in symbols}
    kept = {s: prior[s] for s in symbols if s in prior and _still_holds(prior[s], _scene(s, block))}
    targets = [_repeat(kept[s], fresh[s]) if s in kept else fresh[s] for s in symbols]
    if not isinstance(block.get("prior"), dict):
        return json.dumps(_reply("none", None, targets, "No prior plan."))
    if set(kept) == set(symbols) == set(prior):
        return json.dumps(_reply("kept", None, targets, "Every position is still between its exits."))
    changed = ", ".join(s for s in symbols if s not in kept) or "the list of symbols"
    return json.dumps(_reply("replaced", f"Trend, exits or limits changed: {changed}.", targets, "New plan."))


def read_block(prompt: str) -> dict[str, Any] | None:
    """The last fenced ``json`` block that is an object with an object ``symbols``; None without one."""
    for text in reversed(_BLOCK.findall(prompt)):
        try:
            block = json.loads(text)
        except ValueError:
            continue
        if isinstance(block, dict) and isinstance(block.get("symbols"), dict):
            return block
    return None


def _reply(
    prior_plan: str, because: str | None, targets: list[dict[str, Any]], remark: str
) -> dict[str, Any]:
    return {
        "explanation": f"{DISCLOSURE}. EMA20 against EMA50 gives the side. {remark}",
        "invalidation_condition": "The intraday EMA20 crosses its EMA50, or an exit is reached.",
        "prior_plan": prior_plan,
        "replaced_because": because,
        "targets": targets,
    }


def _target(symbol: str, rationale: str, confidence: float, **prices: Decimal | None) -> dict[str, Any]:
    numbers = {name: None if value is None else float(value) for name, value in prices.items()}
    return {
        "symbol": symbol,
        "target_size": numbers.get("target_size") or 0.0,
        "stop_loss": numbers.get("stop_loss"),
        "take_profit": numbers.get("take_profit"),
        "confidence": confidence,
        "rationale": rationale,
        "margin": None,
    }


def _fresh_target(symbol: str, block: dict[str, Any]) -> dict[str, Any]:
    scene = _scene(symbol, block)
    if scene is None:
        return _target(symbol, "Flat: no ATR14, price, grid or account value in the prompt.", 0.0)
    size = floor_size(scene.cap_usd / scene.px, scene.size_decimals)
    exits = _exits(scene)
    if exits is None or size * scene.px < scene.min_value_usd * MIN_VALUE_MARGIN:
        return _target(symbol, "Flat: the limits leave less than the venue's smallest order.", 0.0)
    word = "above" if scene.side > 0 else "below"
    return _target(
        symbol,
        f"EMA20 {word} EMA50; stop at 2 ATR14, take-profit at 3 ATR14.",
        0.7 if scene.agrees else 0.55,
        target_size=size * scene.side,
        stop_loss=exits[0],
        take_profit=exits[1],
    )


def _repeat(prior: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    names = ("target_size", "stop_loss", "take_profit")
    return fresh | {name: prior.get(name) for name in names} | {"rationale": "The prior target still holds."}


def _still_holds(prior: dict[str, Any], scene: Scene | None) -> bool:
    size, stop, take_profit = (_number(prior.get(n)) for n in ("target_size", "stop_loss", "take_profit"))
    if size is None:
        return False
    if scene is None or size == 0:
        return scene is None and size == 0
    if stop is None or take_profit is None or (size > 0) != (scene.side > 0):
        return False
    is_between = min(stop, take_profit) < scene.px < max(stop, take_profit)
    return is_between and abs(size) * scene.px * USED_FRACTION <= scene.cap_usd


def _exits(scene: Scene) -> tuple[Decimal, Decimal] | None:
    most = scene.px * MAX_DISTANCE_FRACTION
    stop_distance = min(max(STOP_ATRS * scene.atr, scene.px * MIN_STOP_FRACTION), most)
    gain = min(max(TAKE_PROFIT_ATRS * scene.atr, scene.px * MIN_TAKE_PROFIT_FRACTION), most)
    stop = _on_grid(scene, scene.px - scene.side * stop_distance, is_up=scene.side < 0)
    take_profit = _on_grid(scene, scene.px + scene.side * gain, is_up=scene.side > 0)
    return None if stop is None or take_profit is None else (stop, take_profit)


def _on_grid(scene: Scene, px: Decimal, *, is_up: bool) -> Decimal | None:
    steps = (px / scene.tick).to_integral_value(ROUND_CEILING if is_up else ROUND_FLOOR)
    if steps <= 0:
        return None
    rounding = PriceRounding.UP if is_up else PriceRounding.DOWN
    rounded = round_price(steps * scene.tick, scene.size_decimals, rounding)
    return rounded if rounded > 0 else None


def _scene(symbol: str, block: dict[str, Any]) -> Scene | None:
    facts = _object(block["symbols"].get(symbol))
    intraday = _object(facts.get("intraday"))
    px = _number(facts.get("mark")) or _number(facts.get("price"))
    atr, tick = _indicators(intraday, "atr")[-1], _number(facts.get("tick"))
    decimals, cap_usd = _number(facts.get("size_decimals")), _cap_usd(block, len(block["symbols"]))
    if px is None or atr is None or tick is None or cap_usd is None:
        return None
    if px <= 0 or atr <= 0 or tick <= 0 or decimals is None or decimals not in range(MAX_PRICE_DECIMALS + 1):
        return None
    side, agrees = _side(intraday)
    return Scene(
        symbol,
        px,
        tick,
        int(decimals),
        side,
        agrees,
        atr,
        cap_usd,
        _number(facts.get("min_value_usd")) or px * 0,
    )


def _side(intraday: dict[str, Any]) -> tuple[int, bool]:
    averages = _indicators(intraday, "ema")
    fast, slow = averages[0], averages[-1]
    macd = _indicators(intraday, "macd")[0] or Decimal(0)
    trend = Decimal(0) if fast is None or slow is None else fast - slow
    side = -1 if (trend or macd) < 0 else 1
    return side, trend * macd > 0


def _indicators(window: dict[str, Any], stem: str) -> list[Decimal | None]:
    """Of one kind, whatever their lengths, faster ones first; at least one entry."""
    return [_number(value) for name, value in window.items() if name.split("_")[0] == stem] or [None]


def _cap_usd(block: dict[str, Any], symbols: int) -> Decimal | None:
    """The most that one symbol may hold, or None when nothing in the prompt limits it."""
    limits, account = _object(block.get("limits")), _object(block.get("account"))
    value, gross = _number(account.get("value_usd")), _number(limits.get("max_gross_exposure_usd"))
    shares = (share / symbols for share in (value, gross) if share is not None)
    caps = [*shares, *(cap for cap in [_number(limits.get("max_position_usd"))] if cap is not None)]
    return max(min(caps), Decimal(0)) * USED_FRACTION if caps else None


def _prior_targets(block: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = _object(block.get("prior")).get("targets")
    return (
        {str(row["symbol"]): row for row in rows if "symbol" in _object(row)}
        if isinstance(rows, list)
        else {}
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
