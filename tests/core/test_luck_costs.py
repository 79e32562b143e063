"""Other costs and where a gain came from: exact against the simulated exchange's own arithmetic."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.attribution import cycle_effects, gains_of, held_after, pnl_by_symbol, pnl_split
from wonttrade_dagster.core.model import CANDLE_SCHEMA
from wonttrade_dagster.core.performance import EQUITY_SCHEMA, FILL_SCHEMA, total_return
from wonttrade_dagster.core.repricing import Costs, break_even, repriced, sensitivity

BAR_MS = 300_000
DEPOSIT = 10_000.0
PAID = Costs(4.5, 5.0)


class Account:
    """A taker on a market of given closes: one bar a cycle, every fill slipped, every fee paid."""

    def __init__(self, closes: list[float], costs: Costs, sizes: list[float]) -> None:
        self.cash, self.held, self.costs = DEPOSIT, 0.0, costs
        self.fills: list[tuple[object, ...]] = []
        self.equity = [(0, DEPOSIT)]
        for i, (px, wanted) in enumerate(zip(closes, sizes, strict=True), start=1):
            self._trade(i * BAR_MS, px, wanted - self.held, costs)
            self.equity.append((i * BAR_MS, self.cash + self.held * px))

    def live_on(self, px: float, stop_px: float | None, after_ms: int) -> None:
        """One bar more without a decision; what is held is sold at a stop so long after its start."""
        end_ms = self.end_ms
        if stop_px is not None:
            self._trade(self.equity[-1][0] + after_ms, stop_px, -self.held, self.costs)
        self.equity.append((end_ms, self.cash + self.held * px))

    @property
    def end_ms(self) -> int:
        """A bar after the last cycle."""
        return self.equity[-1][0] + BAR_MS

    def _trade(self, time_ms: int, px: float, size: float, costs: Costs) -> None:
        if size == 0:
            return
        filled = px * (1 + (1 if size > 0 else -1) * costs.slippage_bps * 1e-4)
        fee = abs(size) * filled * costs.fee_bps * 1e-4
        self.cash -= size * filled + fee
        self.held += size
        row = (time_ms, "BTC", filled, size, fee, 0.0, "trade", "Open Long", len(self.fills))
        self.fills.append(row)

    def equity_frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.equity, schema=dict(EQUITY_SCHEMA), orient="row")

    def fills_frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.fills, schema=dict(FILL_SCHEMA), orient="row")

    @property
    def final_usd(self) -> float:
        return self.equity[-1][1]


def candles(closes: list[float]) -> pl.DataFrame:
    """Bar ``i`` ends at ``(i + 1) · BAR_MS``, the time of the cycle that sees its close."""
    rows = [(i * BAR_MS, px, px, px, px, 1.0) for i, px in enumerate(closes)]
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


closes_and_sizes = st.lists(
    st.tuples(st.floats(50, 150), st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])), min_size=2, max_size=40
)
costs = st.builds(Costs, st.sampled_from([0.0, 1.0, 4.5, 30.0]), st.sampled_from([0.0, 2.0, 5.0, 50.0]))


@given(closes_and_sizes, costs, costs)
@settings(max_examples=150, deadline=None)
def test_pricing_fills_again_gives_what_trading_them_at_those_costs_would_have(
    rows: list[tuple[float, float]], paid: Costs, other: Costs
) -> None:
    closes, sizes = [px for px, _ in rows], [size for _, size in rows]
    run, wanted = Account(closes, paid, sizes), Account(closes, other, sizes)
    found = repriced(run.equity_frame(), run.fills_frame(), paid, other)
    assert found.final_equity_usd == pytest.approx(wanted.final_usd, abs=1e-6)
    assert found.total_return_fraction == pytest.approx(total_return(wanted.equity), abs=1e-9)


@given(closes_and_sizes)
@settings(max_examples=50, deadline=None)
def test_the_runs_own_costs_change_nothing_and_higher_ones_never_help(
    rows: list[tuple[float, float]],
) -> None:
    run = Account([px for px, _ in rows], PAID, [size for _, size in rows])
    grid = {f.costs: f.final_equity_usd for f in sensitivity(run.equity_frame(), run.fills_frame(), PAID)}
    assert grid[PAID] == run.final_usd
    assert len(grid) == 12
    for cost, value in grid.items():
        for dearer, left in grid.items():
            if dearer.fee_bps >= cost.fee_bps and dearer.slippage_bps >= cost.slippage_bps:
                assert left <= value + 1e-9


def test_a_truncated_fee_is_scaled_and_not_made_anew() -> None:
    fee = float(Decimal("0.046123456").quantize(Decimal("1e-6")))
    row = (BAR_MS, "BTC", 102.5, 1.0, fee, 0.0, "open", "Open Long", 1)
    fills = pl.DataFrame([row], schema=dict(FILL_SCHEMA), orient="row")
    equity = pl.DataFrame([(0, 1_000.0), (BAR_MS, 999.0)], schema=dict(EQUITY_SCHEMA), orient="row")
    assert repriced(equity, fills, PAID, PAID).final_equity_usd == 999.0
    double = repriced(equity, fills, PAID, Costs(9.0, 5.0))
    assert double.final_equity_usd == pytest.approx(999.0 - fee)


def test_a_run_without_a_fill_is_the_same_at_any_cost() -> None:
    run = Account([100.0, 101.0], PAID, [0.0, 0.0])
    assert {f.final_equity_usd for f in sensitivity(run.equity_frame(), run.fills_frame(), PAID)} == {DEPOSIT}
    assert break_even(0.0, run.fills_frame(), PAID) is None


def test_the_bearable_cost_is_where_nothing_is_left() -> None:
    """Bought 2 at 100, sold at 101: 2 USD earned on 402 USD traded bear 49.75 bps of cost."""
    run = Account([100.0, 101.0], PAID, [2.0, 0.0])
    found = break_even(run.final_usd - DEPOSIT, run.fills_frame(), PAID)
    assert found is not None
    assert found.bearable_bps == pytest.approx(2 / 402 * 1e4)
    assert found.paid_bps == pytest.approx(9.5, rel=1e-3)
    at_that_cost = Account([100.0, 101.0], Costs(0.0, found.bearable_bps), [2.0, 0.0])
    assert at_that_cost.final_usd == pytest.approx(DEPOSIT)


@given(closes_and_sizes, costs)
@settings(max_examples=80, deadline=None)
def test_the_parts_of_a_result_add_up_to_it(rows: list[tuple[float, float]], paid: Costs) -> None:
    closes, sizes = [px for px, _ in rows], [size for _, size in rows]
    run, free = Account(closes, paid, sizes), Account(closes, Costs(0.0, 0.0), sizes)
    result = run.final_usd - DEPOSIT
    split = pnl_split(result, run.fills_frame(), 0.0, paid.slippage_bps)
    assert split.price_usd == pytest.approx(free.final_usd - DEPOSIT, abs=1e-6)
    assert split.price_usd - split.slippage_usd - split.fees_usd - split.funding_usd == pytest.approx(
        result, abs=1e-9
    )
    effects = cycle_effects(run.equity_frame(), run.fills_frame(), paid.slippage_bps, run.end_ms)
    assert effects["effect_usd"].sum() == pytest.approx(result, abs=1e-6)
    assert effects.height == len(closes)


@given(closes_and_sizes, costs)
@settings(max_examples=80, deadline=None)
def test_sides_times_moves_are_what_prices_did(rows: list[tuple[float, float]], paid: Costs) -> None:
    closes, sizes = [px for px, _ in rows], [size for _, size in rows]
    run, free = Account(closes, paid, sizes), Account(closes, Costs(0.0, 0.0), sizes)
    times = [time_ms for time_ms, _ in run.equity[1:]]
    held = held_after(times, run.fills_frame(), {"BTC": candles(closes)}, paid.slippage_bps)
    assert held["size_base"].to_list() == pytest.approx(sizes, abs=1e-9)
    assert held["px"].to_list() == closes
    gains = gains_of(held)
    earned = (gains["side"] * gains["move_usd"]).sum()
    assert earned == pytest.approx(free.final_usd - DEPOSIT, abs=1e-6)
    assert gains.height == (len(closes) - 1 if any(sizes) else 0)


@given(
    closes_and_sizes, costs, st.floats(50, 150), st.none() | st.floats(50, 150), st.sampled_from([1, BAR_MS])
)
@settings(max_examples=80, deadline=None)
def test_what_is_lived_after_the_last_decision_is_its_doing_and_no_decision(
    rows: list[tuple[float, float]], paid: Costs, end_px: float, stop_px: float | None, after_ms: int
) -> None:
    """A stop fires there, right at its beginning or at its very end, or none does."""
    closes, sizes = [px for px, _ in rows], [size for _, size in rows]
    run, free = Account(closes, paid, sizes), Account(closes, Costs(0.0, 0.0), sizes)
    decided, end_ms, before_usd = [time_ms for time_ms, _ in run.equity[1:]], run.end_ms, run.final_usd
    for account in (run, free):
        account.live_on(end_px, stop_px, after_ms)
    equity, fills = run.equity_frame(), run.fills_frame()
    lived_usd = run.final_usd - before_usd
    effects = cycle_effects(equity, fills, paid.slippage_bps, end_ms)
    shorter = cycle_effects(equity[:-1], fills, paid.slippage_bps, end_ms)
    assert effects["time_ms"].to_list() == decided
    assert effects["effect_usd"].sum() == pytest.approx(run.final_usd - DEPOSIT, abs=1e-6)
    assert effects["effect_usd"][-1] - shorter["effect_usd"][-1] == pytest.approx(lived_usd, abs=1e-6)
    held = held_after([*decided, end_ms], fills, {"BTC": candles([*closes, end_px])}, paid.slippage_bps)
    gains = gains_of(held)
    assert (gains["side"] * gains["move_usd"]).sum() == pytest.approx(free.final_usd - DEPOSIT, abs=1e-6)
    assert gains["time_ms"].to_list() == (decided if any(sizes) else [])
    split = pnl_by_symbol(held, fills, {}, paid.slippage_bps)["BTC"]
    assert split.result_usd == pytest.approx(run.final_usd - DEPOSIT, abs=1e-6)
    assert split.price_usd == pytest.approx(free.final_usd - DEPOSIT, abs=1e-6)


def test_a_cycles_effect_is_its_own_cost_and_what_came_until_the_next() -> None:
    """Long 1 from 100 (fee 0.045, slippage 0.05), 110 at the next cycle, sold there at the third's 90."""
    run = Account([100.0, 110.0, 90.0], PAID, [1.0, 1.0, 0.0])
    found = cycle_effects(run.equity_frame(), run.fills_frame(), PAID.slippage_bps, run.end_ms)
    effects = found["effect_usd"].to_list()
    assert effects[0] == pytest.approx(10 - 0.05 - 100.05 * 4.5e-4)
    assert effects[1] == pytest.approx(-20)
    assert effects[2] == pytest.approx(-(0.045 + 89.955 * 4.5e-4))


def test_a_stop_inside_an_interval_ends_its_move_there() -> None:
    rows = [(BAR_MS, 100.05, 1.0), (BAR_MS + 1, 94.9525, -1.0)]
    fills = pl.DataFrame(
        [(t, "BTC", px, size, 0.0, 0.0, "trade", "", i) for i, (t, px, size) in enumerate(rows)],
        schema=dict(FILL_SCHEMA),
        orient="row",
    )
    held = held_after(
        [BAR_MS, 2 * BAR_MS, 3 * BAR_MS], fills, {"BTC": candles([100.0, 80.0, 70.0])}, PAID.slippage_bps
    )
    assert gains_of(held).select("side", "move_usd").rows() == [
        (1, pytest.approx(-5.0)),
        (0, pytest.approx(-10.0)),
    ]


def test_a_lone_candle_is_not_known_before_it_ends() -> None:
    """A day of one candle from 100 to 120, 1 bought at its open: the 20 were earned, not there at once."""
    day = pl.DataFrame([(0, 100.0, 130.0, 90.0, 120.0, 1.0)], schema=dict(CANDLE_SCHEMA), orient="row")
    row = (0, "BTC", 100.05, 1.0, 0.0, 0.0, "open", "", 1)
    fills = pl.DataFrame([row], schema=dict(FILL_SCHEMA), orient="row")
    held = held_after([0, 24 * 3_600_000], fills, {"BTC": day}, PAID.slippage_bps)
    assert held["px"].to_list() == [100.0, 120.0]
    assert gains_of(held).select("side", "move_usd").rows() == [(1, pytest.approx(20.0))]
    without_an_end = held_after([0], fills, {"BTC": day}, PAID.slippage_bps)
    assert without_an_end.select("px", "worth_usd").rows() == [(100.0, pytest.approx(0.0))]


def test_a_symbol_without_candles_and_an_empty_grid_are_left_out() -> None:
    empty = pl.DataFrame(schema=dict(FILL_SCHEMA))
    assert held_after([BAR_MS], empty, {"BTC": candles([])}, 5.0).is_empty()
    assert gains_of(held_after([], empty, {"BTC": candles([1.0])}, 5.0)).is_empty()
