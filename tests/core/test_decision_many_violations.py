"""A reply that is wrong a thousand times over is refused in a record of ordinary size."""

import json

import pytest
from trader_samples import ETH_FLAT, judgement, reply, reply_target

from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.model import DecisionRecord, ModelReply, Prompt, Refusal, TokenUsage
from wonttrade_dagster.core.repair import repair_prompt
from wonttrade_dagster.core.reply import MAX_VIOLATIONS

SHAPELESS = json.dumps(json.loads(reply()) | {"targets": [{}] * 1000})
"""Six keys are missing in each of a thousand targets."""


def refused(text: str) -> Refusal:
    outcome = judge(text, judgement())
    assert isinstance(outcome, Refusal)
    return outcome


def with_strangers(count: int) -> str:
    """A good reply, and so many targets for symbols that are not tracked."""
    return reply(reply_target(), ETH_FLAT, *(reply_target(f"X{i}") for i in range(count)))


@pytest.mark.parametrize(
    ("text", "more"),
    [(SHAPELESS, 6000 - MAX_VIOLATIONS), (with_strangers(600), 600 - MAX_VIOLATIONS)],
    ids=["shape", "rules"],
)
def test_of_very_many_violations_the_first_stand_in_the_record_and_how_many_more(
    text: str, more: int
) -> None:
    outcome = refused(text)
    *listed, last = outcome.violations
    assert len(listed) == MAX_VIOLATIONS
    assert (last.rule, last.detail) == ("more_violations", f"{more} more are not listed")
    assert "more_violations" not in {violation.rule for violation in listed}
    assert listed[0].path.startswith("targets[")
    assert len(encode(DecisionRecord(0, outcome, None, None, 0))) < 10_000


def test_the_sentence_counts_all_of_them() -> None:
    assert refused(with_strangers(600)).detail.startswith("600 violations: unknown_symbol at targets[2]")


@pytest.mark.parametrize(("count", "kept"), [(49, 49), (50, 50), (51, 51), (52, 51)])
def test_as_many_as_are_kept_are_listed_one_by_one(count: int, kept: int) -> None:
    violations = refused(with_strangers(count)).violations
    assert len(violations) == kept
    assert (violations[-1].rule == "more_violations") == (count > MAX_VIOLATIONS)


def test_a_rule_broken_once_is_not_hidden_behind_another_broken_hundreds_of_times() -> None:
    """Targets are judged in order, the missing ones and the prior plan after all of them."""
    text = reply(*(reply_target(f"X{i}") for i in range(600)), prior_plan="kept")
    rules = [violation.rule for violation in refused(text).violations]
    assert rules.count("unknown_symbol") == MAX_VIOLATIONS - 2
    assert rules[-3:] == ["missing_symbol", "prior_plan_without_prior", "more_violations"]


def test_the_repair_call_lists_what_the_record_lists() -> None:
    outcome = refused(SHAPELESS)
    prompt = Prompt("system", "user", "t", "", "", "")
    answer = ModelReply(SHAPELESS, "m", None, "stop", TokenUsage(), 0, 0)
    user = repair_prompt(prompt, answer, outcome).user
    listed = user.split("What was wrong with it:")[1]
    assert listed.count("\n- missing_key at ") == MAX_VIOLATIONS
    assert f"- more_violations at $: {6000 - MAX_VIOLATIONS} more are not listed" in listed
    assert len(user) < 20_000
