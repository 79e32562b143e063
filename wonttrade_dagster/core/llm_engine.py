"""The ``decisions`` stage: ask the model once, judge what came back.

Belongs here: how transport faults and finish reasons become named refusals.
Does not belong here: the HTTP call (``adapters.llm``), the judgement itself (``core.decision``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.errors import ModelAnswerError, ModelError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Decision,
    DecisionRecord,
    MarketSnapshot,
    ModelReply,
    PriorDecision,
    Prompt,
    Refusal,
    RiskLimits,
)
from wonttrade_dagster.core.ports import Clock, LanguageModel

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


@dataclass(frozen=True, slots=True)
class LLMDecisionEngine:
    """Asks the model and judges the reply; never raises for what the model or its server did.

    Attributes:
        model: the chat model.
        schema: strict JSON schema of the reply, sent along with the prompt.
        limits: what a decision must stay within.
        clock: for ``decided_at_ms``.
        deadline_ms: how long one call may take, retries included (a duration).
        entry_cost_bps: slippage and fee that an entry may cost.
    """

    model: LanguageModel
    schema: Mapping[str, Any]
    limits: RiskLimits
    clock: Clock
    deadline_ms: int
    entry_cost_bps: Decimal = Decimal(0)

    def decide(
        self,
        cycle_ms: int,
        prompt: Prompt,
        market: MarketSnapshot,
        account: AccountSnapshot,
        prior: PriorDecision,
    ) -> DecisionRecord:
        """One model call, and what was made of it.

        Returns:
            The record with the raw reply; its outcome is a ``Refusal`` named ``model_unavailable`` or
            ``model_answer`` when there was no reply.
        """
        try:
            reply = self.model.complete(prompt, self.schema, self.deadline_ms)
        except ModelError as error:
            reason = "model_answer" if isinstance(error, ModelAnswerError) else "model_unavailable"
            refusal = Refusal(reason, str(error))
            return DecisionRecord(cycle_ms, refusal, prompt, None, self.clock.now_ms())
        inputs = JudgementInputs(market, account, prior, self.limits, self.entry_cost_bps)
        return DecisionRecord(cycle_ms, judge_reply(reply, inputs), prompt, reply, self.clock.now_ms())


def judge_reply(reply: ModelReply, inputs: JudgementInputs) -> Decision | Refusal:
    """The judgement of a stored reply: finish reason first, then the text."""
    return FINISH_REFUSALS.get(reply.finish_reason) or judge(reply.text, inputs)
