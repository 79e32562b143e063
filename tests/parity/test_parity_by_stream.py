"""A live cycle by the stream sees, byte for byte, what a backtest of the same day sees."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from background import in_background
from replayed_day import (
    TIMES,
    ReplayedDay,
    assert_parity,
    listened,
    ms,
    replayed_day,
    wait_until_heard,
)

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.defs.compose_stream import market_stream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LIVED_THROUGH = (ms("2025-06-29 00:30"), ms("2025-06-29 04:00"), ms("2025-06-30 00:00"))
"""A bar of 5m, one of 4h and a day end while the stream listens and the cycle waits.

Funding does not move in these hours: a context may be some seconds older than the cycle.
"""
LEAD_MS = 12_000
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, market_data: Path) -> Iterator[ReplayedDay]:
    by_stream = {"symbols__history_bars": None, "hyperliquid__stream": True}
    folder = tmp_path_factory.mktemp("stream")
    with (
        replayed_day(folder, market_data, by_stream) as day,
        in_background(market_stream(day.settings, SystemClock()).run),
    ):
        yield day


def test_snapshots_indicators_and_prompts_are_the_backtests_byte_for_byte(day: ReplayedDay) -> None:
    for cycle_ms in TIMES:
        day.clock.jump_to(cycle_ms + 150)
        assert_parity(day, listened(day, cycle_ms))


def test_a_bar_that_closes_at_the_cycle_is_whole_when_the_cycle_sees_it(day: ReplayedDay) -> None:
    sources = []
    for cycle_ms in LIVED_THROUGH:
        day.clock.jump_to(cycle_ms - LEAD_MS)
        wait_until_heard(day, cycle_ms - MINUTE_MS)
        time.sleep(max(cycle_ms - day.clock.now_ms(), 0) / 1000)
        snapshot = day.live_snapshot(cycle_ms)
        assert_parity(day, snapshot)
        sources.append(snapshot.source)
    assert "stream" in sources, "a busy machine may be late once or twice, and then asks by REST"
