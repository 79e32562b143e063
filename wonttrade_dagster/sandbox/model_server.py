"""A loopback OpenAI-compatible chat server, for the official ``openai`` SDK (OpenAI and Azure paths).

Belongs here: the chat completion's HTTP form and the ways in which it can go wrong on demand.
Does not belong here: what is answered (``rule_model``).

Beside the transport faults (``faults``) it plays: ``invalid_json`` (content that is no JSON), ``malformed``
(a body that is no JSON), ``refusal``, ``length`` (cut content), ``wrong_shape`` (a body without choices),
``wrong_schema`` (content with other keys), ``reply`` (content given as ``text``).
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wonttrade_dagster.sandbox.control import faults_endpoint
from wonttrade_dagster.sandbox.faults import TRANSPORT_KINDS, FaultList, act_out, needs_answer
from wonttrade_dagster.sandbox.rule_model import MODEL_NAME, reply_text

CONTENT_KINDS = frozenset(
    {"invalid_json", "malformed", "refusal", "length", "wrong_shape", "wrong_schema", "reply"}
)
CHARACTERS_PER_TOKEN = 4
REFUSAL = "I can't help with that."

Answerer = Callable[[str], str]
"""From the last user message to the reply's text."""


class ModelServer:
    """State of one model server: how often it was asked, what last, and what is to go wrong."""

    def __init__(self, answerer: Answerer = reply_text, latency_ms: int = 0, name: str = MODEL_NAME) -> None:
        self.faults = FaultList(TRANSPORT_KINDS | CONTENT_KINDS)
        self._answerer = answerer
        self._latency_ms = latency_ms
        self._name = name
        self._calls = 0
        self._last_request: Any = None

    def app(self) -> Starlette:
        """The ASGI application."""
        azure = "/openai/deployments/{deployment}/chat/completions"
        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/openai/v1/chat/completions", self._complete, methods=["POST"]),
            Route(azure, self._complete, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/sandbox/faults", faults_endpoint(self.faults), methods=["POST", "DELETE", "GET"]),
            Route("/sandbox/state", self._state),
        ]
        return Starlette(routes=routes)

    async def _complete(self, request: Request) -> Response:
        refused = _refuse(request)
        body = await _json_body(request)
        problem = refused or _problem(body)
        if problem is not None or body is None:
            return problem or _error(400, "We could not parse the JSON body of your request.")
        self._calls += 1
        self._last_request = body
        number = self._calls
        fault = self.faults.take("chat", "completions")
        await asyncio.sleep(self._latency_ms / 1000)
        if fault is not None and fault.kind in TRANSPORT_KINDS - {"reply"}:
            answer = self._answer(body, number, "", {}) if needs_answer(fault) else Response()
            return await act_out(fault, request.scope, answer)
        kind, options = (fault.kind, fault.options) if fault is not None else ("", {})
        return self._answer(body, number, kind, options)

    async def _models(self, _request: Request) -> Response:
        row = {"id": self._name, "object": "model", "created": 0, "owned_by": "wonttrade-sandbox"}
        return JSONResponse({"object": "list", "data": [row]})

    async def _state(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "model": self._name,
                "calls": self._calls,
                "last_request": self._last_request,
                "faults": self.faults.waiting(),
            }
        )

    def _answer(self, body: dict[str, Any], number: int, kind: str, options: Mapping[str, Any]) -> Response:
        if kind == "malformed":
            return Response('{"id": "chatcmpl-', media_type="application/json")
        if kind == "wrong_shape":
            return JSONResponse({"object": "chat.completion", "model": self._name})
        asked = _last_user_text(body)
        content = _content(kind, options) if kind in _SCRIPTED else self._answerer(asked)
        if kind == "length":
            content = content[: len(content) // 2]
        return JSONResponse(self._completion(body, number, kind, content), headers=_request_id(number))

    def _completion(self, body: dict[str, Any], number: int, kind: str, content: str) -> dict[str, Any]:
        is_refusal = kind == "refusal"
        message = {
            "role": "assistant",
            "content": None if is_refusal else content,
            "refusal": REFUSAL if is_refusal else None,
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": "length" if kind == "length" else "stop",
        }
        return {
            "id": f"chatcmpl-loopback-{number:08d}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._name,
            "choices": [choice],
            "usage": _usage(body, content),
            "system_fingerprint": f"{MODEL_NAME}-1",
        }


_SCRIPTED = frozenset({"invalid_json", "wrong_schema", "reply", "refusal"})


def _content(kind: str, options: Mapping[str, Any]) -> str:
    texts = {
        "invalid_json": "I would go long, {because",
        "wrong_schema": '{"position": "long"}',
        "refusal": "",
    }
    return str(options.get("text", "")) if kind == "reply" else texts[kind]


def _request_id(number: int) -> dict[str, str]:
    return {"x-request-id": f"req_loopback_{number:08d}"}


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _usage(body: Mapping[str, Any], content: str) -> dict[str, Any]:
    asked = sum(_tokens(_message_text(message)) for message in body["messages"])
    answered = _tokens(content)
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _last_user_text(body: Mapping[str, Any]) -> str:
    texts = [_message_text(message) for message in body["messages"] if message.get("role") == "user"]
    return texts[-1] if texts else ""


async def _json_body(request: Request) -> dict[str, Any] | None:
    try:
        body = json.loads(await request.body())
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refuse(request: Request) -> Response | None:
    if "authorization" in request.headers or "api-key" in request.headers:
        return None
    return _error(401, "You didn't provide an API key.", code="invalid_api_key")


def _problem(body: Mapping[str, Any] | None) -> Response | None:
    if body is None:
        return None
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return _error(400, "'messages' must be a list of at least one message object.", param="messages")
    if body.get("stream"):
        return _error(400, "The loopback model does not stream.", param="stream")
    return None


def _error(status: int, message: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": body}, status_code=status)
