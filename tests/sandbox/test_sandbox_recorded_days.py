"""A recorded market, prices by script, and a venue that outlives its own process."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid
from sandbox_control import Control
from sandbox_samples import Json, assert_identities

from wonttrade_dagster.core.errors import UsageError, WontTradeError
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.assembly import make_venue
from wonttrade_dagster.sandbox.info_market import answer, asset_context
from wonttrade_dagster.sandbox.recordings import read_recordings
from wonttrade_dagster.sandbox.script import read_script
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.sandbox.snapshots import restore, save
from wonttrade_dagster.sandbox.state_file import StateFile
from wonttrade_dagster.sandbox.venue import LoopbackVenue

ME = SANDBOX_ACCOUNT_ADDRESS
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
NOW_MS = 1_795_435_200_000  # 2026-11-23 12:00 UTC
MARKET_DATA = Path(__file__).parents[3] / "shared" / "market-data"


def recorded(days: int, px: float = 70_000.0) -> pl.DataFrame:
    """Five-minute candles as in the shared market data: some whole days and half of one more."""
    count = days * 288 + 144
    start = datetime(2025, 3, 14, tzinfo=UTC).timestamp() * 1000
    opens = [px * (1 + 0.01 * ((i * 7919) % 100) / 100) for i in range(count + 1)]
    return pl.DataFrame(
        {
            "open_time": [int(start) + i * 300_000 for i in range(count)],
            "symbol": ["BTC"] * count,
            "open": opens[:-1],
            "high": [max(a, b) * 1.001 for a, b in pairwise(opens)],
            "low": [min(a, b) * 0.999 for a, b in pairwise(opens)],
            "close": opens[1:],
            "volume": [12.5] * count,
        }
    ).with_columns(pl.col("open_time").cast(pl.Datetime("ms", "UTC")))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_last_whole_day_of_a_file_is_the_venues_today(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"BTC-5m.{suffix}"
    frame = recorded(2)
    frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
    venue = make_venue(3, lambda: NOW_MS, read_recordings([path]))
    today = venue.market.candles("BTC", "5m", NOW_MS // DAY_MS * DAY_MS, NOW_MS - 1)
    assert len(today) == 144
    for shown, row in zip(today, frame[288:432].iter_rows(named=True), strict=True):
        for key, name in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close")):
            assert float(shown[key]) == pytest.approx(row[name], rel=1e-4)
    assert 50_000 < float(venue.market.mid_px("BTC")) < 80_000
    assert venue.market.mid_px("ETH") > 0, "coins without a file walk on by seed"


def test_a_real_day_is_replayed_with_its_own_candles() -> None:
    path = MARKET_DATA / "ETH-5m.parquet"
    if not path.exists():
        pytest.skip("the recorded market is not beside the checkout (market-data)")
    late_ms = NOW_MS // DAY_MS * DAY_MS + DAY_MS - 1
    venue = make_venue(3, lambda: late_ms, read_recordings([path]))
    shown = venue.market.candles("ETH", "5m", NOW_MS // DAY_MS * DAY_MS, late_ms)
    real = pl.read_parquet(path).tail(288)
    for column, key in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c")):
        assert [float(row[key]) for row in shown] == pytest.approx(real[column].to_list(), rel=1e-4)


@pytest.fixture
def real_day(market_data: Path) -> LoopbackVenue:
    """Everything recorded of ETH; 2025-06-26 is today, a day on which funding moved every hour."""
    files = [market_data / f"ETH-{series}.parquet" for series in ("5m", "1h", "funding")]
    venue = make_venue(3, lambda: NOW_MS, read_recordings(files))
    tape = venue.market.tape
    tape.anchor({"ETH": tape.anchors()["ETH"] + 4})
    return venue


def test_recorded_funding_is_paid_as_it_was(real_day: LoopbackVenue, market_data: Path) -> None:
    market, today_ms = real_day.market, NOW_MS // DAY_MS * DAY_MS
    file = pl.read_parquet(market_data / "ETH-funding.parquet")
    of_day = file.filter(pl.col("time").dt.date() == date(2025, 6, 26))
    recorded_rates = of_day["funding_rate"].to_list()
    hours = [today_ms + hour * HOUR_MS for hour in range(24)]
    assert [float(market.funding_rate("ETH", hour_ms).rate) for hour_ms in hours] == recorded_rates
    shown = answer(market, {"type": "fundingHistory", "coin": "ETH", "startTime": today_ms})
    assert [float(row["fundingRate"]) for row in shown] == recorded_rates[:12]
    assert len(set(recorded_rates)) == 24


def test_the_running_estimate_of_a_recorded_hour_does_not_know_its_end(real_day: LoopbackVenue) -> None:
    market = real_day.market
    told = Decimal(asset_context(market, "ETH")["funding"])
    assert (
        told == market.funding_rate("ETH", NOW_MS).rate != market.funding_rate("ETH", NOW_MS + HOUR_MS).rate
    )
    walking = Decimal(asset_context(market, "SOL")["funding"])
    assert walking == market.funding_rate("SOL", NOW_MS + HOUR_MS).rate, "what is drawn is no future"


def test_days_before_the_finest_candles_come_from_coarser_ones(
    real_day: LoopbackVenue, market_data: Path
) -> None:
    hours = pl.read_parquet(market_data / "ETH-1h.parquet")
    shift_ms = real_day.market.tape.anchors()["ETH"] * DAY_MS
    old = hours.filter(pl.col("open_time").dt.date() == date(2025, 2, 3))
    first_ms = int(old["open_time"].cast(pl.Int64)[0]) + shift_ms
    shown = real_day.market.candles("ETH", "1h", first_ms, first_ms + DAY_MS - 1)
    for column, key in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")):
        assert [float(row[key]) for row in shown] == old[column].to_list()


def test_wrong_files_are_refused_with_one_sentence(tmp_path: Path) -> None:
    unlisted = tmp_path / "XYZ-5m.parquet"
    recorded(1).with_columns(symbol=pl.lit("XYZ")).write_parquet(unlisted)
    with pytest.raises(UsageError, match="XYZ is not listed here"):
        read_recordings([unlisted])
    funding = tmp_path / "BTC-funding.parquet"
    pl.DataFrame(
        {"time": [1_741_910_400_000, 1_741_914_000_000], "symbol": ["BTC"] * 2, "funding_rate": [1e-5] * 2}
    ).with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))).write_parquet(funding)
    with pytest.raises(UsageError, match="funding of BTC and no candles"):
        read_recordings([funding])
    interest = tmp_path / "BTC-oi.parquet"
    pl.DataFrame({"time_ms": [1_741_910_400_000], "symbol": ["BTC"], "open_interest": [5.0]}).write_parquet(
        interest
    )
    with pytest.raises(UsageError, match="holds open interest"):
        read_recordings([interest])


def test_a_saved_replay_goes_on_on_the_same_day_of_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "BTC-5m.parquet"
    recorded(3).write_parquet(path)
    frames = read_recordings([path])
    first, later = make_venue(3, lambda: NOW_MS, frames), make_venue(3, lambda: NOW_MS + DAY_MS, frames)
    restore(later, save(first))
    assert later.market.mid_px("BTC", NOW_MS) == first.market.mid_px("BTC", NOW_MS)
    with pytest.raises(UsageError, match="start it with the same --candles"):
        restore(make_venue(3, lambda: NOW_MS), save(first))


def test_a_script_moves_prices_ahead_of_time_and_stops_feel_it(
    sandbox: Sandbox, info: Info, exchange: Exchange, control: Control
) -> None:
    control("price", {"coin": "BTC", "mid": 80_000, "hold_ms": 600_000})
    exchange.market_open("BTC", is_buy=True, sz=0.05)
    stop = {"trigger": {"isMarket": True, "triggerPx": 78_000, "tpsl": "sl"}}
    exchange.order("BTC", False, 0.05, 70_200, stop, reduce_only=True)
    moves = [
        {"coin": "BTC", "mid": 77_500, "after_ms": 601_000, "hold_ms": 1_000},
        {"coin": "BTC", "mid": 81_000, "after_ms": 602_000, "hold_ms": 900_000},
        {"coin": "PURR/USDC", "mid": 0.2, "hold_ms": 900_000},
    ]
    assert control("script", {"moves": moves}) == {"moves": 3}
    assert info.all_mids()["PURR/USDC"] == "0.2"
    assert len(info.user_state(ME)["assetPositions"]) == 1
    control("time", {"advance_ms": 700_000})
    assert info.all_mids()["BTC"] == "81000.0"
    assert info.user_state(ME)["assetPositions"] == [], "the dip of one second fired the stop"
    assert 77_000 < float(info.user_fills(ME)[0]["px"]) < 77_500


@pytest.mark.parametrize(
    "move",
    [
        {"coin": "NOPE", "mid": 1},
        {"coin": "BTC", "mid": -1},
        {"coin": "BTC"},
        {"coin": "BTC", "mid": 1, "after_ms": -1},
        7,
    ],
)
def test_a_wrong_script_moves_nothing(sandbox: Sandbox, move: Json) -> None:
    good = {"coin": "BTC", "mid": 12_345}
    url = f"{sandbox.venue_url}/sandbox/script"
    answer = requests.post(url, json={"moves": [good, move]}, timeout=5)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert sandbox.venue.market.mid_px("BTC") != 12_345


Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, str]]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
        command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--seed", "5", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield run
    for process in running:
        process.kill()
        process.communicate()


def clients(url: str) -> tuple[Exchange, Info]:
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    exchange = Exchange(wallet, url, account_address=ME, timeout=10)
    return exchange, Info(url, skip_ws=True, timeout=10)


def test_a_venue_killed_at_any_moment_comes_back_with_every_answered_order(
    start: Start, tmp_path: Path
) -> None:
    state = str(tmp_path / "venue" / "state.json")
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"coin": "BTC", "mid": 80_000, "hold_ms": 600_000}]), encoding="utf-8")
    venue, urls = start("--state", state, "--script", str(script))
    exchange, info = clients(urls["venue"])
    assert info.all_mids()["BTC"] == "80000.0"
    cloid = Cloid.from_int(77)
    assert "filled" in str(exchange.market_open("BTC", is_buy=True, sz=0.05))
    stop = {"trigger": {"isMarket": True, "triggerPx": 78_000, "tpsl": "sl"}}
    placed = exchange.order("BTC", False, 0.05, 70_200, stop, reduce_only=True, cloid=cloid)
    venue.kill()
    venue.wait()
    _, urls = start("--state", state)
    exchange, info = clients(urls["venue"])
    found = info.query_order_by_cloid(ME, cloid)
    resting = placed["response"]["data"]["statuses"][0]["resting"]
    assert (found["order"]["order"]["oid"], found["order"]["status"]) == (resting["oid"], "open")
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.05"
    assert info.all_mids()["BTC"] == "80000.0", "the script's move is part of the state"
    again = exchange.market_close("BTC")
    assert again["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "0.05"
    assert info.query_order_by_cloid(ME, cloid)["order"]["status"] == "reduceOnlyCanceled"
    assert_identities(info.user_state(ME))


def test_a_state_file_of_another_seed_is_one_clear_sentence(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(save(make_venue(8)))
    command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--seed", "5", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--seed 8" in done.stderr


def test_wrong_files_of_the_command_are_refused_by_name(tmp_path: Path) -> None:
    garbage, script = tmp_path / "state.json", tmp_path / "script.json"
    garbage.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="not a snapshot"):
        StateFile(make_venue(5), garbage)
    with pytest.raises(WontTradeError, match=r"none\.parquet"):
        read_recordings([tmp_path / "none.parquet"])
    with pytest.raises(UsageError, match=r"none\.json"):
        read_script(tmp_path / "none.json")
    script.write_text("[", encoding="utf-8")
    with pytest.raises(UsageError, match="no JSON"):
        read_script(script)
