"""What model calls cost, and when no further one may be made.

Belongs here: price × tokens, the running totals, the caps. Does not belong here: counting tokens (the
server does; what one that does not is assumed to charge is said here), reading prices (``settings``).
"""

from collections.abc import Sequence
from decimal import Decimal
from math import ceil

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import (
    DecisionRecord,
    ModelPrice,
    ModelReply,
    Prompt,
    Refusal,
    Spending,
    SpendingCaps,
    TokenUsage,
)

CAPPED = "spending_cap"
CHARACTERS_PER_TOKEN = 2.5
"""Of prompts that are mostly numbers; prose has about four. Rather too many tokens than too few."""

_DAY_MS = 86_400_000
_MILLION = Decimal(1_000_000)


def cost_usd(usage: TokenUsage, price: ModelPrice) -> Decimal:
    """USD of one call: cached input is part of the prompt's tokens, reasoning part of the completion's."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    dear = (usage.prompt_tokens - cached) * price.input_usd + usage.completion_tokens * price.output_usd
    return (dear + cached * price.cached_input_usd) / _MILLION


def replies_cost_usd(replies: Sequence[ModelReply], price: ModelPrice | None) -> Decimal | None:
    """USD of all calls of a cycle; None without a price or where a server counted no tokens."""
    if price is None or not replies or any(not r.usage.prompt_tokens for r in replies):
        return None
    return sum((cost_usd(reply.usage, price) for reply in replies), Decimal(0))


def assumed_cost_usd(
    replies: Sequence[ModelReply], prompt: Prompt, price: ModelPrice | None
) -> Decimal | None:
    """What the caps count for a cycle whose server told no tokens: by the length of what went and came.

    Returns:
        USD; None without a price, without a reply, and where every token was counted.
    """
    if price is None or all(reply.usage.prompt_tokens for reply in replies):
        return None
    return sum((cost_usd(_usage(reply, prompt), price) for reply in replies), Decimal(0))


def _usage(reply: ModelReply, prompt: Prompt) -> TokenUsage:
    if reply.usage.prompt_tokens:
        return reply.usage
    asked, told = len(prompt.system) + len(prompt.user), len(reply.text)
    return TokenUsage(ceil(asked / CHARACTERS_PER_TOKEN), ceil(told / CHARACTERS_PER_TOKEN))


def with_cost(record: DecisionRecord, price: ModelPrice | None) -> DecisionRecord:
    """The record with what its calls cost, and what they are assumed to have cost."""
    replies = record.replies
    assumed = None if record.prompt is None else assumed_cost_usd(replies, record.prompt, price)
    return replace(record, cost_usd=replies_cost_usd(replies, price), assumed_cost_usd=assumed)


def capped(spent: Spending, caps: SpendingCaps, cycle_ms: int) -> Refusal | None:
    """Why the model is not asked: the next call, at the last one's cost, would go beyond a cap.

    The first call of a day is always made: one that alone costs more than the cap is no reason never to ask
    again, for its cost could then never be found to have fallen.
    """
    today = _on_day(spent, cycle_ms)
    day, total = caps.per_day_usd, caps.in_all_usd
    if day is not None and today.day_usd + min(spent.last_usd, day) > day:
        said = (
            f"model calls have cost {today.day_usd:.4f} USD today and the next may cost {spent.last_usd:.4f}"
        )
        return Refusal(CAPPED, f"{said}: the cap is {day} USD a day (llm.max_usd_per_day), until 00:00 UTC")
    if total is not None and spent.total_usd + spent.last_usd > total:
        said = _so_far(f"{spent.total_usd:.4f} USD", spent.last_usd)
        return Refusal(CAPPED, f"{said}: the cap is {total} USD (backtest.max_usd)")
    return None


def _so_far(cost: str, next_usd: Decimal) -> str:
    return f"model calls have cost {cost} and the next may cost {next_usd:.4f}"


def after_calls(
    spent: Spending, cycle_ms: int, cost: Decimal | None, calls: int, assumed: Decimal | None = None
) -> Spending:
    """The totals after a cycle.

    Args:
        spent: before it.
        cycle_ms: the cycle.
        cost: of its calls together; None where nobody knows it, or there was none.
        calls: how many were made: a repair is a call of its own, and the two share the cost evenly.
        assumed: what to count for them where nobody knows; None counts nothing.
    """
    today = _on_day(spent, cycle_ms)
    if cost is None:
        today = replace(today, unpriced_calls=today.unpriced_calls + calls)
    counted = assumed if cost is None else cost
    if counted is None:
        return today
    each = counted / max(calls, 1)
    return replace(today, day_usd=today.day_usd + counted, total_usd=today.total_usd + counted, last_usd=each)


def _on_day(spent: Spending, cycle_ms: int) -> Spending:
    day = cycle_ms // _DAY_MS
    return spent if spent.day == day else replace(spent, day=day, day_usd=Decimal(0))
