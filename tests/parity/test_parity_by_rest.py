"""A live cycle by REST sees, byte for byte, what a backtest of the same day sees."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from replayed_day import TIMES, ReplayedDay, assert_parity, replayed_day

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, market_data: Path) -> Iterator[ReplayedDay]:
    by_rest = {"symbols__history_bars": None, "hyperliquid__stream": False}
    with replayed_day(tmp_path_factory.mktemp("rest"), market_data, by_rest) as day:
        assert day.settings.symbols.history_bars == 1_000
        yield day


def test_snapshots_indicators_and_prompts_are_the_backtests_byte_for_byte(day: ReplayedDay) -> None:
    for cycle_ms in TIMES:
        day.clock.jump_to(cycle_ms + 150)
        snapshot = day.live_snapshot(cycle_ms)
        assert snapshot.source == "rest"
        assert_parity(day, snapshot)
