"""StateLoader: failures and emptiness as values, and performance from report to report."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from fakes import ScriptedMarket
from hypothesis import given
from hypothesis import strategies as st
from paper_venue import ManualClock, PaperVenue
from trader_samples import CYCLE_MS, FLAT, PERFORMANCE, market

from wonttrade_dagster.core.errors import HistoryError, VenueAnswerError, VenueError, VenueUnavailableError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    CycleReport,
    Fill,
    MarketSnapshot,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.state import StateLoader, performance_at

D = Decimal


def loader(feed: ScriptedMarket | None = None, venue: PaperVenue | None = None) -> StateLoader:
    return StateLoader(feed or ScriptedMarket(market()), venue or PaperVenue(), 30_000)


def fill(time_ms: int) -> Fill:
    return Fill("BTC", time_ms, D(1), D(1), D("0.1"), D(0), 1, time_ms, "Open Long")


@pytest.mark.parametrize("age_ms", [0, 30_000])
def test_a_market_within_its_age_is_handed_on(age_ms: int) -> None:
    feed = ScriptedMarket(market())
    feed.age_ms = age_ms
    assert isinstance(loader(feed).market(CYCLE_MS), MarketSnapshot)


def test_a_market_a_millisecond_too_old_is_stale_and_names_the_setting() -> None:
    feed = ScriptedMarket(market())
    feed.age_ms = 30_001
    failure = loader(feed).market(CYCLE_MS)
    assert isinstance(failure, StageFailure)
    assert (failure.stage, failure.reason) == (Stage.MARKET_SNAPSHOTS, "market_stale")
    assert "resilience.max_market_age_seconds" in failure.detail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (VenueUnavailableError("no answer"), "venue_unavailable"),
        (VenueAnswerError("HTML"), "venue_unavailable"),
        (HistoryError("BTC 5m: 3 candles are missing"), "history_missing"),
    ],
)
def test_a_market_that_cannot_be_had_becomes_a_named_failure(error: VenueError, reason: str) -> None:
    feed = ScriptedMarket(market())
    feed.failure = error
    failure = loader(feed).market(CYCLE_MS)
    assert failure == StageFailure(Stage.MARKET_SNAPSHOTS, reason, str(error))


def test_an_account_that_cannot_be_read_becomes_a_named_failure() -> None:
    venue = PaperVenue()
    venue.is_readable = False
    failure = loader(venue=venue).account()
    assert failure == StageFailure(Stage.ACCOUNT_SNAPSHOTS, "venue_unavailable", "no answer")


@pytest.mark.parametrize("value", ["0", "-3.5"])
def test_an_account_without_value_is_not_traded(value: str) -> None:
    class Empty(PaperVenue):
        def account(self) -> AccountSnapshot:
            return replace(super().account(), account_value_usd=D(value))

    failure = loader(venue=Empty()).account()
    assert isinstance(failure, StageFailure)
    assert failure.reason == "account_without_equity"
    assert value in failure.detail


def test_a_programming_error_is_not_swallowed() -> None:
    feed = ScriptedMarket(market())
    feed.failure = TypeError("a bug")
    with pytest.raises(TypeError):
        loader(feed).market(CYCLE_MS)


@given(times=st.lists(st.integers(0, 1_000), max_size=20), cuts=st.lists(st.integers(0, 1_001), max_size=6))
def test_windows_that_follow_each_other_book_every_fill_exactly_once(
    times: list[int], cuts: list[int]
) -> None:
    venue = PaperVenue(ManualClock())
    venue.booked = [fill(time_ms) for time_ms in sorted(times)]
    bounds = [0, *sorted(cuts), 1_001]
    booked = [
        f.time_ms
        for since, until in pairwise(bounds)
        for f in loader(venue=venue).activity(since, until).fills
    ]
    assert booked == sorted(times)


# --- performance -----------------------------------------------------------------------------------


def report(**changes: object) -> CycleReport:
    plain = CycleReport(CYCLE_MS, "applied", "applied", "", D(1), 0, 0, None, CYCLE_MS)
    return replace(plain, **changes)


@pytest.mark.parametrize("last", [None, report()])
def test_the_first_cycle_writes_the_opening_equity(last: CycleReport | None) -> None:
    first = performance_at(FLAT, last, CYCLE_MS)
    assert (first.opening_equity_usd, first.return_fraction, first.sharpe) == (
        FLAT.account_value_usd,
        0.0,
        None,
    )
    assert (first.started_at_ms, first.invocations) == (CYCLE_MS, 1)


@given(value=st.decimals("0.01", "1000000", places=2))
def test_later_cycles_keep_the_opening_and_take_the_return_from_the_value_now(value: Decimal) -> None:
    now = performance_at(
        replace(FLAT, account_value_usd=value), report(performance=PERFORMANCE), CYCLE_MS + 1
    )
    assert now.opening_equity_usd == PERFORMANCE.opening_equity_usd
    assert now.started_at_ms == PERFORMANCE.started_at_ms
    assert (now.fees_usd, now.funding_usd) == (PERFORMANCE.fees_usd, PERFORMANCE.funding_usd)
    assert now.invocations == PERFORMANCE.invocations + 1
    assert now.return_fraction == pytest.approx(float(value) / 25_000 - 1)
