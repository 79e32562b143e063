"""The loopback model server, through the official openai SDK."""

import json
from typing import Any

import openai
import pytest
import requests
from openai import AzureOpenAI, OpenAI
from sandbox_samples import Json

from wonttrade_dagster.sandbox.rule_model import DISCLOSURE
from wonttrade_dagster.sandbox.server import Sandbox

PROMPT = "Trade.\n```json\n" + json.dumps({"cycle": "now", "symbols": {"BTC": {}}}) + "\n```"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "decision", "strict": True, "schema": {}}}


@pytest.fixture
def client(sandbox: Sandbox) -> OpenAI:
    return OpenAI(base_url=sandbox.model_url, api_key="none", max_retries=0, timeout=2)


def ask(client: OpenAI, **more: Json) -> Json:
    messages = [{"role": "system", "content": "You trade."}, {"role": "user", "content": PROMPT}]
    return client.chat.completions.create(model="any", messages=messages, response_format=SCHEMA, **more)


def faults(sandbox: Sandbox, *rows: dict[str, Any]) -> None:
    root = sandbox.model_url.removesuffix("/v1")
    assert requests.post(f"{root}/sandbox/faults", json=list(rows), timeout=5).status_code == 200


def state(sandbox: Sandbox) -> Json:
    return requests.get(sandbox.model_url.removesuffix("/v1") + "/sandbox/state", timeout=5).json()


def test_the_reply_is_json_by_the_schema_and_says_that_it_is_no_model(
    client: OpenAI, sandbox: Sandbox
) -> None:
    completion = ask(client, temperature=0.0, seed=7)
    reply = json.loads(completion.choices[0].message.content)
    assert DISCLOSURE in reply["explanation"]
    assert reply["targets"][0]["symbol"] == "BTC"
    assert completion.model == "loopback-rule"
    assert completion.choices[0].finish_reason == "stop"
    assert completion._request_id == "req_loopback_00000001"
    usage = completion.usage
    assert usage.prompt_tokens == -(-len("You trade.") // 4) - (-len(PROMPT) // 4)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    seen = state(sandbox)
    assert seen["calls"] == 1
    assert seen["last_request"]["seed"] == 7
    assert seen["last_request"]["messages"][1]["content"] == PROMPT


def test_azure_is_served_on_its_own_path_with_its_own_key(sandbox: Sandbox) -> None:
    azure = AzureOpenAI(
        azure_endpoint=sandbox.model_url.removesuffix("/v1"),
        api_key="none",
        api_version="2025-04-01-preview",
        azure_deployment="mine",
        max_retries=0,
    )
    assert DISCLOSURE in ask(azure).choices[0].message.content


def test_azures_path_by_deployment_wants_an_api_version(sandbox: Sandbox) -> None:
    url = sandbox.model_url.removesuffix("/v1") + "/openai/deployments/mine/chat/completions"
    refused = requests.post(url, json={}, headers={"api-key": "none"}, timeout=5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "404")


def test_errors_are_worded_like_openai_does_and_say_when_to_come_back(sandbox: Sandbox) -> None:
    faults(
        sandbox,
        {"kind": "429", "retry_after": 3},
        {"kind": "insufficient_quota"},
        {"kind": "error", "status": 403, "code": "denied", "message": "no"},
    )
    body = {"messages": [{"role": "user", "content": PROMPT}]}
    headers = {"authorization": "Bearer none"}
    answers = [
        requests.post(f"{sandbox.model_url}/chat/completions", json=body, headers=headers, timeout=5)
        for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [429, 429, 403]
    assert [answer.headers.get("retry-after") for answer in answers] == ["3", None, None]
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["rate_limit_exceeded", "insufficient_quota", "denied"]
    assert answers[2].json()["error"]["message"] == "no"


@pytest.mark.parametrize("status", [42, "500", None])
def test_a_fault_with_a_status_that_http_does_not_have_is_refused(sandbox: Sandbox, status: Json) -> None:
    root = sandbox.model_url.removesuffix("/v1")
    refused = requests.post(f"{root}/sandbox/faults", json=[{"kind": "error", "status": status}], timeout=5)
    assert refused.status_code == 400
    assert "status" in refused.json()["error"]


def test_a_request_without_a_key_or_messages_is_refused_like_openai_does(sandbox: Sandbox) -> None:
    url = f"{sandbox.model_url}/chat/completions"
    assert requests.post(url, json={"messages": []}, timeout=5).json()["error"]["code"] == "invalid_api_key"
    client = OpenAI(base_url=sandbox.model_url, api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="any", messages=[])
    with pytest.raises(openai.BadRequestError):
        ask(client, stream=True)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("hang", openai.APITimeoutError),
        ("reset", openai.APIConnectionError),
        ("malformed", json.JSONDecodeError),
    ],
)
def test_transport_faults_reach_the_client_as_its_own_errors(
    client: OpenAI, sandbox: Sandbox, kind: str, error: type[Exception]
) -> None:
    faults(sandbox, {"kind": kind})
    with pytest.raises(error):
        ask(client.with_options(timeout=0.4))
    assert ask(client).choices[0].finish_reason == "stop"


def test_content_faults_are_valid_http_with_unusable_content(client: OpenAI, sandbox: Sandbox) -> None:
    names = ("html200", "wrong_shape", "invalid_json", "refusal", "length", "wrong_schema")
    faults(sandbox, *({"kind": name} for name in names))
    assert isinstance(ask(client), str)
    assert ask(client).choices is None
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(ask(client).choices[0].message.content)
    refused = ask(client).choices[0].message
    assert refused.content is None
    assert refused.refusal
    cut = ask(client).choices[0]
    assert cut.finish_reason == "length"
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(cut.message.content)
    assert "targets" not in json.loads(ask(client).choices[0].message.content)


def test_replies_can_be_scripted_by_a_list(client: OpenAI, sandbox: Sandbox) -> None:
    faults(sandbox, {"kind": "reply", "text": "one", "times": 2}, {"kind": "reply", "text": "two"})
    assert [ask(client).choices[0].message.content for _ in range(3)] == ["one", "one", "two"]
    assert DISCLOSURE in ask(client).choices[0].message.content
