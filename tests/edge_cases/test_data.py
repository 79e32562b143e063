"""Case 35: candles and funding as the venue hands them out."""

from hyperliquid.info import Info

from edge_cases.parts import CLOCK, market_data_of
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.sandbox.server import Sandbox

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


def test_35_only_5000_candles_exist_and_no_older_ones_are_made_up(info: Info, sandbox: Sandbox) -> None:
    """Whoever asks for more gets fewer without a word and computes on a shorter history than he thinks."""
    now_ms = CLOCK.now_ms()
    rows = info.candles_snapshot("BTC", "5m", now_ms - 6_000 * 5 * MINUTE_MS, now_ms)
    assert len(rows) == 5_000
    market_data = market_data_of(sandbox)
    assert "BTC" in market_data.assets()
    series = market_data.candles("BTC", "5m", now_ms, 6_000)
    opens = series.frame["open_time_ms"]
    assert 4_990 < len(opens) < 5_000
    assert set(opens.diff().drop_nulls()) == {5 * MINUTE_MS}


def test_35_the_unfinished_candle_is_dropped(info: Info, sandbox: Sandbox) -> None:
    """The venue's last row is still forming: an indicator on it changes its past with each question."""
    now_ms = CLOCK.now_ms()
    assert info.candles_snapshot("BTC", "4h", now_ms - 86_400_000, now_ms)[-1]["T"] >= now_ms
    for market in market_data_of(sandbox).snapshot(now_ms).markets:
        for series, length_ms in ((market.intraday, 5 * MINUTE_MS), (market.long_term, 240 * MINUTE_MS)):
            assert now_ms - length_ms < series.frame["open_time_ms"][-1] + length_ms <= now_ms


def test_35_funding_stamps_past_the_hour_are_floored_to_it(info: Info, sandbox: Sandbox) -> None:
    """Joined by their stamps as they are, no hour of funding meets a candle and all of it is skipped."""
    to_ms = CLOCK.now_ms() // HOUR_MS * HOUR_MS
    from_ms = to_ms - 48 * HOUR_MS
    assert any(row["time"] % HOUR_MS for row in info.funding_history("BTC", from_ms, to_ms))
    connection = SdkConnection(base_url=sandbox.venue_url, timeout_seconds=5, read_attempts=1, clock=CLOCK)
    history = VenueHistory(connection, market_data_of(sandbox), CLOCK)
    hours = history.funding("BTC", from_ms, to_ms)["time_ms"].to_list()
    assert hours == list(range(from_ms, to_ms, HOUR_MS))
