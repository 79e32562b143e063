"""What the program remembers of failures and money spent, carried from report to report.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: when calls are paused (``core.breaker``), what a call costs (``core.spending``).
"""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When failures in a row pause the model's calls.

    Attributes:
        failures: so many failed cycles in a row open the breaker.
        first_pause_ms: how long it stays open at first; each failed probe doubles it.
        max_pause_ms: the longest pause.
    """

    failures: int
    first_pause_ms: int
    max_pause_ms: int


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Failures in a row of the model or the venue.

    Attributes:
        failures: so far; 0 after a cycle that worked.
        reason: what failed last.
        since_ms: the first failed cycle of the row.
        pauses: how often the breaker has opened since then.
        open_until_ms: no model call before that; None while it is closed.
        closed_at_ms: the cycle whose probe closed it, kept for one cycle so that the prompt can say so.
    """

    failures: int = 0
    reason: str = ""
    since_ms: int | None = None
    pauses: int = 0
    open_until_ms: int | None = None
    closed_at_ms: int | None = None


UNBROKEN = BreakerState()


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """USD per million tokens; reasoning tokens count as output."""

    input_usd: Decimal
    cached_input_usd: Decimal
    output_usd: Decimal


@dataclass(frozen=True, slots=True)
class SpendingCaps:
    """What the model's calls may cost; None is no limit."""

    per_day_usd: Decimal | None = None
    in_all_usd: Decimal | None = None


NO_CAPS = SpendingCaps()


@dataclass(frozen=True, slots=True)
class Spending:
    """What the model's calls have cost, by the configured prices.

    Attributes:
        day: UTC day number since the epoch that ``day_usd`` belongs to.
        day_usd: on that day.
        total_usd: since the records begin.
        last_usd: one call of the last cycle that made any: what the next one is expected to cost.
        unpriced_calls: calls whose tokens nobody told, or without a configured price; the sums hold what
            those that brought a reply are assumed to have cost.
    """

    day: int = 0
    day_usd: Decimal = Decimal(0)
    total_usd: Decimal = Decimal(0)
    last_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0


NOTHING_SPENT = Spending()
