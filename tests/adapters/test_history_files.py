"""Files of history: formats, columns and symbols, what is refused whole, and the import."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from file_samples import DAY, STEP_MS, candle_file, write
from market_samples import HOUR_MS, hourly_rates, random_candles, utc_ms

from wonttrade_dagster.adapters.history import ImportCounts, MarketHistory
from wonttrade_dagster.adapters.history_files import PointFile, import_files, read_history_file
from wonttrade_dagster.core.errors import HistoryError

SHARED = Path(__file__).parents[2].parent / "shared" / "market-data"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather"])
def test_the_three_formats_read_the_same(tmp_path: Path, suffix: str) -> None:
    candles = random_candles(DAY, 30)
    (series,) = candle_file(write(tmp_path / f"BTC-5m{suffix}", candles)).series
    assert (series.symbol, series.interval) == ("BTC", "5m")
    assert series.frame.equals(candles)


@pytest.mark.parametrize(
    "names",
    [
        ("t", "o", "h", "l", "c", "v"),
        ("Timestamp", "Open", "High", "Low", "Close", "Volume"),
        ("openTime", "open_px", "high_px", "low_px", "close_px", "baseVolume"),
        ("date", "open", "high", "low", "close", "volume"),
    ],
)
def test_common_names_of_columns_are_understood(tmp_path: Path, names: tuple[str, ...]) -> None:
    candles = random_candles(DAY, 5)
    renamed = candles.rename(dict(zip(candles.columns, names, strict=True)))
    assert candle_file(write(tmp_path / "BTC-5m.csv", renamed)).series[0].frame.equals(candles)


def test_the_venues_own_candles_are_understood(tmp_path: Path) -> None:
    """``T`` is the close time and ``n`` a count: neither is mistaken for ``t``."""
    candles = random_candles(DAY, 5)
    venue = candles.rename(dict(zip(candles.columns, "tohlcv", strict=True))).with_columns(
        T=pl.col("t") + 299_999, n=7, s=pl.lit("ETH"), i=pl.lit("5m")
    )
    (series,) = candle_file(write(tmp_path / "download.parquet", venue)).series
    assert (series.symbol, series.interval, series.frame.equals(candles)) == ("ETH", "5m", True)


def test_symbols_in_a_column_become_series(tmp_path: Path) -> None:
    btc, eth = random_candles(DAY, 4, seed=1), random_candles(DAY, 6, seed=2)
    both = pl.concat([eth.with_columns(coin=pl.lit("ETH/USDC:USDC")), btc.with_columns(coin=pl.lit("BTC"))])
    series = candle_file(write(tmp_path / "all-5m.parquet", both)).series
    assert [(s.symbol, s.frame.height) for s in series] == [("ETH", 6), ("BTC", 4)]
    assert series[0].frame.equals(eth)


@pytest.mark.parametrize("name", ["BTC-5m", "BTC_USDC_USDC-5m-futures", "BTC 5m 2025", "BTC", "kPEPE-5m"])
def test_the_file_name_names_the_symbol(tmp_path: Path, name: str) -> None:
    (series,) = candle_file(write(tmp_path / f"{name}.parquet", random_candles(DAY, 4))).series
    assert (series.symbol, series.interval) == (name.replace("_", "-").replace(" ", "-").split("-")[0], "5m")


def test_unsorted_rows_are_sorted(tmp_path: Path) -> None:
    candles = random_candles(DAY, 40)
    path = write(tmp_path / "BTC-5m.csv", candles.sample(fraction=1, shuffle=True, seed=1))
    assert candle_file(path).series[0].frame.equals(candles)


def test_missing_candles_are_kept_as_gaps(tmp_path: Path) -> None:
    candles = random_candles(DAY, 40)
    holed = pl.concat([candles[:10], candles[13:20], candles[32:]])
    (series,) = candle_file(write(tmp_path / "BTC-5m.parquet", holed)).series
    assert (series.interval, series.frame.equals(holed)) == ("5m", True)


def change(row: int, column: str, value: float | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def apply(frame: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == row
        return frame.with_columns(
            pl.when(here).then(pl.lit(value, pl.Float64)).otherwise(pl.col(column)).alias(column)
        )

    return apply


BROKEN: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "missing price": (change(2, "close", None), "row 3, column 'close'"),
    "not a number": (change(2, "open", float("nan")), "row 3, column 'open'"),
    "infinite": (change(0, "high", float("inf")), "row 1, column 'high'"),
    "zero price": (change(4, "low", 0.0), "row 5, column 'low': 0.0 is not positive"),
    "negative price": (change(4, "open", -3.0), "row 5, column 'open': -3.0 is not positive"),
    "negative volume": (change(1, "volume", -1.0), "row 2, column 'volume': -1.0 is negative"),
    "high below low": (change(3, "high", 1.0), "row 4, column 'high': 1.0 is below the low"),
    "open above high": (change(3, "open", 900.0), "row 4, column 'open': 900.0 is outside of low and high"),
    "close below low": (change(3, "close", 2.0), "row 4, column 'close': 2.0 is outside of low and high"),
    "a row twice": (lambda f: pl.concat([f, f[2:3]]), "occurs a second time"),
    "off the grid": (lambda f: f.with_columns(pl.col("open_time_ms") + 1_000), "not on the 5m grid"),
    "a missing time": (
        lambda f: f.with_columns(open_time_ms=pl.when(pl.int_range(pl.len()) != 1).then("open_time_ms")),
        "row 2, column 'open_time_ms': the time is missing",
    ),
    "two intervals": (
        lambda f: pl.concat([f, random_candles(DAY + HOUR_MS * 5, 6, "1h")]),
        "row 14: rows from here on are 60 minutes apart among 5m candles",
    ),
    "an absurd price": (change(2, "high", 1e300), "row 3, column 'high': 1e+300 is beyond any market"),
    "an absurd volume": (change(2, "volume", 1e308), "row 3, column 'volume': 1e+308 is beyond any market"),
    "no volume": (lambda f: f.drop("volume"), "column 'volume' is missing"),
    "no time": (lambda f: f.drop("open_time_ms"), "is the time"),
    "two times": (lambda f: f.with_columns(timestamp="open_time_ms"), "could both be the time"),
    "no rows": (lambda f: f.clear(), "it has no rows"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_whole_and_by_name(tmp_path: Path, case: str) -> None:
    break_it, message = BROKEN[case]
    good = write(tmp_path / "ETH-5m.parquet", random_candles(DAY, 12))
    bad = write(tmp_path / "BTC-5m.parquet", break_it(random_candles(DAY, 12)))
    history = MarketHistory(tmp_path / "market.duckdb")
    with pytest.raises(HistoryError) as refused:
        import_files(history, [good, bad])
    assert "BTC-5m.parquet" in str(refused.value)
    assert message in str(refused.value)
    assert "nothing was imported" in str(refused.value)
    assert history.coverage().is_empty()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BTC-1h.parquet", "the rows are 5m apart but the file name says 1h"),
        ("BTC-7m.parquet", "the rows are 5m apart but the file name says 7m"),
        ("btc.parquet", "no column names the symbol"),
        ("BTCUSDT-5m.parquet", "'BTCUSDT' is not a symbol of the venue"),
        ("BTC-5m-mark.parquet", "its name says mark prices"),
        ("BTC-5m.json", "a .json file is not known"),
    ],
)
def test_a_file_name_that_contradicts_its_content_is_refused(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    random_candles(DAY, 12).write_parquet(path)
    with pytest.raises(HistoryError, match=message):
        read_history_file(path)


def test_text_in_a_price_column_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "BTC-5m.csv"
    path.write_text("time,open,high,low,close,volume\n1748736000000,1,1,1,1,1\n1748736300000,1,1,oops,1,1\n")
    with pytest.raises(HistoryError, match="row 2, column 'low': 'oops' is not a finite number"):
        read_history_file(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01garbage\xff" * 40], ids=["empty", "garbage"])
def test_an_unreadable_file_is_refused_in_one_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"BTC-5m{suffix}"
    path.write_bytes(content)
    with pytest.raises(HistoryError, match="BTC-5m") as refused:
        read_history_file(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no such file"):
        read_history_file(tmp_path / "BTC-5m.parquet")


def test_funding_some_milliseconds_past_the_hour_is_understood(tmp_path: Path) -> None:
    rates = hourly_rates(DAY, 24)
    late = rates.select(
        pl.from_epoch(pl.col("time_ms") + 97, time_unit="ms").dt.replace_time_zone("UTC").alias("time"),
        pl.col("rate_hourly").alias("funding_rate"),
    )
    content = read_history_file(write(tmp_path / "BTC-funding.parquet", late))
    assert isinstance(content, PointFile)
    assert content.series[0].frame.equals(rates)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (hourly_rates(DAY, 5).with_columns(rate_hourly=pl.lit(0.05)), "beyond the venue's cap"),
        (hourly_rates(DAY, 5).with_columns(pl.col("time_ms") * 1).gather([0, 1, 1]), "a second time"),
        (hourly_rates(DAY, 80).gather_every(8), "8 hours apart"),
    ],
    ids=["a percentage", "twice in an hour", "another venue's period"],
)
def test_wrong_funding_is_refused(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        read_history_file(write(tmp_path / "BTC-funding.parquet", frame))


_EIGHT_HOURS_THEN_ONE = [
    *range(DAY, DAY + 40 * HOUR_MS, 8 * HOUR_MS),
    *range(DAY + 40 * HOUR_MS, DAY + 60 * HOUR_MS, HOUR_MS),
]


@pytest.mark.parametrize(
    ("times_ms", "message"),
    [
        ([DAY, DAY + 8 * HOUR_MS], "8 hours apart"),
        (_EIGHT_HOURS_THEN_ONE, "row 2: the rates from here on are 8 hours apart"),
        (range(DAY - 3, DAY + 5 * HOUR_MS, HOUR_MS), "row 1: 2025-05-31 23:59:59.997 UTC is not when"),
        (range(DAY + HOUR_MS // 2, DAY + 5 * HOUR_MS, HOUR_MS), "row 1: 2025-06-01 00:30:00.000 UTC is not"),
    ],
    ids=["two of eight hours", "eight hours, then one", "just before the hour", "at the half hour"],
)
def test_rates_of_other_hours_are_refused(tmp_path: Path, times_ms: Sequence[int], message: str) -> None:
    rates = pl.DataFrame({"time_ms": list(times_ms)}).with_columns(rate_hourly=pl.lit(1e-5))
    with pytest.raises(HistoryError, match=message):
        read_history_file(write(tmp_path / "BTC-funding.parquet", rates))


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("BTC-funding-8h", hourly_rates(DAY, 5), "it says 8h"),
        ("BTC-funding", hourly_rates(DAY, 5).with_columns(interval=pl.lit("4h")), "it says 4h"),
        ("BTC-funding", hourly_rates(DAY, 5).rename({"rate_hourly": "funding_rate (%)"}), r"\(%\)' says %"),
        ("BTC-5m", random_candles(DAY, 12).rename({"volume": "Volume ($)"}), r"'Volume \(\$\)' says \$"),
    ],
)
def test_what_says_another_period_or_unit_is_refused(
    tmp_path: Path, name: str, frame: pl.DataFrame, message: str
) -> None:
    with pytest.raises(HistoryError, match=message):
        read_history_file(write(tmp_path / f"{name}.parquet", frame))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather"])
def test_a_name_is_no_pattern_of_other_names(tmp_path: Path, suffix: str) -> None:
    named, other = random_candles(DAY, 12), random_candles(DAY, 12, seed=4)
    write(tmp_path / f"BTC-5m1{suffix}", other)
    path = write(tmp_path / f"BTC-5m[1]{suffix}", named)
    assert candle_file(path).series[0].frame.equals(named)


def test_nested_values_are_no_prices(tmp_path: Path) -> None:
    nested = random_candles(DAY, 12).with_columns(close=pl.struct("close"))
    with pytest.raises(HistoryError, match="column 'close' holds Struct"):
        read_history_file(write(tmp_path / "BTC-5m.parquet", nested))


def test_the_end_of_a_parquet_file_is_refused_without_a_panic(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "BTC-5m.parquet", random_candles(DAY, 2000))
    path.write_bytes(path.read_bytes()[-5000:])
    with pytest.raises(HistoryError, match="does not begin as a Parquet file does"):
        read_history_file(path)
    assert capfd.readouterr().err == ""


def test_importing_twice_adds_nothing_and_reports_what_differs(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "market.duckdb")
    candles = random_candles(DAY, 20)
    path = write(tmp_path / "BTC-5m.parquet", candles)
    seen: list[Path] = []
    (first,) = import_files(history, [path], on_file=seen.append)
    assert (first.counts, seen) == (ImportCounts(20, 0, 0), [path])
    assert (first.series[0].first_ms, first.series[0].last_ms) == (DAY, DAY + 19 * STEP_MS)
    assert import_files(history, [path])[0].counts == ImportCounts(0, 20, 0)
    write(path, candles.with_columns(pl.col("volume") + 1))
    assert import_files(history, [path])[0].counts == ImportCounts(0, 0, 20)
    assert history.candles("BTC", "5m").equals(candles)
    import_files(history, [path], replace=True)
    assert history.candles("BTC", "5m")["volume"].to_list() == (candles["volume"] + 1).to_list()


def test_a_broken_file_among_good_ones_keeps_all_of_them_out(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "market.duckdb")
    good = write(tmp_path / "BTC-5m.parquet", random_candles(DAY, 5))
    broken = write(tmp_path / "ETH-5m.parquet", random_candles(DAY, 5).with_columns(low=pl.lit(1e9)))
    with pytest.raises(HistoryError, match="ETH-5m"):
        import_files(history, [good, broken])
    assert not history.path.exists()


def test_a_history_that_does_not_take_one_file_takes_none(tmp_path: Path) -> None:
    """Two files of one series whose rows clash are both fine alone: the second is counted, not half taken."""
    history = MarketHistory(tmp_path / "market.duckdb")
    first = write(tmp_path / "BTC-5m.parquet", random_candles(DAY, 5))
    second = write(tmp_path / "BTC-5m-more.csv", random_candles(DAY, 9, seed=4))
    done = import_files(history, [first, second])
    assert [file.counts for file in done] == [ImportCounts(5, 0, 0), ImportCounts(4, 0, 5)]
    assert history.candles("BTC", "5m")[:5].equals(random_candles(DAY, 5))


@pytest.mark.parametrize(("name", "is_taken"), [("BTC-5m", False), ("ETHUSDC-5m", True), ("all-5m", True)])
def test_a_name_that_says_another_symbol_than_the_rows_is_refused(
    tmp_path: Path, name: str, is_taken: bool
) -> None:
    path = write(tmp_path / f"{name}.parquet", random_candles(DAY, 5).with_columns(symbol=pl.lit("ETH")))
    if is_taken:
        assert candle_file(path).series[0].symbol == "ETH"
        return
    with pytest.raises(HistoryError, match="begins with BTC, the rows are of ETH"):
        read_history_file(path)


def test_a_year_is_no_symbol(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no column names the symbol"):
        read_history_file(write(tmp_path / "2025-BTC-5m.parquet", random_candles(DAY, 5)))


def test_a_column_that_stands_twice_is_not_taken_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "BTC-5m.csv"
    path.write_text("time,open,high,low,close,volume,close\n2025-06-01T00:00Z,1,3,1,2,1,3\n")
    with pytest.raises(HistoryError, match="could both be the close"):
        read_history_file(path)


@pytest.mark.parametrize("value", [pl.lit(value=True), pl.date(2025, 6, 1), pl.duration(hours=5), pl.time(5)])
def test_flags_and_times_are_no_numbers(tmp_path: Path, value: pl.Expr) -> None:
    path = write(tmp_path / "BTC-5m.parquet", random_candles(DAY, 5).with_columns(volume=value))
    with pytest.raises(HistoryError, match=r"column 'volume' holds .*, not numbers"):
        read_history_file(path)


def test_files_that_contradict_each_other_replace_nothing(tmp_path: Path) -> None:
    """They overwrote each other's rows at every import, for ever."""
    history = MarketHistory(tmp_path / "market.duckdb")
    candles = random_candles(DAY, 5)
    first = write(tmp_path / "BTC-5m.parquet", candles)
    same = write(tmp_path / "BTC-5m-same.csv", candles[3:])
    import_files(history, [first, same], replace=True)
    other = write(tmp_path / "BTC-5m-more.csv", candles[4:].with_columns(pl.col("volume") + 1))
    with pytest.raises(
        HistoryError, match=r"BTC-5m-more.csv: BTC 5m of 2025-06-01 00:20 UTC has other values"
    ):
        import_files(history, [first, same, other], replace=True)
    assert history.candles("BTC", "5m").equals(candles)


def test_a_candle_that_is_still_forming_keeps_the_import_out_until_it_has_closed(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "market.duckdb")
    path = write(tmp_path / "BTC-5m.parquet", random_candles(DAY, 5))
    closed_ms = DAY + 5 * STEP_MS
    with pytest.raises(HistoryError, match=r"BTC 5m: the row of 2025-06-01 00:20 UTC .* still forming"):
        import_files(history, [path], now_ms=closed_ms - 1)
    assert not history.path.exists()
    assert import_files(history, [path], now_ms=closed_ms)[0].counts == ImportCounts(5, 0, 0)


def test_rates_of_the_future_are_refused_by_the_clock_of_this_machine(tmp_path: Path) -> None:
    path = write(tmp_path / "BTC-funding.parquet", hourly_rates(utc_ms(2090, 1, 1), 3))
    with pytest.raises(HistoryError, match=r"BTC funding: .* 2090-01-01 02:00 UTC lies in the future"):
        import_files(MarketHistory(tmp_path / "market.duckdb"), [path])


def test_open_interest_is_read_at_its_own_times(tmp_path: Path) -> None:
    frame = pl.DataFrame({"time": [DAY + 17, DAY + 60_000], "openInterest": [3.5, 0.0]})
    content = read_history_file(write(tmp_path / "BTC-oi.csv", frame))
    assert isinstance(content, PointFile)
    assert content.kind == "open_interest"
    assert content.series[0].frame.rows() == [(DAY + 17, 3.5), (DAY + 60_000, 0.0)]
    with pytest.raises(HistoryError, match=r"row 2, .* is negative"):
        read_history_file(
            write(tmp_path / "ETH-oi.csv", frame.with_columns(openInterest=pl.Series([1.0, -1.0])))
        )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real candles are not on this machine")
def test_the_real_files_import_whole(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "market.duckdb")
    began = time.process_time()
    done = import_files(history, sorted(SHARED.glob("*.parquet")))
    assert time.process_time() - began < 10
    stored = history.path.read_bytes()
    again = import_files(history, sorted(SHARED.glob("*.parquet")))
    assert sum((file.counts for file in again), ImportCounts(0, 0, 0)) == ImportCounts(0, 137_197, 0)
    assert history.path.read_bytes() == stored
    assert sum((file.counts for file in done), ImportCounts(0, 0, 0)) == ImportCounts(137_197, 0, 0)
    coverage = {(symbol, series): rows for symbol, series, rows, *_ in history.coverage().iter_rows()}
    assert coverage["BTC", "5m"] == 31_272
    assert coverage["SOL", "funding"] == 7_272
    assert history.gaps("ETH", "5m", utc_ms(2025, 3, 15), utc_ms(2025, 7, 1)) == ()
