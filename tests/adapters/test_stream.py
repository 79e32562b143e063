"""The stream against the loopback venue: real sockets, the official SDK, time that runs faster."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from background import in_background
from eth_account import Account
from hyperliquid.exchange import Exchange
from sandbox_control import control_of
from venue_clients import market_data_at

from bench.fast_venue import FastClock
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.hyperliquid import HyperliquidMarketData
from wonttrade_dagster.adapters.hyperliquid.stream import MarketStream, StreamPlan
from wonttrade_dagster.adapters.hyperliquid.stream_files import StreamFiles, StreamIdentity, StreamNow
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamWindows
from wonttrade_dagster.core import codec
from wonttrade_dagster.core.model import MarketSnapshot
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.recordings import read_recordings
from wonttrade_dagster.sandbox.server import Sandbox

SPEED = 10
MINUTE = 60_000
SYMBOLS = ("BTC", "ETH")
BARS = 60


@dataclass
class Scene:
    """A venue, a stream that listens to it, and a reader of what that publishes."""

    sandbox: Sandbox
    stream: MarketStream
    reader: StreamWindows
    clock: Clock
    folder: Path
    identity: StreamIdentity

    def fault(self, kind: str, on: str = "ws", **options: object) -> None:
        control_of(self.sandbox)("faults", [{"on": on, "kind": kind, **options}])

    def now(self) -> StreamNow:
        found = self.reader.now()
        assert found is not None
        return found

    def wait_for(self, holds: Callable[[], Any], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if holds():
                return
            time.sleep(0.02)
        raise AssertionError(f"did not come about: {self.reader.now()}")

    def by_stream(self) -> MarketSnapshot | None:
        found = self.reader.snapshot(self.clock.now_ms() // MINUTE * MINUTE)
        return found if isinstance(found, MarketSnapshot) else None

    def data(self, *, is_streaming: bool = True) -> HyperliquidMarketData:
        return market_data_at(
            self.sandbox.venue_url,
            self.clock,
            symbols=self.identity.symbols,
            intraday_interval=self.identity.intervals[0],
            long_interval=self.identity.intervals[1],
            history_bars=self.identity.history_bars,
            read_attempts=2,
            stream=self.reader if is_streaming else None,
        )


def scene_of(
    sandbox: Sandbox,
    folder: Path,
    clock: Clock,
    intervals: tuple[str, str],
    bars: int,
    account: str = SANDBOX_ACCOUNT_ADDRESS,
) -> Scene:
    identity = StreamIdentity(sandbox.venue_url, SYMBOLS, intervals, bars)
    plan = StreamPlan(identity, account, timeout_seconds=5.0)
    stream = MarketStream(plan, folder, clock, random.Random(1).random)
    return Scene(sandbox, stream, StreamWindows(folder, identity, clock), clock, folder, identity)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    clock = FastClock(SPEED)
    with Sandbox(seed=7, clock_ms=clock.now_ms) as sandbox:
        scene = scene_of(sandbox, tmp_path, clock, ("1m", "15m"), BARS)
        with in_background(scene.stream.run):
            scene.wait_for(scene.by_stream)
            yield scene


def test_a_snapshot_by_the_stream_takes_no_request_and_one_by_rest_five(scene: Scene) -> None:
    data = scene.data()
    snapshot = data.snapshot(scene.clock.now_ms() // MINUTE * MINUTE)
    assert (snapshot.source, snapshot.stream_miss, data.budget.spent().weight) == ("stream", "", 0)
    assert snapshot.ages_ms.keys() == {f"{s} {piece}" for s in SYMBOLS for piece in ("context", "1m", "15m")}
    rest = scene.data(is_streaming=False)
    by_rest = rest.snapshot(snapshot.cycle_ms)
    assert (by_rest.source, by_rest.ages_ms.keys()) == ("rest", snapshot.ages_ms.keys())
    assert rest.budget.spent().weight == 20 + 4 * (20 + BARS // 60)
    assert all(0 <= age <= by_rest.spread_ms for age in by_rest.ages_ms.values())


@pytest.mark.parametrize(
    ("kind", "options", "loss"),
    [
        ("ws_drop", {}, "lost_ended"),
        ("ws_half_open", {"duration_ms": 60_000}, "lost_silent"),
        ("ws_silent", {"duration_ms": 60_000}, "lost_silent"),
    ],
)
def test_a_lost_connection_is_noticed_replaced_and_its_hole_filled(
    scene: Scene, kind: str, options: dict[str, object], loss: str
) -> None:
    scene.fault(kind, **options)
    scene.wait_for(lambda: scene.now().counts.get(loss) == 1)
    scene.wait_for(lambda: scene.now().counts["connections"] == 2 and scene.now().state == "up")
    scene.wait_for(scene.by_stream)
    assert scene.now().problem == ""


def test_an_outage_of_the_venue_is_survived_with_pauses_and_no_bar_is_missing(scene: Scene) -> None:
    scene.fault("refused", on="info:exchangeStatus", duration_ms=2_500)
    with pytest.raises(requests.RequestException):
        requests.post(f"{scene.sandbox.venue_url}/info", json={"type": "exchangeStatus"}, timeout=5)
    scene.wait_for(lambda: scene.now().state == "down")
    assert "lost" in scene.now().problem
    time.sleep(2.5)
    scene.wait_for(scene.by_stream)
    assert scene.now().counts["connections"] < 12
    snapshot = scene.by_stream()
    assert snapshot is not None
    by_rest = scene.data(is_streaming=False).snapshot(snapshot.cycle_ms)
    for ours, theirs in zip(snapshot.markets, by_rest.markets, strict=True):
        assert ours.intraday.frame.equals(theirs.intraday.frame)


def test_a_refused_subscription_is_told(tmp_path: Path) -> None:
    clock = FastClock(SPEED)
    with Sandbox(seed=7, clock_ms=clock.now_ms) as sandbox:
        scene = scene_of(sandbox, tmp_path, clock, ("1m", "15m"), BARS, account="not-an-address")
        with in_background(scene.stream.run):
            scene.wait_for(lambda: (now := scene.reader.now()) and "not-an-address" in now.problem)


def test_own_fills_and_order_updates_are_heard(scene: Scene) -> None:
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    # The exchange judges nonces by the clients' time, which runs fast here.
    exchange = Exchange(wallet, scene.sandbox.venue_url, account_address=SANDBOX_ACCOUNT_ADDRESS, timeout=5)
    exchange.market_open("BTC", is_buy=True, sz=0.01)
    scene.wait_for(lambda: scene.now().counts["own_fills"] == 1)
    scene.wait_for(lambda: scene.now().counts["own_order_updates"] == 2)


def test_it_never_holds_more_than_its_bars_nor_more_than_its_threads(scene: Scene) -> None:
    threads = threading.active_count()
    for number in range(2, 5):
        scene.fault("ws_drop")
        scene.wait_for(lambda wanted=number: scene.now().counts["connections"] >= wanted)
        scene.wait_for(scene.by_stream)
    assert {window.closed.frame.height for window in scene.stream.windows()} == {BARS}
    scene.wait_for(lambda: threading.active_count() <= threads + 4)


class StillClock(FixedClock):
    """Stands still until it is set, while threads and sockets go on."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.01))


def plain(snapshot: MarketSnapshot) -> bytes:
    """Without when and how the pieces came."""
    return codec.encode(replace(snapshot, source="", taken_at_ms=0, spread_ms=0, ages_ms={}, stream_miss=""))


def test_a_replayed_day_gives_the_same_snapshots_by_stream_and_by_rest(
    tmp_path: Path, market_data: Path
) -> None:
    replay = read_recordings([market_data / "BTC-5m.parquet", market_data / "ETH-5m.parquet"])
    day_ms = 1_795_392_000_000  # 2026-11-23 00:00 UTC, which the recording's last day becomes
    chosen = sorted(random.Random(5).sample(range(1, 288), 5))
    clock = StillClock(day_ms + 100)
    with Sandbox(seed=7, clock_ms=clock.now_ms, replay=replay) as sandbox:
        for bar in chosen:
            cycle_ms = day_ms + bar * 300_000
            clock.set(cycle_ms + 400)
            scene = scene_of(sandbox, tmp_path / str(bar), clock, ("5m", "4h"), 300)
            try:
                scene.wait_for(lambda scene=scene: stepped(scene))
                by_stream = scene.data().snapshot(cycle_ms)
            finally:
                scene.stream.close()
            by_rest = scene.data(is_streaming=False).snapshot(cycle_ms)
            assert (by_stream.source, by_rest.source) == ("stream", "rest")
            assert plain(by_stream) == plain(by_rest)
            newest = by_stream.markets[0].intraday.frame["open_time_ms"][-1]
            assert newest == cycle_ms - 300_000


def stepped(scene: Scene) -> MarketSnapshot | None:
    """One round of the stream; time stands still, so it is published by hand."""
    scene.stream.step()
    StreamFiles(scene.folder).write_now(scene.stream.now())
    found = scene.reader._snapshot(scene.clock.now_ms() // MINUTE * MINUTE)
    return found if isinstance(found, MarketSnapshot) else None


def test_candles_by_rest_are_asked_for_side_by_side_within_the_budget(tmp_path: Path) -> None:
    with Sandbox(seed=7) as sandbox:
        scene = scene_of(sandbox, tmp_path, FastClock(1), ("5m", "4h"), 1000)
        data = scene.data(is_streaming=False)
        data.snapshot(scene.clock.now_ms())
        assert data.budget.spent().weight == 20 + 4 * 36 <= 200
        scene.fault("hang", on="info:candleSnapshot", times=4, duration_ms=2_500)
        began = time.monotonic()
        impatient = market_data_at(
            sandbox.venue_url, FastClock(1), history_bars=60, timeout_seconds=1.5, read_attempts=2
        )
        assert impatient.snapshot(scene.clock.now_ms()).source == "rest"
        assert time.monotonic() - began < 4.5, "four answers that never come are given up together"
