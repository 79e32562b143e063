"""BacktestReplayProvider: history as the market of a backtest, as of each decision time.

Belongs here: what was known at a past cycle time, and the bars between two of them.
Does not belong here: loading and gaps (``replay_windows``), orders and fills (the simulated exchange).

Nothing here can look ahead: a snapshot is a slice that ends with the last candle closed at the cycle time,
and indicators are causal, so one pass over the whole range gives each cycle what it could have computed.
History holds no mid, mark, oracle or open interest: they are absent in every snapshot, never invented.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

import polars as pl

from wonttrade_dagster.adapters.history import DAY_MS, MarketHistory
from wonttrade_dagster.adapters.replay_windows import (
    PlainRows,
    ReplayRange,
    ReplayWindow,
    SymbolHistory,
    frame_bytes,
)
from wonttrade_dagster.core.candles import day_volumes_usd
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.funding import missing_hours
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    AssetSpec,
    IndicatorSetting,
    IndicatorSnapshot,
    MarginTier,
    MarketSnapshot,
    SymbolIndicators,
    SymbolMarket,
)
from wonttrade_dagster.core.plausibility import MAX_FUNDING_RATE_HOURLY
from wonttrade_dagster.core.ports import MarketData
from wonttrade_dagster.core.simulation import BarStretch
from wonttrade_dagster.core.utc import utc_text

_FUNDING_VALID_MS = DAY_MS
"""A rate older than this is no longer "the last known one": the snapshot then has none."""

# name, asset id, size decimals, leverage, from this notional on, only this leverage (mainnet's meta, 2026-09)
_KNOWN_ASSETS = (
    ("BTC", 0, 5, 40, 150_000_000, 20),
    ("ETH", 1, 4, 25, 100_000_000, 15),
    ("SOL", 5, 2, 20, 70_000_000, 10),
)


def default_assets(symbols: Iterable[str]) -> Mapping[str, AssetSpec]:
    """Asset rules of ``symbols`` for a backtest that asks no venue, as mainnet's meta stated them.

    Raises:
        HistoryError: a symbol whose rules are not known here.
    """
    known = {
        name: AssetSpec(
            name,
            asset_id,
            decimals,
            leverage,
            (MarginTier(Decimal(0), leverage), MarginTier(Decimal(bound_usd), reduced)),
        )
        for name, asset_id, decimals, leverage, bound_usd, reduced in _KNOWN_ASSETS
    }
    unknown = sorted(set(symbols) - known.keys())
    if unknown:
        raise HistoryError(
            f"the lot size and leverage of {', '.join(unknown)} are not known without the venue: "
            f"backtest {', '.join(known)}, or take the venue's meta"
        )
    return MappingProxyType({symbol: known[symbol] for symbol in symbols})


@dataclass(frozen=True, slots=True, eq=False)
class _Tape:
    """Everything replayed of one symbol."""

    asset: AssetSpec
    history_sha256: str
    intraday: ReplayWindow
    long_term: ReplayWindow
    finest: ReplayWindow
    walked: BarStretch
    """The finest candles once more, as plain columns."""
    day_volumes_usd: Sequence[float]
    """Volume × close of the 24 hours up to each intraday candle, from the first that has so many."""
    funding_times_ms: tuple[int, ...]
    funding_rates: tuple[float, ...]
    has_funding: bool
    """Whether any rate is stored, of whatever time."""

    def funding_rate_at(self, cycle_ms: int) -> float | None:
        at = bisect_right(self.funding_times_ms, cycle_ms) - 1
        known = at >= 0 and cycle_ms - self.funding_times_ms[at] <= _FUNDING_VALID_MS
        return self.funding_rates[at] if known else None

    def day_volume_usd(self, cycle_ms: int) -> float | None:
        whole_days = self.intraday.closed(cycle_ms) - DAY_MS // self.intraday.step_ms
        return self.day_volumes_usd[whole_days] if 0 <= whole_days < len(self.day_volumes_usd) else None


class BacktestReplayProvider(MarketData):
    """Replays stored candles and funding of one range; loaded once, then every cycle is a slice."""

    def __init__(  # noqa: PLR0913 (what a range is, by name)
        self,
        history: MarketHistory,
        assets: Mapping[str, AssetSpec],
        symbols: Iterable[str],
        *,
        intraday_interval: str,
        long_interval: str,
        history_bars: int,
        from_ms: int,
        to_ms: int,
        indicators: IndicatorSetting | None = None,
    ) -> None:
        """Load a range.

        Args:
            history: where candles and funding are stored.
            assets: rules of every symbol, see :func:`default_assets`.
            symbols: what is tracked, in the configured order.
            intraday_interval: interval of the short window, e.g. ``5m``.
            long_interval: interval of the long window, e.g. ``4h``.
            history_bars: candles a snapshot holds of each window, where history reaches that far back.
            from_ms: first decision time.
            to_ms: end of the range, excluded.
            indicators: lengths and further columns. Where a window still shows where it begins, each cycle
                computes them from its own one, as a live cycle does. None: the usual ones, always cut from
                one pass, as in results from before lengths could be configured.

        Raises:
            HistoryError: the range is empty, candles are missing or cannot be, a funding rate is beyond the
                venue's cap, or a symbol is unknown; names everything.
            StorageLockedError: another process holds the history's file.
        """
        self._span = ReplayRange(from_ms, to_ms, history_bars)
        self._assets = assets
        self._indicators = indicators
        self._is_cut_from_one_pass = lru_cache(maxsize=1)(self._forgets_within)
        self._intervals = (intraday_interval, long_interval)
        self._tapes = self._load_all(history, tuple(symbols))
        self._bar_intervals = MappingProxyType({s: tape.finest.interval for s, tape in self._tapes.items()})

    def assets(self) -> Mapping[str, AssetSpec]:
        """The rules this replay was given."""
        return self._assets

    @property
    def history_sha256(self) -> str:
        """Of every stored candle and rate that was read: another one means that the history was changed."""
        digests = "".join(tape.history_sha256 for tape in self._tapes.values())
        return hashlib.sha256(digests.encode()).hexdigest()

    @property
    def windows(self) -> Mapping[str, str | int]:
        """What must be known beside range and symbols to load the same again."""
        intraday, long_term = self._intervals
        bars = self._span.history_bars
        return {"intraday_interval": intraday, "long_interval": long_term, "history_bars": bars}

    @property
    def bar_intervals(self) -> Mapping[str, str]:
        """Symbol → interval of what :meth:`bars` returns."""
        return self._bar_intervals

    def snapshot(self, cycle_ms: int) -> MarketSnapshot:
        """What was known at ``cycle_ms``. Raises ``HistoryError`` outside of the range."""
        self._refuse_outside(cycle_ms)
        markets = tuple(self._market(tape, cycle_ms) for tape in self._tapes.values())
        return MarketSnapshot(cycle_ms, cycle_ms, "history", markets)

    def indicators(self, cycle_ms: int, points: int = 10) -> IndicatorSnapshot:
        """Indicators of the last ``points`` closed candles of both windows, cut from one pass if they may."""
        self._refuse_outside(cycle_ms)
        if not self._is_cut_from_one_pass(points):
            engine = IndicatorEngine(points, self._indicators or USUAL_INDICATORS)
            return engine.compute(self.snapshot(cycle_ms))
        symbols = tuple(
            SymbolIndicators(
                symbol,
                tape.intraday.points(cycle_ms, points),
                tape.long_term.points(cycle_ms, points),
            )
            for symbol, tape in self._tapes.items()
        )
        return IndicatorSnapshot(cycle_ms, symbols)

    def bars(self, symbol: str, from_ms: int, to_ms: int) -> pl.DataFrame:
        """The finest candles of ``symbol`` opened in ``[from_ms, to_ms)``, in ``CANDLE_SCHEMA``."""
        return self._tapes[symbol].finest.between(from_ms, to_ms)

    def stretch(self, symbol: str, from_ms: int, to_ms: int) -> BarStretch:
        """The same candles, to be walked: asked for twice a cycle, a few rows each time."""
        tape = self._tapes[symbol]
        return tape.walked.rows(tape.finest.opened_before(from_ms), tape.finest.opened_before(to_ms))

    def funding_between(self, symbol: str, from_ms: int, to_ms: int) -> tuple[tuple[int, float], ...]:
        """Time and hourly rate of the funding due in ``(from_ms, to_ms]``.

        Open at the start: who opens a position at the full hour does not pay that hour's funding.
        """
        tape = self._tapes[symbol]
        start, end = (bisect_right(tape.funding_times_ms, bound) for bound in (from_ms, to_ms))
        return tuple(zip(tape.funding_times_ms[start:end], tape.funding_rates[start:end], strict=True))

    def refuse_missing_funding(self) -> None:
        """A series with holes is a broken record; one that is not there at all is a caveat of the report.

        Raises:
            HistoryError: names the symbols, the number of hours and the first of each.
        """
        missing = {symbol: self._missing_funding(tape) for symbol, tape in self._tapes.items()}
        holes = [
            f"{symbol}: {len(found)} hourly funding rates are missing, the first at {utc_text(found[0])}"
            for symbol, found in missing.items()
            if found and self._tapes[symbol].has_funding
        ]
        if holes:
            remedy = (
                "add them with `wonttrade history sync --from DAY` or `wonttrade history import FILE`, or "
                'say `missing_funding = "zero"` in [backtest] to pay none in those hours'
            )
            raise HistoryError(f"{'; '.join(holes)}; {remedy}")

    def caveats(self) -> tuple[str, ...]:
        """Sentences a report must carry: what this history does not know."""
        missing = ((symbol, len(self._missing_funding(tape))) for symbol, tape in self._tapes.items())
        holes = tuple(
            f"{symbol}: {count} hourly funding rates are missing, no funding is charged in those hours"
            for symbol, count in missing
            if count
        )
        absent = "History has no mid, mark or oracle price, no order book and no open interest: candles of "
        return (absent + "trades stand in for them.", *holes)

    def _load_all(self, history: MarketHistory, symbols: tuple[str, ...]) -> Mapping[str, _Tape]:
        """Every symbol, or one error that names all holes."""
        tapes, holes = {}, []
        for symbol in symbols:
            try:
                tapes[symbol] = self._load(history, symbol)
            except HistoryError as error:
                holes.append(str(error))
        if holes:
            raise HistoryError("; ".join(holes))
        return tapes

    def _load(self, history: MarketHistory, symbol: str) -> _Tape:
        if symbol not in self._assets:
            raise HistoryError(f"the venue lists no {symbol}: track one of {', '.join(sorted(self._assets))}")
        stored = SymbolHistory(history, symbol, self._intervals, self._span)
        intraday, long_term = (self._with_indicators(stored.window(name)) for name in self._intervals)
        span = self._span
        funding = history.funding(symbol, span.from_ms - _FUNDING_VALID_MS, span.to_ms + 1)
        _refuse_impossible_rates(symbol, funding)
        digest = hashlib.sha256(stored.digest().encode() + frame_bytes(funding))
        finest = stored.finest(intraday)
        return _Tape(
            asset=self._assets[symbol],
            history_sha256=digest.hexdigest(),
            intraday=intraday,
            long_term=long_term,
            finest=finest,
            walked=BarStretch.of(finest.frame),
            day_volumes_usd=day_volumes_usd(intraday.frame, intraday.interval),
            funding_times_ms=tuple(funding["time_ms"].to_list()),
            funding_rates=tuple(funding["rate_hourly"].to_list()),
            has_funding=not (funding.is_empty() and history.funding(symbol).is_empty()),
        )

    def _forgets_within(self, points: int) -> bool:
        setting = self._indicators
        return setting is None or setting.forgets_within(self._span.history_bars - points)

    def _market(self, tape: _Tape, cycle_ms: int) -> SymbolMarket:
        bars = self._span.history_bars
        return SymbolMarket(
            asset=tape.asset,
            mid_px=None,
            mark_px=None,
            oracle_px=None,
            funding_rate_hourly=tape.funding_rate_at(cycle_ms),
            open_interest_base=None,
            day_volume_usd=tape.day_volume_usd(cycle_ms),
            intraday=tape.intraday.series(cycle_ms, bars),
            long_term=tape.long_term.series(cycle_ms, bars),
        )

    def _missing_funding(self, tape: _Tape) -> tuple[int, ...]:
        return missing_hours(tape.funding_times_ms, self._span.from_ms, self._span.to_ms)

    def _refuse_outside(self, cycle_ms: int) -> None:
        span = self._span
        if not span.from_ms <= cycle_ms <= span.to_ms:
            raise HistoryError(
                f"{utc_text(cycle_ms)} is outside of the loaded range {utc_text(span.from_ms)} to "
                f"{utc_text(span.to_ms)}: load the range that is replayed"
            )

    def _with_indicators(self, window: ReplayWindow) -> ReplayWindow:
        engine = IndicatorEngine(setting=self._indicators or USUAL_INDICATORS)
        return replace(window, enriched=PlainRows(engine.with_indicators(window.frame)))


def _refuse_impossible_rates(symbol: str, funding: pl.DataFrame) -> None:
    broken = funding.filter(~(pl.col("rate_hourly").abs() <= MAX_FUNDING_RATE_HOURLY))
    if broken.is_empty():
        return
    time_ms, rate = broken.select("time_ms", "rate_hourly").row(0)
    raise HistoryError(
        f"{symbol} funding: {broken.height} hourly rates are beyond the venue's cap of "
        f"{MAX_FUNDING_RATE_HOURLY:g}, the first of {utc_text(time_ms)}: {rate:g}; replace them with "
        "`wonttrade history import FILE --replace`"
    )
