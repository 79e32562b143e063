"""The breaker: failures in a row pause new model calls, with growing pauses and a probe in between.

Belongs here: when a call may be made, and what a finished cycle does to the state.
Does not belong here: keeping the state (it travels in the cycle's report), protection, which never pauses.

Closed → ``failures`` failed cycles in a row → open for ``first_pause_ms`` → one probe (half open) → closed
when it works, else open for twice as long, up to ``max_pause_ms``.
"""

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.model import UNBROKEN, BreakerRules, BreakerState, Refusal
from wonttrade_dagster.core.utc import utc_text

UNANSWERED = frozenset({"model_unavailable", "model_answer"})
"""Reasons of a cycle in which the model said nothing at all."""

FAILURES = UNANSWERED | frozenset(
    {
        "venue_unavailable",
        "invalid_json",
        "reply_truncated",
        "reply_filtered",
        "model_refused",
        "unexpected_finish",
    }
)
"""Reasons that speak of a broken model or venue. A reply that breaks rules is a working model's mistake."""
PAUSED = "breaker_open"
_MAX_REASON_CHARS = 300


def pause(state: BreakerState, cycle_ms: int) -> Refusal | None:
    """Why the model is not asked in this cycle; None while the breaker is closed or a probe is due."""
    if state.open_until_ms is None or cycle_ms >= state.open_until_ms:
        return None
    since = "" if state.since_ms is None else f" since {utc_text(state.since_ms)}"
    return Refusal(
        PAUSED,
        f"{state.failures} cycles in a row failed{since} ({state.reason}): the model is not asked before "
        f"{utc_text(state.open_until_ms)}",
    )


def after_cycle(
    state: BreakerState, cycle_ms: int, reason: str, rules: BreakerRules | None, *, was_asked: bool
) -> BreakerState:
    """The state after a cycle.

    Args:
        state: before it.
        cycle_ms: the cycle.
        reason: name and detail of its refusal, ``name: detail``; "" for a cycle that worked.
        rules: None switches the breaker off.
        was_asked: whether the model was: a cycle that ended before that is no probe, and closes nothing.
    """
    name = reason.partition(":")[0]
    was_open = state.open_until_ms is not None
    if rules is None or name == PAUSED or pause(state, cycle_ms) is not None:
        return state if state.closed_at_ms is None else replace(state, closed_at_ms=None)
    if name not in FAILURES:
        if was_open and not was_asked:
            return state
        return replace(state, open_until_ms=None, closed_at_ms=cycle_ms) if was_open else UNBROKEN
    row = state if state.closed_at_ms is None else UNBROKEN
    failed = replace(
        row,
        failures=row.failures + 1,
        reason=reason[:_MAX_REASON_CHARS],
        since_ms=cycle_ms if row.since_ms is None else row.since_ms,
        closed_at_ms=None,
    )
    is_probe = row.open_until_ms is not None
    if failed.failures < rules.failures and not is_probe:
        return failed
    pause_ms = min(rules.first_pause_ms * 2**row.pauses, rules.max_pause_ms)
    return replace(failed, pauses=row.pauses + 1, open_until_ms=cycle_ms + pause_ms)
