"""The venue's past, asked from the loopback venue through the official SDK."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import polars as pl
import pytest
from venue_clients import market_data_at

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.core.errors import HistoryError, VenueError, VenueUnavailableError
from wonttrade_dagster.core.model import CANDLE_SCHEMA
from wonttrade_dagster.sandbox.server import Sandbox

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
CLOCK = SystemClock()


@dataclass
class Past:
    """The history adapter, and the venue it asks."""

    history: VenueHistory
    url: str

    def fault(self, *faults: object) -> None:
        httpx2.post(f"{self.url}/sandbox/faults", json=list(faults)).raise_for_status()


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    with Sandbox(seed=3) as sandbox:
        url = sandbox.venue_url
        connection = SdkConnection(base_url=url, timeout_seconds=5, read_attempts=1, clock=CLOCK)
        yield Past(VenueHistory(connection, market_data_at(url, CLOCK), CLOCK), url)


def today_ms() -> int:
    return CLOCK.now_ms() // DAY_MS * DAY_MS


@pytest.mark.parametrize(("interval", "minutes"), [("5m", 5), ("4h", 240)])
def test_a_past_day_of_candles_is_whole_and_in_the_schema(past: Past, interval: str, minutes: int) -> None:
    from_ms = today_ms() - 2 * DAY_MS
    frame = past.history.candles("BTC", interval, from_ms, from_ms + DAY_MS)
    assert dict(frame.schema) == dict(CANDLE_SCHEMA)
    assert frame["open_time_ms"].to_list() == list(range(from_ms, from_ms + DAY_MS, minutes * MINUTE_MS))


def test_the_running_day_ends_with_the_last_closed_candle(past: Past) -> None:
    now_ms = CLOCK.now_ms()
    frame = past.history.candles("BTC", "5m", now_ms - 2 * HOUR_MS, now_ms + DAY_MS)
    last_ms = frame["open_time_ms"][-1]
    assert last_ms + 5 * MINUTE_MS <= CLOCK.now_ms()
    assert now_ms - last_ms < 10 * MINUTE_MS


def test_a_range_that_is_not_on_the_grid_holds_candles_opened_inside_it_only(past: Past) -> None:
    from_ms = today_ms() - DAY_MS + 1
    frame = past.history.candles("ETH", "1h", from_ms, from_ms + 3 * HOUR_MS - 1)
    assert frame["open_time_ms"].to_list() == [from_ms - 1 + HOUR_MS, from_ms - 1 + 2 * HOUR_MS]


@pytest.mark.parametrize("ahead_ms", [DAY_MS, 30 * DAY_MS])
def test_the_future_has_no_candles(past: Past, ahead_ms: int) -> None:
    from_ms = CLOCK.now_ms() + ahead_ms
    frame = past.history.candles("BTC", "5m", from_ms, from_ms + DAY_MS)
    assert frame.is_empty()
    assert dict(frame.schema) == dict(CANDLE_SCHEMA)


def test_funding_comes_hourly_floored_to_the_hour_across_pages(past: Past) -> None:
    """30 days are 720 rates: more than the 500 of one page."""
    to_ms = today_ms()
    from_ms = to_ms - 30 * DAY_MS
    frame = past.history.funding("BTC", from_ms, to_ms)
    assert frame.schema == {"time_ms": pl.Int64, "rate_hourly": pl.Float64}
    assert frame["time_ms"].to_list() == list(range(from_ms, to_ms, HOUR_MS))
    assert frame["rate_hourly"].is_finite().all()


def test_two_halves_of_a_funding_range_are_the_whole(past: Past) -> None:
    to_ms = today_ms()
    from_ms, middle_ms = to_ms - 2 * DAY_MS, to_ms - DAY_MS
    halves = [past.history.funding("ETH", a, b) for a, b in ((from_ms, middle_ms), (middle_ms, to_ms))]
    assert pl.concat(halves).equals(past.history.funding("ETH", from_ms, to_ms))


def test_open_interest_is_one_row_a_symbol_now(past: Past) -> None:
    found = past.history.open_interest(["BTC", "ETH"], today_ms(), today_ms() + DAY_MS)
    assert set(found) == {"BTC", "ETH"}
    for frame in found.values():
        assert frame.height == 1
        assert abs(frame["time_ms"][0] - CLOCK.now_ms()) < 10_000
        assert frame["open_interest_base"][0] > 0


@pytest.mark.parametrize("offset_ms", [-DAY_MS, DAY_MS])
def test_open_interest_of_another_day_than_today_is_refused(past: Past, offset_ms: int) -> None:
    from_ms = today_ms() + offset_ms
    with pytest.raises(HistoryError, match="running UTC day only"):
        past.history.open_interest(["BTC"], from_ms, from_ms + DAY_MS)


def test_a_symbol_that_is_not_listed_is_named(past: Past) -> None:
    from_ms = today_ms()
    for ask in (
        lambda: past.history.candles("NOSUCH", "5m", from_ms - DAY_MS, from_ms),
        lambda: past.history.funding("NOSUCH", from_ms - DAY_MS, from_ms),
        lambda: past.history.open_interest(["NOSUCH"], from_ms, from_ms + DAY_MS),
    ):
        with pytest.raises(VenueError, match=r"NOSUCH.*symbols\.tracked"):
            ask()


def test_a_venue_that_fails_is_a_named_error(past: Past) -> None:
    past.fault({"on": "info:fundingHistory", "kind": "500"}, {"on": "info:candleSnapshot", "kind": "500"})
    from_ms = today_ms() - DAY_MS
    with pytest.raises(VenueUnavailableError):
        past.history.funding("BTC", from_ms, from_ms + DAY_MS)
    with pytest.raises(VenueUnavailableError):
        past.history.candles("BTC", "5m", from_ms, from_ms + DAY_MS)


def test_a_funding_page_of_nonsense_is_a_named_error(past: Past) -> None:
    past.fault({"on": "info:fundingHistory", "kind": "reply", "body": [{"time": "soon"}]})
    from_ms = today_ms() - DAY_MS
    with pytest.raises(VenueError, match="funding rates of BTC"):
        past.history.funding("BTC", from_ms, from_ms + DAY_MS)


def bar(open_ms: int, **changed: str) -> dict[str, object]:
    prices = dict.fromkeys("ohlc", "100.0") | {"v": "1.0", "s": "BTC", "i": "5m"}
    return {"t": open_ms, "T": open_ms + 5 * MINUTE_MS - 1, "n": 1} | prices | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"h": "99.0", "l": "100.0"}, "that cannot be: open 100.0, high 99.0"),
        ({"c": "101.0"}, "that cannot be: .* close 101.0"),
        ({"s": "ETH"}, "should be a candle of BTC 5m, but is .*ETH 5m"),
        ({"i": "1m"}, "should be a candle of BTC 5m, but is .*BTC 1m"),
    ],
)
def test_a_candle_that_cannot_be_or_is_of_another_series_stays_out(
    past: Past, changed: dict[str, str], said: str
) -> None:
    """Stored once, it would be compared and left for good."""
    from_ms = today_ms() - DAY_MS
    past.fault({"on": "info:candleSnapshot", "kind": "reply", "body": [bar(from_ms, **changed)]})
    with pytest.raises(VenueError, match=said):
        past.history.candles("BTC", "5m", from_ms, from_ms + 5 * MINUTE_MS)


def test_a_rate_beyond_the_venues_own_cap_stays_out(past: Past) -> None:
    from_ms = today_ms() - DAY_MS
    row = {"coin": "BTC", "time": from_ms + 7, "fundingRate": "0.5", "premium": "0.0"}
    past.fault({"on": "info:fundingHistory", "kind": "reply", "body": [row]})
    with pytest.raises(VenueError, match=r"funding rate of BTC at .* is 0.5 an hour, beyond its cap of 0.04"):
        past.history.funding("BTC", from_ms, from_ms + HOUR_MS)
