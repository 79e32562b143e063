"""What live cycles saw during a day is what a backtest of that day sees after ``wonttrade history sync``."""

from pathlib import Path

import pytest
from replayed_day import assert_parity, both_sides, ms, served_day

from wonttrade_dagster.core.model import MarketSnapshot
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BARS = 300
TIMES = tuple(ms(f"2025-06-28 {time}") for time in ("00:00", "03:59", "04:00", "08:26", "12:05", "23:59"))


def test_a_synced_day_replays_as_it_was_traded(tmp_path: Path, market_data: Path) -> None:
    short = {"symbols__history_bars": BARS, "hyperliquid__stream": False}
    with served_day(tmp_path, market_data, short, ("5m", "funding")) as served:
        live, seen = compose_live_cycle(served.settings, Executors()).parts, []
        for cycle_ms in TIMES:
            served.clock.jump_to(cycle_ms + 150)
            seen.append(live.state.market(cycle_ms))
        served.clock.jump_to(ms("2025-06-29 00:03"))
        served.history("sync", "--from", "2025-05-08", "--to", "2025-06-28")
        day = both_sides(served, TIMES[0], ms("2025-06-29"))
        for snapshot in seen:
            assert isinstance(snapshot, MarketSnapshot), snapshot
            assert_parity(day, snapshot)
