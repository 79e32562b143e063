import math
import random
from decimal import Decimal
from itertools import accumulate

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.model import EquityPoint, ExecutionReport, Fill, ReturnSums
from wonttrade_dagster.core.performance import (
    EQUITY_SCHEMA,
    FILL_SCHEMA,
    YEAR_MS,
    Unprotected,
    drawdown_series,
    equity_frame,
    fills_frame,
    max_drawdown,
    performance_figures,
    return_sums,
    sharpe_of,
    sharpe_ratio,
    total_return,
    unprotected_summary,
    with_point,
)

STEP_MS = 900_000
VALUES = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=60)


def curve(values: list[float], step_ms: int = STEP_MS) -> pl.DataFrame:
    rows = [(i * step_ms, value) for i, value in enumerate(values)]
    return pl.DataFrame(rows, schema=EQUITY_SCHEMA, orient="row")


def points(values: list[float], step_ms: int = STEP_MS) -> list[tuple[int, float]]:
    return [(i * step_ms, value) for i, value in enumerate(values)]


def no_fills() -> pl.DataFrame:
    return pl.DataFrame(schema=FILL_SCHEMA)


def fill(time_ms: int, size: str, px: str, direction: str = "Open Long", oid: int = 1) -> Fill:
    return Fill(
        "BTC", time_ms, Decimal(px), Decimal(size), Decimal("0.5"), Decimal(0), oid, time_ms, direction
    )


def test_sharpe_equals_the_textbook_formula_for_a_known_curve() -> None:
    values = [100.0, 101.0, 100.5, 102.0]
    returns = [1.01 / 1 - 1, 100.5 / 101 - 1, 102 / 100.5 - 1]
    mean = sum(returns) / 3
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / 2)
    expected = mean / deviation * math.sqrt(YEAR_MS / STEP_MS)
    assert sharpe_ratio(points(values)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "values",
    [[], [100.0], [100.0, 101.0], [100.0] * 20, [100.0 * 1.01**i for i in range(20)], [100.0, 0.0, 5.0, 6.0]],
    ids=["nothing", "one point", "one return", "flat", "constant growth", "worth nothing on the way"],
)
def test_sharpe_is_absent_where_it_is_not_defined(values: list[float]) -> None:
    assert sharpe_ratio(points(values)) is None


@given(
    cents=st.lists(st.integers(-100, 10_000_000), min_size=1, max_size=80),
    steps_ms=st.lists(st.integers(0, 10**9), min_size=80, max_size=80),
)
def test_sharpe_from_running_sums_is_that_of_the_whole_series(cents: list[int], steps_ms: list[int]) -> None:
    times = accumulate(steps_ms[: len(cents)])
    series = [(time_ms, cent / 100) for time_ms, cent in zip(times, cents, strict=True)]
    for length in range(1, len(series) + 1):
        whole = sharpe_ratio(series[:length])
        expected = whole if whole is None else pytest.approx(whole, rel=1e-9, abs=1e-9)
        assert sharpe_of(return_sums(series[:length])) == expected


def test_sharpe_from_running_sums_stays_exact_over_a_backtest_of_three_months() -> None:
    draws, values = random.Random(7), [10_000.0]
    for _ in range(8_640):
        values.append(values[-1] * (1 + draws.gauss(1e-6, 1e-3)))
    sums = return_sums(points(values[:1]))
    for time_ms, value in points(values)[1:]:
        sums = decode(ReturnSums, encode(with_point(sums, time_ms, value)))  # as it travels: in a report
    assert sharpe_of(sums) == pytest.approx(sharpe_ratio(points(values)), rel=1e-9)


def test_running_sums_of_a_known_curve_that_touches_nothing_stay_undefined() -> None:
    assert sharpe_of(return_sums(points([100.0, 101.0, 0.0]))) is not None
    assert sharpe_of(return_sums(points([100.0, 101.0, 0.0, 5.0, 6.0, 5.0]))) is None
    assert sharpe_of(return_sums(points([100.0, 100.0, 100.0]))) is None


def test_sharpe_of_a_curve_without_elapsed_time_is_absent() -> None:
    assert sharpe_ratio([(5, 100.0), (5, 101.0), (5, 99.0)]) is None


@given(VALUES, st.floats(0.01, 1e3))
@settings(max_examples=80)
def test_scaling_the_account_changes_no_ratio(values: list[float], factor: float) -> None:
    scaled = [value * factor for value in values]
    assert total_return(points(scaled)) == pytest.approx(total_return(points(values)), rel=1e-9, abs=1e-9)
    assert max_drawdown(curve(scaled)).fraction == pytest.approx(
        max_drawdown(curve(values)).fraction, abs=1e-9
    )
    before, after = sharpe_ratio(points(values)), sharpe_ratio(points(scaled))
    assert (before is None) == (after is None)
    if before is not None:
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


@given(st.lists(st.floats(50.0, 150.0), min_size=5, max_size=40, unique=True), st.integers(2, 50))
@settings(max_examples=50)
def test_sampling_k_times_slower_divides_sharpe_by_the_root_of_k(values: list[float], k: int) -> None:
    fast, slow = sharpe_ratio(points(values)), sharpe_ratio(points(values, STEP_MS * k))
    assert slow is not None
    assert fast == pytest.approx(slow * math.sqrt(k), rel=1e-9, abs=1e-9)


@given(VALUES)
@settings(max_examples=80)
def test_drawdown_lies_between_zero_and_one_and_is_zero_at_every_new_peak(values: list[float]) -> None:
    series = drawdown_series(curve(values))["drawdown_fraction"].to_list()
    assert all(0.0 <= depth < 1.0 for depth in series)
    peak = 0.0
    for value, depth in zip(values, series, strict=True):
        peak = max(peak, value)
        assert depth == pytest.approx(1 - value / peak, abs=1e-12)
    deepest = max_drawdown(curve(values))
    assert deepest.fraction == max(series)
    assert deepest.peak_ms <= deepest.trough_ms <= deepest.peak_ms + deepest.length_ms


def test_the_deepest_drawdown_is_dated_from_its_peak_to_its_recovery() -> None:
    found = max_drawdown(curve([100, 110, 99, 104.5, 110, 111, 109]))
    assert found.fraction == pytest.approx(0.1)
    assert [t // STEP_MS for t in (found.peak_ms, found.trough_ms, found.recovered_ms or 0)] == [1, 2, 4]
    assert found.length_ms == 3 * STEP_MS


def test_a_drawdown_that_never_recovers_lasts_to_the_end() -> None:
    found = max_drawdown(curve([100, 90, 95, 97]))
    assert (found.recovered_ms, found.length_ms) == (None, 3 * STEP_MS)


def test_an_empty_curve_has_no_drawdown_and_no_figures() -> None:
    assert max_drawdown(curve([])).fraction == 0.0
    assert total_return([]) is None
    with pytest.raises(ValueError, match="at least one point"):
        performance_figures(curve([]), no_fills())


def test_an_account_that_did_nothing_has_figures_without_inventing_any() -> None:
    figures = performance_figures(curve([100.0] * 10), no_fills())
    assert (figures.total_return_fraction, figures.sharpe, figures.win_fraction) == (0.0, None, None)
    assert (figures.fees_usd, figures.exposure_fraction, figures.mean_holding_ms) == (0.0, 0.0, None)


def test_figures_of_one_trade_add_up() -> None:
    fills = fills_frame(
        [fill(0, "1", "100"), fill(2 * STEP_MS, "-1", "110", "Close Long", oid=2)], {2: "take_profit"}
    )
    figures = performance_figures(curve([100, 100, 110, 110, 110]), fills, funding_usd=0.25)
    assert figures.traded_usd == 210.0
    assert figures.turnover_fraction == pytest.approx(210 / 106)
    assert (figures.fees_usd, figures.funding_usd) == (1.0, 0.25)
    assert (figures.round_trips, figures.take_profit_fraction, figures.stop_fraction) == (1, 1.0, 0.0)
    assert figures.exposure_fraction == pytest.approx(0.5)
    assert figures.mean_holding_ms == 2 * STEP_MS


def test_records_become_frames_in_order() -> None:
    frame = equity_frame([EquityPoint(1, Decimal("10.5")), EquityPoint(2, Decimal(11))])
    assert frame.rows() == [(1, 10.5), (2, 11.0)]


@pytest.mark.parametrize(
    ("direction", "purpose"),
    [
        ("Open Short", "open"),
        ("Close Long", "close"),
        ("Long > Short", "trade"),
        ("Liquidated Cross Long", "liquidation"),
    ],
)
def test_the_venues_direction_names_a_purpose_where_no_other_is_known(direction: str, purpose: str) -> None:
    assert fills_frame([fill(0, "1", "100", direction)])["purpose"].to_list() == [purpose]


def test_a_purpose_known_by_client_order_id_wins() -> None:
    known = Fill("BTC", 1, Decimal(1), Decimal(1), Decimal(0), Decimal(0), 9, 9, "Close Long", cloid="0xab")
    assert fills_frame([known], {"0xab": "stop_loss"})["purpose"].to_list() == ["stop_loss"]


def test_unprotected_seconds_are_summed_over_all_executions() -> None:
    reports = [
        ExecutionReport(1, (), unprotected_seconds=(("BTC", 0.5), ("ETH", 1.25))),
        ExecutionReport(2, ()),
        ExecutionReport(3, (), unprotected_seconds=(("BTC", 0.25),)),
    ]
    assert unprotected_summary(reports) == Unprotected(3, 2.0, 1.25)
    assert unprotected_summary([]) == Unprotected()
