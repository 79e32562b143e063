from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import DAY_MS, HOUR_MS, hourly_rates, random_candles, utc_ms
from polars.testing import assert_frame_equal

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_files import import_files
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.core.candles import aggregate_candles, interval_ms
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.indicators import INDICATOR_COLUMNS, IndicatorEngine
from wonttrade_dagster.core.model import CANDLE_SCHEMA

STEP_MS = 300_000
FROM = utc_ms(2025, 6, 12)
TO = FROM + DAY_MS
WARM_UP_MS = 11 * DAY_MS
SHARED = Path(__file__).parents[2].parent / "shared" / "market-data"
ASSETS = default_assets(["BTC", "ETH"])


def stored(path: Path, *, seed: int = 0, noise_after_ms: int | None = None) -> MarketHistory:
    """Twelve days of two symbols; everything not closed at ``noise_after_ms`` is noise of another seed."""
    history = MarketHistory(path)
    for number, symbol in enumerate(("BTC", "ETH")):
        candles = random_candles(FROM - WARM_UP_MS, 12 * 288 + 12, seed=seed + number)
        rates = hourly_rates(FROM - WARM_UP_MS, 12 * 24 + 2, seed=seed + number)
        if noise_after_ms is not None:
            noise = random_candles(FROM - WARM_UP_MS, candles.height, seed=99 + number)
            known = pl.col("open_time_ms") + STEP_MS <= noise_after_ms
            candles = pl.concat([candles.filter(known), noise.filter(~known)])
            other = hourly_rates(FROM - WARM_UP_MS, rates.height, seed=77)
            known = pl.col("time_ms") <= noise_after_ms
            rates = pl.concat([rates.filter(known), other.filter(~known)])
        history.add_candles(symbol, "5m", candles, "test")
        history.add_funding(symbol, rates, "test")
    return history


def replay(
    history: MarketHistory,
    from_ms: int = FROM,
    to_ms: int = TO,
    bars: int = 1_000,
) -> BacktestReplayProvider:
    return BacktestReplayProvider(
        history,
        ASSETS,
        ("BTC", "ETH"),
        intraday_interval="5m",
        long_interval="4h",
        history_bars=bars,
        from_ms=from_ms,
        to_ms=to_ms,
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> MarketHistory:
    return stored(tmp_path_factory.mktemp("history") / "market.duckdb")


@pytest.fixture(scope="module")
def provider(history: MarketHistory) -> BacktestReplayProvider:
    return replay(history)


@given(minute=st.integers(0, 1440))
@settings(max_examples=25, deadline=None)
def test_a_snapshot_ends_with_the_last_candle_closed_at_the_cycle(
    provider: BacktestReplayProvider, history: MarketHistory, minute: int
) -> None:
    cycle_ms = FROM + minute * 60_000
    snapshot = provider.snapshot(cycle_ms)
    assert (snapshot.cycle_ms, snapshot.taken_at_ms, snapshot.source) == (cycle_ms, cycle_ms, "history")
    assert [market.symbol for market in snapshot.markets] == ["BTC", "ETH"]
    for market in snapshot.markets:
        for series in (market.intraday, market.long_term):
            step_ms = interval_ms(series.interval)
            assert series.frame["open_time_ms"][-1] == cycle_ms // step_ms * step_ms - step_ms
        candles = history.candles(market.symbol, "5m")
        closed = candles.filter(pl.col("open_time_ms") + STEP_MS <= cycle_ms)
        assert_frame_equal(market.intraday.frame, closed.tail(1_000))
        assert market.last_close_px == Decimal(repr(closed["close"][-1]))
        assert_frame_equal(market.long_term.frame, aggregate_candles(closed, "4h", "5m").tail(1_000))


@given(minute=st.integers(0, 1440))
@settings(max_examples=6, deadline=None)
def test_noise_in_the_future_changes_nothing_that_is_seen_now(
    provider: BacktestReplayProvider, tmp_path_factory: pytest.TempPathFactory, minute: int
) -> None:
    cycle_ms = FROM + minute * 60_000
    poisoned = replay(stored(tmp_path_factory.mktemp("noise") / "m.duckdb", noise_after_ms=cycle_ms))
    assert encode(poisoned.snapshot(cycle_ms)) == encode(provider.snapshot(cycle_ms))
    assert encode(poisoned.indicators(cycle_ms)) == encode(provider.indicators(cycle_ms))
    later_ms = TO if cycle_ms < TO - HOUR_MS else None
    if later_ms is not None:  # the noise was really there to be seen
        assert encode(poisoned.snapshot(later_ms)) != encode(provider.snapshot(later_ms))


@pytest.mark.parametrize("minute", [0, 7, 600, 1440])
def test_sliced_indicators_equal_those_of_the_live_engine(
    provider: BacktestReplayProvider, minute: int
) -> None:
    cycle_ms = FROM + minute * 60_000
    live = IndicatorEngine(points=10).compute(provider.snapshot(cycle_ms))
    for ours, theirs in zip(provider.indicators(cycle_ms).symbols, live.symbols, strict=True):
        assert set(INDICATOR_COLUMNS) <= set(ours.intraday.columns)
        for our, their in ((ours.intraday, theirs.intraday), (ours.long_term, theirs.long_term)):
            assert_frame_equal(pl.DataFrame(our.columns), pl.DataFrame(their.columns), rel_tol=1e-9)


def test_what_history_does_not_know_is_absent(provider: BacktestReplayProvider) -> None:
    market = provider.snapshot(FROM).market("BTC")
    unknown = (market.mid_px, market.mark_px, market.oracle_px, market.open_interest_base)
    assert unknown == (None,) * 4
    assert market.reference_px == market.last_close_px
    assert "no mid, mark or oracle price" in provider.caveats()[0]


def test_volume_of_a_day_is_that_of_the_last_24_hours_closed(provider: BacktestReplayProvider) -> None:
    market = provider.snapshot(FROM + HOUR_MS).market("ETH")
    last_day = market.intraday.frame.tail(288)
    assert market.day_volume_usd == pytest.approx((last_day["volume"] * last_day["close"]).sum(), rel=1e-12)


def test_the_funding_rate_is_the_last_one_known(
    provider: BacktestReplayProvider, history: MarketHistory
) -> None:
    rates = dict(history.funding("BTC").iter_rows())
    for minute, hour in ((0, 0), (59, 0), (60, 1), (61, 1)):
        known = provider.snapshot(FROM + minute * 60_000).market("BTC").funding_rate_hourly
        assert known == rates[FROM + hour * HOUR_MS]


def test_funding_is_due_after_the_start_and_up_to_the_end(provider: BacktestReplayProvider) -> None:
    def hours(from_ms: int, to_ms: int) -> list[int]:
        due = provider.funding_between("BTC", from_ms, to_ms)
        return [(time_ms - FROM) // HOUR_MS for time_ms, _ in due]

    assert hours(FROM, FROM + HOUR_MS) == [1]
    assert hours(FROM - 1, FROM + 2 * HOUR_MS) == [0, 1, 2]
    assert hours(FROM + 1, FROM + HOUR_MS - 1) == []
    assert hours(TO - HOUR_MS, TO) == [24]


def test_bars_between_decisions_begin_at_the_first_and_end_before_the_second(
    provider: BacktestReplayProvider, history: MarketHistory
) -> None:
    bars = provider.bars("BTC", FROM + 900_000, FROM + 1_800_000)
    assert_frame_equal(bars, history.candles("BTC", "5m", FROM + 900_000, FROM + 1_800_000))
    assert provider.bars("BTC", FROM, FROM).is_empty()
    walked = [provider.bars("BTC", t, t + 60_000) for t in range(FROM, FROM + HOUR_MS, 60_000)]
    assert_frame_equal(pl.concat(walked), history.candles("BTC", "5m", FROM, FROM + HOUR_MS))


def test_finer_candles_are_used_for_the_walk_where_they_cover_it(tmp_path: Path) -> None:
    history = stored(tmp_path / "m.duckdb")
    history.add_candles("BTC", "1m", random_candles(FROM, 1440, "1m"), "test")
    history.add_candles("ETH", "1m", random_candles(FROM, 1439, "1m"), "test")
    provider = replay(history)
    assert provider.bar_intervals == {"BTC": "1m", "ETH": "5m"}
    assert provider.bars("BTC", FROM + 60_000, FROM + 180_000).height == 2


def test_a_missing_candle_in_the_range_is_refused_by_name(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    candles = random_candles(FROM - WARM_UP_MS, 12 * 288)
    hole = pl.col("open_time_ms").is_between(FROM + HOUR_MS, FROM + HOUR_MS + STEP_MS)
    history.add_candles("BTC", "5m", candles.filter(~hole), "test")
    history.add_candles("ETH", "5m", candles, "test")
    with pytest.raises(HistoryError) as refused:
        replay(history)
    assert str(refused.value) == (
        "BTC 5m: 2 candles are missing, 2025-06-12 01:00 to 2025-06-12 01:05 UTC; "
        "add the missing candles with `wonttrade history sync` or `wonttrade history import FILE`"
    )


def test_gaps_are_listed_and_no_endless_list_of_them(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    candles = random_candles(FROM - WARM_UP_MS, 12 * 288)
    holes = pl.col("open_time_ms").is_in([FROM + n * HOUR_MS for n in range(2, 7)])
    history.add_candles("BTC", "5m", candles.filter(~holes), "test")
    history.add_candles("ETH", "5m", candles, "test")
    with pytest.raises(HistoryError, match="5 candles are missing") as refused:
        replay(history)
    for listed in ("2025-06-12 02:00", "2025-06-12 03:00", "2025-06-12 04:00", "and 2 more gaps"):
        assert listed in str(refused.value)
    assert "2025-06-12 05:00" not in str(refused.value)


def test_a_hole_in_the_warm_up_is_refused(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    candles = random_candles(FROM - WARM_UP_MS, 12 * 288)
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", candles.filter(pl.col("open_time_ms") != FROM - DAY_MS), "test")
    with pytest.raises(HistoryError, match=r"BTC 5m: 1 candles are missing.*ETH 5m: 1 candles are missing"):
        replay(history)


@pytest.mark.parametrize("at_ms", [FROM - DAY_MS, FROM + HOUR_MS], ids=["warm-up", "range"])
def test_a_candle_that_cannot_be_is_refused_before_the_first_cycle(tmp_path: Path, at_ms: int) -> None:
    history = stored(tmp_path / "m.duckdb")
    candle = {"open_time_ms": at_ms, "open": 9.0, "high": 12.0, "low": 8.0, "close": 13.0, "volume": 1.0}
    broken = pl.DataFrame([candle], schema=CANDLE_SCHEMA)
    history.add_candles("ETH", "5m", broken, "test", replace=True)
    with pytest.raises(HistoryError, match=r"^ETH 5m: 1 candles cannot be, the first of 2025-.*: open 9"):
        replay(history)


def test_a_finer_candle_that_cannot_be_is_refused(tmp_path: Path) -> None:
    history = stored(tmp_path / "m.duckdb")
    inside_a_bar = pl.col("open_time_ms") % STEP_MS == 60_000
    opens = pl.when(inside_a_bar).then(2 * pl.col("high")).otherwise(pl.col("open"))
    history.add_candles("BTC", "1m", random_candles(FROM, 1440, "1m").with_columns(open=opens), "test")
    with pytest.raises(HistoryError, match="BTC 1m: 288 candles cannot be"):
        replay(history)


def test_a_rate_beyond_the_venues_cap_is_refused(tmp_path: Path) -> None:
    history = stored(tmp_path / "m.duckdb")
    rates = hourly_rates(FROM - WARM_UP_MS, 12 * 24 + 2).with_columns(rate_hourly=pl.lit(0.05))
    history.add_funding("BTC", rates, "test", replace=True)
    with pytest.raises(HistoryError, match=r"BTC funding: \d+ hourly rates are beyond the venue's cap"):
        replay(history)


def test_a_day_without_candles_is_refused_for_every_symbol(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match=r"BTC 5m: 276 .*2025-06-13 01:00 to .*ETH 5m: 276"):
        replay(history, to_ms=TO + DAY_MS)


def test_an_empty_history_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"BTC 5m: 288 candles are missing.*wonttrade history import"):
        replay(MarketHistory(tmp_path / "none.duckdb"))


def test_a_history_that_starts_later_gives_fewer_bars(history: MarketHistory) -> None:
    provider = replay(history, from_ms=FROM - DAY_MS)
    long_term = provider.snapshot(FROM - DAY_MS).market("BTC").long_term.frame
    assert long_term.height == 60


def test_fewer_than_sixty_bars_of_warm_up_are_refused(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="BTC 4h: only 54 candles had closed at 2025-06-10 00:00 UTC"):
        replay(history, from_ms=FROM - 2 * DAY_MS)


def test_the_long_window_takes_the_finest_candles_that_fill_each_bucket(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    fine_from = FROM - 4 * DAY_MS
    five, hours, fours = (
        random_candles(start, count, interval, seed)
        for start, count, interval, seed in (
            (fine_from, 5 * 288, "5m", 1),
            (FROM - 8 * DAY_MS, 9 * 24, "1h", 2),
            (FROM - 14 * DAY_MS, 15 * 6, "4h", 3),
        )
    )
    for symbol in ("BTC", "ETH"):
        for interval, frame in (("5m", five), ("1h", hours), ("4h", fours)):
            history.add_candles(symbol, interval, frame, "test")
    expected = pl.concat(
        [
            fours.filter(pl.col("open_time_ms") < FROM - 8 * DAY_MS),
            aggregate_candles(hours, "4h", "1h").filter(pl.col("open_time_ms") < fine_from),
            aggregate_candles(five, "4h", "5m").filter(pl.col("open_time_ms") < FROM),
        ]
    )
    assert_frame_equal(replay(history).snapshot(FROM).market("BTC").long_term.frame, expected)


def test_hours_missing_among_the_funding_rates_are_refused_by_name(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    rates = hourly_rates(FROM, 24)
    hole = pl.col("time_ms") == FROM + 3 * HOUR_MS
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", random_candles(FROM - WARM_UP_MS, 12 * 288), "test")
        history.add_funding(symbol, rates.filter(~hole) if symbol == "BTC" else rates, "test")
    with pytest.raises(HistoryError, match=r"BTC: 1 hourly funding rates are missing.*2025-06-12 03:00 UTC"):
        replay(history).refuse_missing_funding()


def test_missing_funding_is_a_caveat_not_an_invention(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "m.duckdb")
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", random_candles(FROM - WARM_UP_MS, 12 * 288), "test")
    history.add_funding("BTC", hourly_rates(FROM, 20), "test")
    provider = replay(history)
    assert provider.caveats()[1].startswith("BTC: 4 hourly funding rates are missing")
    assert provider.caveats()[2].startswith("ETH: 24 hourly")
    with pytest.raises(HistoryError, match="BTC: 4 hourly") as refused:
        provider.refuse_missing_funding()
    assert "ETH" not in str(refused.value)  # a series that is not there at all is the report's matter
    assert provider.snapshot(FROM).market("ETH").funding_rate_hourly is None


def test_funding_that_ended_before_the_range_is_missing_in_it(tmp_path: Path) -> None:
    """It was taken for a symbol that has none, and charged as zero."""
    history = MarketHistory(tmp_path / "m.duckdb")
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", random_candles(FROM - WARM_UP_MS, 12 * 288), "test")
    history.add_funding("BTC", hourly_rates(FROM - 9 * DAY_MS, 48), "test")
    with pytest.raises(HistoryError, match="BTC: 24 hourly funding rates are missing"):
        replay(history).refuse_missing_funding()


def test_times_outside_of_the_range_are_refused(provider: BacktestReplayProvider) -> None:
    for cycle_ms in (FROM - 1, TO + 1):
        with pytest.raises(HistoryError, match="outside of the loaded range"):
            provider.snapshot(cycle_ms)
        with pytest.raises(HistoryError, match="outside of the loaded range"):
            provider.indicators(cycle_ms)


def test_an_empty_range_is_refused(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="is empty"):
        replay(history, to_ms=FROM)


def test_a_symbol_the_venue_does_not_list_is_refused(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="the venue lists no DOGE: track one of BTC, ETH"):
        BacktestReplayProvider(
            history,
            ASSETS,
            ("DOGE",),
            intraday_interval="5m",
            long_interval="4h",
            history_bars=100,
            from_ms=FROM,
            to_ms=TO,
        )


def test_assets_without_a_venue_are_those_of_mainnets_meta() -> None:
    assets = default_assets(["ETH", "BTC", "SOL"])
    assert list(assets) == ["ETH", "BTC", "SOL"]
    rules = {
        s: (a.size_decimals, a.max_leverage, a.margin_tiers[1].lower_bound_usd) for s, a in assets.items()
    }
    assert rules["BTC"] == (5, 40, Decimal(150_000_000))
    assert rules["ETH"] == (4, 25, Decimal(100_000_000))
    assert rules["SOL"] == (2, 20, Decimal(70_000_000))
    assert [tier.max_leverage for tier in assets["SOL"].margin_tiers] == [20, 10]
    with pytest.raises(HistoryError, match="DOGE"):
        default_assets(["BTC", "DOGE"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real candles are not on this machine")
def test_a_real_week_with_a_halt_replays(tmp_path: Path) -> None:
    """The hour 2025-06-08 10h: the 1h rows disagree with the 5m rows, which are right."""
    history = MarketHistory(tmp_path / "m.duckdb")
    import_files(
        history, [SHARED / f"{s}-{what}.parquet" for s in ("BTC", "ETH") for what in ("5m", "1h", "funding")]
    )
    from_ms, to_ms = utc_ms(2025, 6, 5), utc_ms(2025, 6, 12)
    provider = replay(history, from_ms, to_ms)
    market = provider.snapshot(utc_ms(2025, 6, 8, 12)).market("BTC")
    assert (market.intraday.frame.height, market.long_term.frame.height) == (1_000, 1_000)
    bucket = market.long_term.frame.row(-1, named=True)
    bars = history.candles("BTC", "5m", utc_ms(2025, 6, 8, 8), utc_ms(2025, 6, 8, 12))
    assert (bucket["high"], bucket["volume"]) == (bars["high"].max(), pytest.approx(bars["volume"].sum()))
    assert (bars["volume"] == 0).any()
    assert len(provider.caveats()) == 1
