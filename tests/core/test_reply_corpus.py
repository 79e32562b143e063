"""The corpus of hostile replies, case by case, and the referee that watches over it."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from trader_samples import CYCLE_MS, builder, context_inputs, long_and_short

from bench.corpus import trial
from bench.corpus.cases import FOLDER, Case, corpus
from bench.corpus.referee import complaints
from bench.corpus.scenes import SCENES
from wonttrade_dagster.core import decision
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.model import Decision, PriorDecision, Refusal
from wonttrade_dagster.core.reply import parse_reply

CASES = corpus()
APPLIED = [case for case in CASES if case.decision is not None]
REFUSED = [case for case in CASES if case.decision is None]
LONGEST_JUDGEMENT_MS = 500


def named(case: Case) -> str:
    return f"{case.family}: {case.name}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_case_ends_as_the_corpus_says(case: Case) -> None:
    assert trial.misjudged(case) == ""


def test_the_corpus_is_large_and_every_name_stands_for_one_case() -> None:
    assert len(CASES) >= 500
    assert len(APPLIED) >= 100
    assert [name for name, times in Counter(map(named, CASES)).items() if times > 1] == []
    assert {case.scene for case in CASES} == SCENES.keys()


def test_the_files_are_ascii_and_each_line_holds_one_object() -> None:
    for path in FOLDER.glob("*.ndjson"):
        for line in path.read_bytes().splitlines():
            assert line.isascii()
            assert isinstance(json.loads(line), dict), path


# A reply that costs seconds makes the decision stale, whatever is said of it.
@pytest.mark.parametrize("case", [case for case in CASES if len(case.text) > 5_000], ids=named)
def test_no_reply_keeps_the_judge_busy(case: Case) -> None:
    # The best of three: a busy machine must not fail the test.
    laps = [trial.attempt(case.text, SCENES[case.scene]).judge_ms for _ in range(3)]
    assert min(laps) < LONGEST_JUDGEMENT_MS


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_a_refusal_is_short_enough_to_be_shown(case: Case) -> None:
    outcome = judge(case.text, SCENES[case.scene])
    assert isinstance(outcome, Refusal)
    assert 0 < len(outcome.detail) <= 600
    assert outcome.detail.isprintable()
    assert all(len(v.path) < 200 and len(v.detail) < 300 for v in outcome.violations)


@pytest.mark.parametrize("case", [case for case in CASES if len(case.text) < 20_000], ids=named)
def test_the_next_prompt_holds_what_became_of_a_reply_as_quoted_data(case: Case) -> None:
    """Whatever the reply said, the next prompt's fences and its one block of data are what they are."""
    outcome = judge(case.text, SCENES[case.scene])
    applied = outcome if isinstance(outcome, Decision) else None
    refusal = outcome if isinstance(outcome, Refusal) else None
    prior = PriorDecision(applied, CYCLE_MS - 300_000, refusal)
    user = builder().build(context_inputs(long_and_short(), prior)).user
    lines = user.split("\n")
    fences = [line for line in lines if "`" in line]
    assert fences == ["```text", "```", "```json", "```"]
    assert json.loads(lines[lines.index("```json") + 1])["cycle"]
    quoted = lines[lines.index("```text") + 1 : lines.index("```")]
    told = [t for t in applied.targets if t.symbol in {"BTC", "ETH"}] if applied else []
    assert len(quoted) == (2 + len(told) if applied else 1)
    assert all(line.isprintable() and len(line) < 1_300 and "<|" not in line for line in quoted)


# --- the corpus would notice -----------------------------------------------------------------------


def test_a_judge_that_refuses_for_another_reason_is_noticed() -> None:
    case = next(case for case in REFUSED if case.rules == ("missing_stop_loss",))
    assert trial.misjudged(case) == ""
    assert "expected ('price_not_positive',)" in trial.misjudged(replace(case, rules=("price_not_positive",)))
    assert "got ('missing_stop_loss',)" in trial.misjudged(replace(case, rules=()))
    assert trial.misjudged(replace(case, rules=(), allows_others=True)) == ""
    assert "expected invalid_json" in trial.misjudged(replace(case, reason="invalid_json"))


def test_a_judge_that_changes_a_decision_is_noticed() -> None:
    case = APPLIED[0]
    assert case.decision is not None
    assert "expected" in trial.misjudged(replace(case, decision=replace(case.decision, explanation="x")))
    assert "expected" in trial.misjudged(replace(case, decision=None, reason="violations"))


def test_a_judge_that_crashes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "judge", lambda text, inputs: parse_reply(text).no_such_field)
    assert trial.misjudged(APPLIED[0]).startswith("AttributeError: ")


# --- the referee would notice ----------------------------------------------------------------------


def case_of(name: str) -> Case:
    return next(case for case in APPLIED if case.name == name)


LONG = case_of("as it stands")
KEPT = case_of("kept")
GONE = case_of("a delisted symbol kept")
HELD = case_of("a held long's stop a tick before its liquidation price")


def doctored(case: Case, symbol: str = "", **changes: object) -> Decision:
    """The case's decision with other fields, of one target or of its own."""
    assert case.decision is not None
    if not symbol:
        return replace(case.decision, **changes)
    targets = tuple(replace(t, **changes) if t.symbol == symbol else t for t in case.decision.targets)
    return replace(case.decision, targets=targets)


D = Decimal
DOCTORED: list[tuple[Case, Any, str]] = [
    (LONG, {"symbol": "BTC", "target_size": D("0.6")}, "was made of"),
    (LONG, {"symbol": "BTC", "target_size": D("0.49")}, "was made of"),
    (LONG, {"symbol": "BTC", "target_size": D("-0.5")}, "was made of"),
    (LONG, {"symbol": "BTC", "target_size": D(0)}, "a size above 0 became 0"),
    (LONG, {"symbol": "BTC", "target_size": D("0.499999")}, "not on the lot grid"),
    (LONG, {"symbol": "BTC", "target_size": D("0.00009")}, "below the venue's minimum"),
    (LONG, {"symbol": "BTC", "target_size": D("0.7")}, "above the limit of a position"),
    (LONG, {"symbol": "BTC", "target_size": D(2)}, "all together worth"),
    (LONG, {"symbol": "BTC", "target_size": D(3)}, "USD of margin needed"),
    (LONG, {"symbol": "BTC", "stop_loss": None}, "without protection"),
    (LONG, {"symbol": "BTC", "take_profit": None}, "without protection"),
    (LONG, {"symbol": "BTC", "stop_loss": D(100_000)}, "out of order"),
    (LONG, {"symbol": "BTC", "stop_loss": D(110_000), "take_profit": D(95_000)}, "out of order"),
    (LONG, {"symbol": "BTC", "stop_loss": D(94_999)}, "is not the price nearest"),
    (LONG, {"symbol": "BTC", "stop_loss": D("95000.4")}, "is no price of the venue"),
    (LONG, {"symbol": "BTC", "stop_loss": D(0)}, "is no price of the venue"),
    (LONG, {"symbol": "BTC", "stop_loss": D(20)}, "an exit would be an order of"),
    (LONG, {"symbol": "BTC", "confidence": 0.7}, "confidence"),
    (LONG, {"symbol": "BTC", "confidence": 1.5}, "confidence"),
    (LONG, {"symbol": "BTC", "rationale": "another"}, "rationale"),
    (LONG, {"symbol": "BTC", "margin_usd": D(1_000)}, "margin 1000 for a value of"),
    (LONG, {"symbol": "BTC", "margin_usd": D(-1)}, "margin -1"),
    (LONG, {"symbol": "ETH", "stop_loss": D(3_800)}, "flat with protection"),
    (LONG, {"explanation": "another"}, "explanation is not the reply's"),
    (LONG, {"invalidation_condition": " "}, "invalidation_condition is not the reply's"),
    (LONG, {"replaced_because": "it turned"}, "replaced_because is not the reply's"),
    (LONG, {"targets": ()}, "one target per tracked symbol"),
    (LONG, {"prior_plan": KEPT.decision and KEPT.decision.prior_plan}, "kept without a prior plan"),
    (KEPT, {"prior_plan": LONG.decision and LONG.decision.prior_plan}, "none with a prior plan"),
    (KEPT, {"symbol": "BTC", "take_profit": D(110_001)}, "kept, but not what was applied last"),
    (GONE, {"symbol": "BTC", "target_size": D("0.26")}, "more of a delisted symbol"),
    (HELD, {"symbol": "BTC", "stop_loss": D(80_000)}, "beyond the liquidation"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "changes", "says"), DOCTORED, ids=range(len(DOCTORED)))
def test_the_referee_sees_what_is_wrong_with_an_applied_decision(
    case: Case, changes: dict[str, Any], says: str
) -> None:
    inputs = SCENES[case.scene]
    assert case.decision is not None
    assert complaints(case.text, case.decision, inputs) == []
    assert says in "; ".join(complaints(case.text, doctored(case, **changes), inputs))


def test_the_referee_stops_a_judge_that_has_lost_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reply that only a rule of trading keeps from being applied is caught when that rule is gone."""
    for rules in ("_judge_target", "_judge_prior_plan", "judge_portfolio"):
        monkeypatch.setattr(decision, rules, lambda *_: iter(()))
    let_through = [case for case in REFUSED if judge(case.text, SCENES[case.scene]).kind == "decision"]
    assert len(let_through) >= 80
    for case in let_through:
        assert trial.attempt(case.text, SCENES[case.scene]).broken, named(case)


def test_the_referee_stops_a_judge_that_salvages_json() -> None:
    """The decision that a lenient reader would have made of a broken text is never in order."""
    assert LONG.decision is not None
    broken = [case for case in REFUSED if case.reason == "invalid_json" and len(case.text) <= 20_000]
    assert len(broken) >= 140
    for case in broken:
        assert "should not have been read" in complaints(case.text, LONG.decision, SCENES["flat"])[0]
