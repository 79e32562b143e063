"""Random damage to replies.

Belongs here: ways in which a text is changed, drawn from a seeded generator.
Does not belong here: what becomes of the text.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

LITERALS = (
    "null", "true", "false", "0", "-0", "-0.0", "1", "-1", "0.5", "1e308", "1e-400", "-1e999", "1e12",
    "1e-12", "NaN", "Infinity", "-Infinity", "99999999999999999999999999999999999999999", "0.1e1", "+1",
    ".5", "1.", "00", '""', '"0.5"', '"BTC"', '"ETH"', '"btc"', '"BTC\\u200b"', '"\\ud800"', '"\\u0000"',
    '"kept"', '"none"', '"<script>alert(1)</script>"', "[]", "{}", "[0.5]", '{"symbol": "BTC"}',
    '{"a": 1, "a": 2}', "[[[[[[]]]]]]", "94999.5", "95000.5", "99999.6", "100000", "100000.4", "110000",
    "80000", "0.00009", "0.0001", "0.6", "0.60001",
)  # fmt: skip
"""Written in place of a value."""

_CHARACTERS = (
    "{}[]\",:\\/ \t\n\r0123456789.eE+-_`'<>#xnultrfaINy\x00\x1b\x7f"
    "\u00a0\u200b\u202e\u2028\ufeff\ud800\U0001f680"
)
_NUMBER = re.compile(r"(?<![\w\".])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w\"])")
_FACTORS = tuple(
    map(Decimal, ("-1", "0", "0.1", "0.5", "0.9", "0.99999", "1.00001", "1.1", "2", "10", "1000", "1e-9"))
)
_STEPS = tuple(
    map(Decimal, ("1", "-1", "0.1", "-0.1", "0.00001", "-0.00001", "0.4999", "5000", "-5000", "1e-30"))
)

Mutation = Callable[[str, random.Random, Sequence[str]], str]


def mutated(text: str, draws: random.Random, others: Sequence[str]) -> str:
    """``text`` with one to three kinds of damage; ``others`` are texts to take pieces from."""
    for mutation in draws.choices(_MUTATIONS, weights=_WEIGHTS, k=draws.choice((1, 1, 1, 2, 3))):
        text = mutation(text, draws, others)
    return text


def _cut(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    at = draws.randint(0, len(text))
    return text[:at] if draws.random() < 0.8 else text[at:]


def _characters(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    for _ in range(draws.choice((1, 1, 2, 4))):
        at = draws.randint(0, len(text))
        new = draws.choice(("", draws.choice(_CHARACTERS), draws.choice(_CHARACTERS)))
        text = text[:at] + new + text[at + draws.choice((0, 1)) :]
    return text


def _bytes(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draws.choice((1, 1, 3))):
        if data:
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
    return data.decode("utf-8", "replace")


def _splice(text: str, draws: random.Random, others: Sequence[str]) -> str:
    other = draws.choice(others)
    return text[: draws.randint(0, len(text))] + other[draws.randint(0, len(other)) :]


def _number(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    """One number of the text, a little or much beside what it was."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    chosen = draws.choice(found)
    token = chosen.group()
    if len(token) > 40 or len(token.lower().rpartition("e")[2]) > 5:
        return text
    value = Decimal(token)
    new = value * draws.choice(_FACTORS) if draws.random() < 0.5 else value + draws.choice(_STEPS)
    return (
        text[: chosen.start()] + (f"{new:f}" if draws.random() < 0.8 else f"{new:e}") + text[chosen.end() :]
    )


def _value(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    """Another literal at a random path."""
    body = _parsed(text)
    places = _places(body)
    if not places:
        return _characters(text, draws, _others)
    holder, key = draws.choice(places)
    holder[key] = "@@"
    return json.dumps(body).replace('"@@"', draws.choice(LITERALS))


def _members(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    """A key removed, renamed, written twice, or everything in another order."""
    body = _parsed(text)
    holders = [holder for holder, key in _places(body) if isinstance(holder, dict)]
    if not holders:
        return _cut(text, draws, _others)
    holder = draws.choice(holders)
    name = draws.choice(list(holder))
    kind = draws.randrange(4)
    if kind == 0:
        del holder[name]
    elif kind == 1:
        holder[draws.choice(("leverage", "Symbol", "", name + " ", "stop_loss"))] = holder.pop(name)
    elif kind == 2:
        return json.dumps(body).replace(
            f"{json.dumps(name)}: ", f"{json.dumps(name)}: 0, {json.dumps(name)}: ", 1
        )
    else:
        shuffled = draws.sample(list(holder.items()), len(holder))
        holder.clear()
        holder.update(shuffled)
    return json.dumps(body)


def _targets(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    """Targets in another order, twice, or gone."""
    body = _parsed(text)
    if not isinstance(body, dict) or not isinstance(body.get("targets"), list) or not body["targets"]:
        return _bytes(text, draws, _others)
    targets: list[Any] = body["targets"]
    kind = draws.randrange(3)
    if kind == 0:
        draws.shuffle(targets)
    elif kind == 1:
        targets.append(draws.choice(targets))
    else:
        targets.remove(draws.choice(targets))
    return json.dumps(body)


def _dressed(text: str, draws: random.Random, _others: Sequence[str]) -> str:
    """Something around it, or other white space."""
    if draws.random() < 0.5:
        before, after = draws.choice(
            (("```json\n", "\n```"), ("Sure: ", ""), ("", " done"), ("\ufeff", ""), ("[", "]"), ("\n ", "\t"))
        )
        return before + text + after
    body = _parsed(text)
    if body is None:
        return text
    return json.dumps(body, indent=draws.choice((None, 1, "\t")), ensure_ascii=draws.random() < 0.5)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _places(value: object) -> list[tuple[Any, Any]]:
    """Every container with every key or index of it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 200:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            found += [(holder, key) for key in (holder if isinstance(holder, dict) else range(len(holder)))]
            waiting += holder.values() if isinstance(holder, dict) else holder
    return found


_CHANCES: Mapping[Mutation, int] = {
    _number: 16, _value: 6, _characters: 3, _members: 3, _cut: 1, _bytes: 2, _targets: 2, _dressed: 2,
    _splice: 1,
}  # fmt: skip
_MUTATIONS: Sequence[Mutation] = tuple(_CHANCES)
_WEIGHTS: Sequence[int] = tuple(_CHANCES.values())
