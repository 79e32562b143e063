"""The adapter against every fault of the loopback model server, on OpenAI's path and both of Azure's."""

import email.utils
import functools
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from wonttrade_dagster.adapters.llm import OpenAIModel, RetryPolicy
from wonttrade_dagster.core.errors import ModelAnswerError, ModelError, ModelUnavailableError
from wonttrade_dagster.core.model import Prompt
from wonttrade_dagster.sandbox.server import Sandbox

KEY = "sk-canary-0123456789abcdef"
PROMPT = Prompt("you trade", "the market", "trader/v1", "t", "s", "p")
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
DEADLINE_MS = 1_500
SHORT_DEADLINE_MS = 800  # where every test waits for it
MARGIN_SECONDS = 1.0
FOR_EVER = 1_000
ATTEMPTS = 3
QUICK = RetryPolicy(max_attempts=ATTEMPTS, first_wait_seconds=0.02, max_wait_seconds=0.1)


class FaultyServer:
    """The loopback model server, and what a test asks of it."""

    def __init__(self, url: str, client: httpx2.Client) -> None:
        self.url = url
        self.client = client

    def will(self, kind: str, **options: Any) -> None:
        row = {"kind": kind, "times": FOR_EVER} | options
        self.client.post(f"{self.url}/sandbox/faults", json=[row]).raise_for_status()

    def recovers(self) -> None:
        self.client.delete(f"{self.url}/sandbox/faults").raise_for_status()

    @property
    def state(self) -> dict[str, Any]:
        return self.client.get(f"{self.url}/sandbox/state").json()

    @property
    def calls(self) -> int:
        return int(self.state["calls"])


Maker = Callable[..., OpenAIModel]


def openai_model(url: str, **changes: Any) -> OpenAIModel:
    fields = {"provider": "openai", "model": "m", "api_key": KEY, "base_url": f"{url}/v1", "retry": QUICK}
    return OpenAIModel(**(fields | changes))


def azure_v1_model(url: str, **changes: Any) -> OpenAIModel:
    return openai_model(url, base_url=f"{url}/openai/v1/", **changes)


def azure_deployment_model(url: str, **changes: Any) -> OpenAIModel:
    fields = {
        "provider": "azure", "model": "m", "api_key": KEY, "retry": QUICK, "azure_endpoint": url,
        "azure_deployment": "dep", "azure_api_version": "2025-04-01-preview",
    }  # fmt: skip
    return OpenAIModel(**(fields | changes))


PATHS = {
    openai_model: "/v1/chat/completions",
    azure_v1_model: "/openai/v1/chat/completions",
    azure_deployment_model: "/openai/deployments/dep/chat/completions",
}


@pytest.fixture(params=PATHS, ids=["openai", "azure-v1", "azure-deployment"])
def make(request: pytest.FixtureRequest) -> Maker:
    return request.param


@functools.cache
def _model_of(make: Maker, url: str) -> OpenAIModel:
    return make(url)


@pytest.fixture
def model(make: Maker, server: "FaultyServer") -> OpenAIModel:
    """One for the whole file, as in a process that trades on: no fault may spoil the calls after it."""
    return _model_of(make, server.url)


@pytest.fixture(scope="module")
def running() -> Iterator[FaultyServer]:
    with Sandbox(seed=7) as sandbox, httpx2.Client() as client:
        faulty = FaultyServer(sandbox.model_url.removesuffix("/v1"), client)
        openai_model(faulty.url).warm_up()  # so that the deadlines measure the call and not the SDK's import
        yield faulty


@pytest.fixture
def server(running: FaultyServer) -> Iterator[FaultyServer]:
    yield running
    running.recovers()


@pytest.fixture
def dead_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@dataclass(frozen=True)
class Fault:
    """What the server does instead of answering, and what the error says of it."""

    kind: str
    options: dict[str, Any]
    says: str


@dataclass(frozen=True)
class Failed:
    error: ModelError
    seconds: float


def failing_call(model: OpenAIModel, deadline_ms: int = DEADLINE_MS) -> Failed:
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        model.complete(PROMPT, SCHEMA, deadline_ms)
    return Failed(caught.value, time.monotonic() - began)


def threads_gone_within(seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while any(thread.name == "deadline-call" for thread in threading.enumerate()):
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


LEAK = {"message": f"your key {KEY} is to blame"}
IN_TEN_MINUTES = email.utils.formatdate(time.time() + 600, usegmt=True)
RETRIED = {
    "reset": ("reset", {}, "cannot be reached"),
    "answer-lost": ("answer_lost", {}, "cannot be reached"),
    "429": ("429", LEAK, "HTTP 429"),
    "429-retry-after": ("429", LEAK | {"retry_after": 0.05}, "HTTP 429"),
    "500": ("500", LEAK, "HTTP 500"),
    "502-html": ("502", {}, "HTTP 502"),
    "408": ("error", LEAK | {"status": 408}, "HTTP 408"),
}
NOT_RETRIED = {
    "insufficient-quota": ("insufficient_quota", LEAK, "no credit"),
    "quota-retry-after": ("insufficient_quota", LEAK | {"retry_after": 0.05}, "no credit"),
    "429-retry-after-30-s": ("429", LEAK | {"retry_after": "30"}, "HTTP 429"),
    "429-retry-after-date": ("429", LEAK | {"retry_after": IN_TEN_MINUTES}, "HTTP 429"),
    "400": ("error", LEAK, "HTTP 400"),
    "401": ("error", LEAK | {"status": 401, "code": "invalid_api_key"}, "refused the API key"),
    "403": ("error", LEAK | {"status": 403}, "refused the API key"),
    "404": ("error", LEAK | {"status": 404, "code": "model_not_found"}, "HTTP 404"),
}
NO_COMPLETION = {
    "html-200": ("html200", {}, "not JSON"),
    "wrong-shape": ("wrong_shape", {}, "no chat completion"),
    "cut-json": ("malformed", {}, "not JSON"),
}
ENDLESS = {
    "hang": ("hang", {}, "did not"),
    "trickle": ("trickle", {"interval_ms": 50}, "did not finish"),
    "trickle-head": ("trickle_head", {"interval_ms": 50}, "did not finish"),
}


def faults(table: dict[str, tuple[str, dict[str, Any], str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", [Fault(*row) for row in table.values()], ids=table.keys())


def assert_no_secret(error: ModelError) -> None:
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error)


def failing_under(
    fault: Fault,
    model: OpenAIModel,
    server: FaultyServer,
    *,
    error: type[ModelError] = ModelUnavailableError,
    calls: int = 1,
    deadline_ms: int = DEADLINE_MS,
) -> Failed:
    """A call under a lasting fault ends in that error after so many requests, and shows no secret."""
    server.will(fault.kind, **fault.options)
    before = server.calls
    failed = failing_call(model, deadline_ms)
    assert type(failed.error) is error
    assert fault.says in str(failed.error)
    assert server.calls - before == calls
    assert_no_secret(failed.error)
    return failed


def test_each_provider_is_asked_on_its_own_path(
    make: Maker, model: OpenAIModel, server: FaultyServer
) -> None:
    assert model.complete(PROMPT, SCHEMA, DEADLINE_MS).model == "loopback-rule"
    assert server.state["last_path"] == PATHS[make]


@faults(RETRIED)
def test_a_transient_fault_that_lasts_is_given_up_after_the_last_attempt(
    model: OpenAIModel, server: FaultyServer, fault: Fault
) -> None:
    failed = failing_under(fault, model, server, calls=ATTEMPTS)
    assert failed.seconds < DEADLINE_MS / 1000


@faults(RETRIED)
def test_a_transient_fault_that_passes_is_outlived(
    model: OpenAIModel, server: FaultyServer, fault: Fault
) -> None:
    server.will(fault.kind, times=ATTEMPTS - 1, **fault.options)
    before = server.calls
    assert model.complete(PROMPT, SCHEMA, DEADLINE_MS).finish_reason == "stop"
    assert server.calls - before == ATTEMPTS


@faults(NOT_RETRIED)
def test_a_fault_that_waiting_does_not_cure_in_time_is_not_retried(
    model: OpenAIModel, server: FaultyServer, fault: Fault
) -> None:
    failed = failing_under(fault, model, server)
    assert failed.seconds < MARGIN_SECONDS


@faults(NO_COMPLETION)
def test_an_answer_that_is_no_completion_is_an_error_of_its_own_and_is_not_retried(
    model: OpenAIModel, server: FaultyServer, fault: Fault
) -> None:
    failed = failing_under(fault, model, server, error=ModelAnswerError)
    assert failed.seconds < MARGIN_SECONDS


@faults(ENDLESS)
def test_an_answer_without_end_is_cut_off_at_the_deadline(
    model: OpenAIModel, server: FaultyServer, fault: Fault
) -> None:
    failed = failing_under(fault, model, server, deadline_ms=SHORT_DEADLINE_MS)
    seconds = SHORT_DEADLINE_MS / 1000
    assert seconds - 0.05 <= failed.seconds < seconds + MARGIN_SECONDS
    assert threads_gone_within(3)


def test_a_server_that_is_not_there_is_named(make: Maker, dead_url: str) -> None:
    failed = failing_call(make(dead_url))
    assert type(failed.error) is ModelUnavailableError
    assert f"{dead_url.removeprefix('http://')} cannot be reached" in str(failed.error)
    assert failed.seconds < DEADLINE_MS / 1000
    assert_no_secret(failed.error)


def test_a_server_that_refuses_connections_for_a_while_is_reached_again(
    make: Maker, server: FaultyServer
) -> None:
    server.will("refused", times=1, duration_ms=300)
    before = server.calls
    patient = RetryPolicy(max_attempts=20, first_wait_seconds=0.02, max_wait_seconds=0.1)
    began = time.monotonic()
    assert make(server.url, retry=patient).complete(PROMPT, SCHEMA, DEADLINE_MS).finish_reason == "stop"
    assert time.monotonic() - began >= 0.3
    assert server.calls - before == 2


def test_the_waits_grow_and_the_last_one_that_fits_is_the_last(make: Maker, server: FaultyServer) -> None:
    server.will("500")
    before = server.calls
    growing = RetryPolicy(max_attempts=100, first_wait_seconds=0.2, max_wait_seconds=8.0)
    failed = failing_call(make(server.url, retry=growing))
    # With jitter the attempts begin after 0, 0.2-0.4, 0.6-1.0 and 1.4-2.0 s.
    assert 3 <= server.calls - before <= 4
    assert 0.6 <= failed.seconds < DEADLINE_MS / 1000 + MARGIN_SECONDS


def test_a_wait_that_the_server_asks_for_replaces_our_own(make: Maker, server: FaultyServer) -> None:
    server.will("429", times=1, retry_after=0.4)
    slow = RetryPolicy(max_attempts=2, first_wait_seconds=60.0, max_wait_seconds=60.0)
    began = time.monotonic()
    make(server.url, retry=slow).complete(PROMPT, SCHEMA, DEADLINE_MS)
    assert 0.4 <= time.monotonic() - began < DEADLINE_MS / 1000
