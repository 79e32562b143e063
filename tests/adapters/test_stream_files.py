"""What readers of other processes see, whatever happens to the writer, and when they use it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from market_samples import random_candles, utc_ms

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.stream_board import Heard, StreamBoard
from wonttrade_dagster.adapters.hyperliquid.stream_files import (
    Minute,
    StreamFiles,
    StreamIdentity,
    StreamNow,
    WindowFacts,
)
from wonttrade_dagster.adapters.hyperliquid.stream_minutes import WAIT_MS, MinuteRecorder
from wonttrade_dagster.adapters.hyperliquid.stream_reader import (
    ASSETS_LIMIT_MS,
    CONTEXT_LIMIT_MS,
    MEAN_LIMIT_MS,
    NOW_LIMIT_MS,
    PATIENCE_MS,
    StreamMiss,
    StreamWindows,
)
from wonttrade_dagster.core import codec
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.model import AssetSpec, CandleSeries, MarketSnapshot

MINUTE = 60_000
CYCLE = utc_ms(2026, 11, 23, 12)
NOW = CYCLE + 500
BARS = 20
IDENTITY = StreamIdentity("http://127.0.0.1:1", ("BTC",), ("5m", "4h"), BARS)
CONTEXT = {
    "funding": "0.0000125",
    "openInterest": "100.5",
    "dayNtlVlm": "12.0",
    "oraclePx": "99.0",
    "markPx": "100.0",
    "midPx": None,
}


def window(interval: str, bars: int = BARS, last_behind: int = 1, seed: int = 1) -> CandleSeries:
    length = interval_ms(interval)
    last_ms = CYCLE // length * length - last_behind * length
    frame = random_candles(last_ms - (bars - 1) * length, bars, interval, seed)
    return CandleSeries("BTC", interval, frame)


FACTS = WindowFacts(
    IDENTITY,
    (AssetSpec("BTC", 3, 5, 40, ()),),
    NOW - 1000,
    {"BTC 5m": NOW - 300, "BTC 4h": NOW - 9000},
    (),
)
LATEST = StreamNow(
    IDENTITY, NOW - 100, "up", {"BTC": CONTEXT}, {"BTC": NOW - 700}, {"BTC": 99.5}, {"allMids": NOW}, {}
)


GAPPED = CandleSeries("BTC", "5m", window("5m", BARS + 1).frame.filter(pl.int_range(pl.len()) != 5))


def published(
    folder: Path, *, now: StreamNow = LATEST, facts: WindowFacts = FACTS, **windows: CandleSeries
) -> tuple[StreamWindows, FixedClock]:
    files = StreamFiles(folder)
    files.write_now(now)
    files.write_windows(facts, [windows.get("intraday", window("5m")), windows.get("long", window("4h"))])
    clock = FixedClock(NOW)
    return StreamWindows(folder, IDENTITY, clock), clock


def test_what_is_published_comes_back_bit_by_bit_with_the_age_of_each_piece(tmp_path: Path) -> None:
    reader, _ = published(tmp_path)
    snapshot = reader.snapshot(CYCLE)
    assert isinstance(snapshot, MarketSnapshot)
    market = snapshot.market("BTC")
    assert market.intraday.frame.equals(window("5m").frame)
    assert market.long_term.frame.equals(window("4h").frame)
    assert (snapshot.source, market.mid_px, market.open_interest_mean_base) == ("stream", None, 99.5)
    assert snapshot.ages_ms == {
        "BTC context": 700,
        "BTC 5m": 300,
        "BTC 4h": 9000,
        "BTC open interest mean": 100,
    }
    assert codec.encode(codec.decode(MarketSnapshot, codec.encode(snapshot))) == codec.encode(snapshot)


def test_a_snapshot_from_before_the_stream_decodes(tmp_path: Path) -> None:
    reader, _ = published(tmp_path)
    old = json.loads(codec.encode(reader.snapshot(CYCLE)))
    del old["ages_ms"], old["stream_miss"]
    for market in old["markets"]:
        del market["open_interest_mean_base"]
    decoded = codec.decode(MarketSnapshot, json.dumps(old))
    assert (decoded.ages_ms, decoded.stream_miss) == ({}, "")
    assert decoded.market("BTC").open_interest_mean_base is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"now": replace(LATEST, written_ms=NOW - NOW_LIMIT_MS - 1)}, "the stream was last seen 4 s ago"),
        (
            {"now": replace(LATEST, identity=replace(IDENTITY, base_url="http://x"))},
            "runs under other settings",
        ),
        (
            {"now": replace(LATEST, received_ms={"BTC": NOW - CONTEXT_LIMIT_MS - 1})},
            "prices of BTC are 8 s old",
        ),
        ({"now": replace(LATEST, contexts={}, received_ms={})}, "no prices of BTC"),
        ({"now": replace(LATEST, contexts={"BTC": CONTEXT | {"markPx": "0.0"}})}, "markPx"),
        (
            {"facts": replace(FACTS, identity=replace(IDENTITY, history_bars=7))},
            "not filled its windows yet",
        ),
        ({"facts": replace(FACTS, assets_at_ms=NOW - ASSETS_LIMIT_MS - 1)}, "listing of the venue is old"),
        ({"facts": replace(FACTS, assets=())}, "no whole market of BTC"),
        (
            {"facts": replace(FACTS, assets=(replace(FACTS.assets[0], is_delisted=True),))},
            "no whole market of BTC",
        ),
        ({"intraday": window("5m", last_behind=2)}, "BTC 5m: the bar that closed last is not there yet"),
        ({"intraday": window("5m", last_behind=0)}, "BTC 5m: the window has moved on"),
        ({"long": window("4h", BARS - 1)}, f"BTC 4h: the window has {BARS - 1} bars instead of {BARS}"),
        ({"intraday": GAPPED}, "BTC 5m: the window has a gap"),
    ],
)
def test_a_window_that_does_not_do_is_a_miss_with_its_reason(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    reader, _ = published(tmp_path, **changes)
    found = reader.snapshot(CYCLE)
    assert isinstance(found, StreamMiss)
    assert reason in found.reason


def test_fewer_bars_do_where_the_venue_has_no_more(tmp_path: Path) -> None:
    reader, _ = published(tmp_path, facts=replace(FACTS, has_all=("BTC 4h",)), long=window("4h", 7))
    assert isinstance(reader.snapshot(CYCLE), MarketSnapshot)


def test_without_a_stream_or_with_a_broken_file_there_is_a_miss_and_no_error(tmp_path: Path) -> None:
    reader = StreamWindows(tmp_path, IDENTITY, FixedClock(NOW))
    assert reader.snapshot(CYCLE) == StreamMiss("no stream has run")
    reader, _ = published(tmp_path)
    (tmp_path / "windows.parquet").write_bytes((tmp_path / "windows.parquet").read_bytes()[:-50])
    assert isinstance(reader.snapshot(CYCLE), StreamMiss)
    (tmp_path / "now.json").write_text('{"identity"')
    assert reader.snapshot(CYCLE) == StreamMiss("no stream has run")


class ArrivingClock(FixedClock):
    """Publishes the missing bar while the reader waits."""

    def __init__(self, folder: Path, after_ms: int) -> None:
        super().__init__(NOW)
        self._folder, self._due_ms = folder, NOW + after_ms

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.now_ms() >= self._due_ms:
            published(self._folder)


@pytest.mark.parametrize(("after_ms", "source"), [(800, "stream"), (PATIENCE_MS + 500, None)])
def test_a_bar_that_has_just_closed_is_waited_for_but_not_long(
    tmp_path: Path, after_ms: int, source: str | None
) -> None:
    published(tmp_path, intraday=window("5m", last_behind=2))
    clock = ArrivingClock(tmp_path, after_ms)
    found = StreamWindows(tmp_path, IDENTITY, clock).snapshot(CYCLE)
    assert getattr(found, "source", None) == source
    assert clock.now_ms() - NOW <= PATIENCE_MS + 100


def test_nothing_is_waited_for_when_the_window_is_further_behind(tmp_path: Path) -> None:
    reader, clock = published(tmp_path, intraday=window("5m", last_behind=3))
    assert isinstance(reader.snapshot(CYCLE), StreamMiss)
    assert clock.now_ms() == NOW


def test_the_mean_of_open_interest_outlives_the_stream_for_some_minutes(tmp_path: Path) -> None:
    reader, clock = published(tmp_path)
    clock.set(LATEST.written_ms + MEAN_LIMIT_MS)
    assert reader.open_interest_means_base() == ({"BTC": 99.5}, MEAN_LIMIT_MS)
    clock.set(LATEST.written_ms + MEAN_LIMIT_MS + 1)
    assert reader.open_interest_means_base() == ({}, MEAN_LIMIT_MS + 1)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stream_files import FACTS, LATEST, StreamFiles, minute, window
files = StreamFiles(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    files.write_windows(FACTS, [window("5m", seed=number % 7), window("4h", seed=number % 7)])
    files.write_now(LATEST)
    files.append_minutes([minute(number)])
    if number == 1:
        print("ready", flush=True)
"""


def minute(number: int, open_interest: str = "10.0") -> Minute:
    time_ms = CYCLE + number * MINUTE
    return Minute(time_ms, "BTC", "1.0", None, None, "1.0", "1.0", "0.0", open_interest, 5)


def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    whole = {seed: window("5m", seed=seed).frame for seed in range(7)}
    for number in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.02 + number * 0.017)
            os.kill(process.pid, signal.SIGKILL)
        found = StreamFiles(tmp_path).windows()
        assert found is not None
        assert any(found[1]["BTC", "5m"].frame.equals(frame) for frame in whole.values())
        assert StreamFiles(tmp_path).now() == LATEST
        assert list(StreamFiles(tmp_path).minutes(0, CYCLE * 2))


def test_a_minute_that_was_cut_off_is_skipped_and_the_next_one_stands_on_its_own_line(tmp_path: Path) -> None:
    files = StreamFiles(tmp_path)
    files.append_minutes([minute(1), minute(2)])
    (path,) = tmp_path.glob("minutes-*.ndjson")
    path.write_bytes(path.read_bytes()[:-20])
    files.append_minutes([minute(3)])
    assert [row.time_ms for row in files.minutes(0, CYCLE * 2)] == [minute(1).time_ms, minute(3).time_ms]


@pytest.mark.parametrize("damaged", ["x", "nan", ""])
def test_a_minute_with_a_damaged_number_is_skipped_and_the_stream_starts(
    tmp_path: Path, damaged: str
) -> None:
    """The stream could not start any more for a day after."""
    files = StreamFiles(tmp_path)
    files.append_minutes([minute(1), replace(minute(2), open_interest=damaged)])
    recorder(tmp_path, minute(2).time_ms + MINUTE)
    assert list(files.minutes(0, CYCLE * 2)) == [minute(1)]


def recorder(folder: Path, now_ms: int) -> tuple[MinuteRecorder, StreamBoard]:
    board = StreamBoard()
    return MinuteRecorder(StreamFiles(folder), board, ("BTC",), now_ms), board


def hear(board: StreamBoard, now_ms: int, open_interest: str = "100.5") -> None:
    context = {"coin": "BTC", "ctx": CONTEXT | {"openInterest": open_interest}}
    board.take("activeAssetCtx BTC", {"channel": "activeAssetCtx", "data": context}, now_ms)


def test_each_minute_is_recorded_once_and_a_late_one_waits_for_its_figures(tmp_path: Path) -> None:
    record, board = recorder(tmp_path, CYCLE - 1)
    assert not record.record(CYCLE + 1), "nothing was heard yet"
    hear(board, CYCLE + 4_000)
    assert record.record(CYCLE + 4_100)
    assert not record.record(CYCLE + 30_000)
    hear(board, CYCLE + MINUTE - 200, "102.5")
    assert record.record(CYCLE + MINUTE)
    rows = list(StreamFiles(tmp_path).minutes(0, CYCLE * 2))
    assert [(r.time_ms, r.age_ms, r.open_interest) for r in rows] == [
        (CYCLE, -4_000, "100.5"),
        (CYCLE + MINUTE, 200, "102.5"),
    ]
    assert record.missed == 0


def test_quotes_from_before_a_lost_connection_are_not_recorded_as_those_of_now(tmp_path: Path) -> None:
    """While the stream is down contexts come by REST alone: the record held the mid of an hour ago."""
    record, board = recorder(tmp_path, CYCLE - 1)
    quote = [{"px": "99999.0"}, {"px": "100001.0"}]
    board.take("allMids", {"channel": "allMids", "data": {"mids": {"BTC": "100000.0"}}}, CYCLE - 500)
    board.take("bbo BTC", {"channel": "bbo", "data": {"coin": "BTC", "bbo": quote}}, CYCLE - 500)
    for at_ms in (CYCLE - 400, CYCLE + 60 * MINUTE):
        board.learn_contexts({"BTC": Row(CONTEXT | {"midPx": "90000.0"}, "assetCtx of BTC")}, at_ms)
        assert record.record(at_ms + 400)
    rows = StreamFiles(tmp_path).minutes(0, CYCLE * 2)
    assert [(row.mid, row.bid, row.ask) for row in rows] == [
        ("100000.0", "99999.0", "100001.0"),
        ("90000.0", None, None),
    ]


def test_minutes_without_figures_are_counted_and_not_invented(tmp_path: Path) -> None:
    record, board = recorder(tmp_path, CYCLE - 1)
    hear(board, CYCLE - 1)
    assert record.record(CYCLE)
    assert not record.record(CYCLE + 2 * MINUTE + WAIT_MS - 1)
    assert not record.record(CYCLE + 2 * MINUTE + WAIT_MS)
    assert record.missed == 2
    assert len(list(StreamFiles(tmp_path).minutes(0, CYCLE * 2))) == 1


def test_the_mean_needs_ten_minutes_and_survives_a_restart(tmp_path: Path) -> None:
    record, board = recorder(tmp_path, CYCLE - 1)
    for number in range(10):
        assert record.open_interest_mean_base(CYCLE + number * MINUTE) == {}
        hear(board, CYCLE + number * MINUTE, f"{100 + number}.0")
        record.record(CYCLE + number * MINUTE)
    later_ms = CYCLE + 10 * MINUTE
    assert record.open_interest_mean_base(later_ms) == {"BTC": 104.5}
    again, _ = recorder(tmp_path, later_ms)
    assert again.open_interest_mean_base(later_ms) == {"BTC": 104.5}
    assert again.open_interest_mean_base(CYCLE + 24 * 60 * MINUTE + 3 * MINUTE) == {}, (
        "six are left of the day"
    )


def test_the_board_keeps_the_last_good_word(tmp_path: Path) -> None:
    board = StreamBoard()
    hear(board, NOW)
    board.take(
        "activeAssetCtx BTC", {"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": {}}}, NOW + 1
    )
    board.take("candle BTC 5m", {"channel": "candle", "data": {"t": "x"}}, NOW + 1)
    board.take("bbo BTC", {"channel": "bbo", "data": {"coin": "BTC", "bbo": [None, {"px": "101.0"}]}}, NOW)
    assert board.broken == 2
    assert board.contexts() == {"BTC": Heard(CONTEXT, NOW)}
    assert board.prices("BTC", NOW - 1) == (None, "101.0")
    assert board.channels() == {"activeAssetCtx BTC": NOW, "bbo BTC": NOW}
