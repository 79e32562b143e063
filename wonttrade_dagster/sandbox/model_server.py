"""A loopback OpenAI-compatible chat server, for the official ``openai`` SDK (OpenAI and Azure paths).

Belongs here: the chat completion's HTTP form.
Does not belong here: what is answered (``rule_model``), what can go wrong on demand (``model_faults``).

Served are OpenAI's path and both of Azure's: by deployment and ``api-version``, and ``/openai/v1/``.
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
from wonttrade_dagster.sandbox.faults import FaultList, act_out, needs_answer
from wonttrade_dagster.sandbox.model_faults import (
    ERROR_KINDS,
    MODEL_KINDS,
    MODEL_TRANSPORT_KINDS,
    ApiError,
    error_response,
    scripted_content,
)
from wonttrade_dagster.sandbox.rule_model import MODEL_NAME, reply_text

CHARACTERS_PER_TOKEN = 4
AZURE_DEPLOYMENT_PATH = "/openai/deployments/{deployment}/chat/completions"
REFUSAL = "I can't help with that."

Answerer = Callable[[str], str]
"""From the last user message to the reply's text."""


class ModelServer:
    """State of one model server: how often it was asked, what last, and what is to go wrong."""

    def __init__(self, answerer: Answerer = reply_text, latency_ms: int = 0, name: str = MODEL_NAME) -> None:
        self.faults = FaultList(MODEL_KINDS)
        self._answerer = answerer
        self._latency_ms = latency_ms
        self._name = name
        self._calls = 0
        self._last_request: Any = None
        self._last_path = ""

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/openai/v1/chat/completions", self._complete, methods=["POST"]),
            Route(AZURE_DEPLOYMENT_PATH, self._complete_deployment, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/sandbox/faults", faults_endpoint(self.faults), methods=["POST", "DELETE", "GET"]),
            Route("/sandbox/state", self._state),
        ]
        return Starlette(routes=routes)

    async def _complete_deployment(self, request: Request) -> Response:
        if not request.query_params.get("api-version"):
            return ApiError(404, "Resource not found", code="404").response()
        return await self._complete(request)

    async def _complete(self, request: Request) -> Response:
        refused = _refuse(request)
        body = await _json_body(request)
        problem = refused or _problem(body)
        if problem is not None or body is None:
            return problem or _NO_JSON.response()
        self._calls += 1
        self._last_request = body
        self._last_path = request.url.path
        number = self._calls
        fault = self.faults.take("chat", "completions")
        await asyncio.sleep(self._latency_ms / 1000)
        if fault is not None and fault.kind in ERROR_KINDS:
            return error_response(fault, _request_id(number))
        if fault is not None and fault.kind in MODEL_TRANSPORT_KINDS:
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
                "last_path": self._last_path,
                "last_request": self._last_request,
                "faults": self.faults.waiting(),
            }
        )

    def _answer(self, body: dict[str, Any], number: int, kind: str, options: Mapping[str, Any]) -> Response:
        if kind == "malformed":
            return Response('{"id": "chatcmpl-', media_type="application/json")
        if kind == "wrong_shape":
            return JSONResponse({"object": "chat.completion", "model": self._name})
        scripted = scripted_content(kind, options)
        content = self._answerer(_last_user_text(body)) if scripted is None else scripted
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


_NO_JSON = ApiError(400, "We could not parse the JSON body of your request.")
_NO_KEY = ApiError(401, "You didn't provide an API key.", code="invalid_api_key")
_NO_MESSAGES = ApiError(400, "'messages' must be a list of at least one message object.", param="messages")
_NO_STREAM = ApiError(400, "The loopback model does not stream.", param="stream")


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
    return _NO_KEY.response()


def _problem(body: Mapping[str, Any] | None) -> Response | None:
    if body is None:
        return None
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return _NO_MESSAGES.response()
    if body.get("stream"):
        return _NO_STREAM.response()
    return None
