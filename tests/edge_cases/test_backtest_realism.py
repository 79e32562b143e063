"""The paragraph on backtests: where a stop fills, and which exit a bar with both of them takes.

Long or short 0.1 BTC from 50,000, entered through the live order logic: 1,000 USD of price are 100 USD.
"""

import polars as pl
import pytest

from edge_cases.parts import BTC, RULES, D, decision, kinds, target
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.model import CANDLE_SCHEMA, RiskLimits
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.core.simulation import Execution, Slippage

START_MS = 1_750_000_000_000 // 3_600_000 * 3_600_000
MINUTE_MS = 60_000
Prices = tuple[float, float, float, float]


def bars(*rows: Prices, from_ms: int = START_MS) -> dict[str, pl.DataFrame]:
    """Minutes of BTC: open, high, low, close."""
    timed = [(from_ms + i * MINUTE_MS, *row, 1.0) for i, row in enumerate(rows)]
    return {"BTC": pl.DataFrame(timed, schema=dict(CANDLE_SCHEMA), orient="row")}


def entered(side: int) -> SimulatedExecutor:
    """In the market at 50,000 with a stop 1,000 against it and a take-profit 2,000 in its favour."""
    made = SimulatedExecutor(
        assets={"BTC": BTC},
        audit=MemoryAudit(),
        clock=FixedClock(START_MS),
        rules=RULES,
        deposit_usd=D(10_000),
        taker_fee_rate=D(0),
        slippage=Slippage(),
    )
    made.advance(START_MS, bars((50_000,) * 4, from_ms=START_MS - MINUTE_MS), {})
    wanted = decision(target("BTC", str(D("0.1") * side), 50_000 - 1_000 * side, 50_000 + 2_000 * side))
    plan = PositionReconciler({"BTC": BTC}, ("BTC",), RiskLimits(D(10_000), D(10_000), 10), RULES).plan(
        cycle_ms=START_MS,
        outcome=wanted,
        account=made.account(),
        reference_px={"BTC": D(50_000)},
        prior=None,
        now_ms=START_MS,
    )
    assert kinds(plan) == ["open", "stop_loss", "take_profit"]
    assert made.execute(plan).alerts == ()
    return made


def mirrored(side: int, *rows: Prices) -> list[Prices]:
    """The same path for a short: every price as far on the other side of 50,000."""
    if side > 0:
        return list(rows)
    return [(100_000 - o, 100_000 - low, 100_000 - high, 100_000 - c) for o, high, low, c in rows]


def exits(made: SimulatedExecutor, rows: list[Prices]) -> list[tuple[int, D]]:
    """Minute and price of every fill along these bars."""
    events = made.advance(START_MS + len(rows) * MINUTE_MS, bars(*rows), {})
    fills = [event for event in events if isinstance(event, Execution)]
    return [((fill.time_ms - START_MS) // MINUTE_MS, fill.px) for fill in fills]


QUIET = (50_000, 50_100, 49_900, 50_000)


@pytest.mark.parametrize("side", [1, -1])
def test_realism_a_gap_through_the_stop_fills_at_the_open(side: int) -> None:
    """Elsewhere the stop's own price is booked although nobody traded there; the bar comes back above it."""
    made = entered(side)
    ((_, px),) = exits(made, mirrored(side, QUIET, (48_200, 49_500, 48_000, 49_400)))
    assert px == 50_000 - side * 1_800
    assert made.account().account_value_usd == 9_820


@pytest.mark.parametrize("side", [1, -1])
def test_realism_the_stop_wins_a_bar_that_touches_both_exits(side: int) -> None:
    """Elsewhere the take-profit wins it: every such bar is worth 300 USD too much."""
    made = entered(side)
    ((_, px),) = exits(made, mirrored(side, QUIET, (50_000, 52_500, 48_900, 52_000)))
    assert px == 50_000 - side * 1_000
    account = made.account()
    assert (account.account_value_usd, account.positions, account.open_orders) == (9_900, (), ())


@pytest.mark.parametrize("side", [1, -1])
def test_realism_a_stop_counts_in_the_bar_of_its_entry(side: int) -> None:
    """Elsewhere stops sleep until the next bar, and a loss in it becomes the profit of the next."""
    made = entered(side)
    rows = mirrored(side, (50_000, 50_000, 48_900, 49_900), (49_900, 52_500, 49_900, 52_400))
    ((minute, px),) = exits(made, rows)
    assert (minute, px) == (0, 50_000 - side * 1_000)
    assert made.account().account_value_usd == 9_900


def test_realism_a_take_profit_that_the_open_jumps_over_pays_no_more_than_its_price() -> None:
    """The same gap in one's favour is not booked as a gift."""
    made = entered(1)
    ((_, px),) = exits(made, [QUIET, (53_000, 53_500, 52_800, 53_000)])
    assert px == 52_000
