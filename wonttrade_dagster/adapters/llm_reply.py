"""From the body of an HTTP answer to a ``ModelReply``.

Belongs here: what counts as a chat completion. Does not belong here: what its text means.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from wonttrade_dagster.core.errors import ModelAnswerError
from wonttrade_dagster.core.model import ModelReply, TokenUsage

MAX_BODY_CHARS = 4_000_000
"""A chat completion has some kilobytes; more than this is not kept in a record."""

_SHOWN_CHARS = 80
# More than any call costs; a number without end would fit into no column of the ledger.
_MAX_TOKENS = 2**53


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    id: str | None = None
    model: str = ""
    system_fingerprint: str | None = None
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with status 200, unjudged."""

    body: str
    request_id: str | None
    sent_at_ms: int
    received_at_ms: int


def decoded(body: bytes, server: str) -> str:
    """The body as text: JSON is UTF-8, whatever character set (or codec that is none) the header names.

    Raises:
        ModelAnswerError: it is not UTF-8.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        shown = ascii(body[:_SHOWN_CHARS])
        raise ModelAnswerError(f"{server} answered with something that is not UTF-8: {shown}") from None


def reply_from(answer: Answer, server: str) -> ModelReply:
    """The chat completion in ``answer``.

    A refusal by the model comes back with ``finish_reason`` ``refusal`` and its words as text.

    Raises:
        ModelAnswerError: the body is not JSON (a web page, say), has another shape, or is far too long.
    """
    body = _object(answer.body, server)
    try:
        completion = _Completion.model_validate(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise ModelAnswerError(f"{server} answered with JSON that is no chat completion: {where}") from None
    choice = completion.choices[0]
    refusal = choice.message.refusal
    return ModelReply(
        text=refusal or choice.message.content or "",
        model=completion.model,
        request_id=answer.request_id or completion.id,
        finish_reason="refusal" if refusal else choice.finish_reason or "",
        usage=_usage(body.get("usage")),
        sent_at_ms=answer.sent_at_ms,
        received_at_ms=answer.received_at_ms,
        fingerprint=completion.system_fingerprint,
    )


def _object(text: str, server: str) -> dict[str, Any]:
    if len(text) > MAX_BODY_CHARS:
        raise ModelAnswerError(f"{server} answered with {len(text)} characters, which is no chat completion")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        shown = ascii(text[:_SHOWN_CHARS])
        raise ModelAnswerError(f"{server} answered with something that is not JSON: {shown}") from None
    if _has_half_a_surrogate(body):
        raise ModelAnswerError(f"{server} answered with text that is not Unicode: half a surrogate pair")
    if not isinstance(body, dict):
        raise ModelAnswerError(f"{server} answered with JSON that is no chat completion")
    return body


def _has_half_a_surrogate(body: object) -> bool:
    # JSON can spell one as an escape; no file, database or log would take it later.
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _usage(usage: Any) -> TokenUsage:  # noqa: ANN401 (whatever the server sent)
    return TokenUsage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_count(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _count(value: Any, *path: str) -> int:  # noqa: ANN401 (whatever the server sent)
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return value if is_count else 0
