"""The two clocks."""

import time

from wonttrade_dagster.adapters.clock import FixedClock, SystemClock


def test_the_system_clock_tells_milliseconds_and_really_sleeps() -> None:
    clock = SystemClock()
    before = clock.now_ms()
    assert abs(before - time.time() * 1000) < 1000
    clock.sleep(0.03)
    assert clock.now_ms() - before >= 29


def test_sleeping_into_the_past_takes_no_time() -> None:
    started = time.monotonic()
    SystemClock().sleep(-5)
    assert time.monotonic() - started < 1


def test_the_fixed_clock_moves_only_when_it_is_set_or_slept() -> None:
    clock = FixedClock(1_000)
    assert [clock.now_ms(), clock.now_ms()] == [1_000, 1_000]
    clock.sleep(2.5)
    clock.sleep(-1)
    assert clock.now_ms() == 3_500
    clock.set(500)
    assert clock.now_ms() == 500
