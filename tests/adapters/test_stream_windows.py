"""What a window of closed candles holds after any order of pushes and answers."""

from dataclasses import dataclass, field

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import random_candles, utc_ms

from wonttrade_dagster.adapters.hyperliquid.stream_windows import (
    CLOSE_GRACE_MS,
    Ask,
    CandleWindow,
    SeriesName,
)
from wonttrade_dagster.core.candles import missing_open_times
from wonttrade_dagster.core.errors import VenueAnswerError

MINUTE = 60_000
START = utc_ms(2026, 11, 23, 12)
BTC = SeriesName("BTC", "1m")
BARS = 10
VENUE = random_candles(START - 60 * MINUTE, 240, "1m", seed=3)


def venue_bars(ask: Ask) -> pl.DataFrame:
    return VENUE.filter(pl.col("open_time_ms").is_between(ask.first_ms, ask.last_ms))


def filled(now_ms: int = START) -> CandleWindow:
    window = CandleWindow(BTC, BARS)
    answer(window, now_ms)
    return window


def answer(window: CandleWindow, now_ms: int) -> Ask:
    ask = window.needs(now_ms)
    assert ask is not None
    window.put(ask, venue_bars(ask), now_ms)
    return ask


def test_a_new_window_asks_for_exactly_its_bars_and_nothing_that_forms() -> None:
    window = CandleWindow(BTC, BARS)
    assert window.needs(START + CLOSE_GRACE_MS) == Ask(BTC, START - BARS * MINUTE, START - MINUTE)
    answer(window, START + CLOSE_GRACE_MS)
    assert window.needs(START + MINUTE) is None
    assert window.closed.frame["open_time_ms"].to_list() == [START - k * MINUTE for k in range(BARS, 0, -1)]


def test_a_bar_counts_as_closed_when_a_newer_one_opens_or_when_its_time_is_well_past() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    just_after = START + MINUTE + 1
    assert window.needs(just_after) is None, "the venue's clock may be behind ours"
    assert window.needs(START + MINUTE + CLOSE_GRACE_MS) is not None
    window.pushed(START, 100.0, 1.0, just_after)
    assert window.needs(just_after) is None, "a push of the forming bar closes nothing"
    window.pushed(START + MINUTE, 100.0, 1.0, just_after)
    assert window.needs(just_after) == Ask(BTC, START - MINUTE, START)


def test_a_push_from_the_future_closes_nothing() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    window.pushed(START + 600 * MINUTE, 100.0, 1.0, START + CLOSE_GRACE_MS)
    assert window.needs(START + CLOSE_GRACE_MS) is None


def test_the_bar_before_is_read_again_and_a_revised_one_replaces_the_older_value() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    window.pushed(START + MINUTE, 100.0, 1.0, START + MINUTE)
    ask = window.needs(START + MINUTE)
    assert ask is not None
    revised = venue_bars(ask).with_columns(
        volume=pl.when(pl.col("open_time_ms") == START - MINUTE).then(777.0).otherwise(pl.col("volume"))
    )
    window.put(ask, revised, START + MINUTE)
    assert window.revised == 1
    assert window.closed.frame.tail(2)["volume"].to_list() == [777.0, revised["volume"][-1]]
    assert window.closed.frame.height == BARS


def test_a_push_about_a_closed_bar_is_verified_by_rest_and_never_taken() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    before = window.closed.frame
    third = before.row(-3, named=True)
    window.pushed(third["open_time_ms"], third["close"], third["volume"], START)
    assert window.needs(START + CLOSE_GRACE_MS) is None, "the same value again is no news"
    window.pushed(third["open_time_ms"], third["close"], third["volume"] / 2, START)
    assert answer(window, START + CLOSE_GRACE_MS).first_ms == third["open_time_ms"]
    assert window.closed.frame.equals(before)
    assert window.needs(START + CLOSE_GRACE_MS) is None


def test_an_answer_that_does_not_join_is_refused_and_changes_nothing() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    before = window.closed.frame
    ask = Ask(BTC, START - MINUTE, START + 2 * MINUTE)
    with pytest.raises(VenueAnswerError, match="BTC 1m candles do not join"):
        window.put(ask, venue_bars(ask).filter(pl.col("open_time_ms") != START), START)
    assert window.closed.frame.equals(before)


def test_a_hole_longer_than_the_window_replaces_it() -> None:
    window = filled(START + CLOSE_GRACE_MS)
    answer(window, START + 90 * MINUTE)
    opens = window.closed.frame["open_time_ms"]
    assert (opens[-1], len(opens)) == (START + 89 * MINUTE - MINUTE, BARS)


@pytest.mark.parametrize(("bars_there", "has_all"), [(4, True), (BARS, False)])
def test_fewer_bars_are_whole_only_where_the_venue_has_no_more(bars_there: int, has_all: bool) -> None:
    window = CandleWindow(BTC, BARS)
    ask = window.needs(START + CLOSE_GRACE_MS)
    assert ask is not None
    window.put(ask, venue_bars(ask).tail(bars_there), START)
    assert window.has_all is has_all


@dataclass
class Feed:
    """A venue whose pushes may be lost, doubled or late, and whose answers may fail."""

    window: CandleWindow = field(default_factory=lambda: CandleWindow(BTC, BARS))
    now_ms: int = START

    def push(self, behind: int, factor: float) -> None:
        open_ms = self.now_ms // MINUTE * MINUTE - behind * MINUTE
        bar = VENUE.filter(pl.col("open_time_ms") == open_ms)
        if bar.height:
            self.window.pushed(open_ms, bar["close"][0], bar["volume"][0] * factor, self.now_ms)

    def ask(self) -> None:
        ask = self.window.needs(self.now_ms)
        if ask is not None:
            self.window.put(ask, venue_bars(ask), self.now_ms)


STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 20 * MINUTE)),
    st.tuples(st.just("push"), st.tuples(st.integers(0, 12), st.sampled_from([0.5, 1.0]))),
    st.tuples(st.just("ask"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_comes_the_window_is_contiguous_whole_and_as_the_venue_has_it(
    steps: list[tuple[str, object]],
) -> None:
    feed = Feed()
    for kind, argument in steps:
        if kind == "wait":
            feed.now_ms = min(feed.now_ms + argument, START + 170 * MINUTE)
        elif kind == "push":
            feed.push(*argument)
        else:
            feed.ask()
        frame = feed.window.closed.frame
        assert frame.height in (0, BARS)
        assert not missing_open_times(frame, "1m")
        assert frame.equals(VENUE.filter(pl.col("open_time_ms").is_in(frame["open_time_ms"].implode())))
        last_ms = feed.window.last_ms
        assert last_ms is None or last_ms + MINUTE <= feed.now_ms, "nothing that forms"
    feed.ask()
    assert feed.window.last_ms == feed.window.closed_ms(feed.now_ms)
