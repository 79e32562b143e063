"""A range cut into windows: disjoint, complete, cut as Dagster cuts a backfill; and figures over them."""

from datetime import date, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.automation_tick_evaluation_context import (
    _build_run_requests_with_backfill_policy,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.shards import Distribution, Window, distribution, longest_chain, windows_of

FIRST = date(2025, 6, 1)
DAYS = st.sets(st.integers(0, 40), min_size=1).map(
    lambda numbers: [(FIRST + timedelta(days=n)).isoformat() for n in sorted(numbers)]
)


def june(first: int, last: int) -> Window:
    return Window(f"2025-06-{first:02}", f"2025-06-{last:02}")


@pytest.mark.parametrize(
    ("shard_days", "expected"),
    [
        (0, [june(1, 5)]),
        (2, [june(1, 2), june(3, 4), june(5, 5)]),
        (5, [june(1, 5)]),
        (9, [june(1, 5)]),
    ],
)
def test_a_range_is_cut_from_its_first_day_on(shard_days: int, expected: list[Window]) -> None:
    assert list(windows_of(june(1, 5).days, shard_days)) == expected


def test_days_that_do_not_follow_each_other_are_never_in_one_window() -> None:
    days = [*june(7, 9).days, *june(1, 3).days, "2025-06-02"]
    assert windows_of(days, 0) == (june(1, 3), june(7, 9))
    assert windows_of(days, 2) == (june(1, 2), june(3, 3), june(7, 8), june(9, 9))
    assert windows_of([], 2) == ()


def test_what_is_no_day_or_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shard_days is -1"):
        windows_of(["2025-06-01"], -1)
    with pytest.raises(ValueError, match="isoformat"):
        windows_of(["June"], 1)


def test_a_window_knows_its_times_and_cycles() -> None:
    window = june(1, 2)
    assert (window.to_ms - window.from_ms) == 2 * 86_400_000
    assert window.from_ms == 1_748_736_000_000
    assert window.cycles(15) == 192


@given(DAYS, st.integers(0, 9))
def test_windows_hold_every_day_once_in_order(days: list[str], shard_days: int) -> None:
    windows = windows_of(days, shard_days)
    assert [day for window in windows for day in window.days] == days
    if shard_days:
        assert all(len(window.days) <= shard_days for window in windows)


@settings(deadline=None, max_examples=50)
@given(DAYS, st.integers(1, 9))
def test_dagster_cuts_a_backfill_into_the_same_windows(days: list[str], shard_days: int) -> None:
    """A backfill of the UI is cut by Dagster: a run has to find its own window among ours."""
    partitions = dg.DailyPartitionsDefinition("2025-01-01", timezone="UTC", end_date="2026-01-01")
    with dg.DagsterInstance.ephemeral() as instance:
        requests = _build_run_requests_with_backfill_policy(
            asset_keys=[dg.AssetKey("a")],
            asset_check_keys=[],
            backfill_policy=dg.BackfillPolicy.multi_run(shard_days),
            partition_keys=frozenset(days),
            partitions_def=partitions,
            tags={},
            dynamic_partitions_store=instance,
        )
    cut = {
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"])
        for r in requests
    }
    assert cut == {(window.first_day, window.last_day) for window in windows_of(days, shard_days)}


def test_the_distribution_names_the_worst_by_the_kind_of_figure() -> None:
    values = [0.1, -0.2, None, 0.3, 0.0]
    assert distribution(values) == Distribution(4, 0.05, pytest.approx(-0.05), pytest.approx(0.15), -0.2, 0.3)
    drawdowns = distribution([0.1, 0.4], is_more_better=False)
    assert drawdowns is not None
    assert (drawdowns.worst, drawdowns.best) == (0.4, 0.1)
    assert distribution([None, None]) is None


@pytest.mark.parametrize(
    ("lengths", "places", "expected"),
    [
        ([10, 10, 10, 10], 4, 10),
        ([10, 10, 10, 10], 2, 20),
        ([10, 10, 10, 10], 3, 20),
        ([7], 4, 7),
        ([9, 1, 1], 2, 9),
    ],
)
def test_the_longest_chain_is_that_of_the_busiest_place(
    lengths: list[int], places: int, expected: int
) -> None:
    assert longest_chain(lengths, places) == expected
