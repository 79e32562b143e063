"""VenueHistory: the past as the venue's Info API still has it.

Belongs here: ranges of closed candles, paid funding rates, open interest now.
Does not belong here: snapshots of a cycle (``info``), where history is kept (``adapters.history``).
"""

from collections.abc import Mapping, Sequence

import polars as pl

from wonttrade_dagster.adapters.hyperliquid.budget import total
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.fields import rows
from wonttrade_dagster.adapters.hyperliquid.info import HyperliquidMarketData
from wonttrade_dagster.adapters.hyperliquid.parse import parse_context, parse_contexts
from wonttrade_dagster.core.candles import impossible, interval_ms, oldest_served_ms, prices_text
from wonttrade_dagster.core.errors import HistoryError, VenueAnswerError, VenueError
from wonttrade_dagster.core.funding import HOUR_MS, missing_hours
from wonttrade_dagster.core.model import CANDLE_SCHEMA
from wonttrade_dagster.core.plausibility import MAX_FUNDING_RATE_HOURLY
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.core.request_weight import IP_WEIGHT_PER_MINUTE, info_weight, items_weight
from wonttrade_dagster.core.utc import utc_text

PAGE_ROWS = 500
"""A range request answers at most so many rows (Hyperliquid documentation, "Info endpoint")."""

LEFT_FOR_OTHERS = 300
"""Weight of each minute that history leaves to the live loop, which asks from the same IP."""

SETTLE_MS = 5_000
"""A candle that closed less than this ago may not be final at the venue: it is fetched the next time."""

_PAUSE_SECONDS = 1.0

FUNDING_SCHEMA = {"time_ms": pl.Int64(), "rate_hourly": pl.Float64()}
OPEN_INTEREST_SCHEMA = {"time_ms": pl.Int64(), "open_interest_base": pl.Float64()}


class VenueHistory:
    """Ranges of the venue's past, in the frames that ``MarketHistory`` takes.

    What a request weighs is counted before it is sent, and waited for: history never draws a 429.

    Args:
        connection: the SDK wrapped once.
        market_data: pages and checks candles.
        clock: nothing after now is asked for; waits for the venue's minute.
        weight_per_minute: what may be sent in a rolling minute.
    """

    def __init__(
        self,
        connection: SdkConnection,
        market_data: HyperliquidMarketData,
        clock: Clock,
        weight_per_minute: int = IP_WEIGHT_PER_MINUTE - LEFT_FOR_OTHERS,
    ) -> None:
        self._connection = connection
        self._market_data = market_data
        self._clock = clock
        self._weight_per_minute = weight_per_minute

    def now_ms(self) -> int:
        """The time by which candles have closed or not."""
        return self._clock.now_ms()

    def candles(self, symbol: str, interval: str, from_ms: int, to_ms: int) -> pl.DataFrame:
        """Closed candles opened in ``[from_ms, to_ms)``, in ``CANDLE_SCHEMA``; the forming one is left out.

        A range that begins before what the venue still has gives what it has.

        Raises:
            HistoryError: the whole range is older than that.
            VenueError: the venue could not be asked, or its answer has a gap or a candle that cannot be.
        """
        self._refuse_unlisted(symbol)
        length_ms, now_ms = interval_ms(interval), self._clock.now_ms()
        oldest_ms = oldest_served_ms(interval, now_ms)
        end_ms = min(to_ms, now_ms - SETTLE_MS) // length_ms * length_ms
        first_ms = -(-max(from_ms, oldest_ms) // length_ms) * length_ms
        if from_ms < end_ms <= oldest_ms:
            raise HistoryError(
                f"Hyperliquid no longer has {interval} candles of {symbol} before {utc_text(oldest_ms)}: "
                "import older ones from files"
            )
        bars = (end_ms - first_ms) // length_ms
        if bars <= 0:
            return pl.DataFrame(schema=dict(CANDLE_SCHEMA))
        self._wait_for("candleSnapshot", bars)
        frame = self._market_data.candles(symbol, interval, end_ms, bars).frame
        _refuse_disorder(f"{interval} candles of {symbol}", frame)
        return frame

    def funding(self, symbol: str, from_ms: int, to_ms: int) -> pl.DataFrame:
        """Hourly rates paid in ``[from_ms, to_ms)``: ``time_ms`` floored to the hour, ``rate_hourly``.

        Stamps of the venue lie some milliseconds past the hour.

        Raises:
            VenueError: the venue could not be asked or answered nonsense, an hour without a rate or a
                rate beyond its own cap included.
        """
        self._refuse_unlisted(symbol)
        rates: dict[int, float] = {}
        ask_from_ms = from_ms
        while ask_from_ms < to_ms:
            page = self._funding_page(symbol, ask_from_ms, to_ms)
            rates |= {
                time_ms // HOUR_MS * HOUR_MS: rate for time_ms, rate in page if from_ms <= time_ms < to_ms
            }
            if len(page) < PAGE_ROWS:
                break
            ask_from_ms = max(time_ms for time_ms, _ in page) + 1
        _refuse_holes(symbol, rates)
        _refuse_beyond_cap(symbol, rates)
        columns = {"time_ms": list(rates), "rate_hourly": list(rates.values())}
        return pl.DataFrame(columns, schema=FUNDING_SCHEMA).sort("time_ms")

    def open_interest(self, symbols: Sequence[str], from_ms: int, to_ms: int) -> Mapping[str, pl.DataFrame]:
        """Open interest now, one row a symbol.

        Raises:
            HistoryError: the range lies in the past: no request of the venue has its open interest.
            VenueError: the venue could not be asked, or does not list a symbol.
        """
        now_ms = self._clock.now_ms()
        if not from_ms <= now_ms < to_ms:
            raise HistoryError("open interest has no past at the venue: materialize the running UTC day only")
        _, contexts = parse_contexts(
            self._connection.read("metaAndAssetCtxs", lambda info: info.meta_and_asset_ctxs())
        )
        for symbol in symbols:
            self._refuse_unlisted(symbol)
        return {
            symbol: pl.DataFrame(
                {
                    "time_ms": [now_ms],
                    "open_interest_base": [float(parse_context(contexts[symbol]).open_interest_base)],
                },
                schema=OPEN_INTEREST_SCHEMA,
            )
            for symbol in symbols
        }

    def _wait_for(self, kind: str, items: int) -> None:
        """Until a request with so many rows in its answer fits into the minute."""
        weight = info_weight(kind) + items_weight(kind, items)
        budgets = (self._connection.budget, self._market_data.budget)
        while 0 < self._weight_per_minute - weight < total(budgets).weight_last_minute:
            self._clock.sleep(_PAUSE_SECONDS)

    def _refuse_unlisted(self, symbol: str) -> None:
        """Also teaches the SDK its names: before that it knows no coin at all."""
        self._market_data.assets()
        if symbol not in self._connection.assets():
            raise VenueError(f"Hyperliquid does not list {symbol!r}: take it out of symbols.tracked")

    def _funding_page(self, symbol: str, from_ms: int, to_ms: int) -> list[tuple[int, float]]:
        what = f"funding rates of {symbol}"
        self._wait_for("fundingHistory", PAGE_ROWS)
        answer = self._connection.read(what, lambda info: info.funding_history(symbol, from_ms, to_ms))
        return [(row.integer("time"), float(row.decimal("fundingRate"))) for row in rows(answer, what)]


def _refuse_holes(symbol: str, rates: Mapping[int, float]) -> None:
    """Before the first and after the last rate there may be none: the listing, and the hour to come."""
    holes = missing_hours(rates, min(rates), max(rates)) if rates else ()
    if holes:
        raise VenueAnswerError(
            f"Hyperliquid's funding rates of {symbol} lack {len(holes)} hour(s), the first at "
            f"{utc_text(holes[0])}: ask again later"
        )


def _refuse_disorder(what: str, frame: pl.DataFrame) -> None:
    """As for files: what is stored once is compared and left, so a bar that cannot be must not get in."""
    odd = impossible(frame)
    if not odd.is_empty():
        bar = odd.row(0, named=True)
        at = utc_text(bar["open_time_ms"])
        raise VenueAnswerError(f"Hyperliquid's {what} hold one of {at} that cannot be: {prices_text(bar)}")


def _refuse_beyond_cap(symbol: str, rates: Mapping[int, float]) -> None:
    beyond = [(ms, rate) for ms, rate in rates.items() if not abs(rate) <= MAX_FUNDING_RATE_HOURLY]
    if beyond:
        ms, rate = min(beyond)
        raise VenueAnswerError(
            f"Hyperliquid's funding rate of {symbol} at {utc_text(ms)} is {rate:g} an hour, beyond its "
            f"cap of {MAX_FUNDING_RATE_HOURLY:g}"
        )
