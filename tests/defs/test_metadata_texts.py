"""Text of the model in Dagster's UI: a markdown parser finds nothing but words in it."""

import json
from typing import Any

import dagster as dg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.corpus.cases import Case, corpus
from bench.corpus.scenes import CYCLE_MS, SCENES
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.model import (
    Decision,
    DecisionRecord,
    LlmContext,
    ModelReply,
    PerformanceSoFar,
    PriorDecision,
    Prompt,
    Stage,
    StageFailure,
    TokenUsage,
)
from wonttrade_dagster.defs.metadata import MAX_TEXT, describe, escaped, fenced

CASES = [case for case in corpus() if len(case.text) < 20_000]
# With everything that Dagster's page understands beyond the standard, raw HTML included.
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
markdown_texts = st.text(st.sampled_from("\\`*_{}[]()#+-.!|~<>&=:/\"' \t\n\r1a\x00"), max_size=40)


def words(markdown: str) -> str:
    """What a reader sees of a line of text; fails when the parser finds anything else."""
    tokens = MARKDOWN.parse(markdown)
    if not tokens:
        return ""
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], markdown
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}, markdown
    return "".join(child.content for child in children)


def inside_fence(markdown: str) -> str:
    """What stands in the one code block that the text is."""
    tokens = MARKDOWN.parse(markdown)
    assert [token.type for token in tokens] == ["fence"], markdown
    return tokens[0].content.rstrip("\n")


def as_parsed(text: str) -> str:
    """CommonMark's own replacements: line ends, and NUL. Empty lines at the end are not compared."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd").rstrip("\n")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60) | markdown_texts)
@example("- sell")
@example("---")
@example("12. sell")
@example("-")
@example("<img src=x onerror=alert(1)>")
@example("&lt;b&gt; &#60;")
def test_escaped_text_is_words_and_the_same_words(text: str) -> None:
    said = as_parsed(" ".join(text.split()))
    assert words(escaped(text)) == said
    assert words(f"It says {escaped(text)}.") == f"It says {said}."
    if said:
        item = MARKDOWN.parse(f"- {escaped(text)}")
        assert [token.type for token in item[:3]] == ["bullet_list_open", "list_item_open", "paragraph_open"]
        assert len(item) == 7


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | markdown_texts)
@example("```")
@example("``````\n</pre><script>alert(1)</script>\n~~~")
def test_fenced_text_never_leaves_its_fence(text: str) -> None:
    assert inside_fence(fenced(text, "json").value) == as_parsed(text)


def test_a_long_text_is_cut_and_says_so() -> None:
    shown = inside_fence(fenced("x" * (MAX_TEXT + 7)).value)
    assert shown == "x" * MAX_TEXT + "\n… 7 characters more"


def record_of(case: Case) -> DecisionRecord:
    reply = ModelReply(case.text, "<b>m</b>", None, "stop", TokenUsage(), CYCLE_MS, CYCLE_MS + 1)
    return DecisionRecord(CYCLE_MS, judge(case.text, SCENES[case.scene]), None, reply, CYCLE_MS)


def test_what_became_of_a_reply_is_shown_as_words() -> None:
    for case in CASES:
        shown_as_words(case)


def shown_as_words(case: Case) -> None:
    record = record_of(case)
    metadata = dict(describe(record))
    assert inside_fence(metadata.pop("reply").value) == as_parsed(case.text)
    shown = {name: words(value.value) for name, value in metadata.items() if is_markdown(value)}
    if isinstance(record.outcome, Decision):
        assert shown["explanation"] == as_parsed(" ".join(record.outcome.explanation.split()))
        assert shown["invalidation"] == as_parsed(" ".join(record.outcome.invalidation_condition.split()))
    else:
        assert shown["detail"] == as_parsed(" ".join(record.outcome.detail.split()))


def is_markdown(value: Any) -> bool:
    return isinstance(value, dg.MarkdownMetadataValue)


HOSTILE = [
    json.loads(case.text)["explanation"] for case in CASES if case.family == "injection" and case.decision
]


def test_other_stages_show_foreign_text_as_words_too() -> None:
    assert len(HOSTILE) >= 30
    for text in HOSTILE:
        foreign_text_is_words(text)


def foreign_text_is_words(text: str) -> None:
    failure = describe(StageFailure(Stage.DECISIONS, "model_answer", text))
    assert words(failure["detail"].value) == as_parsed(" ".join(text.split()))
    zero = SCENES["flat"].account.margin_used_usd
    performance = PerformanceSoFar(zero, 0.0, None, zero, zero, CYCLE_MS, 1)
    prompt = Prompt(text, f"{text}\n{text}", "trader/v1", "t", "s", "p")
    context = describe(LlmContext(CYCLE_MS, prompt, performance, PriorDecision(None, None), ()))
    assert inside_fence(context["prompt"].value) == as_parsed(f"{text}\n{text}")
    assert inside_fence(context["system_prompt"].value) == as_parsed(text)
