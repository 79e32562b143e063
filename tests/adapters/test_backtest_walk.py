"""A simulated account lives on after its last decision: bars, funding and triggers up to the range's end.

Long 0.1 BTC from 50,000 at ``FROM``, stop at 49,000: 1,000 USD of price are 100 USD. Bars are five minutes,
the range is four hours, the only decision is at its beginning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from market_samples import utc_ms
from test_simulated import HOUR_MS, MINUTE_MS, RULES, D, order

from wonttrade_dagster.adapters.backtest_rows import liquidating
from wonttrade_dagster.adapters.backtest_walk import BacktestWalk
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.model import OrderPurpose, SetLeverage
from wonttrade_dagster.core.simulation import ExchangeState, Slippage

FROM = utc_ms(2025, 6, 1)
TO = FROM + 4 * HOUR_MS
BAR_MS = 5 * MINUTE_MS
RATE = 0.0001
HOURLY_USD = D("0.5")
"""0.1 BTC at 50,000 by that rate."""


def candles(px: float, from_ms: int, to_ms: int, low: float | None = None) -> pl.DataFrame:
    times = pl.int_range(from_ms, to_ms, BAR_MS, eager=True)
    prices = {"open": px, "high": px, "low": px if low is None else low, "close": px, "volume": 1.0}
    return pl.DataFrame({"open_time_ms": times}).with_columns(**{k: pl.lit(v) for k, v in prices.items()})


def rates(from_ms: int, to_ms: int) -> pl.DataFrame:
    """Of every hour, both ends included."""
    hours = pl.int_range(from_ms, to_ms + 1, HOUR_MS, eager=True)
    return pl.DataFrame({"time_ms": hours}).with_columns(rate_hourly=pl.lit(RATE))


@dataclass
class World:
    """A history with its account, long since ``FROM``."""

    walk: BacktestWalk
    clock: FixedClock

    @property
    def state(self) -> ExchangeState:
        return self.walk.executor.venue.state


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path) -> Make:
    def make(*changed: pl.DataFrame, until_ms: int = TO, is_long: bool = True) -> World:
        history = MarketHistory(tmp_path / f"{len(list(tmp_path.iterdir()))}.duckdb")
        history.add_candles("BTC", "5m", candles(50_000, FROM - 5 * 24 * HOUR_MS, until_ms), "test")
        for frame in changed:
            history.add_candles("BTC", "5m", frame, "test", replace=True)
        history.add_funding("BTC", rates(FROM - HOUR_MS, until_ms), "test")
        made = empty(history)
        made.walk.advance(FROM)
        if is_long:
            made.walk.executor.venue.place(order(OrderPurpose.OPEN, is_buy=True))
            made.walk.executor.venue.place(order(OrderPurpose.STOP_LOSS, is_buy=False, trigger=49_000))
        return made

    return make


def empty(history: MarketHistory) -> World:
    replay = BacktestReplayProvider(
        history,
        default_assets(["BTC"]),
        ["BTC"],
        intraday_interval="5m",
        long_interval="1h",
        history_bars=60,
        from_ms=FROM,
        to_ms=TO,
    )
    clock = FixedClock(FROM)
    executor = SimulatedExecutor(
        assets=replay.assets(),
        audit=MemoryAudit(),
        clock=clock,
        rules=RULES,
        deposit_usd=D(10_000),
        taker_fee_rate=D(0),
        slippage=Slippage(D(0)),
        bar_ms={"BTC": BAR_MS},
    )
    return World(BacktestWalk(executor, replay, FROM - 4 * HOUR_MS, clock), clock)


def test_what_is_held_is_held_to_the_end_and_pays_the_funding_due_there(world: Make) -> None:
    made = world()
    end = made.walk.live_on(TO)
    assert (end.time_ms, end.account_value_usd) == (TO, 10_000 - 4 * HOURLY_USD)
    assert end.funding_paid_usd == 4 * HOURLY_USD, "that of 01:00 to 04:00, the end included"
    assert [event["time_ms"] for event in end.events] == list(range(FROM + HOUR_MS, TO + 1, HOUR_MS))
    assert [position.symbol for position in end.positions] == ["BTC"]
    assert [(o.trigger_px, o.symbol) for o in end.protection] == [(49_000, "BTC")]
    assert end.fills == ()
    assert made.clock.now_ms() == TO


def test_it_is_no_decision(world: Make) -> None:
    made = world()
    made.walk.think(FROM, 90_000)
    made.walk.live_on(TO)
    assert (made.walk.decided_ms, made.walk.latency_ms) == (FROM, 90_000)


def test_a_stop_in_the_last_bar_of_all_fires(world: Make) -> None:
    end = world(candles(50_000, TO - BAR_MS, TO, low=48_000)).walk.live_on(TO)
    (sold,) = end.fills
    assert (sold.px, sold.size_base, sold.time_ms) == (49_000, D("-0.1"), TO - BAR_MS + 1)
    assert end.account_value_usd == 10_000 - 100 - 3 * HOURLY_USD, "nothing is held when the last hour is due"
    assert (end.positions, end.protection) == ((), ())
    assert "TriggerFired" in {event["event"] for event in end.events}


def test_a_liquidation_after_the_last_decision_is_called_one(world: Make) -> None:
    """Long 5 BTC of 250,000 USD on 10,000 USD: the fall by 2,500 USD is more than the account has."""
    made = world(candles(47_500, TO - HOUR_MS, TO), is_long=False)
    venue = made.walk.executor.venue
    venue.set_leverage(SetLeverage("BTC", 40, is_cross=True, reason="test"))
    venue.place(order(OrderPurpose.OPEN, is_buy=True, size="5"))
    end = made.walk.live_on(TO)
    assert end.positions == ()
    assert {sold.oid for sold in end.fills} <= set(liquidating(end.events)) != set()
    assert end.account_value_usd < 5_000


def test_the_last_close_values_what_is_held_and_stands_in_for_the_last_oracle_price(world: Make) -> None:
    """+50 by the price; three hours at 50,000 and the last one at 50,500."""
    end = world(candles(50_500, TO - BAR_MS, TO)).walk.live_on(TO)
    assert end.account_value_usd == 10_050 - 3 * HOURLY_USD - D("0.505")


def test_a_history_that_goes_on_after_the_range_changes_nothing(world: Make) -> None:
    ends_there = world().walk.live_on(TO)
    goes_on = world(candles(40_000, TO, TO + HOUR_MS), until_ms=TO + HOUR_MS).walk.live_on(TO)
    assert goes_on == ends_there


@pytest.mark.parametrize("latency_ms", [4 * HOUR_MS, 4 * HOUR_MS + 90_000])
def test_a_decision_that_took_until_the_end_or_longer_leaves_nothing_to_live(
    world: Make, latency_ms: int
) -> None:
    made = world()
    made.walk.think(FROM, latency_ms)
    end = made.walk.live_on(TO)
    assert (end.time_ms, end.events, end.fills, end.funding_paid_usd) == (TO, (), (), 0)
    assert end.account_value_usd == 10_000 - 4 * HOURLY_USD, "what was due was paid meanwhile, once"
    assert made.clock.now_ms() == FROM + latency_ms


def test_the_rest_of_a_bar_in_which_the_last_decision_was_made_is_lived(world: Make) -> None:
    """Its fill is later than the report that was made in the middle of the bar, which has not booked it."""
    made = world(candles(50_000, FROM, FROM + BAR_MS, low=48_000))
    made.walk.think(FROM, 90_000)
    (sold,) = made.walk.live_on(TO).fills
    assert (sold.px, sold.time_ms) == (49_000, FROM + 90_001)


def test_an_account_that_is_picked_up_ends_the_same(world: Make) -> None:
    drop = candles(50_000, TO - HOUR_MS, TO, low=48_000)
    made, other = world(drop), world(drop, is_long=False)
    made.walk.think(FROM, 90_000)
    other.walk.stand(FROM, 90_000, made.state)
    assert other.walk.live_on(TO) == made.walk.live_on(TO)
    assert other.state == made.state


def test_an_account_without_any_decision_ends_with_its_deposit(tmp_path: Path) -> None:
    history = MarketHistory(tmp_path / "market.duckdb")
    history.add_candles("BTC", "5m", candles(50_000, FROM - 5 * 24 * HOUR_MS, TO), "test")
    end = empty(history).walk.live_on(TO)
    assert (end.account_value_usd, end.events) == (10_000, ())
