"""Until when an action lives by the venue's clock, whatever delays the answers that tell its time."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from venue_stub import FILLED, META, ORDER, FrozenClock, Stub, scripted, venue

from wonttrade_dagster.adapters.hyperliquid.venue_clock import ANSWERS_KEPT, VenueClock
from wonttrade_dagster.core.model import CancelOrder, OrderPurpose, SetLeverage

START_MS = 1_790_000_000_000
LIFE_MS = 10_000
STOP = replace(
    ORDER,
    purpose=OrderPurpose.STOP_LOSS,
    is_buy=False,
    reduce_only=True,
    trigger_px=ORDER.limit_px - 4_000,
    limit_px=ORDER.limit_px - 12_000,
)
CLOSE = replace(ORDER, purpose=OrderPurpose.CLOSE, is_buy=False, reduce_only=True)
NOT_ENTRIES = [STOP, CLOSE, CancelOrder("BTC", 7, None, "r"), SetLeverage("BTC", 3, True, "r")]


class MovingClock(FrozenClock):
    """Stands still until the stub lets time pass."""

    time_ms = START_MS

    def now_ms(self) -> int:
        return self.time_ms


class Delayed:
    """A venue whose account comes late, and from a node whose time the test chooses."""

    def __init__(self, stub: Stub) -> None:
        self.stub, self.clock = stub, MovingClock()
        self.there_ms = self.back_ms = self.node_behind_ms = self.ahead_ms = 0
        done = {"status": "ok", "response": {"type": "default"}}
        scripted(
            stub,
            order=FILLED,
            cancel={"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success"]}}},
            updateLeverage=done,
            frontendOpenOrders=[],
            metaAndAssetCtxs=[META, [{"markPx": "80000.0"}]],
        )
        self._answer = stub.answer
        stub.answer = self.answer
        self.venue = venue(stub, clock=self.clock)

    def answer(self, body: dict[str, Any]) -> tuple[int, str] | None:
        if body.get("type") != "clearinghouseState":
            return self._answer(body)
        self.clock.time_ms += self.there_ms
        summary = {"accountValue": "1.0", "totalMarginUsed": "0.0"}
        time_ms = self.clock.time_ms + self.ahead_ms - self.node_behind_ms
        self.clock.time_ms += self.back_ms
        state = {"marginSummary": summary, "withdrawable": "1.0", "assetPositions": [], "time": time_ms}
        return 200, json.dumps(state)

    def life_ms(self, action: Any) -> int:
        """How long an action lives by the venue's clock, from when it is sent."""
        if isinstance(action, CancelOrder):
            self.venue.cancel(action)
        elif isinstance(action, SetLeverage):
            self.venue.set_leverage(action)
        else:
            self.venue.place(action)
        expires_ms: int = self.stub.bodies[-1]["expiresAfter"]
        return expires_ms - self.clock.time_ms - self.ahead_ms


@pytest.fixture
def delayed(stub: Stub) -> Delayed:
    return Delayed(stub)


@pytest.mark.parametrize("action", NOT_ENTRIES, ids=lambda action: type(action).__name__)
@pytest.mark.parametrize(
    "delay",
    [{"back_ms": 9_500}, {"there_ms": 9_500}, {"node_behind_ms": 12_000}, {"back_ms": 90, "there_ms": 90}],
    ids=str,
)
def test_neither_a_slow_answer_nor_a_node_that_lags_lets_a_stop_expire_early(
    delayed: Delayed, action: object, delay: dict[str, int]
) -> None:
    for name, value in delay.items():
        setattr(delayed, name, value)
    delayed.venue.account()
    assert delayed.life_ms(action) >= LIFE_MS


@pytest.mark.parametrize(
    "delay", [{"back_ms": 9_500}, {"there_ms": 9_500}, {"node_behind_ms": 3_000}], ids=str
)
def test_an_entry_never_lives_for_longer_than_it_may(delayed: Delayed, delay: dict[str, int]) -> None:
    for name, value in delay.items():
        setattr(delayed, name, value)
    delayed.venue.account()
    assert delayed.life_ms(ORDER) <= LIFE_MS


def test_one_slow_answer_among_others_takes_nothing_of_an_entrys_time(delayed: Delayed) -> None:
    delayed.venue.account()
    delayed.back_ms = 9_500
    delayed.venue.account()
    assert delayed.life_ms(ORDER) == LIFE_MS


@pytest.mark.parametrize("ahead_ms", [-60_000, 60_000])
def test_a_clock_of_ours_that_is_wrong_changes_no_life_by_the_venues(delayed: Delayed, ahead_ms: int) -> None:
    delayed.ahead_ms = ahead_ms
    delayed.venue.account()
    assert delayed.life_ms(ORDER) == LIFE_MS
    assert delayed.life_ms(STOP) >= LIFE_MS


def test_pauses_between_the_attempts_of_a_question_are_no_latency(stub: Stub) -> None:
    delayed = Delayed(stub)
    made = venue(stub, clock=delayed.clock, read_attempts=2)
    inner, faults = delayed.answer, [(503, "busy")]

    def first_busy(body: dict[str, Any]) -> tuple[int, str] | None:
        if body.get("type") == "clearinghouseState" and faults:
            delayed.clock.time_ms += 8_000
            return faults.pop()
        return inner(body)

    stub.answer = first_busy
    delayed.venue = made
    made.account()
    assert delayed.life_ms(STOP) == LIFE_MS


def test_a_clock_that_was_set_is_followed_after_some_answers() -> None:
    clock = VenueClock()
    clock.note(asked_ms=0, answered_ms=100, venue_ms=60_050)
    for _ in range(ANSWERS_KEPT):
        clock.note(asked_ms=60_000, answered_ms=60_100, venue_ms=60_050)
    assert (clock.certain_lead_ms, clock.possible_lead_ms) == (-50, 50)


delays = st.integers(0, 10_000)


@given(st.integers(-100_000, 100_000), st.lists(st.tuples(delays, delays, delays), max_size=12))
def test_the_true_lead_is_never_overestimated_for_an_entry_nor_underestimated_for_a_stop(
    lead_ms: int, answers: list[tuple[int, int, int]]
) -> None:
    clock, now_ms = VenueClock(), START_MS
    for there_ms, back_ms, behind_ms in answers:
        venue_ms = now_ms + there_ms + lead_ms - behind_ms
        clock.note(asked_ms=now_ms, answered_ms=now_ms + there_ms + back_ms, venue_ms=venue_ms)
        now_ms += there_ms + back_ms
    assert clock.possible_lead_ms >= 0
    if answers:
        assert clock.certain_lead_ms <= lead_ms
    if any(behind_ms <= there_ms for there_ms, _, behind_ms in answers[-ANSWERS_KEPT:]):
        assert clock.possible_lead_ms >= lead_ms
