import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from wonttrade_dagster.adapters.llm import OpenAIModel, RetryPolicy
from wonttrade_dagster.core.errors import ConfigurationError, ModelAnswerError, ModelUnavailableError
from wonttrade_dagster.core.model import Prompt

KEY = "sk-canary-0123456789abcdef"
PROMPT = Prompt("you trade", "the market", "trader/v1", "t", "s", "p")
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
QUICK = RetryPolicy(max_attempts=4, first_wait_seconds=0.01, max_wait_seconds=0.05)


def completion(content: str = "{}", finish: str = "stop", **changes: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    usage = {
        "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2},
    }  # fmt: skip
    body = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-2026", "choices": [choice]}
    return body | {"usage": usage, "system_fingerprint": "fp"} | changes


class LoopbackServer(ThreadingHTTPServer):
    """Plays a list of answers, one a request, the last one for ever; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answers: Sequence["Answer"]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests, self.stopping = list(answers), [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def next_answer(self) -> "Answer":
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.server.next_answer()(self)

    def log_message(self, *args: object) -> None:
        pass


def sends(
    body: object, status: int = 200, content_type: str = "application/json", **headers: str
) -> "Answer":
    text = body if isinstance(body, str) else json.dumps(body)

    def answer(handler: "Handler") -> None:
        handler.send_response(status)
        handler.send_header("content-type", content_type)
        handler.send_header("content-length", str(len(text.encode())))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def trickles_body(handler: "Handler") -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.stopping.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def speaks_no_http(handler: "Handler") -> None:
    handler.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    handler.connection.close()


def breaks_off(handler: "Handler") -> None:
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.connection.close()


@contextmanager
def serving(*answers: Answer) -> Iterator["LoopbackServer"]:
    server = LoopbackServer(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()


def openai_model(server: "LoopbackServer", **changes: object) -> OpenAIModel:
    fields = {"provider": "openai", "model": "m", "api_key": KEY, "base_url": server.url, "retry": QUICK}
    return OpenAIModel(**(fields | changes))


def azure_model(server: "LoopbackServer", **changes: object) -> OpenAIModel:
    fields = {
        "provider": "azure", "model": "m", "api_key": KEY, "retry": QUICK, "azure_deployment": "dep",
        "azure_endpoint": server.url.removesuffix("/v1"), "azure_api_version": "2025-04-01-preview",
    }  # fmt: skip
    return OpenAIModel(**(fields | changes))


PROVIDERS = pytest.mark.parametrize("make", [openai_model, azure_model], ids=["openai", "azure"])


@pytest.fixture(scope="module", autouse=True)
def sdk_imported() -> None:
    """So that measured deadlines measure the call and not the import."""
    with serving(sends(completion())) as server:
        openai_model(server).warm_up()


# --- the request and a good answer -----------------------------------------------------------------


def test_a_completion_comes_back_with_everything_the_server_said() -> None:
    with serving(sends(completion('{"a":1}'), x_request_id="req-9")) as server:
        before = time.time_ns() // 1_000_000
        reply = openai_model(server).complete(PROMPT, SCHEMA, 5_000)
    assert (reply.text, reply.model, reply.request_id) == ('{"a":1}', "m-2026", "req-9")
    assert (reply.finish_reason, reply.fingerprint) == ("stop", "fp")
    usage = reply.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 7)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (3, 2)
    assert before <= reply.sent_at_ms <= reply.received_at_ms


def test_the_request_carries_the_strict_schema_and_both_messages() -> None:
    with serving(sends(completion())) as server:
        openai_model(server).complete(PROMPT, SCHEMA, 5_000)
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["response_format"]["json_schema"] == {"name": "decision", "strict": True, "schema": SCHEMA}
    assert [m["content"] for m in body["messages"]] == ["you trade", "the market"]
    assert body["temperature"] == 0.0
    assert set(body) == {"model", "messages", "response_format", "stream", "temperature"}


def test_optional_parameters_are_sent_only_when_they_are_given() -> None:
    with serving(sends(completion())) as server:
        openai_model(
            server,
            temperature=None,
            seed=7,
            max_output_tokens=99,
            reasoning_effort="low",
            service_tier="flex",
        ).complete(PROMPT, SCHEMA, 5_000)
    body = server.requests[0][2]
    assert "temperature" not in body
    assert (body["seed"], body["max_tokens"]) == (7, 99)
    assert (body["reasoning_effort"], body["service_tier"]) == ("low", "flex")


@pytest.mark.parametrize(
    ("make", "changes", "parameter"),
    [
        (openai_model, {}, "max_tokens"),
        (openai_model, {"token_limit_parameter": "max_completion_tokens"}, "max_completion_tokens"),
        (azure_model, {}, "max_completion_tokens"),
    ],
)
def test_the_token_limit_goes_under_the_name_that_the_server_understands(
    make: Callable[..., OpenAIModel], changes: dict[str, str | None], parameter: str
) -> None:
    with serving(sends(completion())) as server:
        make(server, max_output_tokens=50, **changes).complete(PROMPT, SCHEMA, 5_000)
    assert server.requests[0][2][parameter] == 50


def test_azure_is_asked_by_deployment_with_its_own_key_header() -> None:
    with serving(sends(completion())) as server:
        azure_model(server).complete(PROMPT, SCHEMA, 5_000)
    path, headers, _ = server.requests[0]
    assert path == "/openai/deployments/dep/chat/completions?api-version=2025-04-01-preview"
    assert headers["api-key"] == KEY
    assert "authorization" not in headers


def test_a_refusal_by_the_model_is_a_finish_reason() -> None:
    refused = completion()
    refused["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I will not."}
    with serving(sends(refused)) as server:
        reply = openai_model(server).complete(PROMPT, SCHEMA, 5_000)
    assert (reply.finish_reason, reply.text) == ("refusal", "I will not.")


def test_a_missing_usage_counts_as_zero() -> None:
    with serving(sends(completion(usage=None)), sends(completion(usage={"prompt_tokens": "many"}))) as server:
        model = openai_model(server)
        for _ in range(2):
            assert model.complete(PROMPT, SCHEMA, 5_000).usage.prompt_tokens == 0


# --- answers that are no completion ----------------------------------------------------------------


@PROVIDERS
@pytest.mark.parametrize(
    "answer",
    [
        sends("<html></html>"),
        sends(""),
        sends("[" * 200_000),
        sends([1, 2]),
        sends({"error": {"message": "no"}}),
        sends(completion(choices=None)),
        sends(completion(choices=[])),
        sends(completion(choices=[{"message": None}])),
        sends(completion(choices=[{"message": {"content": ["a list"]}}])),
        sends(completion(choices=[{"message": {"content": "\ud800"}}])),
        sends(completion(choices=7)),
        sends(completion("x" * 4_100_000)),
    ],
    ids=[
        "html-as-json", "empty", "deep", "array", "error-object", "choices-null",
        "choices-empty", "message-null", "content-list", "half-a-surrogate", "choices-number", "enormous",
    ],
)  # fmt: skip
def test_an_answer_that_is_no_completion_is_named_as_such(
    make: Callable[..., OpenAIModel], answer: Answer
) -> None:
    with serving(answer) as server, pytest.raises(ModelAnswerError, match=r"127\.0\.0\.1"):
        make(server).complete(PROMPT, SCHEMA, 5_000)
    assert len(server.requests) == 1


# --- faults that test_llm_faults.py does not have --------------------------------------------------


@PROVIDERS
@pytest.mark.parametrize(
    "fault",
    [
        breaks_off,
        speaks_no_http,
        sends("no gzip at all", content_encoding="gzip"),
    ],
    ids=["cut-body", "no-http", "bad-gzip"],
)
def test_an_answer_that_is_no_whole_http_is_retried(make: Callable[..., OpenAIModel], fault: Answer) -> None:
    with serving(fault, fault, sends(completion("done"))) as server:
        assert make(server).complete(PROMPT, SCHEMA, 5_000).text == "done"
    assert len(server.requests) == 3


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with serving(sends("", 307, location="http://127.0.0.1:9/elsewhere")) as server:
        with pytest.raises(ModelUnavailableError, match="HTTP 307"):
            openai_model(server).complete(PROMPT, SCHEMA, 5_000)
        assert len(server.requests) == 1


@pytest.mark.parametrize("wait", ["nan", "inf", "soon", "-5"])
def test_a_nonsensical_wait_does_not_harm(wait: str) -> None:
    with serving(sends({}, 429, retry_after=wait), sends(completion("done"))) as server:
        assert openai_model(server).complete(PROMPT, SCHEMA, 5_000).text == "done"


# --- the deadline ----------------------------------------------------------------------------------


def test_the_call_after_one_that_was_cut_off_works() -> None:
    with serving(trickles_body, sends(completion("done"))) as server:
        model = openai_model(server)
        with pytest.raises(ModelUnavailableError):
            model.complete(PROMPT, SCHEMA, 300)
        assert model.complete(PROMPT, SCHEMA, 5_000).text == "done"


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    with serving(sends(completion())) as server:
        with pytest.raises(ModelUnavailableError):
            openai_model(server).complete(PROMPT, SCHEMA, 0)
        time.sleep(0.1)
        assert server.requests == []


# --- the environment and the key -------------------------------------------------------------------

HOSTILE_ENVIRONMENT = {
    "OPENAI_API_KEY": "env-key", "OPENAI_ADMIN_KEY": "env-admin", "OPENAI_BASE_URL": "http://127.0.0.1:9/env",
    "OPENAI_ORG_ID": "env-org", "OPENAI_PROJECT_ID": "env-project", "OPENAI_WEBHOOK_SECRET": "env-hook",
    "OPENAI_CUSTOM_HEADERS": "X-Env: env-custom\nAuthorization: Bearer env-auth\napi-key: env-custom-key",
    "OPENAI_API_TYPE": "azure", "OPENAI_API_VERSION": "env-version",
    "AZURE_OPENAI_API_KEY": "env-azure", "AZURE_OPENAI_AD_TOKEN": "env-token",
    "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9/env", "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9",
}  # fmt: skip


@PROVIDERS
def test_nothing_of_the_environment_reaches_the_request(
    make: Callable[..., OpenAIModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(sends(completion("done"))) as server:
        assert make(server).complete(PROMPT, SCHEMA, 5_000).text == "done"
    path, headers, body = server.requests[0]
    assert "env-" not in json.dumps([path, headers, body])
    assert KEY in headers.get("authorization", "") + headers.get("api-key", "")
    assert not {"openai-organization", "openai-project", "x-env"} & set(headers)


def test_nothing_of_the_environment_is_read_while_the_sdk_is_imported() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/adapters')\n"
        "from test_llm import *\n"
        "with serving(sends(completion('done'))) as server:\n"
        "    assert openai_model(server).complete(PROMPT, SCHEMA, 20_000).text == 'done'\n"
        "assert 'env-' not in json.dumps(server.requests)\n"
    )
    environment = os.environ | HOSTILE_ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@PROVIDERS
def test_the_key_is_shown_nowhere(make: Callable[..., OpenAIModel], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plain_key = "canary-of-another-shape"
    leak = {"error": {"message": f"bad {plain_key}, {KEY} and sk-proj-****wxyz", "code": "x"}}
    with serving(sends(leak, 500)) as server:
        model = make(server, api_key=plain_key)
        with pytest.raises(ModelUnavailableError) as caught:
            model.complete(PROMPT, SCHEMA, 2_000)
    shown = f"{model!r} {model} {caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert plain_key not in shown
    assert KEY not in str(caught.value)
    assert "wxyz" not in shown
    assert caplog.text


# --- configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"api_key": ""}, "API key"),
        ({"api_key": "sk-ünicode"}, "API key"),
        ({"api_key": "sk-line\nx: y"}, "API key"),
        ({"base_url": "localhost:8080/v1"}, "llm.base_url"),
        ({"base_url": "http://[half"}, "llm.base_url"),
        ({"base_url": "ftp://host/v1"}, "llm.base_url"),
        ({"base_url": None}, "llm.base_url"),
        ({"provider": "other"}, "openai or azure"),
        ({"provider": "azure", "azure_endpoint": "http://x"}, "llm.azure.deployment, llm.azure.api_version"),
    ],
)
def test_an_incomplete_configuration_is_refused(changes: dict[str, str | None], says: str) -> None:
    fields = {"provider": "openai", "model": "m", "api_key": KEY, "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(ConfigurationError, match=says):
        OpenAIModel(**(fields | changes))


def test_the_sdk_is_imported_only_when_a_model_is_called() -> None:
    code = "import sys, wonttrade_dagster.adapters.llm; assert 'openai' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
