"""Valid replies, damaged at random: always a Decision in order or a Refusal, never anything else."""

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.corpus.cases import Case, corpus
from bench.corpus.mutations import LITERALS, mutated
from bench.corpus.scenes import SCENES
from bench.corpus.trial import APPLIED, Trial, attempt

VALID = [case for case in corpus() if case.decision is not None and len(case.text) < 5_000]
TEXTS = [case.text for case in corpus() if len(case.text) < 5_000]
EXAMPLES = settings(max_examples=300, deadline=None)

cases = st.sampled_from(VALID)
scenes = st.sampled_from(sorted(SCENES))
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
literals = st.one_of(
    st.sampled_from(LITERALS),
    json_values.map(json.dumps),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.decimals("-120000", "120000", places=6).map(str),
    st.from_regex(r"-?[0-9]{1,6}(\.[0-9]{1,12})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.text(max_size=12),
)


def in_order(text: str, scene: str) -> Trial:
    trial = attempt(text, SCENES[scene])
    assert (trial.crash, trial.broken) == ("", ()), ascii(text)
    return trial


@EXAMPLES
@given(cases, st.data())
def test_a_reply_that_was_cut_is_never_applied(case: Case, data: st.DataObject) -> None:
    whole = case.text.strip()
    at = data.draw(st.integers(0, len(whole) - 1))
    assert in_order(whole[:at], case.scene).reason == "invalid_json"
    assert in_order(whole[at + 1 :], case.scene).reason == "invalid_json"


@EXAMPLES
@given(cases, scenes, st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_let_anything_broken_through(
    case: Case, scene: str, edits: list[tuple[int, int]]
) -> None:
    data = bytearray(case.text.encode())
    for at, byte in edits:
        data[at % len(data)] = byte
    in_order(data.decode("utf-8", "replace"), scene)
    in_order(data.decode("latin-1"), scene)


@EXAMPLES
@given(cases, scenes, literals, st.data())
def test_any_value_at_any_path_never_lets_anything_broken_through(
    case: Case, scene: str, literal: str, data: st.DataObject
) -> None:
    body = json.loads(case.text)
    holder, key = data.draw(st.sampled_from(places(body)))
    holder[key] = "@@"
    in_order(json.dumps(body).replace('"@@"', literal), scene)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or index of it."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in [(value, key), *places(value[key])]]


sizes = st.decimals("0", "0.7", places=7) | st.decimals("0", "0.0002", places=7)
below, above = st.decimals("79000", "100000", places=2), st.decimals("100000", "121000", places=2)
wild = st.one_of(below, above, st.decimals("0", "1000000", places=4), st.none())
margins = st.one_of(st.none(), st.none(), st.decimals("-1", "70000", places=2))


@settings(max_examples=600, deadline=None)
@given(sizes, st.booleans(), below, above, st.lists(wild, max_size=1), margins, scenes)
def test_numbers_near_the_rules_are_applied_only_in_order(
    size: Any, short: bool, low: Any, high: Any, other_stop: list[Any], margin: Any, scene: str
) -> None:
    """Where most of what is drawn is well formed, so that the rules decide and not the parser."""
    size, stop, take = (-size, high, low) if short else (size, low, high)
    stop = other_stop[0] if other_stop else stop
    plan = "none" if SCENES[scene].prior.decision is None else "replaced"
    first, second = (market.symbol for market in SCENES[scene].market.markets)
    flat = {"target_size": 0, "stop_loss": None, "take_profit": None, "confidence": 0.5, "rationale": ""}
    wanted = {"target_size": "@0", "stop_loss": "@1", "take_profit": "@2", "margin": "@3"}
    text = json.dumps(
        {
            "explanation": "e",
            "invalidation_condition": "i",
            "prior_plan": plan,
            "replaced_because": "r" if plan == "replaced" else None,
            "targets": [{"symbol": first, **flat, **wanted}, {"symbol": second, **flat}],
        }
    )
    for number, value in enumerate((size, stop, take, margin)):
        text = text.replace(f'"@{number}"', "null" if value is None else f"{value:f}")
    assert in_order(text, scene).reason in {APPLIED, "violations"}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TEXTS), scenes, st.integers(0, 2**64))
def test_the_damage_of_the_benchmark_never_lets_anything_broken_through(
    text: str, scene: str, seed: int
) -> None:
    in_order(mutated(text, random.Random(seed), TEXTS), scene)


def test_the_damage_reaches_applied_decisions_and_every_refusal() -> None:
    """Else the tests above would say nothing."""
    draws, reasons = random.Random(7), []
    for _ in range(400):
        case = draws.choice(VALID)
        reasons.append(attempt(mutated(case.text, draws, TEXTS), SCENES[case.scene]).reason)
    assert {APPLIED, "violations", "invalid_json"} == set(reasons)
    assert reasons.count(APPLIED) >= 40
