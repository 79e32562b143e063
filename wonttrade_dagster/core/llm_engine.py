"""The ``decisions`` stage: ask the model, judge what came back, send it back once for repair.

Belongs here: how transport faults and finish reasons become named refusals.
Does not belong here: the HTTP call (``adapters.llm``), the judgement itself (``core.decision``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.errors import ModelAnswerError, ModelError
from wonttrade_dagster.core.model import (
    NO_CAPS,
    Decision,
    DecisionRecord,
    ModelPrice,
    ModelReply,
    Prompt,
    Refusal,
    RiskLimits,
    SpendingCaps,
)
from wonttrade_dagster.core.ports import Clock, LanguageModel
from wonttrade_dagster.core.repair import REPAIRABLE, repair_prompt
from wonttrade_dagster.core.spending import with_cost

# Finish reasons that make the text unusable whatever it looks like; the adapter reports a refusal as one.
FINISH_REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "length": Refusal("reply_truncated", "the model ran into its token limit before the reply was whole"),
        "content_filter": Refusal("reply_filtered", "the model's content filter withheld the reply"),
        "refusal": Refusal("model_refused", "the model declined to answer"),
        "tool_calls": Refusal("unexpected_finish", "the model called a tool instead of answering"),
        "function_call": Refusal("unexpected_finish", "the model called a function instead of answering"),
    }
)


MIN_REPAIR_FRACTION = 0.2
"""Of the deadline must be left for a repair call: a model that thought for long will think again."""


@dataclass(frozen=True, slots=True)
class LLMDecisionEngine:
    """Asks the model and judges the reply; never raises for what the model or its server did.

    Attributes:
        model: the chat model.
        schema: strict JSON schema of the reply, sent along with the prompt.
        limits: what a decision must stay within.
        clock: for times and for what is left of the deadline.
        deadline_ms: how long the calls of one cycle may take, retries included (a duration).
        entry_cost_bps: slippage and fee that an entry may cost.
        repairs: whether an unusable reply is sent back once.
        price: of the model's tokens; None leaves the cost unknown.
        caps: what the calls may cost.
    """

    model: LanguageModel
    schema: Mapping[str, Any]
    limits: RiskLimits
    clock: Clock
    deadline_ms: int
    entry_cost_bps: Decimal = Decimal(0)
    repairs: bool = False
    price: ModelPrice | None = None
    caps: SpendingCaps = NO_CAPS

    def decide(
        self,
        cycle_ms: int,
        prompt: Prompt,
        inputs: JudgementInputs,
        keep_reply: Callable[[ModelReply], None] = lambda _: None,
    ) -> DecisionRecord:
        """One model call, at most one repair call, and what was made of them.

        Args:
            cycle_ms: the decision time.
            prompt: the two messages.
            inputs: what the reply is measured against.
            keep_reply: stores a raw reply before it is judged.

        Returns:
            The record with the raw replies; its outcome is a ``Refusal`` named ``model_unavailable`` or
            ``model_answer`` when there was no reply.
        """
        return with_cost(self._decided(cycle_ms, prompt, inputs, keep_reply), self.price)

    def _decided(
        self,
        cycle_ms: int,
        prompt: Prompt,
        inputs: JudgementInputs,
        keep_reply: Callable[[ModelReply], None],
    ) -> DecisionRecord:
        started_ms = self.clock.now_ms()
        answer = self._ask(prompt, self.deadline_ms, inputs, keep_reply)
        record = self._record(cycle_ms, prompt, answer)
        left_ms = self.deadline_ms - (self.clock.now_ms() - started_ms)
        if not self._is_worth_repairing(answer, left_ms):
            return record
        first = cast("ModelReply", answer.reply), cast("Refusal", answer.outcome)
        again = self._ask(repair_prompt(prompt, *first), left_ms, inputs, keep_reply)
        if again.reply is None:
            return record  # nothing better came: the first reply and its refusal are the record
        repaired = self._record(cycle_ms, prompt, again)
        return replace(repaired, first_reply=first[0], first_refusal=first[1])

    def _ask(
        self, prompt: Prompt, deadline_ms: int, inputs: JudgementInputs, keep: Callable[[ModelReply], None]
    ) -> "_Answer":
        try:
            reply = self.model.complete(prompt, self.schema, deadline_ms)
        except ModelError as error:
            reason = "model_answer" if isinstance(error, ModelAnswerError) else "model_unavailable"
            return _Answer(None, Refusal(reason, str(error)))
        keep(reply)
        return _Answer(reply, judge_reply(reply, inputs))

    def _is_worth_repairing(self, answer: "_Answer", left_ms: int) -> bool:
        is_broken = isinstance(answer.outcome, Refusal) and answer.outcome.reason in REPAIRABLE
        has_time = left_ms >= self.deadline_ms * MIN_REPAIR_FRACTION
        return self.repairs and answer.reply is not None and is_broken and has_time

    def _record(self, cycle_ms: int, prompt: Prompt, answer: "_Answer") -> DecisionRecord:
        return DecisionRecord(cycle_ms, answer.outcome, prompt, answer.reply, self.clock.now_ms())


@dataclass(frozen=True, slots=True)
class _Answer:
    reply: ModelReply | None
    outcome: Decision | Refusal


def judge_reply(reply: ModelReply, inputs: JudgementInputs) -> Decision | Refusal:
    """The judgement of a stored reply: finish reason first, then the text."""
    return FINISH_REFUSALS.get(reply.finish_reason) or judge(reply.text, inputs)
