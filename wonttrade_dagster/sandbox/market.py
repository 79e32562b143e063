"""The market of the loopback venue: mid, mark, oracle, book and funding of every coin at a moment.

Belongs here: what the venue quotes. Does not belong here: users, orders, HTTP.

Chosen, and not the venue's: the mark is the mid on the tick grid (the real one is a median of three
prices, protocol §10.3), the premium is a seeded number per hour (where funding was recorded, the one that
the recorded rate follows from), and a book is drawn anew every 5 seconds, so that what an order takes from it
is back after that.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.precision import PriceRounding, floor_size, lot_base, round_price, tick_px
from wonttrade_dagster.sandbox.candles import candle_rows
from wonttrade_dagster.sandbox.intervals import HOUR_MS
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.tape import QUOTE_MS, Tape
from wonttrade_dagster.sandbox.universe import LISTINGS, SPOT_LISTINGS, Listing, traded
from wonttrade_dagster.sandbox.walk import DAY_MS, BarSource

BOOK_LEVELS = 20
LEVEL_STEP_BPS = Decimal("0.5")
DEFAULT_HOLD_MS = 60_000
"""How long a price set by script stands still before the walk goes on from it."""

INTEREST_RATE = Decimal("0.0001")
MAX_INTEREST_GAP = Decimal("0.0005")
MAX_HOURLY_RATE = Decimal("0.04")
FUNDING_PERIOD_HOURS = 8
RATE_DECIMALS = Decimal("0.0000000001")


@dataclass(frozen=True, slots=True)
class Level:
    """One price of the book: price in USD, resting base units, number of orders."""

    px: Decimal
    size_base: Decimal
    orders: int


@dataclass(frozen=True, slots=True)
class Book:
    """Both sides, best first, at most 20 levels each."""

    coin: str
    time_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class FundingRate:
    """The hourly rate of the hour that ended at ``hour_ms``; ``time_ms`` is when it was booked."""

    hour_ms: int
    time_ms: int
    rate: Decimal
    premium: Decimal


class Market:
    """Quotes from a tape and a clock.

    Args:
        source: where minute bars come from.
        seed: makes book depth, premium and activity reproducible.
        now_ms: the venue's clock.
        listings: what the venue lists.
    """

    def __init__(
        self,
        source: BarSource,
        seed: int,
        now_ms: Callable[[], int],
        listings: tuple[Listing, ...] = LISTINGS,
    ) -> None:
        self.tape = Tape(source)
        self.seed = seed
        self._now_ms = now_ms
        self._perps = tuple(listing.coin for listing in traded(listings))
        self._listings: Mapping[str, Listing] = {
            listing.coin: listing for listing in (*traded(listings), *SPOT_LISTINGS)
        }

    def now_ms(self) -> int:
        """The venue's clock."""
        return self._now_ms()

    def coins(self) -> tuple[str, ...]:
        """The perpetuals with a book, in the order of their asset ids."""
        return self._perps

    def books(self) -> tuple[str, ...]:
        """Everything with a book: the perpetuals, then the spot pairs."""
        return tuple(self._listings)

    def listing(self, coin: str) -> Listing:
        """What is listed under a name. Raises ``KeyError`` for an unknown or delisted coin."""
        return self._listings[coin]

    def set_price(self, coin: str, mid: Decimal, hold_ms: int = DEFAULT_HOLD_MS, after_ms: int = 0) -> None:
        """Move the mid now, or ``after_ms`` from now.

        Raises:
            KeyError: the coin is unknown or delisted.
            ValueError: the price is none.
        """
        self.listing(coin)
        if not mid.is_finite() or mid <= 0 or hold_ms < 0:
            raise ValueError(f"the mid of {coin} must be positive and its hold not negative")
        self.tape.move(coin, self.now_ms() + after_ms, float(mid), hold_ms)

    def mid_px(self, coin: str, time_ms: int | None = None) -> Decimal:
        """Middle of best bid and best ask: on the grid of half ticks."""
        px = self._tape_px(coin, time_ms)
        half_tick = tick_px(px, self.listing(coin).asset.size_decimals) / 2
        return (px / half_tick).quantize(Decimal(1)) * half_tick

    def mark_px(self, coin: str, time_ms: int | None = None) -> Decimal:
        """The mark: the mid on the tick grid."""
        return self._on_grid(coin, self._tape_px(coin, time_ms))

    def oracle_px(self, coin: str, time_ms: int | None = None) -> Decimal:
        """The oracle: off the mid by the running hour's premium."""
        moment_ms = self.now_ms() if time_ms is None else time_ms
        premium = self._premium(coin, moment_ms // HOUR_MS)
        return self._on_grid(coin, self._tape_px(coin, time_ms) / (1 + premium))

    def funding_rate(self, coin: str, hour_ms: int) -> FundingRate:
        """The rate paid at a full hour (protocol §10.5): ``(P + clamp(0.0001 − P, ±0.0005)) / 8``."""
        hour = hour_ms // HOUR_MS
        premium = self._premium(coin, hour - 1)
        interest = min(max(INTEREST_RATE - premium, -MAX_INTEREST_GAP), MAX_INTEREST_GAP)
        rate = min(max((premium + interest) / FUNDING_PERIOD_HOURS, -MAX_HOURLY_RATE), MAX_HOURLY_RATE)
        booked_ms = hour * HOUR_MS + self._random(coin, "booked", hour).randint(15, 400)
        return FundingRate(hour * HOUR_MS, booked_ms, rate.quantize(RATE_DECIMALS), premium)

    def running_rate(self, coin: str) -> Decimal:
        """The estimate for the hour that runs: what will be paid at its end.

        A recording has paid rates only, and who knew the next one would trade on the future: there, what was
        paid last stands in for it, as in a backtest.
        """
        hour = self.now_ms() // HOUR_MS
        is_recorded = self.tape.funding_rate(coin, hour) is not None
        return self.funding_rate(coin, (hour if is_recorded else hour + 1) * HOUR_MS).rate

    def book(self, coin: str, time_ms: int | None = None) -> Book:
        """Depth around the mid (now, or at a moment); each level a little deeper than the one before."""
        now_ms = self.now_ms() if time_ms is None else time_ms
        mid = self.mid_px(coin, now_ms)
        tick = tick_px(mid, self.listing(coin).asset.size_decimals)
        bid = mid // tick * tick if mid % tick else mid - tick
        step = max(tick, self._on_tick(mid * LEVEL_STEP_BPS / 10_000, tick))
        draws = self._random(coin, "book", now_ms // QUOTE_MS)
        bids = tuple(self._level(coin, bid - step * k, k, draws) for k in range(BOOK_LEVELS))
        ask = 2 * mid - bid
        asks = tuple(self._level(coin, ask + step * k, k, draws) for k in range(BOOK_LEVELS))
        return Book(coin, now_ms, bids, asks)

    def candles(self, coin: str, interval: str, first_ms: int, last_ms: int) -> list[dict[str, Any]]:
        """Rows of ``candleSnapshot``. Raises ``KeyError`` for an unknown coin or interval."""
        return candle_rows(
            self.tape,
            self.listing(coin),
            interval,
            first_ms=first_ms,
            last_ms=last_ms,
            now_ms=self.now_ms(),
        )

    def trades(self, coin: str, after_ms: int, until_ms: int) -> list[dict[str, Any]]:
        """Public trades in ``(after_ms, until_ms]``, oldest first, as rows of the venue."""
        slots = range(after_ms // QUOTE_MS, until_ms // QUOTE_MS + 1)
        found = [trade for slot in slots for trade in self._slot_trades(coin, slot * QUOTE_MS)]
        return [trade for trade in found if after_ms < trade["time"] <= until_ms]

    def day_volume_base(self, coin: str) -> float:
        """Base units traded in the last 24 hours."""
        window = self.tape.minutes(coin, self.now_ms() - DAY_MS, self.now_ms())
        return 0.0 if window is None else float(window.volume.sum())

    def open_interest_base(self, coin: str) -> float:
        """Open interest, drawn once an hour around eight hours of the listing's volume."""
        listing = self.listing(coin)
        share = self._random(coin, "interest", self.now_ms() // HOUR_MS).uniform(7.5, 8.5)
        return share * 60 * listing.minute_volume_usd / listing.base_px

    def _tape_px(self, coin: str, time_ms: int | None) -> Decimal:
        self.listing(coin)
        px = self.tape.px(coin, self.now_ms() if time_ms is None else time_ms)
        return Decimal(f"{px:.10g}")

    def _on_grid(self, coin: str, px: Decimal) -> Decimal:
        return round_price(px, self.listing(coin).asset.size_decimals, PriceRounding.NEAREST)

    @staticmethod
    def _on_tick(distance: Decimal, tick: Decimal) -> Decimal:
        return (distance / tick).quantize(Decimal(1)) * tick

    def _level(self, coin: str, px: Decimal, index: int, draws: random.Random) -> Level:
        listing = self.listing(coin)
        value_usd = listing.top_level_usd * (1 + 0.4 * index) * draws.uniform(0.7, 1.3)
        size = floor_size(Decimal(value_usd) / px, listing.asset.size_decimals)
        grid_px = self._on_grid(coin, px)
        return Level(grid_px, max(size, lot_base(listing.asset.size_decimals)), draws.randint(1, 30))

    def _slot_trades(self, coin: str, slot_ms: int) -> list[dict[str, Any]]:
        draws = self._random(coin, "trades", slot_ms // QUOTE_MS)
        offsets = sorted(draws.sample(range(QUOTE_MS), draws.randint(1, 4)))
        return [self._trade(coin, slot_ms + offset, draws) for offset in offsets]

    def _trade(self, coin: str, time_ms: int, draws: random.Random) -> dict[str, Any]:
        is_buy = draws.random() < 0.5
        tick = tick_px(mid := self.mid_px(coin, time_ms), self.listing(coin).asset.size_decimals)
        px = self._on_grid(coin, mid + (tick / 2 if is_buy else -tick / 2))
        size = floor_size(Decimal(draws.lognormvariate(6, 1.5)) / px, self.listing(coin).asset.size_decimals)
        number = draws.getrandbits(48)
        return {
            "coin": coin,
            "side": "B" if is_buy else "A",
            "px": text(px),
            "sz": text(max(size, lot_base(self.listing(coin).asset.size_decimals))),
            "time": time_ms,
            "hash": f"0x{number:064x}",
            "tid": number,
            "users": [f"0x{draws.getrandbits(160):040x}", f"0x{draws.getrandbits(160):040x}"],
        }

    def _premium(self, coin: str, hour: int) -> Decimal:
        """Of the hour that begins then; its rate is paid when it ends."""
        recorded = self.tape.funding_rate(coin, hour + 1)
        if recorded is not None:
            return _premium_behind(recorded)
        drawn = self._random(coin, "premium", hour).gauss(0.0, 0.0003)
        return Decimal(f"{drawn:.10f}")

    def _random(self, coin: str, purpose: str, period: int) -> random.Random:
        return random.Random(f"{self.seed}:{coin}:{purpose}:{period}")  # noqa: S311 (a market, not a secret)


def _premium_behind(rate: Decimal) -> Decimal:
    """A premium from which :meth:`Market.funding_rate` makes ``rate``."""
    beyond = rate * FUNDING_PERIOD_HOURS - INTEREST_RATE
    return beyond + INTEREST_RATE + MAX_INTEREST_GAP.copy_sign(beyond) if beyond else Decimal(0)
