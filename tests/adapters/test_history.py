import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_samples import HOUR_MS, hourly_rates, random_candles, utc_ms

from wonttrade_dagster.adapters.history import Gap, ImportCounts, MarketHistory, SeriesRows, gaps_in
from wonttrade_dagster.core.errors import (
    ConfigurationError,
    HistoryError,
    StorageError,
    StorageLockedError,
)
from wonttrade_dagster.core.model import CANDLE_SCHEMA

DAY = utc_ms(2025, 6, 1)
STEP_MS = 300_000


@pytest.fixture
def history(tmp_path: Path) -> MarketHistory:
    return MarketHistory(tmp_path / "data" / "market.duckdb", lock_seconds=2.0)


def test_candles_come_back_as_they_went_in(history: MarketHistory) -> None:
    candles = random_candles(DAY, 500)
    assert history.add_candles("BTC", "5m", candles, "test") == ImportCounts(500, 0, 0)
    assert history.candles("BTC", "5m").equals(candles)
    assert history.candles("BTC", "5m").schema == pl.Schema(CANDLE_SCHEMA)


def test_adding_again_changes_nothing(history: MarketHistory) -> None:
    candles = random_candles(DAY, 50)
    history.add_candles("BTC", "5m", candles, "test")
    assert history.add_candles("BTC", "5m", candles, "again") == ImportCounts(0, 50, 0)
    assert history.coverage()["sources"].to_list() == ["test"]


def test_changed_values_are_reported_and_left_unless_replaced(history: MarketHistory) -> None:
    candles = random_candles(DAY, 10)
    history.add_candles("BTC", "5m", candles, "test")
    higher = candles.with_columns(
        volume=pl.when(pl.col("open_time_ms") > DAY).then(pl.col("volume") + 1).otherwise(pl.col("volume"))
    )
    assert history.add_candles("BTC", "5m", higher, "later") == ImportCounts(0, 1, 9)
    assert history.candles("BTC", "5m").equals(candles)
    assert history.add_candles("BTC", "5m", higher, "later", replace=True) == ImportCounts(0, 1, 9)
    assert history.candles("BTC", "5m").equals(higher)
    assert history.coverage()["rows"].to_list() == [10]


def test_symbols_and_intervals_are_kept_apart(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 5, seed=1), "test")
    history.add_candles("ETH", "5m", random_candles(DAY, 6, seed=2), "test")
    history.add_candles("BTC", "1h", random_candles(DAY, 7, "1h", seed=3), "test")
    assert [history.candles(*key).height for key in (("BTC", "5m"), ("ETH", "5m"), ("BTC", "1h"))] == [
        5,
        6,
        7,
    ]
    assert history.intervals("BTC") == ("5m", "1h")


def test_ranges_are_closed_at_the_start_and_open_at_the_end(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 10), "test")
    times = history.candles("BTC", "5m", DAY + STEP_MS, DAY + 3 * STEP_MS)["open_time_ms"].to_list()
    assert times == [DAY + STEP_MS, DAY + 2 * STEP_MS]


def test_funding_times_are_floored_to_their_hour(history: MarketHistory) -> None:
    rates = hourly_rates(DAY + 68, 3)
    history.add_funding("BTC", rates, "test")
    assert history.funding("BTC")["time_ms"].to_list() == [DAY, DAY + HOUR_MS, DAY + 2 * HOUR_MS]
    assert history.funding("BTC")["rate_hourly"].to_list() == rates["rate_hourly"].to_list()


def test_open_interest_is_kept(history: MarketHistory) -> None:
    frame = pl.DataFrame({"time_ms": [DAY], "open_interest_base": [12.5]})
    history.add_open_interest("BTC", frame, "test")
    assert history.open_interest("BTC").equals(frame)


def test_a_file_that_does_not_exist_reads_as_empty_and_is_not_made(history: MarketHistory) -> None:
    assert history.candles("BTC", "5m").is_empty()
    assert history.coverage().is_empty()
    assert history.days("BTC", "5m").is_empty()
    assert not history.path.exists()


def test_a_time_that_occurs_twice_is_refused(history: MarketHistory) -> None:
    candles = random_candles(DAY, 3)
    with pytest.raises(HistoryError, match=r"BTC 5m: .* occurs twice"):
        history.add_candles("BTC", "5m", pl.concat([candles, candles[:1]]), "test")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(history: MarketHistory, value: float | None) -> None:
    candles = random_candles(DAY, 3).with_columns(close=pl.lit(value, pl.Float64))
    with pytest.raises(HistoryError, match="missing or not finite"):
        history.add_candles("BTC", "5m", candles, "test")


def test_a_missing_column_is_named(history: MarketHistory) -> None:
    with pytest.raises(HistoryError, match="'volume' is missing"):
        history.add_candles("BTC", "5m", random_candles(DAY, 3).drop("volume"), "test")


def test_several_series_go_in_together_or_not_at_all(history: MarketHistory) -> None:
    good = SeriesRows("BTC", "5m", random_candles(DAY, 3))
    with pytest.raises(ConfigurationError, match="7m"):
        history.add_all([good, SeriesRows("ETH", "7m", good.frame)], "test")
    assert history.candles("BTC", "5m").is_empty()


def test_days_say_whether_they_are_complete(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY - 12 * HOUR_MS, 144 + 288 + 1), "test")
    rows = history.days("BTC", "5m").rows()
    assert [(str(day), count, whole) for day, count, whole in rows] == [
        ("2025-05-31", 144, False),
        ("2025-06-01", 288, True),
        ("2025-06-02", 1, False),
    ]


def test_coverage_names_every_series(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 4), "file:a")
    history.add_candles("BTC", "5m", random_candles(DAY + 4 * STEP_MS, 4), "file:b")
    history.add_funding("BTC", hourly_rates(DAY, 2), "venue")
    assert history.coverage().rows() == [
        ("BTC", "5m", 8, DAY, DAY + 7 * STEP_MS, "file:a, file:b"),
        ("BTC", "funding", 2, DAY, DAY + HOUR_MS, "venue"),
    ]


def test_gaps_are_runs_of_missing_candles(history: MarketHistory) -> None:
    candles = random_candles(DAY, 12)
    history.add_candles("BTC", "5m", pl.concat([candles[1:4], candles[6:7], candles[8:]]), "test")
    gaps = history.gaps("BTC", "5m", DAY, DAY + 13 * STEP_MS)
    assert [((g.first_ms - DAY) // STEP_MS, (g.last_ms - DAY) // STEP_MS, g.count) for g in gaps] == [
        (0, 0, 1),
        (4, 5, 2),
        (7, 7, 1),
        (12, 12, 1),
    ]


@given(st.sets(st.integers(0, 40)), st.integers(0, 20), st.integers(0, 45))
@settings(max_examples=60)
def test_gaps_and_candles_together_make_up_the_grid(present: set[int], start: int, end: int) -> None:
    times = [DAY + i * STEP_MS for i in sorted(present)]
    frame = pl.DataFrame({"open_time_ms": pl.Series(times, dtype=pl.Int64)})
    gaps = gaps_in(frame, "5m", DAY + start * STEP_MS, DAY + end * STEP_MS)
    missing = [
        i for gap in gaps for i in range((gap.first_ms - DAY) // STEP_MS, (gap.last_ms - DAY) // STEP_MS + 1)
    ]
    assert missing == sorted(set(range(start, end)) - present)
    assert sum(gap.count for gap in gaps) == len(missing)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 15), st.integers(0, 2)), min_size=1, max_size=6))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_overlapping_imports_count_every_row_once(tmp_path: Path, parts: list[tuple[int, int, int]]) -> None:
    """Against a plain dictionary: first value wins, every offered row is new, unchanged or changed."""
    history = MarketHistory(tmp_path / f"{time.monotonic_ns()}.duckdb")
    known: dict[int, float] = {}
    for start, count, seed in parts:
        frame = random_candles(DAY + start * STEP_MS, count, seed=seed)
        offered = dict(zip(frame["open_time_ms"].to_list(), frame["close"].to_list(), strict=True))
        expected = ImportCounts(
            new=len(offered.keys() - known.keys()),
            unchanged=sum(known.get(t) == v for t, v in offered.items()),
            changed=sum(t in known and known[t] != v for t, v in offered.items()),
        )
        assert history.add_candles("BTC", "5m", frame, "test") == expected
        known = offered | known
    stored = history.candles("BTC", "5m")
    assert dict(zip(stored["open_time_ms"].to_list(), stored["close"].to_list(), strict=True)) == known


def test_a_file_held_by_somebody_else_is_named_with_the_remedy(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 3), "test")
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(history.path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        impatient = MarketHistory(history.path, lock_seconds=0.2)
        with pytest.raises(StorageLockedError, match=r"market\.duckdb.*close"):
            impatient.candles("BTC", "5m")
        with pytest.raises(StorageLockedError):
            impatient.add_candles("BTC", "5m", random_candles(DAY, 3), "test")
    finally:
        holder.communicate()
    assert history.candles("BTC", "5m").height == 3


def test_a_file_that_is_no_database_is_refused_in_one_sentence(history: MarketHistory) -> None:
    history.path.parent.mkdir(parents=True)
    history.path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StorageError, match=r"market\.duckdb"):
        history.candles("BTC", "5m")


def test_counts_add_up() -> None:
    assert ImportCounts(1, 2, 3) + ImportCounts(4, 5, 6) == ImportCounts(5, 7, 9)
    assert ImportCounts(1, 2, 3).rows == 6
    assert Gap(1, 2, 3).count == 3
