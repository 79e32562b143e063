"""What can go wrong with the loopback model on demand, beside the transport faults (``faults``).

Belongs here: the API's error answers, and content that nobody can use.
Does not belong here: when it happens (``faults``), a good answer (``model_server``).

Errors, as OpenAI's API words them: ``429``, ``500``, ``insufficient_quota`` (a 429 that waiting does not
cure) and ``error`` for any other ``status``. Their options: ``retry_after`` (seconds or an HTTP date),
``code`` and ``message``.

Content: ``invalid_json`` (content that is no JSON), ``malformed`` (a body that is no JSON), ``refusal``,
``length`` (cut content), ``wrong_shape`` (a body without choices), ``wrong_schema`` (content with other
keys), ``reply`` (content given as ``text``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.responses import JSONResponse

from wonttrade_dagster.sandbox.faults import TRANSPORT_KINDS, Fault

CONTENT_KINDS = frozenset(
    {"invalid_json", "malformed", "refusal", "length", "wrong_shape", "wrong_schema", "reply"}
)


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error answer of the API."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """As OpenAI sends it."""
        body = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return JSONResponse({"error": body}, status_code=self.status, headers=dict(headers or {}))


_ERRORS: Mapping[str, ApiError] = MappingProxyType(
    {
        "429": ApiError(429, "Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
        "500": ApiError(500, "The server had an error while processing your request.", "server_error"),
        "insufficient_quota": ApiError(
            429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"
        ),
        "error": ApiError(400, "The request was refused."),
    }
)
ERROR_KINDS = frozenset(_ERRORS)
MODEL_TRANSPORT_KINDS = TRANSPORT_KINDS - ERROR_KINDS - CONTENT_KINDS
MODEL_KINDS = MODEL_TRANSPORT_KINDS | ERROR_KINDS | CONTENT_KINDS

_SCRIPTED: Mapping[str, str] = MappingProxyType(
    {"invalid_json": "I would go long, {because", "wrong_schema": '{"position": "long"}', "refusal": ""}
)


def error_response(fault: Fault, headers: Mapping[str, str]) -> JSONResponse:
    """The error that a fault of one of ``ERROR_KINDS`` asks for, sent with ``headers``."""
    usual, options = _ERRORS[fault.kind], fault.options
    error = ApiError(
        status=int(options.get("status", usual.status)),
        message=str(options.get("message", usual.message)),
        type=usual.type,
        code=options.get("code", usual.code),
    )
    wait = {"retry-after": str(options["retry_after"])} if "retry_after" in options else {}
    return error.response({**headers, **wait})


def scripted_content(kind: str, options: Mapping[str, Any]) -> str | None:
    """The content that a fault puts into the model's mouth; None when the model speaks for itself."""
    return str(options.get("text", "")) if kind == "reply" else _SCRIPTED.get(kind)
