"""The seeded random walk: minute bars of any day as a pure function of (seed, coin, day).

Belongs here: where a price comes from when nobody moves it. Does not belong here: time of day "now",
scripted moves, intervals, the book.

Every coarser candle is an aggregation of these minutes, so all intervals agree by construction. A day is
a Brownian bridge of 1,440 steps between two daily levels; the daily levels are a mean-reverting walk in
logs, so that the price neither runs away nor stands still however long the venue lives.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.universe import Listing

Floats = NDArray[np.float64]

MINUTE_MS = 60_000
DAY_MS = 86_400_000
DAY_MINUTES = 1_440
HISTORY_STARTS_ON_DAY = 19_358
"""2023-01-01 in days of the epoch: the venue has no candles before."""

_LEVELS = 14_000
_DAILY_REVERSION = 0.985
_WICK = 0.6
_CACHED_DAYS = 600
"""About 69 kB each; 1,000 bars of 4h of two coins need 336."""


@dataclass(frozen=True, slots=True, eq=False)
class DayBars:
    """The minute bars of one UTC day. All arrays have the same shape ``(1440,)``.

    Attributes:
        open: price at the minute's start, USD.
        high: highest price, at least ``max(open, close)``.
        low: lowest price, at most ``min(open, close)``.
        close: price at the minute's end.
        volume: traded base units.
        trades: number of trades.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    trades: Floats


class BarSource(ABC):
    """Where minute bars come from: the walk, or a recorded market (``replay``)."""

    @abstractmethod
    def day(self, coin: str, day: int) -> DayBars | None:
        """The bars of one coin on one day of the epoch; None where there is no history."""

    def funding_rate(self, coin: str, hour: int) -> Decimal | None:  # noqa: ARG002 (most record none)
        """The recorded rate that was paid when an hour of the epoch began; None where none was recorded."""
        return None

    def anchors(self) -> dict[str, int]:
        """By coin, by how many days its recording is shifted; nothing for a source without recordings."""
        return {}

    def anchor(self, days: Mapping[str, int]) -> None:
        """Shift the recordings as :meth:`anchors` of an earlier process said.

        Raises:
            UsageError: there is no recording here to shift.
        """
        if days:
            raise UsageError(
                f"the saved venue replays {', '.join(sorted(days))}: start it with the same --candles"
            )


class RandomWalk(BarSource):
    """Bars drawn from a seed. The same seed gives the same market, in every process, for any time."""

    def __init__(self, seed: int, listings: tuple[Listing, ...]) -> None:
        self._seed = seed
        self._listings = {listing.coin: listing for listing in listings}
        self._levels: dict[str, Floats] = {}
        self._days: OrderedDict[tuple[str, int], DayBars] = OrderedDict()

    def day(self, coin: str, day: int) -> DayBars | None:
        """See :class:`BarSource`; None before 2023 and for a coin that is not traded."""
        if (
            coin not in self._listings
            or not HISTORY_STARTS_ON_DAY <= day < HISTORY_STARTS_ON_DAY + _LEVELS - 1
        ):
            return None
        key = (coin, day)
        if key not in self._days:
            self._days[key] = self._draw(self._listings[coin], day)
            if len(self._days) > _CACHED_DAYS:
                self._days.popitem(last=False)
        self._days.move_to_end(key)
        return self._days[key]

    def _rng(self, listing: Listing, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([abs(self._seed), listing.asset.asset_id, *purpose])

    def _log_levels(self, listing: Listing) -> Floats:
        if listing.coin not in self._levels:
            self._levels[listing.coin] = self._draw_levels(listing)
        return self._levels[listing.coin]

    def _draw_levels(self, listing: Listing) -> Floats:
        daily_volatility = listing.minute_volatility * DAY_MINUTES**0.5
        shocks = self._rng(listing, 0).standard_normal(_LEVELS) * daily_volatility
        levels = np.empty(_LEVELS)
        level = 0.0
        for index, shock in enumerate(shocks):
            level = _DAILY_REVERSION * level + float(shock)
            levels[index] = level
        return levels + float(np.log(listing.base_px))

    def _draw(self, listing: Listing, day: int) -> DayBars:
        rng = self._rng(listing, 1, day)
        levels = self._log_levels(listing)[day - HISTORY_STARTS_ON_DAY :]
        path = _bridge(rng, float(levels[0]), float(levels[1]), listing.minute_volatility)
        wicks = np.abs(rng.standard_normal((2, DAY_MINUTES))) * listing.minute_volatility * _WICK
        opens, closes = path[:-1], path[1:]
        prices = np.exp(path)
        activity = rng.lognormal(-0.5, 1.0, DAY_MINUTES)
        return DayBars(
            open=prices[:-1],
            high=np.exp(np.maximum(opens, closes) + wicks[0]),
            low=np.exp(np.minimum(opens, closes) - wicks[1]),
            close=prices[1:],
            volume=activity * listing.minute_volume_usd / prices[:-1],
            trades=np.ceil(activity * 40.0),
        )


def _bridge(rng: np.random.Generator, start: float, end: float, step: float) -> Floats:
    """Log prices at the day's 1,441 minute boundaries, from ``start`` to ``end`` exactly."""
    steps = np.concatenate(([0.0], np.cumsum(rng.standard_normal(DAY_MINUTES) * step)))
    share = np.linspace(0.0, 1.0, DAY_MINUTES + 1)
    path: Floats = steps - share * steps[-1] + start + share * (end - start)
    return path
