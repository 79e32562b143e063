"""The shape of a model's reply: strict JSON, strict types, nothing salvaged.

Belongs here: JSON's rules (one object, no duplicate keys, no NaN, no fences), the reply's fields and their
types, limits on length and magnitude.
Does not belong here: what the numbers mean (``core.decision``).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from wonttrade_dagster.core.invalidation import MAX_CONDITIONS
from wonttrade_dagster.core.model import Refusal, Violation

MAX_REPLY_CHARS = 100_000
MAX_EXPLANATION_CHARS = 4_000
MAX_SENTENCE_CHARS = 2_000
MAX_TARGETS = 1_000
MAX_VIOLATIONS = 50
"""Kept of a refusal, which stands in every record and report of its cycle."""
# Far beyond any price, size or margin, and small enough that Decimal arithmetic stays exact.
MAX_EXPONENT = 12
MAX_DIGITS = 40
_OUT_OF_RANGE = Decimal("Infinity")
# What a text that was cut inside a literal, a number or an escape ends with, from where the parser stopped.
_CUT_TOKEN = re.compile(r"n|nu|nul|t|tr|tru|f|fa|fal|fals|-|\.|[eE][-+]?|\\?u[0-9a-fA-F]{0,3}|")

Explanation = Annotated[str, Field(max_length=MAX_EXPLANATION_CHARS)]
Sentence = Annotated[str, Field(max_length=MAX_SENTENCE_CHARS)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TargetReply(_Strict):
    """One target as the model wrote it, before it is brought onto the grid."""

    symbol: Annotated[str, Field(max_length=64)]
    target_size: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    confidence: Decimal
    rationale: Sentence
    margin: Decimal | None = None


class ConditionReply(_Strict):
    """One machine-checkable condition as the model wrote it."""

    symbol: Annotated[str, Field(max_length=64)]
    series: Annotated[str, Field(max_length=64)]
    operator: Annotated[str, Field(max_length=8)]
    value: Decimal
    interval: Annotated[str, Field(max_length=8)] | None = None


class Reply(_Strict):
    """The whole reply.

    ``replaced_because``, ``conditions`` and ``margin`` may be left out, everything else may not.
    """

    explanation: Explanation
    invalidation_condition: Sentence
    prior_plan: Literal["kept", "replaced", "none"]
    replaced_because: Sentence | None = None
    conditions: Annotated[list[ConditionReply], Field(max_length=MAX_CONDITIONS)] | None = None
    targets: Annotated[list[TargetReply], Field(max_length=MAX_TARGETS)]


class _NotStrictJsonError(ValueError):
    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


def parse_reply(text: str) -> Reply | Refusal:
    """The reply as typed fields, or the refusal that says what kind of broken it is.

    Returns:
        ``Refusal("invalid_json", …)`` for anything but exactly one JSON object,
        ``Refusal("violations", …)`` for an object that does not have the schema's shape.
    """
    try:
        body = _load(text)
    except _NotStrictJsonError as error:
        return Refusal("invalid_json", str(error), (Violation(error.rule, "$", str(error)),))
    try:
        reply = Reply.model_validate(body)
    except ValidationError as error:
        return _refusal([_violation(item) for item in error.errors(include_url=False, include_input=False)])
    violations = list(_judge_texts(reply))
    return _refusal(violations) if violations else reply


def kept(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """``MAX_VIOLATIONS`` at most, every broken rule among them, and one that tells how many more."""
    more = len(violations) - MAX_VIOLATIONS
    if more <= 0:
        return tuple(violations)
    # A rule that is broken last must not be hidden behind a thousand offences against another one.
    firsts = set({v.rule: index for index, v in reversed(list(enumerate(violations)))}.values())
    others = [index for index in range(len(violations)) if index not in firsts]
    listed = sorted([*firsts, *others[: MAX_VIOLATIONS - len(firsts)]])
    rest = Violation("more_violations", "$", f"{more} more are not listed")
    return (*(violations[index] for index in listed), rest)


def _refusal(violations: list[Violation]) -> Refusal:
    detail = "; ".join(f"{v.rule} at {v.path}: {v.detail}" for v in violations[:8])
    return Refusal("violations", f"the reply does not follow the schema: {detail}"[:600], kept(violations))


# --- JSON ------------------------------------------------------------------------------------------


def _load(text: str) -> dict[str, Any]:
    if len(text) > MAX_REPLY_CHARS:
        detail = f"the reply has {len(text)} characters, more than {MAX_REPLY_CHARS}"
        raise _NotStrictJsonError("reply_too_long", detail)
    if not text or text.isspace():
        raise _NotStrictJsonError("reply_empty", "the reply is empty")
    try:
        body = _STRICT_JSON.decode(text)
    except json.JSONDecodeError as error:
        raise _NotStrictJsonError(*_explain(text, error)) from error
    except RecursionError as error:
        raise _NotStrictJsonError("nesting_too_deep", "the reply is nested too deeply") from error
    if not isinstance(body, dict):
        raise _NotStrictJsonError("not_an_object", "the reply must be one JSON object")
    return body


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        # Counted once: looking for each name again would take seconds in an object of ten thousand keys.
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _NotStrictJsonError("duplicate_key", f"the key {ascii(twice)[:60]} appears twice in one object")
    return body


def _number(token: str) -> Decimal:
    # int and float would lose digits; a Decimal of a huge exponent would fail in arithmetic. Infinity is
    # what the type check then refuses, with the path of the number.
    if len(token) > MAX_DIGITS:
        return _OUT_OF_RANGE
    try:
        value = Decimal(token)
    except InvalidOperation:
        return _OUT_OF_RANGE
    return value if abs(value.adjusted()) <= MAX_EXPONENT or value == 0 else _OUT_OF_RANGE


def _refuse_constant(token: str) -> Decimal:
    raise _NotStrictJsonError("not_a_number", f"{token} is not JSON: every number must be finite")


_STRICT_JSON = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=_number,
    parse_int=_number,
    parse_constant=_refuse_constant,
)


def _explain(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """Why it is not JSON, in the words that a repair call can use."""
    body = text.strip()
    if body.startswith("```") or (error.msg == "Extra data" and "```" in text[error.pos :]):
        return "markdown_fence", "the reply holds a markdown fence: answer with the bare JSON object"
    if not body.startswith(("{", "[")):
        return "prose_around_json", "the reply does not begin with a JSON object"
    if error.msg == "Extra data":
        return "text_after_json", f"something follows the JSON object at character {error.pos}"
    rest = text.rstrip()[error.pos :]
    if _CUT_TOKEN.fullmatch(rest) or error.msg.startswith("Unterminated string"):
        return "truncated_json", "the JSON object ends too early"
    return "malformed_json", f"not JSON at character {error.pos}: {error.msg}"


# --- types and texts ----------------------------------------------------------------------

_RULES = {
    "missing": "missing_key",
    "extra_forbidden": "unknown_key",
    "literal_error": "unknown_value",
    "string_too_long": "text_too_long",
    "too_long": "too_many_targets",
    "string_unicode": "broken_text",
    "finite_number": "number_out_of_range",
}

# pydantic speaks of Python's types; the model is told what JSON should have held.
_TYPE_NAMES = {
    "TargetReply": "must be an object",
    "ConditionReply": "must be an object",
    "Decimal": "must be a number",
}


def _violation(error: ErrorDetails) -> Violation:
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{ascii(part)[1:-1][:40]}"
    detail = next((words for name, words in _TYPE_NAMES.items() if name in error["msg"]), error["msg"])
    rule = _RULES.get(error["type"], "wrong_type")
    if rule == "too_many_targets" and error["loc"][0] == "conditions":
        rule = "too_many_conditions"
    return Violation(rule, path.lstrip(".") or "$", detail)


def _judge_texts(reply: Reply) -> Iterator[Violation]:
    for name in ("explanation", "invalidation_condition"):
        if not getattr(reply, name).strip():
            yield Violation("text_empty", name, f"{name} must say something")
