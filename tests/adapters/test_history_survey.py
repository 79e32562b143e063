"""What is missing, what the venue still has of it, and halts apart; and the files that bring it elsewhere."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import HOUR_MS, hourly_rates, random_candles, utc_ms

from wonttrade_dagster.adapters.duckdb_file import read_copy_path
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_export import export_history
from wonttrade_dagster.adapters.history_files import import_files
from wonttrade_dagster.adapters.history_gaps import Gap, missing_runs
from wonttrade_dagster.adapters.history_survey import VENUE_OPENED_MS, survey, wanted_series
from wonttrade_dagster.core.candles import SERVED_CANDLES

DAY = utc_ms(2025, 6, 1)
STEP_MS = 300_000
NOW = DAY + 48 * HOUR_MS + 1
TABLES = ("candles", "funding_rates", "open_interest")


@pytest.fixture
def history(tmp_path: Path) -> MarketHistory:
    return MarketHistory(tmp_path / "data" / "market.duckdb", lock_seconds=2.0)


def holed(first_ms: int, count: int, without: slice, interval: str = "5m") -> pl.DataFrame:
    candles = random_candles(first_ms, count, interval)
    gone = candles[without]["open_time_ms"].implode()
    return candles.filter(~pl.col("open_time_ms").is_in(gone))


def test_a_hole_is_told_with_its_ends_and_its_length(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", holed(DAY, 20, slice(4, 7)), "test")
    history.add_funding("BTC", hourly_rates(DAY, 5).gather([0, 1, 4]), "test")
    found = survey(history, [], NOW)
    assert [(g.series, g.gap, g.at_venue) for g in found.gaps] == [
        ("5m", Gap(DAY + 4 * STEP_MS, DAY + 6 * STEP_MS, 3), 3),
        ("funding", Gap(DAY + 2 * HOUR_MS, DAY + 3 * HOUR_MS, 2), 2),
    ]
    assert [(s.rows, s.missing, s.behind) for s in found.series] == [(17, 3, 48 * 12 - 20), (3, 2, 44)]
    assert found.halts == ()


def test_the_venue_has_the_newest_candles_of_an_interval_and_every_hour_of_funding(
    history: MarketHistory,
) -> None:
    """A hole over the edge of what is served is had in part, an older one not at all."""
    oldest_ms = NOW // STEP_MS * STEP_MS - (SERVED_CANDLES - 1) * STEP_MS
    first_ms = oldest_ms - 100 * STEP_MS
    candles = random_candles(first_ms, 200)
    kept = candles.filter(~pl.int_range(pl.len()).is_in([*range(10, 20), *range(95, 108)]))
    history.add_candles("BTC", "5m", kept, "test")
    history.add_funding("BTC", hourly_rates(DAY - 9_000 * HOUR_MS, 4).gather([0, 3]), "test")
    found = survey(history, [], NOW)
    assert [(g.series, g.gap.count, g.at_venue) for g in found.gaps] == [
        ("5m", 10, 0),
        ("5m", 13, 8),
        ("funding", 2, 2),
    ]


def test_the_venue_has_no_funding_from_before_it_opened(history: MarketHistory) -> None:
    opened_ms = VENUE_OPENED_MS
    history.add_funding("BTC", hourly_rates(opened_ms - 10 * HOUR_MS, 14).gather([0, 13]), "test")
    history.add_funding("ETH", hourly_rates(opened_ms - 100 * HOUR_MS, 9).gather([0, 8]), "test")
    found = survey(history, [], opened_ms + 24 * HOUR_MS)
    assert [(g.symbol, g.gap.count, g.at_venue) for g in found.gaps] == [("BTC", 12, 3), ("ETH", 7, 0)]


def test_a_stated_range_is_missed_as_far_as_it_could_be_there(history: MarketHistory) -> None:
    """Neither the forming candle nor the future is missed; the hour that has begun was paid."""
    history.add_candles("BTC", "1h", random_candles(DAY + HOUR_MS, 3, "1h"), "test")
    wanted = wanted_series(["BTC"], ["1h"])
    found = survey(history, wanted, DAY + 6 * HOUR_MS + 1, from_ms=DAY, to_ms=DAY + 90 * HOUR_MS)
    hours = [((g.gap.first_ms - DAY) // HOUR_MS, (g.gap.last_ms - DAY) // HOUR_MS) for g in found.gaps]
    assert [g.series for g in found.gaps] == ["1h", "1h", "funding"]
    assert hours == [(0, 0), (4, 5), (0, 6)]


def test_a_series_that_should_be_there_and_is_not_stands_in_the_list(history: MarketHistory) -> None:
    found = survey(history, wanted_series(["ETH"], ["5m", "4h"]), NOW)
    assert [(s.symbol, s.series, s.rows, s.first_ms) for s in found.series] == [
        ("ETH", "5m", 0, None),
        ("ETH", "4h", 0, None),
        ("ETH", "funding", 0, None),
    ]


def test_candles_without_trades_are_halts_and_no_gaps(history: MarketHistory) -> None:
    still = pl.int_range(pl.len()).is_in([3, 4, 9])
    candles = random_candles(DAY, 12).with_columns(
        volume=pl.when(still).then(0.0).otherwise(pl.col("volume"))
    )
    history.add_candles("BTC", "5m", candles, "test")
    found = survey(history, [], NOW)
    assert found.gaps == ()
    assert [h.run for h in found.halts] == [
        Gap(DAY + 3 * STEP_MS, DAY + 4 * STEP_MS, 2),
        Gap(DAY + 9 * STEP_MS, DAY + 9 * STEP_MS, 1),
    ]


def test_only_the_symbols_that_were_asked_for_are_looked_at(history: MarketHistory) -> None:
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", holed(DAY, 9, slice(2, 3)), "test")
    found = survey(history, wanted_series(["BTC", "ETH"], ["5m"]), NOW, only=["ETH"])
    assert {s.symbol for s in found.series} == {"ETH"}
    assert [g.symbol for g in found.gaps] == ["ETH"]


@given(st.sets(st.integers(0, 40)), st.integers(0, 20), st.integers(0, 45))
@settings(max_examples=60)
def test_runs_and_hours_together_make_up_the_range(present: set[int], start: int, end: int) -> None:
    times = pl.Series([DAY + i * HOUR_MS for i in sorted(present)], dtype=pl.Int64)
    runs = missing_runs(times, HOUR_MS, DAY + start * HOUR_MS, DAY + end * HOUR_MS)
    hours = [h for run in runs for h in range(run.first_ms, run.last_ms + 1, HOUR_MS)]
    assert hours == [DAY + i * HOUR_MS for i in range(start, end) if i not in present]


def test_the_documented_halts_of_the_real_data_are_found_and_nothing_else(
    history: MarketHistory, market_data: Path
) -> None:
    import_files(history, sorted(market_data.glob("*.parquet")))
    found = survey(history, [], utc_ms(2025, 7, 1))
    assert found.gaps == ()
    halts = {(h.symbol, h.series): [] for h in found.halts}  # type: dict[tuple[str, str], list[tuple[int, int]]]
    for halt in found.halts:
        halts[halt.symbol, halt.series].append((halt.run.first_ms, halt.run.count))
    first, second, third = utc_ms(2025, 5, 25, 14, 25), utc_ms(2025, 6, 8, 9, 45), utc_ms(2025, 6, 28, 8, 20)
    assert halts == {
        ("BTC", "5m"): [(first, 2), (second, 8), (third, 1)],
        ("ETH", "5m"): [(first, 1), (second, 8), (third, 1)],
        ("SOL", "5m"): [(first, 2), (second, 9), (third, 1)],
    }


# --- export ----------------------------------------------------------------------------------------


def tables(history: MarketHistory) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(history.path), read_only=True) as connection:
        return {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


def test_exporting_and_importing_elsewhere_gives_equal_tables(history: MarketHistory, tmp_path: Path) -> None:
    for seed, (symbol, interval) in enumerate([("BTC", "5m"), ("BTC", "4h"), ("kPEPE", "5m")]):
        history.add_candles(symbol, interval, random_candles(DAY, 30, interval, seed), "venue")
    history.add_candles("BTC", "5m", random_candles(DAY + 30 * STEP_MS, 1), "file:one day's.csv")
    history.add_funding("BTC", hourly_rates(DAY, 9), "venue")
    odd = pl.DataFrame({"time_ms": [DAY + 17, DAY + 61_003], "open_interest_base": [1.1, 0.0]})
    history.add_open_interest("BTC", odd, "venue")
    files = list(export_history(history, tmp_path / "out"))
    assert {f.path.name for f in files} == {
        "BTC-5m.parquet",
        "BTC-4h.parquet",
        "kPEPE-5m.parquet",
        "BTC-funding.parquet",
        "BTC-open_interest.parquet",
    }
    elsewhere = MarketHistory(tmp_path / "elsewhere" / "market.duckdb")
    import_files(elsewhere, [f.path for f in files])
    assert tables(elsewhere) == tables(history)
    assert [len(rows) for rows in tables(history).values()] == [91, 9, 2]


def test_an_export_of_a_part_holds_that_part(history: MarketHistory, tmp_path: Path) -> None:
    for symbol in ("BTC", "ETH"):
        history.add_candles(symbol, "5m", random_candles(DAY, 10), "test")
    (file,) = export_history(history, tmp_path, ["ETH"], DAY + STEP_MS, DAY + 4 * STEP_MS)
    assert (file.symbol, file.rows) == ("ETH", 3)
    assert pl.read_parquet(file.path)["open_time"].dt.epoch("ms").to_list() == [
        DAY + i * STEP_MS for i in (1, 2, 3)
    ]
    assert list(export_history(history, tmp_path, ["SOL"])) == []


# --- the read copy ---------------------------------------------------------------------------------


def test_what_was_written_is_published_and_an_open_reader_keeps_its_view(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 3), "test")
    copy = read_copy_path(history.path)
    with duckdb.connect(str(copy), read_only=True) as reader:
        history.add_candles("BTC", "5m", random_candles(DAY, 7), "test", replace=True)
        assert reader.execute("SELECT count(*) FROM candles").fetchall() == [(3,)]
    with duckdb.connect(str(copy), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM candles").fetchall() == [(7,)]


def test_adding_what_is_there_already_changes_no_byte(history: MarketHistory) -> None:
    history.add_candles("BTC", "5m", random_candles(DAY, 300), "test")
    copy = read_copy_path(history.path)
    before = history.path.read_bytes(), copy.read_bytes(), copy.stat().st_ino
    history.add_candles("BTC", "5m", random_candles(DAY, 300), "test")
    assert (history.path.read_bytes(), copy.read_bytes(), copy.stat().st_ino) == before
