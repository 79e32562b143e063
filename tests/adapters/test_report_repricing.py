"""Priced again against run again: the simulated exchange itself says what other costs would have left."""

import pytest
from test_simulated import HOUR_MS, START_MS, bars, opened

from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.attribution import pnl_split
from wonttrade_dagster.core.model import EquityPoint
from wonttrade_dagster.core.performance import equity_frame, fills_frame
from wonttrade_dagster.core.repricing import Costs, repriced

TICK_USD = 1.0
"""Fills are rounded to whole dollars at this price: 0.2 USD at most on two fills of 0.1 BTC."""


def lived(fee: str, slippage_bps: int, low: float) -> SimulatedExecutor:
    """Long 0.1 BTC from 50,000, stop at 49,000; then an hour whose low is ``low``, closing at 49,500."""
    made = opened(fee, slippage_bps)
    made.advance(START_MS + HOUR_MS, {"BTC": bars((50_000, 50_100, low, 49_500), step_ms=HOUR_MS)}, {})
    return made


def final_usd(made: SimulatedExecutor) -> float:
    return float(made.account().account_value_usd)


@pytest.mark.parametrize("low", [48_900.0, 49_200.0])
@pytest.mark.parametrize(("fee", "slippage_bps"), [("0", 0), ("0.00045", 5), ("0.0009", 20), ("0.00045", 2)])
def test_a_stop_and_an_open_position_are_priced_again_as_if_they_had_been_run_so(
    low: float, fee: str, slippage_bps: int
) -> None:
    run, other = lived("0.00045", 5, low), lived(fee, slippage_bps, low)
    points = [
        EquityPoint(START_MS - 1, 10_000),
        EquityPoint(START_MS + HOUR_MS, run.account().account_value_usd),
    ]
    fills = fills_frame(run.venue.fills(0))
    assert fills.height == (2 if low < 49_000 else 1)
    paid, asked = Costs(4.5, 5.0), Costs(float(fee) * 1e4, float(slippage_bps))
    found = repriced(equity_frame(points), fills, paid, asked)
    assert found.final_equity_usd == pytest.approx(final_usd(other), abs=0.25 * TICK_USD)


def test_the_price_part_of_a_stopped_trade_is_its_move_without_costs() -> None:
    """Bought 0.1 at 50,000, stopped at 49,000: prices took 100 USD, the rest is slippage and fees."""
    run = lived("0.00045", 5, 48_900.0)
    split = pnl_split(final_usd(run) - 10_000, fills_frame(run.venue.fills(0)), 0.0, 5.0)
    assert split.price_usd == pytest.approx(-100, abs=0.2)
    assert split.slippage_usd == pytest.approx(0.1 * (50_000 + 49_000) * 5e-4, rel=0.02)
