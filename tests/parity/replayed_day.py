"""Two recorded days twice: from a loopback venue for the live parts, from an imported history for a backtest.

Both sides are put together by the product's own functions out of one ``wonttrade.toml``; only the clock is
ours: it runs as the machine's, and jumps ahead to the next time that is looked at.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from loopback import Loopback

from wonttrade_dagster.adapters.clock import FixedClock, SystemClock
from wonttrade_dagster.adapters.history_files import import_files
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamMiss
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.context import ContextInputs
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    MarketSnapshot,
    PerformanceSoFar,
    PriorDecision,
    Prompt,
    SymbolMarket,
)
from wonttrade_dagster.core.record_diff import difference
from wonttrade_dagster.core.utc import utc_text
from wonttrade_dagster.defs.backtest_run import replay_of
from wonttrade_dagster.defs.compose import (
    Executors,
    compose_backtest_parts,
    compose_live_cycle,
    market_history,
    prompt_template,
)
from wonttrade_dagster.defs.compose_stream import stream_windows
from wonttrade_dagster.sandbox.recordings import read_recordings
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.settings import Settings, load_settings

SYMBOLS = ("BTC", "ETH")
SETTLED_MS = 100
PATIENCE_SECONDS = 30.0
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def ms(text: str) -> int:
    """``2025-06-28 08:25`` in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


HALTS = tuple(ms(f"2025-06-08 {time}") for time in ("09:50", "10:20", "10:26", "11:00", "12:00"))
"""Around 35 minutes without a trade, in an hour in which the recorded 1h and 5m bars disagree."""
HOURLY = tuple(ms("2025-06-28 00:00") + hour * HOUR_MS for hour in range(25))
"""A whole day on which funding moved, with a halt at 08:20; its hours 4, 8, … close bars of 4h."""
AWKWARD = tuple(
    ms(f"2025-06-{time}")
    for time in (
        "28 00:01",  # the minute after midnight and after a bar's close
        "28 03:59",  # the last minute of a bar of 4h
        "28 04:01",
        "28 08:21",  # in the halt
        "28 08:25",
        "28 12:04",  # the last minute of a bar of 5m
        "28 12:05",
        "28 23:59",
        "29 00:01",
        "29 00:05",
    )
)
TIMES = tuple(sorted({*HALTS, *HOURLY, *AWKWARD}))
FROM_MS, TO_MS = TIMES[0], ms("2025-06-30 12:00")


def known_to_history(snapshot: MarketSnapshot) -> MarketSnapshot:
    """A live snapshot without what no history holds; everything else is left as it is.

    Taken out are the mid, mark and oracle price, the open interest and its mean (no file has their past), and
    what a snapshot says of its own making: source, ages, spread, time of arrival.
    """
    return replace(
        snapshot,
        taken_at_ms=snapshot.cycle_ms,
        source="history",
        markets=tuple(map(_recorded, snapshot.markets)),
        spread_ms=0,
        ages_ms={},
        stream_miss="",
    )


def _recorded(market: SymbolMarket) -> SymbolMarket:
    unrecorded = ("mid_px", "mark_px", "oracle_px", "open_interest_base", "open_interest_mean_base")
    return replace(market, **dict.fromkeys(unrecorded))


class JumpingClock:
    """Runs as the machine's, from a time of its own, and jumps ahead."""

    def __init__(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - self._machine_ms()

    @staticmethod
    def _machine_ms() -> int:
        return time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        return self._machine_ms() + self._ahead_ms

    def jump_to(self, now_ms: int) -> None:
        """Not back: neither the venue's time nor the stream's ever is."""
        assert now_ms >= self.now_ms()
        self._ahead_ms = now_ms - self._machine_ms()


@contextmanager
def read_by_everyone(clock: JumpingClock) -> Iterator[None]:
    """Let every part of this process read that clock."""
    original = SystemClock.now_ms
    SystemClock.now_ms = lambda _self: clock.now_ms()
    try:
        yield
    finally:
        SystemClock.now_ms = original


@dataclass
class ReplayedDay:
    """The same two days behind a live loop and behind a backtest.

    Attributes:
        backtest: the parts of a backtest as the product makes them, with the rules of the assets as it knows
            them without a venue.
        replay: the history with the assets that this venue lists (their ids are the network's).
    """

    settings: Settings
    clock: JumpingClock
    live: CycleParts
    backtest: CycleParts
    replay: BacktestReplayProvider

    def live_snapshot(self, cycle_ms: int) -> MarketSnapshot:
        """What the live loader hands to the cycle."""
        found = self.live.state.market(cycle_ms)
        assert isinstance(found, MarketSnapshot), found
        return found


def assert_parity(day: ReplayedDay, snapshot: MarketSnapshot) -> None:
    """Snapshot, indicators and both messages of the prompt equal the backtest's, byte for byte."""
    cycle_ms = snapshot.cycle_ms
    live, replayed = known_to_history(snapshot), day.replay.snapshot(cycle_ms)
    assert_same_bytes(cycle_ms, encode(replayed), encode(live))
    indicators = (parts.indicators(market) for parts, market in ((day.backtest, replayed), (day.live, live)))
    assert_same_bytes(cycle_ms, *map(encode, indicators))
    seen = day.backtest.state.market(cycle_ms)
    assert isinstance(seen, MarketSnapshot), seen
    prompts = prompt_of(day.backtest, seen), prompt_of(day.live, live)
    assert_same_bytes(cycle_ms, *(f"{prompt.system}\0{prompt.user}".encode() for prompt in prompts))


def assert_same_bytes(cycle_ms: int, backtest: bytes, live: bytes) -> None:
    """Bytes and nothing else; the values that differ are told, because there are thousands."""
    told = "" if backtest == live else difference(backtest, live)
    assert backtest == live, (
        f"{utc_text(cycle_ms)}: the backtest ('stored') and the live cycle differ:\n{told}"
    )


def prompt_of(parts: CycleParts, snapshot: MarketSnapshot) -> Prompt:
    """Indicators and prompt by these parts; the account is flat and the same for all."""
    cycle_ms, zero = snapshot.cycle_ms, Decimal(0)
    equity_usd = Decimal(10_000)
    inputs = ContextInputs(
        cycle_ms=cycle_ms,
        market=snapshot,
        indicators=parts.indicators(snapshot),
        account=AccountSnapshot(cycle_ms, equity_usd, equity_usd, zero, (), ()),
        performance=PerformanceSoFar(equity_usd, 0.0, None, zero, zero, FROM_MS, 1),
        prior=PriorDecision(None, None),
    )
    return parts.context_builder.build(inputs)


@dataclass
class ServedDay:
    """The recorded days behind a venue, and a ``wonttrade.toml`` that trades there."""

    config: Path
    clock: JumpingClock
    files: tuple[Path, ...]

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def history(self, *command: str | Path) -> None:
        """``wonttrade history …``."""
        assert run(["history", *map(str, command), "--config", str(self.config)]) == 0


@contextmanager
def served_day(
    folder: Path,
    market_data: Path,
    changes: Mapping[str, Any],
    series: tuple[str, ...] = ("5m", "1h", "funding"),
) -> Iterator[ServedDay]:
    """Serve the recorded days on their own dates; ``changes`` as ``a__b=value``.

    5m alone reaches back to 2025-03-14, which is 648 bars of 4h; with 1h there are 1,000.
    """
    files = tuple(market_data / f"{symbol}-{name}.parquet" for symbol in SYMBOLS for name in series)
    clock = JumpingClock(FROM_MS - HOUR_MS)
    with (
        Sandbox(seed=7, clock_ms=clock.now_ms, replay=read_recordings(files)) as sandbox,
        read_by_everyone(clock),
    ):
        sandbox.venue.market.tape.anchor(dict.fromkeys(SYMBOLS, 0))
        yield ServedDay(Loopback(sandbox).config(folder, **changes), clock, files)


@contextmanager
def replayed_day(
    folder: Path,
    market_data: Path,
    changes: Mapping[str, Any],
    series: tuple[str, ...] = ("5m", "1h", "funding"),
) -> Iterator[ReplayedDay]:
    """Serve the recorded days, import their files, and put both sides together."""
    with served_day(folder, market_data, changes, series) as served:
        # The files end after the day that is replayed: imported when they were made, not when it was traded.
        import_files(market_history(served.settings), served.files, now_ms=time.time_ns() // 1_000_000)
        yield both_sides(served, FROM_MS, TO_MS)


def both_sides(served: ServedDay, from_ms: int, to_ms: int) -> ReplayedDay:
    """The parts of a live cycle, and those of a backtest of ``[from_ms, to_ms)``."""
    settings, executors = served.settings, Executors()
    history, template = market_history(settings), prompt_template(settings)
    live = compose_live_cycle(settings, executors).parts
    as_of = replay_of(settings, history, from_ms, to_ms, template)
    executor = executors.for_backtest(settings, MemoryAudit(), FixedClock(), as_of)
    backtest = compose_backtest_parts(
        settings, settings.llm.model, settings.llm.prompt, settings.runtime.cycle_minutes, as_of, executor
    )
    replay = BacktestReplayProvider(
        history, live.state.assets(), SYMBOLS, from_ms=from_ms, to_ms=to_ms, **as_of.windows
    )
    return ReplayedDay(settings, served.clock, live, backtest, replay)


def listened(day: ReplayedDay, cycle_ms: int) -> MarketSnapshot:
    """The live snapshot of a cycle by a stream whose clock has just jumped."""
    wait_until_heard(day, cycle_ms)
    snapshot = day.live_snapshot(cycle_ms)
    assert (snapshot.source, snapshot.stream_miss) == ("stream", "")
    return snapshot


def wait_until_heard(day: ReplayedDay, cycle_ms: int) -> None:
    """Let the stream catch up with a clock that has just jumped."""
    windows = stream_windows(day.settings, SystemClock())
    settled_ms = day.clock.now_ms() + SETTLED_MS
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_heard_after(found := windows.snapshot(cycle_ms), settled_ms):
        assert time.monotonic() < until, found
        time.sleep(0.02)


def is_heard_after(found: MarketSnapshot | StreamMiss, settled_ms: int) -> bool:
    """Whether every context was written after the jump: one on its way tells of the time before."""
    if not isinstance(found, MarketSnapshot):
        return False
    oldest_ms = max(age_ms for piece, age_ms in found.ages_ms.items() if piece.endswith("context"))
    return found.taken_at_ms - oldest_ms > settled_ms
