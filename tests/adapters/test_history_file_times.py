"""The time column of a file: zones, units, and what is refused because it could mean two times."""

from pathlib import Path

import polars as pl
import pytest
from file_samples import DAY, STEP_MS, as_text, candle_file, write, zoned
from market_samples import HOUR_MS, random_candles, utc_ms

from wonttrade_dagster.adapters.history_columns import StatedTimes
from wonttrade_dagster.adapters.history_files import read_history_file
from wonttrade_dagster.core.errors import HistoryError, UsageError


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_zoned_datetimes_become_utc(tmp_path: Path, zone: str) -> None:
    candles = random_candles(DAY, 5)
    path = write(tmp_path / "BTC-5m.parquet", zoned(candles, zone))
    assert candle_file(path).series[0].frame.equals(candles)


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S+00:00",
        "%Y-%m-%d %H:%M:%S+00",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y-%m-%dT%H:%M+0000",
    ],
)
def test_texts_with_a_zone_become_utc(tmp_path: Path, form: str) -> None:
    candles = random_candles(DAY, 5)
    path = write(tmp_path / "BTC-5m.csv", as_text(candles, form))
    assert candle_file(path).series[0].frame.equals(candles)


def test_a_text_in_another_zone_is_converted(tmp_path: Path) -> None:
    candles = random_candles(DAY, 5)
    moved = as_text(candles.with_columns(pl.col("open_time_ms") + 2 * HOUR_MS), "%Y-%m-%d %H:%M:%S +02:00")
    assert candle_file(write(tmp_path / "BTC-5m.csv", moved)).series[0].frame.equals(candles)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_times_without_a_zone_are_refused_unless_the_column_says_utc(tmp_path: Path, suffix: str) -> None:
    candles = random_candles(DAY, 5)
    naive = as_text(candles, "%Y-%m-%d %H:%M:%S") if suffix == ".csv" else zoned(candles, None)
    with pytest.raises(HistoryError, match="no time zone; write times in UTC with a zone"):
        read_history_file(write(tmp_path / f"BTC-5m{suffix}", naive))
    stated = naive.rename({naive.columns[0]: "open_time_utc"})
    assert candle_file(write(tmp_path / f"ETH-5m{suffix}", stated)).series[0].frame.equals(candles)


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 1e-3), ("ms", 1), ("us", 1e3), ("ns", 1e6)])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_unit_of_a_time_is_told_by_its_size(
    tmp_path: Path, unit: str, per_ms: float, suffix: str
) -> None:
    candles = random_candles(DAY, 5)
    scaled = candles.select(
        (pl.col("open_time_ms") * per_ms).cast(pl.Int64).alias("time"), pl.exclude("open_time_ms")
    )
    path = write(tmp_path / f"BTC-5m{suffix}", scaled)
    assert candle_file(path).series[0].frame.equals(candles)
    wrong = "ns" if unit != "ns" else "ms"
    with pytest.raises(HistoryError, match=f"says {wrong} but holds {unit}"):
        read_history_file(write(tmp_path / f"ETH-5m{suffix}", scaled.rename({"time": f"time_{wrong}"})))


@pytest.mark.parametrize("time", [0, 1, 20250601, 999_999_999, 5_000_000_000, -1_748_736_000_000])
def test_a_number_in_no_clear_unit_is_refused(tmp_path: Path, time: int) -> None:
    candles = random_candles(DAY, 3).with_columns(open_time_ms=pl.lit(time) + pl.int_range(3) * STEP_MS)
    path = write(tmp_path / "BTC-5m.parquet", candles.rename({"open_time_ms": "time"}))
    with pytest.raises(HistoryError, match=r"row 1, column 'time': .* is in no clear unit"):
        read_history_file(path)


@pytest.mark.parametrize(
    ("column", "form", "stated"),
    [
        ("date", "%Y-%m-%dZ", StatedTimes()),
        ("date", "%Y-%m-%d UTC", StatedTimes()),
        ("date_utc", "%Y-%m-%d", StatedTimes()),
        ("date", "%Y-%m-%d", StatedTimes(zone="UTC")),
    ],
)
def test_a_day_alone_is_its_midnight(tmp_path: Path, column: str, form: str, stated: StatedTimes) -> None:
    days = random_candles(DAY, 4).with_columns(open_time_ms=DAY + pl.int_range(4) * 86_400_000)
    written = as_text(days, form).rename({"timestamp": column})
    (series,) = read_history_file(write(tmp_path / "BTC-1d.csv", written), stated).series
    assert series.frame.equals(days)


@pytest.mark.parametrize(("suffix", "year"), [(".csv", 1970), (".csv", 9999), (".parquet", 1970)])
def test_a_date_that_cannot_be_of_this_market_is_refused_with_its_row(
    tmp_path: Path, suffix: str, year: int
) -> None:
    """One candle of 1970 among those of today made `gaps` count six million missing ones."""
    candles = random_candles(DAY, 3)
    slip = pl.when(pl.int_range(3) == 1).then(utc_ms(year, 1, 1)).otherwise(pl.col("open_time_ms"))
    frame = candles.with_columns(slip.alias("open_time_ms"))
    frame = as_text(frame, "%Y-%m-%dT%H:%M:%SZ") if suffix == ".csv" else zoned(frame)
    with pytest.raises(HistoryError, match=f"row 2, column .*{year}-01-01.* is not of these years"):
        read_history_file(write(tmp_path / f"BTC-5m{suffix}", frame))


def test_mixed_units_are_refused_with_the_row(tmp_path: Path) -> None:
    candles = random_candles(DAY, 4).rename({"open_time_ms": "time"})
    mixed = candles.with_columns(
        time=pl.when(pl.int_range(4) == 2).then(pl.col("time") // 1000).otherwise(pl.col("time"))
    )
    with pytest.raises(HistoryError, match="row 3, column 'time'"):
        read_history_file(write(tmp_path / "BTC-5m.parquet", mixed))


def test_text_in_a_time_column_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "BTC-5m.csv"
    path.write_text("time,open,high,low,close,volume\n2025-06-01T00:00Z,1,1,1,1,1\nyesterday Z,1,1,1,1,1\n")
    with pytest.raises(HistoryError, match="row 2, column 'time': 'yesterday Z' is not a time"):
        read_history_file(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_stated_zone_is_the_zone_of_times_that_name_none(tmp_path: Path, suffix: str) -> None:
    candles = random_candles(DAY, 5)
    local = zoned(candles, "Europe/Berlin").with_columns(pl.col("open_time").dt.replace_time_zone(None))
    if suffix == ".csv":
        local = local.with_columns(pl.col("open_time").dt.strftime("%Y-%m-%d %H:%M:%S"))
    path = write(tmp_path / f"BTC-5m{suffix}", local)
    content = read_history_file(path, StatedTimes(zone="Europe/Berlin"))
    assert content.series[0].frame.equals(candles)


@pytest.mark.parametrize(
    ("hour", "told"),
    [((2025, 3, 30, 2, 30), "2025-03-30 02:30"), ((2025, 10, 26, 2, 30), "2025-10-26 02:30")],
)
def test_an_hour_that_the_clock_skips_or_repeats_cannot_be_told(
    tmp_path: Path, hour: tuple[int, ...], told: str
) -> None:
    naive = zoned(random_candles(utc_ms(*hour), 3), None)
    with pytest.raises(HistoryError, match=f"row 1, column 'open_time': {told}.*Europe/Berlin"):
        read_history_file(write(tmp_path / "BTC-5m.parquet", naive), StatedTimes(zone="Europe/Berlin"))


def test_a_zone_in_the_file_wins_over_a_stated_one(tmp_path: Path) -> None:
    candles = random_candles(DAY, 5)
    path = write(tmp_path / "BTC-5m.csv", as_text(candles, "%Y-%m-%dT%H:%M:%SZ"))
    content = read_history_file(path, StatedTimes(zone="Asia/Tokyo"))
    assert content.series[0].frame.equals(candles)


def test_a_stated_unit_must_be_that_of_the_numbers(tmp_path: Path) -> None:
    candles = random_candles(DAY, 5)
    path = write(tmp_path / "BTC-5m.csv", candles)
    assert read_history_file(path, StatedTimes(unit="ms")).series[0].frame.equals(candles)
    with pytest.raises(HistoryError, match="holds ms, --time-unit says s"):
        read_history_file(path, StatedTimes(unit="s"))


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="'Mars/Base' is no time zone"):
        StatedTimes(zone="Mars/Base")
