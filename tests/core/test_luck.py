"""Whether the figures about chance keep their promises: coverage, uniform p-values, the same for a seed."""

from datetime import date
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.attribution import GAIN_SCHEMA
from wonttrade_dagster.core.luck import (
    MIN_RETURNS,
    block_length,
    cutoff_end_ms,
    luck_warnings,
    placebo,
    sharpe_interval,
)
from wonttrade_dagster.core.performance import YEAR_MS, sharpe_ratio

STEP_MS = 900_000
DAY_MS = 86_400_000


def points_of(returns: npt.NDArray[np.float64], step_ms: int = STEP_MS) -> list[tuple[int, float]]:
    values = 10_000.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    return [(i * step_ms, float(value)) for i, value in enumerate(values)]


def following_returns(
    chance: np.random.Generator, count: int, follows: float, mean: float
) -> npt.NDArray[np.float64]:
    """Returns of deviation 0.001, each following the last one by the share ``follows``."""
    shocks, series = chance.standard_normal(count + 100) * np.sqrt(1 - follows**2), [0.0]
    for shock in shocks:
        series.append(follows * series[-1] + float(shock))
    return 0.001 * (np.array(series[-count:]) + mean)


def gains(sides: npt.NDArray[np.int_], moves: npt.NDArray[np.float64], symbol: str = "BTC") -> pl.DataFrame:
    rows = [
        (i * STEP_MS, symbol, int(s), float(m)) for i, (s, m) in enumerate(zip(sides, moves, strict=True))
    ]
    return pl.DataFrame(rows, schema=dict(GAIN_SCHEMA), orient="row")


# --- the interval ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "follows"), [(400, 0.0), (400, 0.3), (120, 0.0), (800, -0.2)])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(count: int, follows: float) -> None:
    chance, mean, held, runs = np.random.default_rng(11), 0.05, 0, 300
    true = mean * np.sqrt(YEAR_MS / STEP_MS)
    for seed in range(runs):
        found = sharpe_interval(
            points_of(following_returns(chance, count, follows, mean)), seed=seed, resamples=300
        )
        assert found is not None
        held += found.low <= true <= found.high
    assert 0.88 <= held / runs <= 0.985


@given(st.integers(0, 2**32 - 1), st.integers(MIN_RETURNS, 300))
@settings(max_examples=25, deadline=None)
def test_the_same_seed_gives_the_same_interval_around_the_ratio(seed: int, count: int) -> None:
    points = points_of(np.random.default_rng(seed).normal(0.0001, 0.001, count))
    found = sharpe_interval(points, seed=seed, resamples=200)
    assert found == sharpe_interval(points, seed=seed, resamples=200)
    assert found is not None
    assert found.sharpe == sharpe_ratio(points)
    assert found.low < found.sharpe < found.high
    assert found.returns == count
    other = sharpe_interval(points, seed=seed + 1, resamples=200)
    assert other is not None
    assert (other.low, other.high) != (found.low, found.high)


@given(st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_a_slower_clock_scales_the_interval_as_it_scales_the_ratio(factor: float) -> None:
    returns = np.random.default_rng(3).normal(0.0002, 0.001, 100)
    fast = sharpe_interval(points_of(returns), seed=1, resamples=200)
    slow = sharpe_interval(points_of(returns, round(STEP_MS * 4)), seed=1, resamples=200)
    assert fast is not None
    assert slow is not None
    assert fast.low == pytest.approx(2 * slow.low)
    scaled = points_of(returns)
    rich = sharpe_interval([(t, v * factor) for t, v in scaled], seed=1, resamples=200)
    assert rich is not None
    assert rich.high == pytest.approx(fast.high)


def test_no_interval_without_enough_returns_variance_or_money() -> None:
    returns = np.random.default_rng(1).normal(0, 0.001, MIN_RETURNS)
    assert sharpe_interval(points_of(returns), seed=1) is not None
    assert sharpe_interval(points_of(returns[1:]), seed=1) is None
    assert sharpe_interval(points_of(np.zeros(200)), seed=1) is None
    assert sharpe_interval(points_of(np.full(200, 0.001)), seed=1) is None
    assert sharpe_interval([], seed=1) is None
    ruined = [*points_of(returns), (10**9, 0.0), (10**9 + STEP_MS, 5.0)]
    assert sharpe_interval(ruined, seed=1) is None


def test_no_interval_for_a_run_that_moved_once() -> None:
    once = np.zeros(300)
    once[100] = 0.01
    assert sharpe_ratio(points_of(once)) is not None
    assert sharpe_interval(points_of(once), seed=1) is None


def test_returns_that_follow_each_other_are_drawn_in_longer_blocks_and_give_a_wider_interval() -> None:
    chance = np.random.default_rng(5)
    alone, following = (
        [block_length(following_returns(chance, 1_000, follows, 0.0)) for _ in range(40)]
        for follows in (0.0, 0.6)
    )
    assert np.median(alone) < 3
    assert np.median(following) > 8
    trending = following_returns(chance, 1_000, 0.6, 0.05)
    widths = []
    for series in (trending, chance.permutation(trending)):
        found = sharpe_interval(points_of(series), seed=1)
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[0] > 1.4 * widths[1]


@pytest.mark.parametrize("follows", [0.3, 0.5])
def test_the_block_length_is_the_best_one_where_that_is_known(follows: float) -> None:
    """An AR(1) has Σ|k|R(k) / ΣR(k) = 2φ/(1 − φ²), and the best length is ((2φ/(1 − φ²))²·n)^⅓."""
    chance, count = np.random.default_rng(6), 10_000
    best = ((2 * follows / (1 - follows**2)) ** 2 * count) ** (1 / 3)
    found = [block_length(following_returns(chance, count, follows, 0.0)) for _ in range(20)]
    assert np.median(found) == pytest.approx(best, rel=0.12)


@given(st.integers(2, 400), st.integers(0, 1_000))
@settings(max_examples=60, deadline=None)
def test_the_block_length_stays_within_its_bounds(count: int, seed: int) -> None:
    returns = np.random.default_rng(seed).standard_t(2, count) * 0.001
    assert 1.0 <= block_length(returns) <= max(np.ceil(min(3 * np.sqrt(count), count / 3)), 1)


# --- the placebo -----------------------------------------------------------------------------------


@pytest.mark.parametrize("holding", [1, 12])
def test_a_strategy_that_knows_nothing_has_uniform_p_values(holding: int) -> None:
    """Sides that have nothing to do with the moves, each held for ``holding`` cycles; moves in bursts."""
    chance, values = np.random.default_rng(17), []
    for seed in range(300):
        sides = np.repeat(chance.integers(-1, 2, 360 // holding), holding)
        bursts = np.repeat(np.exp(chance.normal(0, 0.7, 30)), 12)
        found = placebo(gains(sides, chance.normal(0, 1, 360) * bursts), seed=seed, shuffles=99)
        assert found is not None
        values.append(found.p_value)
    ordered = np.sort(values)
    uniform = (np.arange(300) + 0.5) / 300
    assert np.abs(ordered - uniform).max() < 1.63 / np.sqrt(300) + 0.01  # Kolmogorov-Smirnov at 1 %


def test_who_knows_the_next_move_is_found_out_and_who_knows_it_wrongly_too() -> None:
    moves = np.random.default_rng(2).normal(0, 1, 200)
    sides = np.where(moves > 0, 1, -1)
    knowing, wrong = placebo(gains(sides, moves), seed=1), placebo(gains(-sides, moves), seed=1)
    assert knowing is not None
    assert wrong is not None
    assert knowing.p_value == 1 / 1_001
    assert knowing.earned_usd == pytest.approx(np.abs(moves).sum())
    assert wrong.p_value == 1.0
    assert knowing.median_usd < knowing.high_usd < knowing.earned_usd


def test_being_long_in_a_bull_market_is_no_skill() -> None:
    chance = np.random.default_rng(4)
    moves = chance.normal(0.5, 1, 500)
    sides = np.where(chance.random(500) < 0.9, 1, 0)
    found = placebo(gains(sides, moves), seed=1)
    assert found is not None
    assert found.earned_usd > 0
    assert found.p_value > 0.05


def test_one_side_all_the_time_leaves_nothing_to_shuffle() -> None:
    moves = np.random.default_rng(1).normal(0, 1, 50)
    assert placebo(gains(np.ones(50, dtype=int), moves), seed=1) is None
    assert placebo(pl.DataFrame(schema=dict(GAIN_SCHEMA)), seed=1) is None


def test_coins_that_move_together_are_shuffled_together() -> None:
    """Twice the same bet is one bet of twice the size: the p-value stays what it was."""
    chance = np.random.default_rng(8)
    sides, moves = chance.integers(-1, 2, 120), chance.normal(0, 1, 120)
    one = gains(sides, moves)
    both = pl.concat([one, gains(sides, moves, "ETH")])
    single, twin = placebo(one, seed=5), placebo(both, seed=5)
    assert single is not None
    assert twin is not None
    assert twin.p_value == single.p_value
    assert twin.median_usd == pytest.approx(2 * single.median_usd)


@given(
    st.lists(st.tuples(st.integers(-1, 1), st.floats(-1e4, 1e4)), min_size=1, max_size=60), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_a_p_value_is_a_share_and_repeats_with_its_seed(rows: list[tuple[int, float]], seed: int) -> None:
    sides, moves = np.array([s for s, _ in rows]), np.array([m for _, m in rows])
    found = placebo(gains(sides, moves), seed=seed, shuffles=50)
    assert found == placebo(gains(sides, moves), seed=seed, shuffles=50)
    if found is None:
        assert len(set(sides.tolist())) == 1
    else:
        assert 1 / 51 <= found.p_value <= 1


# --- the warnings ----------------------------------------------------------------------------------


def test_the_day_of_the_cutoff_is_known_to_its_end() -> None:
    assert cutoff_end_ms(date(1970, 1, 1)) == DAY_MS
    day = cutoff_end_ms(date(2025, 6, 1))
    assert luck_warnings(day, day + DAY_MS, date(2025, 6, 1), 30) == ()
    (inside,) = luck_warnings(day - DAY_MS, day, date(2025, 6, 1), 30)
    assert inside.startswith("The whole range lies before the end of the model's knowledge (2025-06-01)")
    (partly,) = luck_warnings(day - DAY_MS, day + 1, date(2025, 6, 1), 30)
    assert partly.startswith("A part of the range lies")
    assert luck_warnings(0, DAY_MS, None, 30) == ()


def test_few_trades_are_named_with_their_number() -> None:
    for closed, following in pairwise(range(28, 33)):
        said = luck_warnings(0, DAY_MS, None, closed)
        assert (f"Only {closed} round trips" in " ".join(said)) == (closed < 30)
        assert len(luck_warnings(0, DAY_MS, None, following)) == (following < 30)
