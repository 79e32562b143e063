"""Answers of every shape, from the socket to the refusal: official SDK, adapter and engine together.

What the adapter alone makes of them is in ``test_llm.py``; here it is the name under which a cycle gives up.
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from test_llm import Answer, Handler, LoopbackServer, completion, openai_model, sends, serving

from bench.corpus.cases import corpus
from bench.corpus.scenes import CYCLE_MS, LIMITS, SCENES
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import Decision, DecisionRecord, Prompt, Refusal

PROMPT = Prompt("you trade", "the market", "trader/v1", "t", "s", "p")
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
VALID = next(case for case in corpus() if case.name == "as it stands")
GOOD = VALID.text


@pytest.fixture(scope="module")
def warm_server() -> Iterator[LoopbackServer]:
    """One server for all answers; the SDK is imported before any deadline runs."""
    with serving(sends(completion())) as server:
        openai_model(server).warm_up()
        yield server


def decided(server: LoopbackServer, answer: Answer) -> DecisionRecord:
    server.answers = [answer]
    engine = LLMDecisionEngine(openai_model(server), SCHEMA, LIMITS, SystemClock(), 5_000)
    inputs = SCENES["flat"]
    record = engine.decide(CYCLE_MS, PROMPT, inputs)
    # Whatever came, it can be written down and read again.
    assert decode(DecisionRecord, encode(record)) == record
    return record


def sends_bytes(body: bytes) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def choice(content: object = GOOD, finish: object = "stop", **message: object) -> dict[str, Any]:
    body = {"role": "assistant", "content": content} | message
    return {"index": 0, "message": body, "finish_reason": finish}


def answer_with(*choices: object, **changes: object) -> Answer:
    return sends(completion(choices=list(choices), **changes))


def tool_call(arguments: str = GOOD) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "trade", "arguments": arguments}}
    return choice(None, "tool_calls", tool_calls=[call])


REFUSED: list[tuple[str, Answer, str]] = [
    ("a web page", sends("<html><body>502</body></html>", content_type="text/html"), "model_answer"),
    ("a web page that says it is JSON", sends("<html></html>"), "model_answer"),
    ("an empty body", sends(""), "model_answer"),
    ("the decision without its envelope", sends(GOOD), "model_answer"),
    ("the decision as a JSON string", sends(json.dumps(GOOD)), "model_answer"),
    ("null", sends("null"), "model_answer"),
    ("an error with status 200", sends({"error": {"message": "overloaded"}}), "model_answer"),
    (
        "an event stream",
        sends(f"data: {json.dumps(completion(GOOD))}\n\n", content_type="text/event-stream"),
        "model_answer",
    ),
    ("two completions in a row", sends(json.dumps(completion(GOOD)) * 2), "model_answer"),
    (
        "a chunk of a stream",
        answer_with({"index": 0, "delta": {"content": GOOD}, "finish_reason": "stop"}),
        "model_answer",
    ),
    (
        "a completion of the old kind",
        answer_with({"index": 0, "text": GOOD, "finish_reason": "stop"}),
        "model_answer",
    ),
    (
        "a response of the other API",
        sends(
            {
                "id": "r",
                "object": "response",
                "output": [{"content": [{"type": "output_text", "text": GOOD}]}],
            }
        ),
        "model_answer",
    ),
    ("no choices", answer_with(), "model_answer"),
    ("choices null", sends(completion(choices=None)), "model_answer"),
    ("choices an object", sends(completion(choices={"0": choice()})), "model_answer"),
    ("a null choice", answer_with(None), "model_answer"),
    ("a string for a choice", answer_with(GOOD), "model_answer"),
    ("a choice without a message", answer_with({"index": 0, "finish_reason": "stop"}), "model_answer"),
    (
        "a string for the message",
        answer_with({"index": 0, "message": GOOD, "finish_reason": "stop"}),
        "model_answer",
    ),
    ("content as parts", answer_with(choice([{"type": "text", "text": GOOD}])), "model_answer"),
    ("content as an object", answer_with(choice(json.loads(GOOD))), "model_answer"),
    ("content as a number", answer_with(choice(5)), "model_answer"),
    ("content true", answer_with(choice(True)), "model_answer"),
    ("a finish reason that is a number", answer_with(choice(finish=1)), "model_answer"),
    ("a refusal that is no text", answer_with(choice(refusal={"why": "no"})), "model_answer"),
    ("a model name that is no text", answer_with(choice(), model=7), "model_answer"),
    (
        "half a surrogate pair in the content",
        answer_with(choice('{"explanation": "\ud800"}')),
        "model_answer",
    ),
    (
        "an integer of five thousand digits",
        sends(json.dumps(completion(GOOD)).replace("1,", "9" * 5_000 + ",", 1)),
        "model_answer",
    ),
    ("a refusal", answer_with(choice(None, refusal="I will not.")), "model_refused"),
    ("a refusal beside a good content", answer_with(choice(GOOD, refusal="I will not.")), "model_refused"),
    ("a refusal that was cut", answer_with(choice(None, "length", refusal="I will n")), "model_refused"),
    ("a finish of length with a whole decision", answer_with(choice(finish="length")), "reply_truncated"),
    ("a finish of length with half of it", answer_with(choice(GOOD[:50], "length")), "reply_truncated"),
    ("a finish of length without content", answer_with(choice(None, "length")), "reply_truncated"),
    (
        "a content filter with a whole decision",
        answer_with(choice(finish="content_filter")),
        "reply_filtered",
    ),
    ("a content filter without content", answer_with(choice(None, "content_filter")), "reply_filtered"),
    ("a call of a tool", answer_with(tool_call()), "unexpected_finish"),
    (
        "a call of a tool beside a decision",
        answer_with(tool_call() | {"message": choice()["message"]}),
        "unexpected_finish",
    ),
    (
        "a call of a function",
        answer_with(choice(None, "function_call", function_call={"name": "trade", "arguments": GOOD})),
        "unexpected_finish",
    ),
    ("content null", answer_with(choice(None)), "invalid_json"),
    ("content empty", answer_with(choice("")), "invalid_json"),
    (
        "no content",
        answer_with({"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}),
        "invalid_json",
    ),
    ("the decision as reasoning only", answer_with(choice(None, reasoning_content=GOOD)), "invalid_json"),
    ("a web page as content", answer_with(choice("<html></html>")), "invalid_json"),
    ("a NUL as content", answer_with(choice("\x00")), "invalid_json"),
    ("a second choice that would do", answer_with(choice(""), choice()), "invalid_json"),
    (
        "bytes that are no UTF-8",
        sends_bytes(json.dumps(completion(GOOD)).encode().replace(b"trend", b"tr\xffnd")),
        "model_answer",
    ),
    ("UTF-16", sends_bytes(json.dumps(completion(GOOD)).encode("utf-16")), "model_answer"),
    (
        "a byte order mark",
        sends_bytes(b"\xef\xbb\xbf" + json.dumps(completion(GOOD)).encode()),
        "model_answer",
    ),
    (
        "compressed bytes that are not declared",
        sends_bytes(gzip.compress(json.dumps(completion(GOOD)).encode())),
        "model_answer",
    ),
]


@pytest.mark.parametrize(("answer", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_answer_of_another_shape_is_refused_by_its_name(
    warm_server: LoopbackServer, answer: Answer, reason: str
) -> None:
    outcome = decided(warm_server, answer).outcome
    assert isinstance(outcome, Refusal), outcome
    assert outcome.reason == reason
    assert 0 < len(outcome.detail) <= 600
    assert outcome.detail.isprintable()


TAKEN: list[tuple[str, Answer]] = [
    ("as it should be", answer_with(choice())),
    ("without anything that is not needed", sends({"choices": [{"message": {"content": GOOD}}]})),
    ("a second choice that is nonsense", answer_with(choice(), choice("nonsense"))),
    ("an unknown finish reason", answer_with(choice(finish="eos"))),
    ("no finish reason", answer_with(choice(finish=None))),
    ("an empty refusal", answer_with(choice(refusal=""))),
    ("tool calls that are empty", answer_with(choice(tool_calls=[]))),
    (
        "keys that nobody knows",
        answer_with(choice(reasoning="hm") | {"stop": None}, service_tier="x", extra={}),
    ),
    (
        "a byte count that is no number of tokens",
        sends(completion(GOOD, usage={"prompt_tokens": -1, "completion_tokens": 1e99})),
    ),
    ("usage that is a list", sends(completion(GOOD, usage=[1, 2]))),
    ("more tokens than a database counts", sends(completion(GOOD, usage={"prompt_tokens": 10**30}))),
    ("another content type", sends(completion(GOOD), content_type="text/plain")),
    ("no content type worth its name", sends(completion(GOOD), content_type=";;;")),
]


@pytest.mark.parametrize("answer", [row[1] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_a_good_decision_in_an_unusual_envelope_is_taken(warm_server: LoopbackServer, answer: Answer) -> None:
    record = decided(warm_server, answer)
    assert record.outcome == VALID.decision
    assert record.reply is not None
    assert 0 <= record.reply.usage.prompt_tokens < 2**63


# Codecs that are no character sets, that fail on ordinary bytes, or that nobody knows.
CHARSETS = ["hex", "zlib", "base64", "rot13", "idna", "undefined", "unicode_escape", "utf-7", "utf-16", "x"]


@pytest.mark.parametrize("charset", CHARSETS)
def test_no_character_set_that_a_server_names_crashes_the_call(
    warm_server: LoopbackServer, charset: str
) -> None:
    answer = sends(completion(GOOD), content_type=f"application/json; charset={charset}")
    assert decided(warm_server, answer).outcome == VALID.decision


def test_letters_of_every_script_arrive_as_they_were_sent(warm_server: LoopbackServer) -> None:
    text = json.dumps(completion(GOOD.replace("Momentum", "ünïcödé 中文 🚀")), ensure_ascii=False)
    outcome = decided(warm_server, sends(text, content_type="application/json; charset=latin-1")).outcome
    assert isinstance(outcome, Decision)
    assert outcome.explanation == "ünïcödé 中文 🚀 carries on."
