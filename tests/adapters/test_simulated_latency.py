"""Time passes between the prices that a model sees and its orders: what the account lives through meanwhile.

Long 0.1 BTC from 50,000 at ``START_MS``, stop at 49,000, take-profit at 52,000 unless said otherwise: 1,000
USD of price are 100 USD. Bars are minutes; the decision time is ``START_MS``.
"""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_simulated import HOUR_MS, MINUTE_MS, RULES, START_MS, D, bars, executor, flat, opened, order

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import ActionStatus, ExecutionPlan, OrderPurpose
from wonttrade_dagster.core.simulation import (
    Execution,
    FundingPayment,
    Slippage,
    SlippageModel,
    check_identities,
)

LENGTHS = {"BTC": MINUTE_MS, "ETH": MINUTE_MS}
Prices = tuple[float, float, float, float]


def flat_account(slippage: Slippage | None = None) -> SimulatedExecutor:
    """No position, 50,000 being the price at the decision time."""
    made = executor(bar_ms=LENGTHS)
    made.venue.slippage = slippage or Slippage()
    made.advance(START_MS, {"BTC": flat(50_000, 1, START_MS - MINUTE_MS)}, {})
    return made


def holding() -> SimulatedExecutor:
    made = opened()
    made._bar_ms = dict(LENGTHS)
    return made


def think(
    made: SimulatedExecutor, seconds: float, *rows: Prices, funding: Mapping[str, pl.DataFrame] | None = None
) -> list[object]:
    return list(made.think(START_MS + int(seconds * 1_000), {"BTC": bars(*rows)}, funding or {}))


def enter(made: SimulatedExecutor) -> Execution:
    made.venue.place(order(OrderPurpose.OPEN, is_buy=True))
    return made.venue.history.executions[-1]


def px_of(events: list[object]) -> list[D]:
    return [event.px for event in events if isinstance(event, Execution)]


RISING = (
    (50_010, 50_300, 49_900, 50_180),
    (50_200, 50_900, 50_100, 50_800),
    (50_850, 51_000, 50_800, 50_900),
)


@pytest.mark.hand_computed("latency")
@pytest.mark.parametrize(
    ("seconds", "px", "value"),
    [
        (0, 50_010, "10089"),
        (1, 50_010, "10089"),
        (59, 50_010, "10089"),
        (60, 50_200, "10070"),
        (119, 50_200, "10070"),
        (120, 50_850, "10005"),
    ],
)
def test_an_entry_fills_at_the_open_of_the_bar_in_which_it_is_sent(seconds: int, px: int, value: str) -> None:
    """Last close 50,000; bars open at 50,010, 50,200 and 50,850, the last closes at 50,900. 0.1 bought at
    50,010: 0.1·890 = +89; a minute later 0.1·700 = +70, two minutes later 0.1·50 = +5: being slow costs.
    """
    made = flat_account()
    think(made, seconds, *RISING)
    assert enter(made).px == px
    made.advance(START_MS + 3 * MINUTE_MS, {"BTC": bars(*RISING)}, {})
    assert made.account().account_value_usd == D(value)


@pytest.mark.hand_computed("latency", "stop inside the bar")
def test_a_stop_fires_while_the_model_thinks() -> None:
    """The first minute falls to 48,900: sold at 49,000, −100, before the decision of second 90 is there."""
    made = holding()
    events = think(made, 90, (50_000, 50_100, 48_900, 49_500), (49_500, 49_600, 49_400, 49_500))
    assert px_of(events) == [49_000]
    account = made.account()
    assert (account.account_value_usd, account.positions, account.open_orders) == (9_900, (), ())
    assert dict(account.marks)["BTC"] == 49_500


@pytest.mark.hand_computed("latency", "gap through")
def test_a_bar_that_opens_beyond_the_stop_fires_it_before_the_decision_is_there() -> None:
    """The second minute opens at 48,500: sold there, 0.1·1,500 = −150; known at second 61 already."""
    made = holding()
    events = think(made, 61, (50_000, 50_100, 49_900, 50_000), (48_500, 49_900, 48_000, 49_800))
    assert px_of(events) == [48_500]
    assert made.account().account_value_usd == 9_850


@pytest.mark.hand_computed("latency")
def test_the_rest_of_the_bar_is_lived_after_the_decision() -> None:
    """The second minute opens at 50,000, falls to 48,000: nothing at second 90, stopped at 49,000 later."""
    made = holding()
    rows = ((50_000, 50_100, 49_900, 50_000), (50_000, 50_100, 48_000, 48_500))
    assert px_of(think(made, 90, *rows)) == []
    assert made.account().account_value_usd == 10_000
    assert px_of(list(made.advance(START_MS + 2 * MINUTE_MS, {"BTC": bars(*rows)}, {}))) == [49_000]
    assert made.account().account_value_usd == 9_900


@pytest.mark.parametrize("seconds", [0, 1, 59, 90])
def test_a_stop_in_the_rest_of_the_bar_is_booked_by_the_next_report(seconds: int) -> None:
    """A report books what happened until its own time; the bar that was open then began before it."""
    made = holding()
    quiet, falling = (50_000, 50_100, 49_900, 50_000), (50_000, 50_100, 48_000, 48_500)
    rows = (quiet, falling) if seconds >= 60 else (falling, quiet)
    think(made, seconds, *rows)
    booked_until_ms = START_MS + seconds * 1_000 + 1
    made.advance(START_MS + 2 * MINUTE_MS, {"BTC": bars(*rows)}, {})
    assert [fill.px for fill in made.venue.fills(booked_until_ms)] == [49_000]


@pytest.mark.hand_computed("latency", "funding")
def test_funding_is_paid_while_the_model_thinks_and_not_again() -> None:
    """0.1 at the last close 50,100 before the hour, rate 0.0002: 0.1·50,100·0.0002 = 1.002."""
    made = holding()
    rates = {"BTC": pl.DataFrame({"time_ms": [START_MS + HOUR_MS + 7], "rate_hourly": [0.0002]})}
    quiet = [(50_000, 50_200, 49_900, 50_100)] * 61
    made.advance(START_MS + 59 * MINUTE_MS, {"BTC": bars(*quiet[:59])}, {})
    events = made.think(START_MS + 60 * MINUTE_MS + 30_000, {"BTC": bars(*quiet)}, rates)
    assert [event.paid_usd for event in events if isinstance(event, FundingPayment)] == [D("1.002")]
    events = made.advance(START_MS + 61 * MINUTE_MS, {"BTC": bars(*quiet)}, rates)
    assert not [event for event in events if isinstance(event, FundingPayment)]


@pytest.mark.hand_computed("latency", "slippage bar_range")
def test_an_entry_slips_by_the_last_bar_that_has_closed() -> None:
    """The closed minute's range is 400, a tenth of it 40: 50,200 + 40 = 50,240; not the open one's 800."""
    made = flat_account(Slippage(model=SlippageModel.BAR_RANGE, range_fraction=D("0.1")))
    think(made, 61, *RISING)
    fill = enter(made)
    assert (fill.px, fill.slippage_bps) == (50_240, D("7.9681"))


def test_a_decision_that_took_too_long_opens_nothing() -> None:
    """At most 60 s are allowed: at second 60 the entry goes out, at second 61 it is held back."""
    for seconds, status in ((60, ActionStatus.FILLED), (61, ActionStatus.SKIPPED)):
        made, clock = flat_account(), FixedClock(START_MS)
        think(made, seconds, *RISING)
        clock.set(START_MS + seconds * 1_000)
        service = ExecutionService(made.venue, MemoryAudit(), clock, RULES, made.venue.rules.assets)
        entry = order(OrderPurpose.OPEN, is_buy=True)
        (result,) = service.execute(ExecutionPlan(START_MS, (entry,), account=made.account())).results
        assert result.status is status


def test_symbols_with_bars_of_two_lengths_each_know_their_own_open() -> None:
    """Second 150: the third minute of BTC is open, and so is the only five-minute bar of ETH."""
    made = executor(bar_ms={"BTC": MINUTE_MS, "ETH": 5 * MINUTE_MS})
    before = {"BTC": flat(50_000, 5, START_MS - 5 * MINUTE_MS)}
    made.advance(START_MS, before | {"ETH": flat(2_000, 1, START_MS - 5 * MINUTE_MS, 5 * MINUTE_MS)}, {})
    eth = bars((2_010, 2_500, 1_500, 2_100), step_ms=5 * MINUTE_MS)
    made.think(START_MS + 150_000, {"BTC": bars(*RISING), "ETH": eth}, {})
    assert dict(made.account().marks) == {"BTC": 50_850, "ETH": 2_010}
    five = bars(*RISING, *[(50_900, 50_950, 50_870, 50_900)] * 2)
    made.advance(START_MS + 5 * MINUTE_MS, {"BTC": five, "ETH": eth}, {})
    assert dict(made.account().marks) == {"BTC": 50_900, "ETH": 2_100}


def test_bars_of_unknown_length_cannot_be_looked_into() -> None:
    made = executor()
    with pytest.raises(HistoryError, match="BTC"):
        made.think(START_MS + 1_000, {"BTC": bars(*RISING)}, {})


PX = st.integers(47_000, 53_000)
BAR = st.tuples(PX, PX, PX, PX).map(lambda p: (p[0], max(p), min(p), p[3]))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(BAR, min_size=4, max_size=4), poison=BAR, seconds=st.integers(0, 179))
def test_nothing_after_the_open_of_the_bar_is_looked_at(
    rows: list[Prices], poison: Prices, seconds: int
) -> None:
    """The rest of the bar and all later ones may be anything: account and fills are the same."""
    index = seconds // 60
    other = [
        *rows[:index],
        (rows[index][0], max(poison + rows[index][:1]), min(poison + rows[index][:1]), poison[3]),
    ]
    other += [poison] * 3
    seen, guessed = holding(), holding()
    assert think(seen, seconds, *rows) == think(guessed, seconds, *other)
    assert seen.venue.state == guessed.venue.state
    assert seen.account() == guessed.account()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(BAR, min_size=4, max_size=4),
    seconds=st.integers(0, 239),
    rate=st.integers(-400, 400),
    bps=st.integers(0, 30),
)
def test_the_books_add_up_and_a_pause_in_between_resumes_the_same(
    rows: list[Prices], seconds: int, rate: int, bps: int
) -> None:
    funding = {"BTC": pl.DataFrame({"time_ms": [START_MS + MINUTE_MS], "rate_hourly": [rate / 1e6]})}
    one, end = holding(), START_MS + 4 * MINUTE_MS
    one.venue.slippage = Slippage(D(bps), random_bps=D(2))
    think(one, seconds, *rows, funding=funding)
    check_identities(one.venue.state)
    two = SimulatedExecutor(
        assets=one.venue.rules.assets, audit=MemoryAudit(), clock=FixedClock(START_MS + seconds * 1_000),
        rules=RULES, deposit_usd=D(1), taker_fee_rate=D(0), slippage=one.venue.slippage, bar_ms=LENGTHS,
    )  # fmt: skip
    two.resume(replace(one.venue.state), START_MS + seconds * 1_000)
    for made in (one, two):
        made.advance(end, {"BTC": bars(*rows)}, funding)
    assert one.venue.state == two.venue.state
