"""The chapters of the model: what it was asked, what it answered, how that was judged.

Belongs here: reading prompt, reply and verdict into words. Does not belong here: the other chapters.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.adapters.report.story_parts import (
    Chapter,
    Fact,
    Passage,
    StoryTable,
    amount,
    at,
    failed,
    px_text,
)
from wonttrade_dagster.adapters.report.wording import ABSENT, duration_text, fraction_text
from wonttrade_dagster.core.model import (
    Decision,
    DecisionRecord,
    LlmContext,
    PriorDecision,
    Refusal,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.precision import wire


def asked(records: Mapping[Stage, Any]) -> Chapter | None:
    """The prompt with its hashes."""
    context, record = records.get(Stage.LLM_CONTEXTS), records.get(Stage.DECISIONS)
    if isinstance(context, StageFailure):
        return Chapter("Asked", notes=(f"The model was not asked. {failed(context)}",))
    prompt = context.prompt if isinstance(context, LlmContext) else record.prompt if record else None
    if prompt is None:
        return None
    facts = [
        ("template", prompt.template),
        ("template SHA-256", prompt.template_sha256),
        ("schema SHA-256", prompt.schema_sha256),
        ("prompt SHA-256", prompt.prompt_sha256),
        ("characters", f"{len(prompt.system) + len(prompt.user):,}"),
    ]
    if isinstance(context, LlmContext):
        facts += _asked_under(context)
    passages = (
        Passage("System message", prompt.system, is_prompt=True),
        Passage("User message", prompt.user, is_prompt=True),
    )
    return Chapter("Asked", tuple(facts), passages=passages)


def _asked_under(context: LlmContext) -> list[Fact]:
    facts = [("invocation", str(context.performance.invocations))]
    facts += [("return so far", fraction_text(context.performance.return_fraction, sign=True))]
    if context.setting is not None and context.setting.settings_sha256:
        facts.append(("settings SHA-256", context.setting.settings_sha256))
    return facts


def answered(records: Mapping[Stage, Any]) -> Chapter | None:
    """The raw reply and the call."""
    record: DecisionRecord | None = records.get(Stage.DECISIONS)
    if record is None:
        return None
    if record.reply is None:
        return Chapter("Answered", notes=("There is no reply.",))
    reply, usage = record.reply, record.reply.usage
    facts = (
        ("model", reply.model),
        ("request id", reply.request_id or ABSENT),
        ("finish reason", reply.finish_reason),
        ("sent", at(reply.sent_at_ms)),
        ("latency", duration_text(reply.latency_ms)),
        ("tokens in", f"{usage.prompt_tokens:,} ({usage.cached_tokens:,} cached)"),
        ("tokens out", f"{usage.completion_tokens:,} ({usage.reasoning_tokens:,} reasoning)"),
        ("cost", _cost(record)),
        ("reply SHA-256", record.reply_sha256 or ABSENT),
    )
    return Chapter("Answered", facts, passages=(Passage("Raw reply", reply.text),))


def _cost(record: DecisionRecord) -> str:
    cost: Decimal | None = getattr(record, "cost_usd", None)
    return "not known" if cost is None else f"${cost:.6f}"


def judged(records: Mapping[Stage, Any]) -> Chapter | None:
    """The decision, or the refusal with every violation."""
    record: DecisionRecord | None = records.get(Stage.DECISIONS)
    if record is None:
        return None
    chapter = _verdict(record.outcome)
    context = records.get(Stage.LLM_CONTEXTS)
    prior = _prior(context.prior) if isinstance(context, LlmContext) else ()
    return Chapter(chapter.title, (*chapter.facts, *prior), chapter.tables, chapter.passages)


def _verdict(outcome: Decision | Refusal) -> Chapter:
    if isinstance(outcome, Refusal):
        rows = tuple((v.rule, v.path, v.detail) for v in outcome.violations)
        tables = (StoryTable("Violations", ("rule", "where", "what"), rows),) if rows else ()
        facts = (("verdict", "refused"), ("reason", outcome.reason), ("detail", outcome.detail))
        return Chapter("Judged", facts, tables)
    columns = ("symbol", "target size", "stop-loss", "take-profit", "confidence", "margin", "rationale")
    targets = tuple(
        (
            t.symbol,
            wire(t.target_size),
            px_text(t.stop_loss),
            px_text(t.take_profit),
            f"{t.confidence:g}",
            amount(t.margin_usd),
            t.rationale,
        )
        for t in outcome.targets
    )
    passages = [Passage("Explanation", outcome.explanation)]
    passages.append(Passage("Invalidation condition", outcome.invalidation_condition))
    if outcome.replaced_because:
        passages.append(Passage("Why the prior plan was replaced", outcome.replaced_because))
    kept = (("verdict", "a decision"), ("prior plan", outcome.prior_plan.value))
    return Chapter("Judged", kept, (StoryTable("Targets", columns, targets),), tuple(passages))


def _prior(prior: PriorDecision) -> tuple[Fact, ...]:
    when = ABSENT if prior.decided_cycle_ms is None else f"cycle {at(prior.decided_cycle_ms)}"
    refused = prior.last_refusal
    after = () if refused is None else (("refused since", f"{refused.reason}: {refused.detail}"),)
    return (("prior decision", when), *after)
