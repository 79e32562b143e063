"""Was it luck? What a run's returns and sides can say about chance, and what they cannot.

Belongs here: the interval around a Sharpe ratio, the placebo, the warnings.
Does not belong here: the plain figures (``core.performance``), other costs (``core.repricing``), wording.

Every draw comes from the seed that is handed in: the same run gives the same figures. What is not defined is
None, never 0. Sources: Politis & Romano, "The stationary bootstrap" (1994); Politis & White, "Automatic
block-length selection" (2004), corrected by Patton, Politis & White (2009); Phipson & Smyth, "Permutation
p-values should never be zero" (2010).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from wonttrade_dagster.core.performance import NO_VARIANCE, YEAR_MS, sharpe_ratio

Floats = npt.NDArray[np.float64]

MIN_RETURNS = 50
"""Below it the interval is too narrow. Measured: a 95 % interval over 400 returns holds the true ratio in
95 % of the cases (90 % where each return follows the last one by half), over 50 in 93 % (83 %), over 30 in
92 % (74 %)."""

MIN_ROUND_TRIPS = 30
"""Fewer closed trades than that tell next to nothing about a win rate."""

RESAMPLES = 2_000
SHUFFLES = 1_000
_FEWEST = 200
"""Draws of the longest runs, see :func:`_draws`."""

_WORK = 40_000_000
"""Draws times length at most: more take longer and tell no more, as the length itself narrows them."""

_CHUNK = 1_000_000
"""Numbers held at once."""


@dataclass(frozen=True, slots=True)
class SharpeInterval:
    """Where the Sharpe ratio of the process behind a run may lie.

    Attributes:
        sharpe: of the run, annualised by its sampling.
        low: lower end.
        high: upper end.
        confidence: share of such intervals that hold the true ratio, if the past goes on as it was.
        returns: how many returns it rests on.
        block_length: mean length of the blocks that were drawn, in returns.
        resamples: series drawn.
    """

    sharpe: float
    low: float
    high: float
    confidence: float
    returns: int
    block_length: float
    resamples: int


@dataclass(frozen=True, slots=True)
class Placebo:
    """The same account with its sides dealt out to the cycles in random order.

    Attributes:
        p_value: share of the shuffles that earned at least as much, the run itself counted as one of them.
        earned_usd: by the run, at prices before slippage, without fees and funding.
        median_usd: earned by the shuffles in the middle.
        high_usd: what only one shuffle in twenty earned.
        shuffles: how many there were.
    """

    p_value: float
    earned_usd: float
    median_usd: float
    high_usd: float
    shuffles: int


def sharpe_interval(
    points: Sequence[tuple[int, float]], *, seed: int, resamples: int = RESAMPLES, confidence: float = 0.95
) -> SharpeInterval | None:
    """The Sharpe ratio with its percentile interval by the stationary bootstrap.

    Returns are drawn in blocks of random length, so that a series that follows itself stays one; the mean
    length is chosen by :func:`block_length`.

    Args:
        points: ``(time_ms, account value)``, oldest first.
        seed: of the draws.
        resamples: series drawn; fewer for very long runs.
        confidence: between 0 and 1.

    Returns:
        None below ``MIN_RETURNS`` returns, where the ratio is not defined, and where more than a tenth of
        the resamples have no variance (a run that was hardly ever in the market).
    """
    sharpe = sharpe_ratio(points)
    count = len(points) - 1
    if sharpe is None or count < MIN_RETURNS:
        return None
    values = np.array([value for _, value in points])
    returns = values[1:] / values[:-1] - 1.0
    mean_length = block_length(returns)
    drawn = _draws(resamples, count)
    ratios = _resampled(returns, mean_length, drawn, np.random.default_rng(seed))
    if ratios.size < 0.9 * drawn:
        return None
    a_year = math.sqrt(YEAR_MS * count / (points[-1][0] - points[0][0]))
    low, high = np.quantile(ratios * a_year, [(1 - confidence) / 2, (1 + confidence) / 2])
    return SharpeInterval(sharpe, float(low), float(high), confidence, count, mean_length, drawn)


def block_length(returns: Floats) -> float:
    """The mean block length for the stationary bootstrap, by the rule of Politis & White as corrected.

    The autocovariances up to twice the last lag of note, weighted by a flat-top window, balance bias against
    variance: about ``n`` to the third, and 1 for returns that do not follow each other.

    Args:
        returns: at least two, with variance.
    """
    n = returns.size
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    lags = min(math.ceil(math.sqrt(n)) + run, n - 1)
    centred = returns - returns.mean()
    covariance = np.array([centred[: n - k] @ centred[k:] / n for k in range(lags + 1)])
    if covariance[0] <= NO_VARIANCE**2:
        return 1.0
    noted = np.abs(covariance / covariance[0]) >= 2.0 * math.sqrt(math.log10(n) / n)
    reach = min(2 * max(_last_noted(noted[1:], run), 1), lags)
    k = np.arange(1, reach + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - k / reach)) * covariance[1 : reach + 1]
    slope, level = 2.0 * float((weight * k).sum()), float(covariance[0] + 2.0 * weight.sum())
    if level <= 0:
        return 1.0
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    return float(min(max(math.cbrt(slope**2 / level**2 * n), 1.0), longest))


def _last_noted(noted: npt.NDArray[np.bool_], run: int) -> int:
    """The lag before the first ``run`` lags of no note; the last one of note where there is no such run."""
    for lag in range(noted.size - run + 1):
        if not noted[lag : lag + run].any():
            return lag
    found = np.flatnonzero(noted)
    return int(found[-1]) + 1 if found.size else 0


def _draws(wanted: int, length: int) -> int:
    return min(wanted, max(_FEWEST, _WORK // max(length, 1)))


def _resampled(returns: Floats, mean_length: float, resamples: int, chance: np.random.Generator) -> Floats:
    """Ratio of mean to deviation of each resample that has variance; the series is a circle."""
    n, mean = returns.size, float(returns.mean())
    centred = np.tile(returns - mean, 2)
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    blocks = min(n, math.ceil(n / mean_length + 6.0 * math.sqrt(n / mean_length) + 10.0))
    rows = max(1, _CHUNK // blocks)
    ratios = []
    for begin in range(0, resamples, rows):
        shape = (min(rows, resamples - begin), blocks)
        ends = np.minimum(np.cumsum(chance.geometric(1.0 / mean_length, shape), axis=1), n)
        ends[:, -1] = n
        starts = chance.integers(0, n, shape)
        stops = starts + np.diff(ends, axis=1, prepend=0)
        total = (sums[stops] - sums[starts]).sum(axis=1)
        spread = (squares[stops] - squares[starts]).sum(axis=1) - total**2 / n
        deviation = np.sqrt(np.maximum(spread, 0.0) / (n - 1))
        has_variance = deviation > NO_VARIANCE
        ratios.append((mean + total / n)[has_variance] / deviation[has_variance])
    return np.concatenate(ratios)


def placebo(gains: pl.DataFrame, *, seed: int, shuffles: int = SHUFFLES) -> Placebo | None:
    """Deal the run's sides (long, short, flat) out to its cycles again and again.

    Each cycle keeps its time and its size; only which side was held when is shuffled, for all symbols in the
    same order, so that coins that move together stay together. What a run knew about the moment is gone,
    what it knew about the range (mostly long in a bull market) stays. Costs are left out on both sides of the
    comparison: a shuffled account would trade far more often.

    Args:
        gains: ``core.attribution.GAIN_SCHEMA``, the same cycles for every symbol.
        seed: of the shuffles.
        shuffles: how many; fewer for very long runs.

    Returns:
        None where every symbol was on one side all the time: there is nothing to shuffle.
    """
    by_symbol = [
        (frame["side"].to_numpy().astype(np.float64), frame["move_usd"].to_numpy())
        for frame in gains.sort("symbol", "time_ms").partition_by("symbol")
    ]
    by_symbol = [(sides, moves) for sides, moves in by_symbol if np.unique(sides).size > 1]
    if not by_symbol:
        return None
    cycles = by_symbol[0][0].size
    drawn, chance = _draws(shuffles, cycles), np.random.default_rng(seed)
    earned = math.fsum(float(sides @ moves) for sides, moves in by_symbol)
    shuffled = np.array([_shuffled_usd(by_symbol, chance.permutation(cycles)) for _ in range(drawn)])
    rounding = 1e-12 * math.fsum(float(np.abs(moves).sum()) for _, moves in by_symbol)
    as_good = int((shuffled >= earned - rounding).sum())
    median, high = np.quantile(shuffled, [0.5, 0.95])
    return Placebo((1 + as_good) / (1 + drawn), earned, float(median), float(high), drawn)


def _shuffled_usd(by_symbol: Sequence[tuple[Floats, Floats]], order: npt.NDArray[np.int64]) -> float:
    # Not the dot product: its threads wait for each other longer than the sum takes.
    return math.fsum(float((sides[order] * moves).sum()) for sides, moves in by_symbol)


def cutoff_end_ms(cutoff: date) -> int:
    """The end of the last day that a model may know."""
    midnight = datetime.combine(cutoff, time(), tzinfo=UTC)
    return int((midnight + timedelta(days=1)).timestamp()) * 1000


def luck_warnings(from_ms: int, to_ms: int, cutoff: date | None, closed_trades: int) -> tuple[str, ...]:
    """Why the figures of a range may mean less than they seem, a sentence each.

    Args:
        from_ms: first decision time.
        to_ms: end of the range, excluded.
        cutoff: the last day that the model's training may have seen, None where nobody said.
        closed_trades: round trips that ended.
    """
    said = []
    if cutoff is not None and from_ms < (known_ms := cutoff_end_ms(cutoff)):
        much = "The whole range lies" if to_ms <= known_ms else "A part of the range lies"
        said.append(
            f"{much} before the end of the model's knowledge ({cutoff.isoformat()}): it may remember what "
            "came next, and the result then says nothing about days that it does not know."
        )
    if closed_trades < MIN_ROUND_TRIPS:
        said.append(
            f"Only {closed_trades} round trips were closed, fewer than {MIN_ROUND_TRIPS}: "
            "figures of so few trades are mostly chance."
        )
    return tuple(said)
