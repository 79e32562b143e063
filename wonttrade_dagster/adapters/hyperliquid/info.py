"""HyperliquidMarketData: what the venue's public side says of the tracked symbols at a cycle time.

Belongs here: which requests make a snapshot, and that nothing in it closed after the cycle time.
Does not belong here: how requests travel (``connection``), the account (``exchange``), indicators.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from wonttrade_dagster.adapters.hyperliquid.budget import RequestBudget
from wonttrade_dagster.adapters.hyperliquid.candle_reads import read_candles
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.fields import Row
from wonttrade_dagster.adapters.hyperliquid.parse import parse_context, parse_contexts, symbol_market
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamWindows, mean_pieces
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.errors import VenueError
from wonttrade_dagster.core.model import AssetSpec, CandleSeries, MarketSnapshot
from wonttrade_dagster.core.ports import Clock, MarketData

WORKERS = 4
"""So many series are asked for side by side."""

_SeriesKey = tuple[str, str]
"""Symbol and interval."""


class HyperliquidMarketData(MarketData):
    """The ``MarketData`` port: the stream's published windows where they do, else Hyperliquid's Info API.

    By the stream a snapshot takes no request. By REST n symbols take 1 + 2 n of them (weight
    20 + 2 n · (20 + bars / 60)), the candles side by side.

    Args:
        base_url: ``http(s)://host[:port]``, no trailing slash.
        symbols: the tracked ones, in the configured order.
        intraday_interval: interval of the short window, e.g. ``5m``.
        long_interval: interval of the long window, e.g. ``4h``.
        history_bars: closed candles per series; fewer only where the venue has no more.
        timeout_seconds: of each request.
        read_attempts: how often a read is tried.
        clock: time stamps and pauses.
        stream: where the stream publishes; None asks by REST always.

    Raises:
        ConfigurationError: an address that must not be used, or an interval that the venue does not have.
    """

    def __init__(  # noqa: PLR0913 (the settings, one by one)
        self,
        *,
        base_url: str,
        symbols: Sequence[str],
        intraday_interval: str,
        long_interval: str,
        history_bars: int,
        timeout_seconds: float,
        read_attempts: int,
        clock: Clock,
        stream: StreamWindows | None = None,
    ) -> None:
        interval_ms(intraday_interval), interval_ms(long_interval)
        self._connection = SdkConnection(
            base_url=base_url, timeout_seconds=timeout_seconds, read_attempts=read_attempts, clock=clock
        )
        self._symbols = tuple(symbols)
        self._intervals = (intraday_interval, long_interval)
        self._bars = history_bars
        self._clock = clock
        self._stream = stream
        self._pool = ThreadPoolExecutor(WORKERS, "market-rest")  # its threads start when they are needed

    def __repr__(self) -> str:
        return f"HyperliquidMarketData({self._connection.base_url!r}, {self._symbols!r})"

    @property
    def budget(self) -> RequestBudget:
        """What this part has sent."""
        return self._connection.budget

    def assets(self) -> Mapping[str, AssetSpec]:
        """Every perpetual of the venue by symbol, asked once. Raises ``VenueError``."""
        return self._connection.assets()

    def snapshot(self, cycle_ms: int) -> MarketSnapshot:
        """Contexts and closed candles of every tracked symbol.

        Raises:
            VenueError: the venue could not be asked, answered nonsense (gaps and zero prices included), or
                does not list a tracked symbol.
        """
        if self._stream is None:
            return self._by_rest(cycle_ms)
        found = self._stream.snapshot(cycle_ms)
        if isinstance(found, MarketSnapshot):
            return found
        return replace(self._by_rest(cycle_ms), stream_miss=found.reason)

    def _by_rest(self, cycle_ms: int) -> MarketSnapshot:
        meta, contexts = self._contexts()
        first_ms = self._clock.now_ms()
        assets = self._connection.learn_assets(meta)
        specs = [self._listed(symbol, assets) for symbol in self._symbols]
        series = self._all_candles(cycle_ms)
        means, mean_age_ms = ({}, 0) if self._stream is None else self._stream.open_interest_means_base()
        markets = tuple(
            symbol_market(
                spec,
                parse_context(contexts[spec.symbol]),
                series[spec.symbol, self._intervals[0]][0],
                series[spec.symbol, self._intervals[1]][0],
                means.get(spec.symbol),
            )
            for spec in specs
        )
        taken_ms = self._clock.now_ms()
        ages_ms = {f"{symbol} context": taken_ms - first_ms for symbol in self._symbols}
        ages_ms |= {" ".join(key): taken_ms - came_ms for key, (_, came_ms) in series.items()}
        ages_ms |= dict.fromkeys(mean_pieces(self._symbols, means), mean_age_ms)
        return MarketSnapshot(
            cycle_ms, taken_ms, "rest", markets, spread_ms=taken_ms - first_ms, ages_ms=ages_ms
        )

    def _all_candles(self, cycle_ms: int) -> Mapping[_SeriesKey, tuple[CandleSeries, int]]:
        """Every series and when it came; the first failure in the configured order is raised."""
        keys = [(symbol, interval) for symbol in self._symbols for interval in self._intervals]

        def read(key: _SeriesKey) -> tuple[CandleSeries, int]:
            return self.candles(*key, cycle_ms, self._bars), self._clock.now_ms()

        return dict(zip(keys, self._pool.map(read, keys), strict=True))

    def candles(self, symbol: str, interval: str, cycle_ms: int, bars: int) -> CandleSeries:
        """The last ``bars`` candles that had closed at ``cycle_ms``, oldest first, without a gap.

        Raises:
            VenueError: as :meth:`snapshot`.
        """
        length_ms = interval_ms(interval)
        last_ms = cycle_ms // length_ms * length_ms - length_ms
        first_ms = last_ms - (bars - 1) * length_ms
        return CandleSeries(
            symbol, interval, read_candles(self._connection, symbol, interval, first_ms, last_ms)
        )

    def _contexts(self) -> tuple[object, Mapping[str, Row]]:
        answer = self._connection.read("metaAndAssetCtxs", lambda info: info.meta_and_asset_ctxs())
        return parse_contexts(answer)

    def _listed(self, symbol: str, assets: Mapping[str, AssetSpec]) -> AssetSpec:
        spec = assets.get(symbol)
        if spec is None or spec.is_delisted:
            state = "does not list" if spec is None else "has delisted"
            raise VenueError(
                f"Hyperliquid {state} the perpetual {symbol!r}: "
                "take it out of symbols.tracked in wonttrade.toml"
            )
        return spec
