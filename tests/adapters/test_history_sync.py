"""The venue's past into the history: from the loopback venue, through the official SDK."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from market_samples import DAY_MS, HOUR_MS
from venue_clients import market_data_at

from wonttrade_dagster.adapters.clock import FixedClock, SystemClock
from wonttrade_dagster.adapters.history import ImportCounts, MarketHistory
from wonttrade_dagster.adapters.history_survey import survey, wanted_series
from wonttrade_dagster.adapters.history_sync import HistorySync, SeriesSync
from wonttrade_dagster.adapters.hyperliquid.budget import total
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.core.candles import SERVED_CANDLES
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.sandbox.server import Sandbox

STEP_MS = 300_000


class CountingClock(FixedClock):
    """Stands still, and remembers how long it was slept on."""

    slept_seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept_seconds += seconds
        super().sleep(seconds)


@dataclass
class Past:
    url: str
    history: MarketHistory

    def sync(self, clock: Clock | None = None, *, replace: bool = False, weight: int = 900) -> HistorySync:
        clock = clock or SystemClock()
        connection = SdkConnection(base_url=self.url, timeout_seconds=5, read_attempts=1, clock=clock)
        market_data = market_data_at(self.url, clock)
        self.budgets = (connection.budget, market_data.budget)
        return HistorySync(VenueHistory(connection, market_data, clock, weight), self.history, replace)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Sandbox(seed=3) as sandbox:
        yield sandbox.venue_url


@pytest.fixture
def past(url: str, tmp_path: Path) -> Past:
    return Past(url, MarketHistory(tmp_path / "market.duckdb"))


def now_ms() -> int:
    return SystemClock().now_ms()


def counts(done: Iterator[SeriesSync]) -> list[ImportCounts]:
    return [one.counts for one in done]


def test_without_a_start_all_that_the_venue_has_comes_in_and_then_only_what_is_new(past: Past) -> None:
    began_ms = now_ms() // STEP_MS * STEP_MS
    (first,) = past.sync().candles(["BTC"], ["5m"], None, now_ms())
    stored = past.history.candles("BTC", "5m")
    assert first.counts.new == stored.height >= SERVED_CANDLES - 2
    assert stored["open_time_ms"].diff().drop_nulls().unique().to_list() == [STEP_MS]
    assert stored["open_time_ms"][-1] >= began_ms - 2 * STEP_MS
    (again,) = past.sync().candles(["BTC"], ["5m"], None, now_ms())
    assert again.counts.rows <= 1, "at most the candle that closed meanwhile"


def test_a_hole_is_filled_from_its_beginning(past: Past) -> None:
    (whole,) = past.sync().candles(["BTC"], ["1h"], now_ms() - 3 * DAY_MS, now_ms())
    holed = past.history.candles("BTC", "1h").filter(~pl.int_range(pl.len()).is_in([20, 21]))
    other = MarketHistory(past.history.path.with_name("holed.duckdb"))
    other.add_candles("BTC", "1h", holed, "test")
    past.history = other
    first_ms = holed["open_time_ms"][0]
    (filled,) = past.sync().candles(["BTC"], ["1h"], None, first_ms + 40 * HOUR_MS)
    assert filled.counts.new >= 2
    assert survey(other, [], now_ms()).gaps == ()
    assert whole.counts.new in {71, 72}


def test_the_same_again_changes_nothing_and_a_changed_value_is_left_unless_replaced(past: Past) -> None:
    to_ms = now_ms() // DAY_MS * DAY_MS
    from_ms = to_ms - DAY_MS
    symbols, intervals = ["BTC", "ETH"], ["5m", "4h"]
    fresh = counts(past.sync().candles(symbols, intervals, from_ms, to_ms))
    assert fresh == [ImportCounts(n, 0, 0) for n in (288, 6, 288, 6)]
    same = counts(past.sync().candles(symbols, intervals, from_ms, to_ms))
    assert same == [ImportCounts(0, n, 0) for n in (288, 6, 288, 6)]

    stored = past.history.candles("BTC", "4h")
    other = stored.with_columns(close=pl.when(pl.int_range(6) == 2).then(1.0).otherwise(pl.col("close")))
    past.history.add_candles("BTC", "4h", other, "by hand", replace=True)
    (told,) = past.sync().candles(["BTC"], ["4h"], from_ms, to_ms)
    assert told.counts == ImportCounts(0, 5, 1)
    assert told.counts.first_changed_ms == stored["open_time_ms"][2]
    assert past.history.candles("BTC", "4h").equals(other)
    (replaced,) = past.sync(replace=True).candles(["BTC"], ["4h"], from_ms, to_ms)
    assert replaced.counts == ImportCounts(0, 5, 1)
    assert past.history.candles("BTC", "4h").equals(stored)


def test_a_range_that_the_venue_no_longer_has_is_refused_and_one_in_part_gives_that_part(past: Past) -> None:
    to_ms = now_ms() - 30 * DAY_MS
    with pytest.raises(HistoryError, match=r"no longer has 5m candles of BTC before .*: import"):
        list(past.sync().candles(["BTC"], ["5m"], to_ms - DAY_MS, to_ms))
    (partly,) = past.sync().candles(["BTC"], ["5m"], now_ms() - 30 * DAY_MS, now_ms() - 16 * DAY_MS)
    assert 0 < partly.counts.new < 2 * 288


def test_funding_begins_with_the_candles_and_crosses_pages(past: Past) -> None:
    list(past.sync().candles(["BTC"], ["1h"], now_ms() - 40 * DAY_MS, now_ms()))
    (first,) = past.sync().funding(["BTC"], None, now_ms())
    assert 40 * 24 - 1 <= first.counts.new <= 40 * 24 + 1, "two pages of 500"
    (again,) = past.sync().funding(["BTC"], None, now_ms())
    assert again.counts.rows <= 1
    wanted = wanted_series(["BTC"], ["1h"])
    assert survey(past.history, wanted, now_ms()).gaps == ()


def test_open_interest_is_one_row_a_symbol_each_time(past: Past) -> None:
    for _ in range(2):
        done = list(past.sync().open_interest(["BTC", "ETH"], now_ms() - 1, now_ms() + DAY_MS))
        assert [one.counts.rows for one in done] == [1, 1]
    assert past.history.open_interest("ETH").height == 2


def test_weight_is_waited_for_and_never_exceeded(past: Past) -> None:
    """The clock only moves when somebody sleeps: every pause is one that the venue's minute asked for."""
    clock = CountingClock(now_ms())
    sync = past.sync(clock, weight=300)
    most = 0
    for _ in sync.funding(["BTC"], now_ms() - 300 * DAY_MS, now_ms()):
        pass
    for _ in sync.candles(["BTC", "ETH"], ["5m", "1h", "4h"], None, now_ms()):
        most = max(most, total(past.budgets).weight_last_minute)
    assert most <= 300
    assert clock.slept_seconds >= 120
    assert total(past.budgets).weight > 900
