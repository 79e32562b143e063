from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonttrade_dagster.core.breaker import FAILURES, after_cycle, pause
from wonttrade_dagster.core.model import UNBROKEN, BreakerRules, BreakerState

RULES = BreakerRules(failures=3, first_pause_ms=300_000, max_pause_ms=3_600_000)
MINUTE_MS = 60_000
START_MS = 1_795_435_380_000
DOWN = "model_unavailable: api.example did not answer in time"


def walked(*reasons: str, rules: BreakerRules | None = RULES) -> BreakerState:
    """One cycle a minute; a paused cycle is refused by the breaker itself."""
    state = UNBROKEN
    for number, reason in enumerate(reasons):
        cycle_ms = START_MS + number * MINUTE_MS
        refused = pause(state, cycle_ms)
        said = f"{refused.reason}: {refused.detail}" if refused else reason
        state = after_cycle(state, cycle_ms, said, rules, was_asked=refused is None)
    return state


def test_it_opens_after_so_many_failures_in_a_row_and_says_since_when_and_why() -> None:
    assert walked(DOWN, DOWN).open_until_ms is None
    state = walked(DOWN, DOWN, DOWN)
    opened_ms = START_MS + 2 * MINUTE_MS
    assert state.open_until_ms == opened_ms + RULES.first_pause_ms
    refused = pause(state, opened_ms + MINUTE_MS)
    assert refused is not None
    assert refused.reason == "breaker_open"
    for words in ("3 cycles", "2026-11-23 12:03 UTC", DOWN, "2026-11-23 12:10 UTC"):
        assert words in refused.detail


@pytest.mark.parametrize("between", ["", "violations: 1 violation", "stale_decision: old", "spending_cap: x"])
def test_a_cycle_that_worked_or_was_refused_for_other_reasons_begins_the_row_anew(between: str) -> None:
    assert walked(DOWN, DOWN, between, DOWN, DOWN).open_until_ms is None


@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_each_failure_of_model_or_venue_counts(reason: str) -> None:
    assert walked(*[f"{reason}: x"] * 3).open_until_ms is not None


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    state, cycle_ms, pauses = walked(DOWN, DOWN, DOWN), START_MS + 2 * MINUTE_MS, []
    for _ in range(6):
        assert state.open_until_ms is not None
        pauses.append(state.open_until_ms - cycle_ms)
        cycle_ms = state.open_until_ms
        assert pause(state, cycle_ms - 1) is not None
        assert pause(state, cycle_ms) is None  # half open: one probe
        state = after_cycle(state, cycle_ms, DOWN, RULES, was_asked=True)
    assert pauses == [300_000, 600_000, 1_200_000, 2_400_000, 3_600_000, 3_600_000]


def test_a_probe_that_works_closes_it_and_the_next_prompt_can_say_so_once() -> None:
    state = walked(DOWN, DOWN, DOWN)
    assert state.open_until_ms is not None
    closed = after_cycle(state, state.open_until_ms, "", RULES, was_asked=True)
    assert (closed.open_until_ms, closed.closed_at_ms) == (None, state.open_until_ms)
    assert pause(closed, state.open_until_ms + MINUTE_MS) is None
    assert after_cycle(closed, state.open_until_ms + MINUTE_MS, "", RULES, was_asked=True) == UNBROKEN
    failed = after_cycle(closed, state.open_until_ms + MINUTE_MS, DOWN, RULES, was_asked=True)
    assert (failed.failures, failed.pauses, failed.since_ms) == (1, 0, state.open_until_ms + MINUTE_MS)


@pytest.mark.parametrize(
    "reason", ["market_stale: slow", "prompt_broken: x", "venue_unavailable: y", "", DOWN]
)
def test_within_a_pause_no_cycle_changes_it_whatever_it_ended_with(reason: str) -> None:
    state = walked(DOWN, DOWN, DOWN)
    assert state.open_until_ms is not None
    for cycle_ms in (START_MS + 3 * MINUTE_MS, state.open_until_ms - 1):
        assert after_cycle(state, cycle_ms, reason, RULES, was_asked=False) == state


def test_after_the_pause_a_cycle_that_asked_no_model_is_no_probe_and_a_dead_venue_is_a_failed_one() -> None:
    state = walked(DOWN, DOWN, DOWN)
    assert state.open_until_ms is not None
    due_ms = state.open_until_ms
    unasked = after_cycle(state, due_ms, "market_stale: slow", RULES, was_asked=False)
    assert unasked == state
    assert pause(unasked, due_ms + MINUTE_MS) is None, "the probe is still due"
    failed = after_cycle(unasked, due_ms + MINUTE_MS, "venue_unavailable: y", RULES, was_asked=False)
    assert failed.open_until_ms == due_ms + MINUTE_MS + 2 * RULES.first_pause_ms
    assert after_cycle(unasked, due_ms + MINUTE_MS, "", RULES, was_asked=True).open_until_ms is None


def test_paused_cycles_change_nothing() -> None:
    state = walked(DOWN, DOWN, DOWN)
    assert walked(DOWN, DOWN, DOWN, "", "", "") == state


def test_without_rules_it_never_opens() -> None:
    assert walked(*[DOWN] * 20, rules=None) == UNBROKEN


@given(st.lists(st.sampled_from(["", DOWN, "violations: x", "venue_unavailable: y"]), max_size=120))
def test_it_is_open_only_after_a_row_of_failures_and_never_for_longer_than_the_longest_pause(
    reasons: list[str],
) -> None:
    state = UNBROKEN
    for number, reason in enumerate(reasons):
        cycle_ms = START_MS + number * MINUTE_MS
        refused = pause(state, cycle_ms)
        if refused is not None:
            assert state.failures >= RULES.failures
            assert state.open_until_ms is not None
            assert state.open_until_ms - cycle_ms <= RULES.max_pause_ms
        said = f"{refused.reason}: x" if refused else reason
        state = after_cycle(state, cycle_ms, said, RULES, was_asked=refused is None)
        assert replace(state, closed_at_ms=None).failures >= 0
        assert (state.since_ms is None) == (state.failures == 0)
