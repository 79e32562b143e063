"""The decision: what was asked, what came back, what was made of it.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from wonttrade_dagster.core.model.account import Fill
from wonttrade_dagster.core.quick_init import quick_init


@quick_init
@dataclass(frozen=True, slots=True)
class AnsweredTarget:
    """Size and prices as the model wrote them, before they were brought onto the venue's grid."""

    target_size: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None


@quick_init
@dataclass(frozen=True, slots=True)
class TargetPosition:
    """What the model wants to hold. ``stop_loss`` and ``take_profit`` are None only when flat."""

    symbol: str
    target_size: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    confidence: float
    rationale: str
    margin_usd: Decimal | None = None
    """Optional margin: the position's leverage becomes ceil(notional / margin)."""
    answered: AnsweredTarget | None = None
    """What the model wrote, where bringing it onto the venue's grid changed a digit."""


@quick_init
@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that invalidates the plan once it holds; see ``core.invalidation`` for the series."""

    symbol: str
    series: str
    operator: str
    value: Decimal
    interval: str | None = None
    """Of a windowed series; None for what is known at the cycle time."""


class PriorPlan(StrEnum):
    """What the model says it did with the prior plan."""

    KEPT = "kept"
    REPLACED = "replaced"
    NONE = "none"


@quick_init
@dataclass(frozen=True, slots=True)
class Decision:
    """Accepted whole: one target per tracked symbol, explicit zeros included."""

    explanation: str
    invalidation_condition: str
    targets: tuple[TargetPosition, ...]
    prior_plan: PriorPlan
    replaced_because: str | None = None
    conditions: tuple[Condition, ...] = ()
    """The part of the invalidation condition that the program itself can check, each cycle."""
    kind: Literal["decision"] = "decision"

    def target(self, symbol: str) -> TargetPosition:
        """The target for ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for target in self.targets:
            if target.symbol == symbol:
                return target
        raise KeyError(symbol)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a reply: a stable rule name, where, and a sentence."""

    rule: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A decision that was not applied. Positions and protection stay as they are.

    Attributes:
        reason: a stable snake_case name: ``invalid_json``, ``violations``, ``model_unavailable``,
            ``stale_decision``, ``price_moved_past_stop``, or the reason of an earlier stage failure.
        detail: one sentence for a person and for the next prompt.
        violations: what was wrong, not just the first; of very many the first ones and how many more.
    """

    reason: str
    detail: str
    violations: tuple[Violation, ...] = ()
    kind: Literal["refusal"] = "refusal"


@quick_init
@dataclass(frozen=True, slots=True)
class Prompt:
    """The two messages sent to the model, and what made them."""

    system: str
    user: str
    template: str
    template_sha256: str
    schema_sha256: str
    prompt_sha256: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens as the model's server counted them; 0 where it did not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A chat completion as it came back; ``text`` is raw and untrusted."""

    text: str
    model: str
    request_id: str | None
    finish_reason: str
    usage: TokenUsage
    sent_at_ms: int
    received_at_ms: int
    fingerprint: str | None = None

    @property
    def latency_ms(self) -> int:
        """From sending to the last byte."""
        return self.received_at_ms - self.sent_at_ms


@quick_init
@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """The outcome of the ``decisions`` stage: what was asked, answered, and made of it."""

    cycle_ms: int
    outcome: Decision | Refusal
    prompt: Prompt | None
    reply: ModelReply | None
    decided_at_ms: int
    reply_sha256: str | None = None
    """Of the raw text of ``reply``; None without one."""
    first_reply: ModelReply | None = None
    """The refused reply of a cycle in which the model was asked to repair it; ``reply`` is the second."""
    first_refusal: Refusal | None = None
    cost_usd: Decimal | None = None
    """Of all calls of this cycle by the configured prices; None when nobody knows."""
    assumed_cost_usd: Decimal | None = None
    """What the caps count where the server told no tokens: by the length of prompt and replies."""
    fired: tuple[int, ...] = ()
    """Conditions of the prior plan, numbered from 1, that held when the model was asked."""
    prior_cycle_ms: int | None = None
    """The cycle whose decision the model was shown as the prior plan; None without one."""

    @property
    def replies(self) -> tuple[ModelReply, ...]:
        """Every reply of the cycle, in order."""
        return tuple(reply for reply in (self.first_reply, self.reply) if reply is not None)

    @property
    def obeyed(self) -> bool | None:
        """Whether a plan whose conditions held was given up; None where none held or nothing was decided."""
        if not self.fired or not isinstance(self.outcome, Decision):
            return None
        return self.outcome.prior_plan is PriorPlan.REPLACED


@quick_init
@dataclass(frozen=True, slots=True)
class PriorDecision:
    """The last applied decision and how the most recent cycle ended, for prompt and protection.

    ``last_refusal`` is set when the cycle before this one was refused (then ``decision`` is older).
    """

    decision: Decision | None
    decided_cycle_ms: int | None
    last_refusal: Refusal | None = None
    fills: tuple[Fill, ...] = ()
    """What was actually filled for that decision."""
