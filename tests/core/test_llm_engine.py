from collections.abc import Mapping
from typing import Any

import pytest
from trader_samples import CYCLE_MS, FLAT, LIMITS, NO_PRIOR, market, reply

from wonttrade_dagster.core.errors import ModelAnswerError, ModelError, ModelUnavailableError
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import Decision, DecisionRecord, ModelReply, Prompt, Refusal, TokenUsage
from wonttrade_dagster.core.ports import Clock, LanguageModel

PROMPT = Prompt("s", "u", "trader/v1", "t", "c", "p")
SCHEMA = {"type": "object"}


class StandingClock(Clock):
    def now_ms(self) -> int:
        return CYCLE_MS + 4_000

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a decision never waits")


class ScriptedModel(LanguageModel):
    def __init__(self, outcome: ModelReply | ModelError) -> None:
        self.outcome = outcome
        self.asked: list[tuple[Prompt, Mapping[str, Any], int]] = []

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        self.asked.append((prompt, schema, deadline_ms))
        if isinstance(self.outcome, ModelError):
            raise self.outcome
        return self.outcome


def answered(text: str, finish_reason: str = "stop") -> ModelReply:
    return ModelReply(text, "m", "r-1", finish_reason, TokenUsage(), CYCLE_MS, CYCLE_MS + 3_000)


def decide(outcome: ModelReply | ModelError) -> DecisionRecord:
    engine = LLMDecisionEngine(ScriptedModel(outcome), SCHEMA, LIMITS, StandingClock(), 45_000)
    return engine.decide(CYCLE_MS, PROMPT, market(), FLAT, NO_PRIOR)


def test_the_model_is_asked_once_with_prompt_schema_and_deadline() -> None:
    model = ScriptedModel(answered(reply()))
    engine = LLMDecisionEngine(model, SCHEMA, LIMITS, StandingClock(), 45_000)
    engine.decide(CYCLE_MS, PROMPT, market(), FLAT, NO_PRIOR)
    assert model.asked == [(PROMPT, SCHEMA, 45_000)]


def test_the_record_holds_prompt_raw_reply_and_decision() -> None:
    raw = answered(reply())
    record = decide(raw)
    assert isinstance(record.outcome, Decision)
    assert (record.prompt, record.reply, record.cycle_ms) == (PROMPT, raw, CYCLE_MS)
    assert record.decided_at_ms == CYCLE_MS + 4_000


def test_a_refused_reply_is_kept_as_it_came() -> None:
    record = decide(answered("I would rather not."))
    assert isinstance(record.outcome, Refusal)
    assert record.outcome.reason == "invalid_json"
    assert record.reply is not None
    assert record.reply.text == "I would rather not."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelUnavailableError("nobody there"), "model_unavailable"),
        (ModelAnswerError("a web page"), "model_answer"),
        (ModelError("something else"), "model_unavailable"),
    ],
)
def test_a_model_that_gives_no_answer_is_a_named_refusal(error: ModelError, reason: str) -> None:
    record = decide(error)
    assert record.outcome == Refusal(reason, str(error))
    assert record.reply is None


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [
        ("length", "reply_truncated"),
        ("content_filter", "reply_filtered"),
        ("refusal", "model_refused"),
        ("tool_calls", "unexpected_finish"),
        ("function_call", "unexpected_finish"),
    ],
)
def test_a_finish_that_is_no_finish_refuses_even_a_good_text(finish_reason: str, reason: str) -> None:
    record = decide(answered(reply(), finish_reason))
    assert isinstance(record.outcome, Refusal)
    assert record.outcome.reason == reason


@pytest.mark.parametrize("finish_reason", ["stop", "", "eos"])
def test_an_unnamed_finish_leaves_the_judgement_to_the_text(finish_reason: str) -> None:
    assert isinstance(decide(answered(reply(), finish_reason)).outcome, Decision)
