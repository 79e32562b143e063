"""The chapters of the model: what it was asked, what it answered, how that was judged.

Belongs here: reading prompt, reply and verdict into words. Does not belong here: the other chapters.
"""

from collections.abc import Mapping
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
from wonttrade_dagster.core.invalidation import sentence
from wonttrade_dagster.core.model import (
    Decision,
    DecisionRecord,
    LlmContext,
    ModelReply,
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
    facts = (*_call(record.reply), ("cost", _cost(record)), ("reply SHA-256", record.reply_sha256 or ABSENT))
    answer = Passage("Raw reply", record.reply.text)
    first = record.first_reply
    if first is None:
        return Chapter("Answered", facts, passages=(answer,))
    told = (*facts, ("repaired", f"asked once more; the first reply took {duration_text(first.latency_ms)}"))
    return Chapter("Answered", told, passages=(answer, Passage("First reply, refused", first.text)))


def _call(reply: ModelReply) -> tuple[Fact, ...]:
    usage = reply.usage
    return (
        ("model", reply.model),
        ("request id", reply.request_id or ABSENT),
        ("finish reason", reply.finish_reason),
        ("sent", at(reply.sent_at_ms)),
        ("latency", duration_text(reply.latency_ms)),
        ("tokens in", f"{usage.prompt_tokens:,} ({usage.cached_tokens:,} cached)"),
        ("tokens out", f"{usage.completion_tokens:,} ({usage.reasoning_tokens:,} reasoning)"),
    )


def _cost(record: DecisionRecord) -> str:
    return "not known" if record.cost_usd is None else f"${record.cost_usd:.6f}"


def judged(records: Mapping[Stage, Any]) -> Chapter | None:
    """The decision, or the refusal with every violation."""
    record: DecisionRecord | None = records.get(Stage.DECISIONS)
    if record is None:
        return None
    chapter = _verdict(record.outcome)
    context = records.get(Stage.LLM_CONTEXTS)
    prior = _prior(context.prior, record.fired) if isinstance(context, LlmContext) else ()
    tables = chapter.tables
    if record.first_refusal is not None:
        tables = (*tables, _violations("Violations of the first reply", record.first_refusal))
    return Chapter(chapter.title, (*chapter.facts, *prior), tables, chapter.passages)


def _violations(title: str, refusal: Refusal) -> StoryTable:
    rows = tuple((v.rule, v.path, v.detail) for v in refusal.violations)
    return StoryTable(title, ("rule", "where", "what"), rows)


def _verdict(outcome: Decision | Refusal) -> Chapter:
    if isinstance(outcome, Refusal):
        tables = (_violations("Violations", outcome),) if outcome.violations else ()
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
    checked = "".join(f"\n{n}. {sentence(c)}" for n, c in enumerate(outcome.conditions, start=1))
    passages.append(Passage("Invalidation condition", outcome.invalidation_condition + checked))
    if outcome.replaced_because:
        passages.append(Passage("Why the prior plan was replaced", outcome.replaced_because))
    kept = (("verdict", "a decision"), ("prior plan", outcome.prior_plan.value))
    return Chapter("Judged", kept, (StoryTable("Targets", columns, targets),), tuple(passages))


def _prior(prior: PriorDecision, fired: tuple[int, ...]) -> tuple[Fact, ...]:
    when = ABSENT if prior.decided_cycle_ms is None else f"cycle {at(prior.decided_cycle_ms)}"
    facts = [("prior decision", when)]
    conditions = prior.decision.conditions if prior.decision else ()
    held = [sentence(conditions[n - 1]) for n in fired if n <= len(conditions)]
    if held:
        facts.append(("its conditions that held", "; ".join(held)))
    if prior.last_refusal is not None:
        facts.append(("refused since", f"{prior.last_refusal.reason}: {prior.last_refusal.detail}"))
    return tuple(facts)
