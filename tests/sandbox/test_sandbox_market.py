"""The sandbox's market: one tape, from which every candle, quote and payment follows."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.precision import is_valid_price
from wonttrade_dagster.sandbox import intervals
from wonttrade_dagster.sandbox.intervals import INTERVAL_MS
from wonttrade_dagster.sandbox.market import Market
from wonttrade_dagster.sandbox.numbers import px_text, read_wire, text
from wonttrade_dagster.sandbox.replay import CandleReplay, Recording
from wonttrade_dagster.sandbox.universe import traded
from wonttrade_dagster.sandbox.walk import DAY_MS, MINUTE_MS, RandomWalk

NOON_MS = 1_795_435_200_000  # 2026-11-23 12:00 UTC
WALK = RandomWalk(11, traded())
PRICES = ("o", "h", "l", "c")


class Hands:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = NOON_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def market(now_ms: int = NOON_MS) -> tuple[Market, Hands]:
    hands = Hands(now_ms)
    return Market(WALK, 11, hands), hands


times = st.integers(1_700_000_000_000, 1_850_000_000_000)
fine = st.sampled_from(["1m", "3m", "5m", "15m", "1h", "4h"])
coarse = st.sampled_from(["15m", "1h", "4h", "12h", "1d"])


@given(times, fine, coarse)
def test_a_coarse_candle_is_the_aggregation_of_finer_ones(now_ms: int, small: str, large: str) -> None:
    if INTERVAL_MS[large] % INTERVAL_MS[small] or INTERVAL_MS[small] >= INTERVAL_MS[large]:
        return
    quotes, _ = market(now_ms)
    last = quotes.candles("BTC", large, now_ms - INTERVAL_MS[large], now_ms)
    for whole in last:
        parts = quotes.candles("BTC", small, whole["t"], min(whole["T"], now_ms))
        assert whole["o"] == parts[0]["o"]
        assert whole["c"] == parts[-1]["c"]
        assert float(whole["h"]) == max(float(row["h"]) for row in parts)
        assert float(whole["l"]) == min(float(row["l"]) for row in parts)
        assert whole["n"] == sum(row["n"] for row in parts)


@given(times, st.integers(0, 6 * 3_600_000))
def test_the_past_does_not_change_as_time_goes_on(now_ms: int, later_ms: int) -> None:
    quotes, hands = market(now_ms)
    before = quotes.candles("ETH", "5m", now_ms - 3_600_000, now_ms)
    hands.now_ms += later_ms
    after = quotes.candles("ETH", "5m", now_ms - 3_600_000, now_ms)
    assert before[:-1] == after[:-1]
    forming, closed = before[-1], after[-1]
    assert float(closed["l"]) <= float(forming["l"]) <= float(forming["h"]) <= float(closed["h"])
    assert forming["o"] == closed["o"]


@given(times, st.sampled_from(["SOL", "APT", "BTC", "ETH"]))
def test_the_book_is_on_the_grid_ordered_and_around_the_mid(now_ms: int, coin: str) -> None:
    quotes, _ = market(now_ms)
    book, decimals = quotes.book(coin), quotes.listing(coin).asset.size_decimals
    bids, asks = [level.px for level in book.bids], [level.px for level in book.asks]
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert len(set(bids)) == len(set(asks)) == 20
    assert (bids[0] + asks[0]) / 2 == quotes.mid_px(coin)
    assert bids[0] < asks[0]
    assert all(is_valid_price(px, decimals) for px in [*bids, *asks, quotes.mark_px(coin)])
    assert abs(quotes.oracle_px(coin) / quotes.mark_px(coin) - 1) < Decimal("0.005")


def test_the_mid_moves_within_the_forming_candle_of_its_time() -> None:
    for step in range(0, 600_000, 5_000):
        quotes, _ = market(NOON_MS + step)
        candle = quotes.candles("BTC", "1m", NOON_MS + step, NOON_MS + step)[0]
        assert float(candle["l"]) - 1 <= float(quotes.mid_px("BTC")) <= float(candle["h"]) + 1


def test_a_scripted_price_holds_then_walks_on_and_shows_in_the_candles() -> None:
    quotes, hands = market(NOON_MS + 20_000)
    quotes.set_price("BTC", Decimal(50_000), hold_ms=90_000)
    assert quotes.mid_px("BTC") == quotes.mark_px("BTC") == 50_000
    hands.now_ms += 89_999
    assert quotes.mid_px("BTC") == 50_000
    hands.now_ms += 600_000
    assert quotes.mid_px("BTC") != 50_000
    assert abs(quotes.mid_px("BTC") / 50_000 - 1) < Decimal("0.05")
    rows = quotes.candles("BTC", "1m", NOON_MS, hands.now_ms)
    assert rows[0]["l"] == rows[0]["c"] == "50000.0"
    assert float(rows[0]["h"]) > 55_000, "the minute of the move holds both prices"
    assert rows[1]["o"] == "50000.0"
    assert all(45_000 < float(row[name]) < 55_000 for row in rows[1:] for name in PRICES)
    quotes.set_price("BTC", Decimal(60_000))
    assert quotes.mid_px("BTC") == 60_000


def test_months_start_on_their_first_and_weeks_on_monday() -> None:
    quotes, _ = market()
    months = quotes.candles("BTC", "1M", NOON_MS - 100 * DAY_MS, NOON_MS)
    assert [datetime.fromtimestamp(row["t"] / 1000, tz=UTC).day for row in months] == [1] * len(months)
    assert months[0]["T"] + 1 == months[1]["t"]
    weeks = quotes.candles("BTC", "1w", NOON_MS - 30 * DAY_MS, NOON_MS)
    assert {datetime.fromtimestamp(row["t"] / 1000, tz=UTC).weekday() for row in weeks} == {0}


@given(times, st.sampled_from(list(INTERVAL_MS)))
def test_every_moment_lies_in_exactly_one_candle(time_ms: int, interval: str) -> None:
    start = intervals.start_ms(interval, time_ms)
    after = intervals.next_start_ms(interval, start)
    assert start <= time_ms < after
    assert intervals.start_ms(interval, after - 1) == start


def test_there_is_no_history_before_2023() -> None:
    quotes, _ = market()
    assert quotes.candles("BTC", "1d", 0, 1_600_000_000_000) == []
    first = quotes.candles("BTC", "1d", 0, NOON_MS)[0]
    assert datetime.fromtimestamp(first["t"] / 1000, tz=UTC).year == 2023


def test_funding_follows_the_formula_and_is_mostly_the_interest_rate() -> None:
    quotes, _ = market()
    rates = [quotes.funding_rate("BTC", NOON_MS - hour * 3_600_000) for hour in range(500)]
    for row in rates:
        interest = min(max(Decimal("0.0001") - row.premium, Decimal("-0.0005")), Decimal("0.0005"))
        assert abs(row.rate - (row.premium + interest) / 8) < Decimal("1e-10")
        assert 15 <= row.time_ms - row.hour_ms <= 400
    usual = sum(row.rate == Decimal("0.0000125") for row in rates)
    assert 0.5 < usual / len(rates) < 1


@given(st.decimals(0, 10**9, places=6, allow_nan=False))
def test_numbers_are_printed_in_the_venues_style_and_read_back(value: Decimal) -> None:
    printed = text(value)
    assert "." in printed
    assert "e" not in printed.lower()
    assert read_wire(printed) == value


@pytest.mark.parametrize(
    ("px", "decimals", "printed"),
    [(83_767.04, 1, "83767.0"), (123_456.7, 1, "123457.0"), (0.0012345678, 6, "0.001235"), (9.5, 4, "9.5")],
)
def test_prices_have_five_figures_and_at_least_one_decimal(px: float, decimals: int, printed: str) -> None:
    assert px_text(px, decimals) == printed


def recorded(days: int = 2, interval_ms: int = 5 * MINUTE_MS) -> pl.DataFrame:
    rows = range(days * DAY_MS // interval_ms)
    start = 1_750_000_000_000 // DAY_MS * DAY_MS
    return pl.DataFrame(
        {
            "open_time_ms": [start + index * interval_ms for index in rows],
            "open": [100.0 + index % 7 for index in rows],
            "high": [110.0 + index % 5 for index in rows],
            "low": [90.0 - index % 3 for index in rows],
            "close": [101.0 + index % 4 for index in rows],
            "volume": [10.0 + index % 9 for index in rows],
        }
    )


def test_a_replayed_recording_comes_back_candle_by_candle() -> None:
    frame = recorded()
    end_of_day = NOON_MS // DAY_MS * DAY_MS + DAY_MS - 1
    quotes = Market(CandleReplay({"ETH": Recording((frame,))}, NOON_MS, WALK), 11, Hands(end_of_day))
    rows = quotes.candles("ETH", "5m", end_of_day - 2 * DAY_MS + 1, end_of_day)
    assert len(rows) == frame.height
    for column, name in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")):
        assert [float(row[name]) for row in rows] == pytest.approx(frame[column].to_list(), rel=1e-4)
    assert quotes.candles("BTC", "5m", end_of_day, end_of_day), "coins without a recording walk"
    following = Market(CandleReplay({"ETH": Recording((frame,))}, NOON_MS, WALK), 11, Hands(end_of_day + 1))
    assert float(following.mid_px("ETH")) == pytest.approx(frame["close"][-1], rel=0.01)


def test_a_recording_without_a_whole_day_is_refused_in_a_sentence() -> None:
    for frame in (recorded().head(100), recorded().head(1), recorded(interval_ms=7 * MINUTE_MS)):
        with pytest.raises(UsageError, match="ETH"):
            CandleReplay({"ETH": Recording((frame,))}, NOON_MS, WALK)
