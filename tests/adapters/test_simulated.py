"""The simulated exchange behind the ports, and the backtest's executor that lives through bars."""

from collections.abc import Mapping
from decimal import Decimal

import polars as pl
import pytest

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.model import (
    ActionStatus,
    AssetSpec,
    CancelOrder,
    ExecutionPlan,
    ExecutionRules,
    MarginTier,
    OrderPurpose,
    PlaceOrder,
    SetLeverage,
)
from wonttrade_dagster.core.simulation import Event, Execution, FundingPayment, Slippage, TriggerFired

D = Decimal
START_MS = 1_750_000_000_000 // 3_600_000 * 3_600_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
BTC = AssetSpec("BTC", 3, 5, 40, (MarginTier(D(0), 40),))
ETH = AssetSpec("ETH", 4, 4, 25, (MarginTier(D(0), 25),))
RULES = ExecutionRules(
    slippage_bps=D(50),
    min_stop_move_bps=D(5),
    max_decision_age_ms=60_000,
    crossed_stop="close",
    taker_fee_bps=D("4.5"),
    cloid_tag="abcdef01",
)


def executor(
    fee: str = "0", slippage_bps: int = 0, bar_ms: Mapping[str, int] | None = None
) -> SimulatedExecutor:
    return SimulatedExecutor(
        assets={"BTC": BTC, "ETH": ETH},
        audit=MemoryAudit(),
        clock=FixedClock(START_MS),
        rules=RULES,
        deposit_usd=D(10_000),
        taker_fee_rate=D(fee),
        slippage=Slippage(D(slippage_bps)),
        bar_ms=bar_ms,
    )


Prices = tuple[float, float, float, float]


def bars(*rows: Prices, from_ms: int = START_MS, step_ms: int = MINUTE_MS) -> pl.DataFrame:
    times = [from_ms + i * step_ms for i in range(len(rows))]
    frame = pl.DataFrame(rows, schema=["open", "high", "low", "close"], orient="row")
    return frame.insert_column(0, pl.Series("open_time_ms", times, dtype=pl.Int64))


def flat(px: float, count: int, from_ms: int = START_MS, step_ms: int = MINUTE_MS) -> pl.DataFrame:
    return bars(*[(px, px, px, px)] * count, from_ms=from_ms, step_ms=step_ms)


def order(
    purpose: OrderPurpose, *, is_buy: bool, size: str = "0.1", trigger: int | None = None
) -> PlaceOrder:
    limit = {True: 55_000, False: 45_000}[is_buy]
    if trigger is not None:
        limit = int(trigger * (1.1 if is_buy else 0.9))
    return PlaceOrder(
        symbol="BTC",
        purpose=purpose,
        is_buy=is_buy,
        size_base=D(size),
        limit_px=D(limit),
        reduce_only=not purpose.increases_exposure,
        cloid=f"0xabcdef01{list(OrderPurpose).index(purpose):024x}",
        reason="test",
        trigger_px=None if trigger is None else D(trigger),
    )


def opened(fee: str = "0", slippage_bps: int = 0) -> SimulatedExecutor:
    """Long 0.1 BTC from 50,000 with both legs, entered through the live order logic."""
    made = executor(fee, slippage_bps)
    before = {"BTC": flat(50_000, 1, START_MS - MINUTE_MS), "ETH": flat(2_000, 1, START_MS - MINUTE_MS)}
    assert made.advance(START_MS, before, {}) == ()
    plan = ExecutionPlan(
        START_MS,
        (
            SetLeverage("BTC", 5, is_cross=True, reason="test"),
            order(OrderPurpose.OPEN, is_buy=True),
            order(OrderPurpose.STOP_LOSS, is_buy=False, trigger=49_000),
            order(OrderPurpose.TAKE_PROFIT, is_buy=False, trigger=52_000),
        ),
        account=made.account(),
    )
    report = made.execute(plan)
    assert [r.status for r in report.results] == [
        ActionStatus.DONE,
        ActionStatus.FILLED,
        ActionStatus.RESTING,
        ActionStatus.RESTING,
    ]
    assert report.alerts == ()
    return made


def _kinds(events: tuple[Event, ...]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_the_live_order_logic_opens_protects_and_confirms_on_the_simulated_venue() -> None:
    account = opened(fee="0.00045").account()
    (position,) = account.positions
    assert (position.size_base, position.entry_px, position.leverage) == (D("0.1"), 50_000, 5)
    assert len(account.protection("BTC")) == 2
    assert account.account_value_usd == D("9997.75")


def test_the_stop_fires_between_two_decisions_and_is_told() -> None:
    """Stopped at 49,000 in the second minute: −100."""
    made = opened()
    btc = bars((50_000, 50_100, 49_900, 50_000), (50_000, 50_000, 48_000, 48_500))
    events = made.advance(START_MS + 2 * MINUTE_MS, {"BTC": btc}, {})
    (fired,) = (e for e in events if isinstance(e, TriggerFired))
    assert (fired.leg.value, fired.time_ms) == ("stop_loss", START_MS + MINUTE_MS + 1)
    account = made.account()
    assert (account.account_value_usd, account.positions, account.open_orders) == (9_900, (), ())
    assert [fill.px for fill in made.venue.fills(START_MS)] == [50_000, 49_000]
    assert [fill.px for fill in made.venue.fills(START_MS + 1)] == [49_000]


def test_events_survive_the_codec() -> None:
    events = opened().advance(START_MS + MINUTE_MS, {"BTC": bars((50_000, 53_000, 49_500, 52_500))}, {})
    assert events
    for event in events:
        assert decode(type(event), encode(event)) == event


def test_funding_is_paid_at_the_full_hour_at_the_open_of_that_hours_bar() -> None:
    """Two hours of 30-minute bars; 0.1 BTC. 1 h: open 51,000·0.1·0.0001 = 0.51. 2 h is the decision time
    itself: no bar yet, the last close 51,500 stands in: 0.515.
    """
    made = opened()
    rows = ((50_000, 50_100, 49_900, 50_500), (50_500, 50_600, 50_400, 50_800))
    rows += ((51_000, 51_100, 50_900, 51_000), (51_000, 51_600, 51_000, 51_500))
    rates = pl.DataFrame(
        {"time_ms": [START_MS + hour * HOUR_MS + 68 for hour in range(4)], "rate_hourly": [0.0001] * 4}
    )
    events = made.advance(START_MS + 2 * HOUR_MS, {"BTC": bars(*rows, step_ms=HOUR_MS // 2)}, {"BTC": rates})
    assert [(e.time_ms, e.paid_usd) for e in events if isinstance(e, FundingPayment)] == [
        (START_MS + HOUR_MS, D("0.51")),
        (START_MS + 2 * HOUR_MS, D("0.515")),
    ]
    assert made.venue.funding_paid_usd(START_MS, START_MS + 10 * HOUR_MS) == D("1.025")
    assert made.venue.funding_paid_usd(START_MS + HOUR_MS + 1, START_MS + 10 * HOUR_MS) == D("0.515")
    assert made.account().account_value_usd == 10_150 - D("1.025")


def test_a_position_stopped_before_the_hour_pays_no_funding() -> None:
    made = opened()
    rows = ((50_000, 50_000, 48_000, 48_500), (48_500, 48_500, 48_500, 48_500))
    rates = pl.DataFrame({"time_ms": [START_MS + HOUR_MS], "rate_hourly": [0.0001]})
    events = made.advance(START_MS + HOUR_MS, {"BTC": bars(*rows, step_ms=HOUR_MS // 2)}, {"BTC": rates})
    assert "FundingPayment" not in _kinds(events)


def test_advancing_in_two_steps_is_advancing_in_one() -> None:
    rows = [(50_000 + 10 * i, 50_050 + 10 * i, 49_950 + 10 * i, 50_010 + 10 * i) for i in range(180)]
    rates = pl.DataFrame(
        {
            "time_ms": [START_MS + hour * HOUR_MS for hour in range(1, 4)],
            "rate_hourly": [0.0001, -0.0002, 0.0003],
        }
    )
    one, two, end = opened(), opened(), START_MS + 3 * HOUR_MS
    frame = bars(*rows)
    together = one.advance(end, {"BTC": frame}, {"BTC": rates})
    middle = START_MS + 47 * MINUTE_MS
    apart = two.advance(middle, {"BTC": frame.head(47)}, {"BTC": rates})
    apart += two.advance(end, {"BTC": frame.tail(133)}, {"BTC": rates})
    assert together == apart
    assert one.venue.state == two.venue.state


def test_bars_already_lived_are_not_lived_again() -> None:
    made = opened()
    deep = bars((50_000, 50_000, 40_000, 50_000), from_ms=START_MS - MINUTE_MS)
    assert made.advance(START_MS, {"BTC": deep}, {}) == ()


def test_a_bar_that_is_still_open_is_refused() -> None:
    made = executor(bar_ms={"BTC": HOUR_MS})
    with pytest.raises(HistoryError, match="still open"):
        made.advance(START_MS + HOUR_MS // 4, {"BTC": flat(50_000, 1)}, {})


def test_time_does_not_run_backwards() -> None:
    made = executor()
    made.advance(START_MS + MINUTE_MS, {"BTC": flat(50_000, 1)}, {})
    with pytest.raises(HistoryError):
        made.advance(START_MS, {"BTC": flat(50_000, 1)}, {})


def test_two_symbols_are_walked_in_time_order() -> None:
    made = opened()
    made.venue.place(_eth_entry())
    btc = bars((50_000, 50_000, 50_000, 50_000), (50_000, 53_000, 50_000, 53_000))
    eth = bars((2_000, 2_000, 2_000, 2_000), (2_000, 2_000, 2_000, 2_100))
    events = made.advance(START_MS + 2 * MINUTE_MS, {"BTC": btc, "ETH": eth}, {})
    assert [e.symbol for e in events if isinstance(e, Execution)] == ["BTC"]
    assert dict(made.account().marks) == {"BTC": 53_000, "ETH": 2_100}
    assert made.account().account_value_usd == 10_000 + 200 + 100


def _eth_entry() -> PlaceOrder:
    return PlaceOrder(
        symbol="ETH",
        purpose=OrderPurpose.OPEN,
        is_buy=True,
        size_base=D(1),
        limit_px=D(2_100),
        reduce_only=False,
        cloid="0xabcdef01" + "e" * 24,
        reason="test",
    )


def test_find_tells_standing_filled_dead_and_unknown_orders_apart() -> None:
    made = opened()
    venue = made.venue
    entry = venue.find(order(OrderPurpose.OPEN, is_buy=True).cloid)
    assert entry is not None
    assert (entry.status, entry.filled_base, entry.average_px) == (ActionStatus.FILLED, D("0.1"), 50_000)
    stop_order = order(OrderPurpose.STOP_LOSS, is_buy=False, trigger=49_000)
    stop = venue.find(stop_order.cloid)
    assert stop is not None
    assert stop.status is ActionStatus.RESTING
    cancel = CancelOrder("BTC", stop.oid or 0, stop_order.cloid, "test")
    assert venue.cancel(cancel).status is ActionStatus.DONE
    assert venue.cancel(cancel).message == "Order was never placed, already canceled, or filled."
    gone = venue.find(stop_order.cloid)
    assert gone is not None
    assert (gone.status, gone.message) == (ActionStatus.ERROR, "canceled")
    assert venue.find("0xabcdef01" + "9" * 24) is None


def test_errors_are_results_with_the_venues_words() -> None:
    made = opened()
    crossed = made.venue.place(order(OrderPurpose.STOP_LOSS, is_buy=False, trigger=51_000))
    assert (crossed.status, crossed.message) == (ActionStatus.ERROR, "Invalid TP/SL price. asset=3")
    huge = made.venue.place(order(OrderPurpose.OPEN, is_buy=True, size="9"))
    assert huge.message == "Insufficient margin to place order. asset=3"
    leverage = made.venue.set_leverage(SetLeverage("BTC", 99, is_cross=True, reason="test"))
    assert (leverage.status, leverage.message) == (ActionStatus.ERROR, "Invalid leverage value")


def test_a_symbol_without_a_price_cannot_be_traded() -> None:
    result = executor().venue.place(order(OrderPurpose.OPEN, is_buy=True))
    assert (result.status, result.message) == (ActionStatus.ERROR, "no price of BTC is known yet")


def test_entries_pay_the_slippage_and_the_fee() -> None:
    """Ask 50,000·(1 + 5 bps) = 50,025; fee 5,002.5·0.00045 = 2.251125; value at mark 50,000."""
    account = opened(fee="0.00045", slippage_bps=5).account()
    assert account.positions[0].entry_px == 50_025
    assert account.account_value_usd == 10_000 - D("2.5") - D("2.251125")
