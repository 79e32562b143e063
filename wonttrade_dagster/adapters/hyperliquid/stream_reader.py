"""StreamWindows: a cycle's market out of what the stream has published, or why not.

Belongs here: whether the published windows are good enough for one cycle. Does not belong here: the files
(``stream_files``), what is done without them (``info``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.parse import parse_context, symbol_market
from wonttrade_dagster.adapters.hyperliquid.stream_files import (
    StreamFiles,
    StreamIdentity,
    StreamNow,
    WindowFacts,
)
from wonttrade_dagster.core.candles import interval_ms, missing_open_times
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import AssetSpec, CandleSeries, MarketSnapshot, SymbolMarket
from wonttrade_dagster.core.ports import Clock

NOW_LIMIT_MS = 4_000
"""``now.json`` is replaced every second: an older one means that no stream runs."""
CONTEXT_LIMIT_MS = 8_000
"""Mark and oracle move every 3 s; a context that does not change is repeated less often."""
ASSETS_LIMIT_MS = 2 * 3_600_000
MEAN_LIMIT_MS = 600_000
"""A mean of open interest that ended longer ago is not one of the last 24 hours."""
MEAN_PIECE = "open interest mean"
"""What a mean is called among the pieces of a snapshot."""
PATIENCE_MS = 2_000
"""A bar that closed at the cycle's minute is published a moment after it."""
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class StreamMiss:
    """Why the published windows do not do for a cycle.

    ``is_near`` says that waiting a moment may help: the stream lives and lacks only the newest bar.
    """

    reason: str
    is_near: bool = False


class StreamWindows:
    """Reads what a :class:`~.stream.MarketStream` of another process publishes. Takes no lock.

    Args:
        folder: the stream's.
        identity: how this reader is configured; another stream's windows are not used.
        clock: ages, and the wait for the newest bar.
    """

    def __init__(self, folder: Path, identity: StreamIdentity, clock: Clock) -> None:
        self._files = StreamFiles(folder)
        self._identity = identity
        self._clock = clock

    def snapshot(self, cycle_ms: int) -> MarketSnapshot | StreamMiss:
        """The market of a cycle without any request.

        Every series ends with the bar that closed at ``cycle_ms``, has no gap and the configured number of
        bars (fewer only where the venue has no more); every context is some seconds old at most. Waits up
        to two seconds for a bar that has just closed.
        """
        until_ms = self._clock.now_ms() + PATIENCE_MS
        while True:
            found = self._snapshot(cycle_ms)
            if isinstance(found, MarketSnapshot) or not found.is_near or self._clock.now_ms() >= until_ms:
                return found
            self._clock.sleep(POLL_SECONDS)

    def now(self) -> StreamNow | None:
        """What the stream says of itself; None where there never was one."""
        return self._files.now()

    def open_interest_means_base(self) -> tuple[Mapping[str, float], int]:
        """By symbol, the recorded mean of open interest where it is recent, and how many ms old it is."""
        now = self._files.now()
        if now is None or now.identity.base_url != self._identity.base_url:
            return {}, 0
        age_ms = self._age_ms(now.written_ms)
        return (now.open_interest_mean_base if age_ms <= MEAN_LIMIT_MS else {}), age_ms

    def _snapshot(self, cycle_ms: int) -> MarketSnapshot | StreamMiss:
        now = self._files.now()
        miss = self._judge_now(now)
        if miss is not None or now is None:
            return miss or StreamMiss("no stream has run")
        published = self._files.windows()
        if published is None or published[0].identity != self._identity:
            return StreamMiss("the stream has not filled its windows yet")
        facts, windows = published
        if self._age_ms(facts.assets_at_ms) > ASSETS_LIMIT_MS:
            return StreamMiss("the stream's listing of the venue is old")
        for name, series in windows.items():
            problem = _judge_series(series, cycle_ms, self._identity.history_bars, facts)
            if problem is not None:
                return StreamMiss(f"{' '.join(name)}: {problem.reason}", problem.is_near)
        return self._assemble(cycle_ms, now, facts, windows)

    def _judge_now(self, now: StreamNow | None) -> StreamMiss | None:
        if now is None:
            return StreamMiss("no stream has run")
        if now.identity != self._identity:
            return StreamMiss("the stream runs under other settings")
        if self._age_ms(now.written_ms) > NOW_LIMIT_MS:
            return StreamMiss(f"the stream was last seen {self._age_ms(now.written_ms) / 1000:.0f} s ago")
        for symbol in self._identity.symbols:
            received_ms = now.received_ms.get(symbol)
            if received_ms is None or symbol not in now.contexts:
                return StreamMiss(f"the stream has no prices of {symbol}")
            if self._age_ms(received_ms) > CONTEXT_LIMIT_MS:
                return StreamMiss(f"the prices of {symbol} are {self._age_ms(received_ms) / 1000:.0f} s old")
        return None

    def _assemble(
        self,
        cycle_ms: int,
        now: StreamNow,
        facts: WindowFacts,
        windows: Mapping[tuple[str, str], CandleSeries],
    ) -> MarketSnapshot | StreamMiss:
        specs = {spec.symbol: spec for spec in facts.assets}
        markets = []
        for symbol in self._identity.symbols:
            series = [windows.get((symbol, interval)) for interval in self._identity.intervals]
            spec = specs.get(symbol)
            if spec is None or spec.is_delisted or None in series:
                return StreamMiss(f"the stream has no whole market of {symbol}")
            found = [each for each in series if each is not None]
            try:
                markets.append(_market(spec, now, found[0], found[1]))
            except VenueAnswerError as error:
                return StreamMiss(str(error))
        ages_ms = self._ages_ms(now, facts)
        contexts_ms = [now.received_ms[symbol] for symbol in self._identity.symbols]
        return MarketSnapshot(
            cycle_ms=cycle_ms,
            taken_at_ms=self._clock.now_ms(),
            source="stream",
            markets=tuple(markets),
            spread_ms=max(contexts_ms) - min(contexts_ms),
            ages_ms=ages_ms,
        )

    def _ages_ms(self, now: StreamNow, facts: WindowFacts) -> dict[str, int]:
        ages = {f"{s} context": self._age_ms(now.received_ms[s]) for s in self._identity.symbols}
        names = [f"{s} {i}" for s in self._identity.symbols for i in self._identity.intervals]
        ages |= {name: self._age_ms(facts.taken_at_ms[name]) for name in names}
        means = mean_pieces(self._identity.symbols, now.open_interest_mean_base)
        return ages | dict.fromkeys(means, self._age_ms(now.written_ms))

    def _age_ms(self, then_ms: int) -> int:
        return max(self._clock.now_ms() - then_ms, 0)


def mean_pieces(symbols: Iterable[str], means_base: Mapping[str, float]) -> list[str]:
    """The pieces of a snapshot that only the stream records, whatever brought the others."""
    return [f"{symbol} {MEAN_PIECE}" for symbol in symbols if symbol in means_base]


def _judge_series(series: CandleSeries, cycle_ms: int, bars: int, facts: WindowFacts) -> StreamMiss | None:
    length_ms = interval_ms(series.interval)
    due_ms = cycle_ms // length_ms * length_ms - length_ms
    opens = series.frame["open_time_ms"]
    if len(opens) == 0 or opens[-1] < due_ms:
        behind = 1 if len(opens) == 0 else (due_ms - opens[-1]) // length_ms
        return StreamMiss("the bar that closed last is not there yet", is_near=behind == 1)
    if opens[-1] > due_ms:
        return StreamMiss("the window has moved on, the cycle is late")
    if len(opens) != bars and f"{series.symbol} {series.interval}" not in facts.has_all:
        return StreamMiss(f"the window has {len(opens)} bars instead of {bars}")
    return StreamMiss("the window has a gap") if missing_open_times(series.frame, series.interval) else None


def _market(spec: AssetSpec, now: StreamNow, intraday: CandleSeries, long_term: CandleSeries) -> SymbolMarket:
    context = parse_context(Row(now.contexts[spec.symbol], f"assetCtx of {spec.symbol}"))
    mean = now.open_interest_mean_base.get(spec.symbol)
    return symbol_market(spec, context, intraday, long_term, mean)
