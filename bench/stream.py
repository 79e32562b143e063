"""A campaign against the stream: hours of simulated time with drops, deaf and silent connections and outages.

Belongs here: the order of a campaign, what is asked after each fault and at the end, and its result.
Does not belong here: the venue in its own process and the fast clock (``bench.fast_venue``).

Time runs ``SPEED`` times as fast for the venue and for the stream alike; sockets, threads and requests are
real and do not, so that a second of simulated recovery is a tenth of a second on this machine.
"""

import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.fast_venue import FastClock, Fault, VenueControl, draw, venue_process
from bench.ground import work_folder
from bench.measure import Figure, Result, peak_rss_mb
from wonttrade_dagster.adapters.hyperliquid.candle_reads import read_candles
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.stream import MarketStream, StreamPlan
from wonttrade_dagster.adapters.hyperliquid.stream_files import MINUTE_MS, StreamFiles, StreamIdentity
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamMiss, StreamWindows
from wonttrade_dagster.core.candles import interval_ms, missing_open_times
from wonttrade_dagster.core.model import MarketSnapshot
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS

SPEED = 10
SLOT_MS = 36_000
"""200 faults fill two hours."""
SYMBOLS = ("BTC", "ETH")
INTERVALS = ("1m", "15m")
BARS = 150
RECOVERY_GOAL_S = 5.0
GIVE_UP_MS = 120_000
LOOK_SECONDS = 0.1
WARM_FAULTS = 10
MOST_GROWTH_MB = 20.0
MOST_THREADS_MORE = 4
PROGRESS_EVERY = 20


@dataclass(slots=True)
class StreamCampaign:
    """One campaign in progress."""

    clock: FastClock
    control: VenueControl
    folder: Path
    identity: StreamIdentity
    stream: MarketStream
    recovery_s: list[float] = field(default_factory=list)
    outage_s: list[float] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    by_stream: int = 0
    misses: Counter[str] = field(default_factory=Counter)

    def suffer(self, number: int, fault: Fault, slot_ms: int) -> None:
        """One fault, and the wait until a cycle could be served from the stream again."""
        self._wait_until(slot_ms + fault.after_ms)
        self.kinds[fault.kind] += 1
        begun_ms = self.clock.now_ms()
        self.control.befall(fault, SPEED)
        back_ms = begun_ms + fault.duration_ms
        recovered_ms = self._recovered_ms(back_ms)
        if recovered_ms is None:
            self.violations.append(f"fault {number} ({fault.kind}): not recovered after {GIVE_UP_MS} ms")
            return
        self.recovery_s.append(max(recovered_ms - back_ms, 0) / 1000)
        self.outage_s.append((recovered_ms - begun_ms) / 1000)
        self._wait_until(slot_ms + SLOT_MS)
        self._look(number)

    def _recovered_ms(self, back_ms: int) -> int | None:
        """When pushes came after the fault and the published windows did for a cycle."""
        reader = StreamWindows(self.folder, self.identity, self.clock)
        while (now_ms := self.clock.now_ms()) < back_ms + GIVE_UP_MS:
            now = reader.now()
            heard = max(now.channels_ms.values(), default=0) if now else 0
            if now is not None and now.state == "up" and heard >= min(back_ms, now_ms):
                found = reader.snapshot(now_ms // MINUTE_MS * MINUTE_MS)
                if isinstance(found, MarketSnapshot):
                    return max(found.taken_at_ms, back_ms)
            self.clock.sleep(LOOK_SECONDS)
        return None

    def _look(self, number: int) -> None:
        """In quiet time: whole windows, and memory."""
        reader = StreamWindows(self.folder, self.identity, self.clock)
        found = reader.snapshot(self.clock.now_ms() // MINUTE_MS * MINUTE_MS)
        if isinstance(found, StreamMiss):
            self.misses[found.reason] += 1
        else:
            self.by_stream += 1
            self._check_windows(number, found)
        self.peak_mb.append(peak_rss_mb())
        self.threads.append(threading.active_count())

    def _check_windows(self, number: int, snapshot: MarketSnapshot) -> None:
        for market in snapshot.markets:
            for series in (market.intraday, market.long_term):
                opens = series.frame["open_time_ms"]
                name = f"after fault {number}: {series.symbol} {series.interval}"
                if opens.n_unique() != len(opens) or len(opens) != BARS:
                    self.violations.append(f"{name} has {len(opens)} bars, {opens.n_unique()} different")
                if missing := missing_open_times(series.frame, series.interval):
                    self.violations.append(f"{name} lacks {missing[:3]}")

    def finish(self, began_ms: int) -> None:
        """At the end: every bar as the venue has it, every minute recorded once."""
        self._compare_with_venue()
        self._compare_minutes(began_ms)
        warm = self.peak_mb[min(WARM_FAULTS, len(self.peak_mb)) - 1] if self.peak_mb else 0.0
        if self.peak_mb and self.peak_mb[-1] - warm > MOST_GROWTH_MB:
            self.violations.append(f"memory grew by {self.peak_mb[-1] - warm:.1f} MB")
        if self.threads and self.threads[-1] > self.threads[0] + MOST_THREADS_MORE:
            self.violations.append(f"threads grew from {self.threads[0]} to {self.threads[-1]}")

    def _compare_with_venue(self) -> None:
        published = StreamFiles(self.folder).windows()
        if published is None:
            self.violations.append("at the end there are no windows")
            return
        connection = SdkConnection(
            base_url=self.identity.base_url, timeout_seconds=10, read_attempts=3, clock=self.clock
        )
        for (symbol, interval), series in published[1].items():
            last_ms = int(series.frame["open_time_ms"][-1])
            first_ms = last_ms - (BARS - 1) * interval_ms(interval)
            if not series.frame.equals(read_candles(connection, symbol, interval, first_ms, last_ms)):
                self.violations.append(f"at the end {symbol} {interval} differs from the venue's candles")

    def _compare_minutes(self, began_ms: int) -> None:
        first_ms = (began_ms // MINUTE_MS + 1) * MINUTE_MS
        until_ms = self.clock.now_ms() - MINUTE_MS
        recorded = StreamFiles(self.folder).minutes(first_ms, until_ms)
        rows = Counter((row.symbol, row.time_ms) for row in recorded)
        for symbol in SYMBOLS:
            for minute_ms in range(first_ms, until_ms, MINUTE_MS):
                if rows[symbol, minute_ms] != 1:
                    self.violations.append(f"minute {minute_ms} of {symbol}: {rows[symbol, minute_ms]} times")

    def _wait_until(self, time_ms: int) -> None:
        self.clock.sleep((time_ms - self.clock.now_ms()) / 1000)


@contextmanager
def _campaign(seed: int) -> Iterator[StreamCampaign]:
    clock = FastClock(SPEED)
    with work_folder() as folder, venue_process(seed, clock) as url:
        identity = StreamIdentity(url, SYMBOLS, INTERVALS, BARS)
        plan = StreamPlan(identity, SANDBOX_ACCOUNT_ADDRESS, timeout_seconds=10.0 / SPEED)
        draws = random.Random(f"{seed}:jitter")
        stream = MarketStream(plan, folder, clock, draws.random)
        stop = threading.Event()
        thread = threading.Thread(target=stream.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield StreamCampaign(clock, VenueControl(url), folder, identity, stream)
        finally:
            stop.set()
            thread.join(10)


def run(count: int, seed: int) -> Result:
    """``count`` faults, one in every 36 s of simulated time."""
    draws = random.Random(seed)
    with _campaign(seed) as campaign:
        began_ms = campaign.clock.now_ms()
        first_ms = began_ms + SLOT_MS
        for number in range(1, count + 1):
            campaign.suffer(number, draw(draws), first_ms + (number - 1) * SLOT_MS)
            if number % PROGRESS_EVERY == 0:
                said = f"{number} of {count} faults, {len(campaign.violations)} violations"
                print(said, file=sys.stderr, flush=True)
        campaign.finish(began_ms)
        return _result(campaign, count, (campaign.clock.now_ms() - began_ms) / MINUTE_MS)


def _result(campaign: StreamCampaign, count: int, minutes: float) -> Result:
    now = campaign.stream.now()
    facts = {
        "faults": count,
        **{f"fault.{kind}": times for kind, times in sorted(campaign.kinds.items())},
        "simulated_minutes": round(minutes, 1),
        **{name: value for name, value in now.counts.items() if not name.startswith("own_")},
        "looks_by_stream": campaign.by_stream,
        "looks_by_rest": dict(campaign.misses),
        "bars_held": sum(window.closed.frame.height for window in campaign.stream.windows()),
        "peak_mb": [campaign.peak_mb[min(WARM_FAULTS, count) - 1], campaign.peak_mb[-1]],
        "threads": [campaign.threads[0], campaign.threads[-1]],
        "violations": len(campaign.violations),
    }
    figures = [
        Figure("recovery", "s", campaign.recovery_s, goal=RECOVERY_GOAL_S),
        Figure("outage", "s", campaign.outage_s),
    ]
    return Result(figures, {}, facts, campaign.violations)
