"""What a reply says of the prior plan: kept, replaced with its reason, or none where there was none."""

import json
from typing import Any

import pytest
from decision_samples import GOOD, condition, rules_of, with_conditions
from trader_samples import (
    CYCLE_MS,
    ETH_FLAT,
    D,
    judgement,
    long_and_short,
    prior,
    reply,
    reply_target,
    target,
)

from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.model import Decision, PriorDecision, PriorPlan


@pytest.mark.parametrize(("said", "kept"), [(None, 1), ([], 0)])
def test_a_plan_that_is_kept_without_a_word_on_its_conditions_keeps_them(
    said: list[object] | None, kept: int
) -> None:
    first = judge(with_conditions(condition()), judgement())
    assert isinstance(first, Decision)
    body = json.loads(GOOD) | {"prior_plan": "kept", "conditions": said}
    again = judge(json.dumps(body), judgement(prior=PriorDecision(first, CYCLE_MS)))
    assert isinstance(again, Decision), again
    assert len(again.conditions) == kept


SAME = [reply_target(), reply_target("ETH", -2, 4_300, 3_500)]


def test_a_kept_plan_repeats_the_last_applied_targets_on_the_grid() -> None:
    kept = reply(reply_target(size=0.500009, stop=95_000.3), SAME[1], prior_plan="kept")
    decision = judge(kept, judgement(long_and_short(), prior()))
    assert isinstance(decision, Decision)
    assert decision.prior_plan is PriorPlan.KEPT
    assert decision.targets[0].target_size == D("0.5")


@pytest.mark.parametrize(
    "changed",
    [
        [reply_target(size=0.49), SAME[1]],
        [reply_target(stop=95_001), SAME[1]],
        [SAME[0], reply_target("ETH", -2, 4_300, 3_499.9)],
        [SAME[0], ETH_FLAT],
    ],
)
def test_a_plan_that_was_changed_is_not_kept(changed: list[dict[str, Any]]) -> None:
    inputs = judgement(long_and_short(), prior())
    assert rules_of(reply(*changed, prior_plan="kept"), inputs) == ["kept_but_changed"]
    replaced = reply(*changed, prior_plan="replaced", replaced_because="it weakened")
    decision = judge(replaced, inputs)
    assert isinstance(decision, Decision)
    assert (decision.prior_plan, decision.replaced_because) == (PriorPlan.REPLACED, "it weakened")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prior_plan": "none"}, ["prior_plan_ignored"]),
        ({"prior_plan": "replaced"}, ["replaced_because_missing"]),
        ({"prior_plan": "replaced", "replaced_because": " \n"}, ["replaced_because_missing"]),
        ({"prior_plan": "kept", "replaced_because": "but also"}, ["replaced_because_unexpected"]),
    ],
)
def test_a_prior_plan_must_be_answered_for(changes: dict[str, str], expected: list[str]) -> None:
    assert rules_of(reply(*SAME, **changes), judgement(long_and_short(), prior())) == expected


def test_a_symbol_that_was_not_tracked_yet_was_flat() -> None:
    before = prior(target())
    inputs = judgement(long_and_short(), before)
    assert rules_of(reply(SAME[0], ETH_FLAT, prior_plan="kept"), inputs) == []
    assert rules_of(reply(*SAME, prior_plan="kept"), inputs) == ["kept_but_changed"]
