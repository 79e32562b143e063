"""A few times of a recorded day with short windows, so that every run of the suite compares both sides.

The whole day with the default of 1,000 bars is in ``test_parity_by_rest`` and ``test_parity_by_stream``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from background import in_background
from replayed_day import (
    FROM_MS,
    TIMES,
    ReplayedDay,
    assert_parity,
    known_to_history,
    listened,
    ms,
    replayed_day,
)

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.defs.compose_stream import market_stream

BARS = 300
BY_REST = (FROM_MS, ms("2025-06-28 04:00"), ms("2025-06-28 08:26"))
BY_STREAM = (ms("2025-06-28 16:00"), ms("2025-06-29 00:01"))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, market_data: Path) -> Iterator[ReplayedDay]:
    folder, short = tmp_path_factory.mktemp("glance"), {"symbols__history_bars": BARS}
    with replayed_day(folder, market_data, short, ("5m", "funding")) as day:
        yield day


def test_a_live_cycle_and_a_backtest_see_the_same_bytes(day: ReplayedDay) -> None:
    for cycle_ms in BY_REST:
        day.clock.jump_to(cycle_ms + 150)
        snapshot = day.live_snapshot(cycle_ms)
        assert (snapshot.source, snapshot.stream_miss) == ("rest", "no stream has run")
        assert_parity(day, snapshot)
    with in_background(market_stream(day.settings, SystemClock()).run):
        for cycle_ms in BY_STREAM:
            day.clock.jump_to(cycle_ms + 150)
            assert_parity(day, listened(day, cycle_ms))


def test_what_is_taken_out_is_what_a_live_cycle_has_and_history_has_not(day: ReplayedDay) -> None:
    cycle_ms = ms("2025-06-29 00:02")
    day.clock.jump_to(max(cycle_ms + 150, day.clock.now_ms()))
    live, replayed = day.live_snapshot(cycle_ms), day.replay.snapshot(cycle_ms)
    for ours, theirs in zip(live.markets, replayed.markets, strict=True):
        for name in ("mid_px", "mark_px", "oracle_px", "open_interest_base"):
            assert getattr(ours, name) is not None
            assert getattr(theirs, name) is None
    untouched = known_to_history(live)
    for ours, theirs in zip(untouched.markets, live.markets, strict=True):
        for name in ("asset", "funding_rate_hourly", "day_volume_usd", "intraday", "long_term"):
            assert getattr(ours, name) is getattr(theirs, name)
            assert getattr(ours, name) is not None


def test_the_times_compared_are_worth_comparing(day: ReplayedDay) -> None:
    seen = [day.replay.snapshot(cycle_ms) for cycle_ms in TIMES]
    assert len(seen) >= 40
    assert len({snapshot.markets[1].funding_rate_hourly for snapshot in seen}) > 8
    assert any((snapshot.markets[0].intraday.frame.tail(7)["volume"] == 0).all() for snapshot in seen)
    newest = [snapshot.markets[0].long_term.frame["open_time_ms"][-1] for snapshot in seen]
    assert len(set(newest)) >= 8
