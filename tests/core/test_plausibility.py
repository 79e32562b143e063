"""A market that cannot be right opens nothing, and keeps nothing else from running."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest
from desk import Desk
from fakes import ScriptedMarket
from hypothesis import given
from hypothesis import strategies as st
from paper_venue import PaperVenue
from trader_samples import CYCLE_MS, market

from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.model import Leg, MarketSnapshot, Stage, StageFailure, SymbolMarket
from wonttrade_dagster.core.plausibility import offences
from wonttrade_dagster.core.state import MOST_TOLD, StateLoader

D = Decimal
SYMBOLS = ("BTC", "ETH")
STEP_MS = 300_000


def changed(change: Callable[[SymbolMarket], SymbolMarket], at: int = 1) -> MarketSnapshot:
    """The sample market with one symbol changed."""
    snapshot = market()
    markets = list(snapshot.markets)
    markets[at] = change(markets[at])
    return replace(snapshot, markets=tuple(markets))


def with_candles(change: Callable[[pl.DataFrame], pl.DataFrame], window: str = "intraday") -> MarketSnapshot:
    def moved(one: SymbolMarket) -> SymbolMarket:
        series = getattr(one, window)
        return replace(one, **{window: replace(series, frame=change(series.frame))})

    return changed(moved)


def with_value(column: str, value: float | None, row: int = 7) -> MarketSnapshot:
    at = pl.int_range(pl.len()) == row
    return with_candles(
        lambda frame: frame.with_columns(
            pl.when(at).then(pl.lit(value, pl.Float64)).otherwise(pl.col(column)).alias(column)
        )
    )


def rules(snapshot: MarketSnapshot, limit: float = 0.5) -> list[tuple[str, str]]:
    return [(offence.rule, offence.symbol) for offence in offences(snapshot, SYMBOLS, limit)]


def test_a_market_as_it_should_be_offends_nobody() -> None:
    assert offences(market(), SYMBOLS, 0.5) == ()


def test_a_history_without_marks_is_believed_all_the_same() -> None:
    unknown = dict.fromkeys(("mid_px", "mark_px", "oracle_px", "funding_rate_hourly"))
    assert rules(changed(lambda one: replace(one, **unknown))) == []


@pytest.mark.parametrize(
    ("snapshot", "rule"),
    [
        (replace(market(), markets=market().markets[:1]), "symbol_absent"),
        (replace(market(), markets=(*market().markets, market().markets[1])), "symbol_absent"),
        (changed(lambda one: replace(one, funding_rate_hourly=0.0401)), "funding_out_of_range"),
        (changed(lambda one: replace(one, funding_rate_hourly=float("nan"))), "funding_out_of_range"),
        (with_candles(lambda f: f.clear(), "long_term"), "candles_absent"),
        (with_candles(lambda f: f.clear()), "candles_absent"),
        (with_candles(lambda f: f.head(-1)), "candles_old"),
        (with_candles(lambda f: f.filter(pl.int_range(pl.len()) != 9)), "candles_not_contiguous"),
        (with_candles(lambda f: pl.concat([f, f.tail(1)])), "candles_not_contiguous"),
        (
            with_candles(lambda f: f.with_columns(pl.col("open_time_ms") + STEP_MS)),
            "candle_from_the_future",
        ),
        (with_value("low", 1e9), "prices_out_of_order"),
        (with_value("close", 0.0), "prices_out_of_order"),
        (with_value("close", 1e9), "prices_out_of_order"),
        (with_value("open", 0.01), "prices_out_of_order"),
        (with_value("open", -5.0), "prices_out_of_order"),
        (with_value("high", float("nan")), "prices_out_of_order"),
        (with_value("volume", -1.0), "prices_out_of_order"),
        (with_value("volume", None), "prices_out_of_order"),
        (with_value("close", float("inf"), row=299), "prices_out_of_order"),
        (changed(lambda one: replace(one, mark_px=D("40000"))), "price_jump"),
        (changed(lambda one: replace(one, mid_px=D("0"))), "price_jump"),
        (changed(lambda one: replace(one, oracle_px=D("1000"))), "price_jump"),
    ],
)
def test_what_cannot_be_is_named_with_its_symbol(snapshot: MarketSnapshot, rule: str) -> None:
    assert rules(snapshot) == [(rule, "ETH")]


@given(st.floats(0.01, 10), st.floats(-1, 12).filter(lambda x: abs(x) > 1e-6))
def test_a_price_jumps_when_it_is_further_than_the_limit_and_only_then(limit: float, moved: float) -> None:
    close = market().markets[1].last_close_px
    mark = close * D(repr(1 + moved))
    found = rules(changed(lambda one: replace(one, mark_px=mark)), limit)
    is_beyond = abs(mark - close) > close * D(repr(limit)) or mark <= 0
    assert found == ([("price_jump", "ETH")] if is_beyond else [])


def test_an_implausible_market_is_a_named_failure_with_its_numbers() -> None:
    feed = ScriptedMarket(with_value("low", 1e9))
    failure = StateLoader(feed, PaperVenue(), 30_000, SYMBOLS, 0.5).market(CYCLE_MS)
    assert isinstance(failure, StageFailure)
    assert (failure.stage, failure.reason) == (Stage.MARKET_SNAPSHOTS, "market_implausible")
    assert "ETH 5m candle of" in failure.detail
    assert "low 1000000000.0" in failure.detail


def test_many_offences_are_told_in_part_and_counted() -> None:
    def ruined(one: SymbolMarket) -> SymbolMarket:
        px = D("999999999")
        empty = replace(one.long_term, frame=one.long_term.frame.clear())
        return replace(one, mark_px=px, mid_px=px, oracle_px=px, funding_rate_hourly=1.0, long_term=empty)

    both = replace(market(), markets=tuple(map(ruined, market().markets)))
    failure = StateLoader(ScriptedMarket(both), PaperVenue(), 30_000, SYMBOLS, 0.5).market(CYCLE_MS)
    assert isinstance(failure, StageFailure)
    assert failure.detail.endswith(f"(and {10 - MOST_TOLD} more)")


def test_a_loader_without_a_limit_hands_on_what_was_recorded() -> None:
    broken = with_value("low", 1e9)
    found = StateLoader(ScriptedMarket(broken), PaperVenue(), 30_000).market(CYCLE_MS)
    assert isinstance(found, MarketSnapshot)


class Believing(Desk):
    """A desk that judges its market."""

    def parts(self) -> CycleParts:
        state = StateLoader(self.market, self.venue, 30_000, SYMBOLS, 0.5)
        return replace(super().parts(), state=state)


def test_nothing_is_opened_on_an_implausible_market_and_a_missing_stop_is_put_back() -> None:
    desk = Believing()
    assert desk.cycle().outcome == "applied"
    calls, size = len(desk.model.prompts), desk.venue.account().size_base("BTC")
    assert size > 0
    desk.venue.orders.clear()
    desk.market.template = with_value("low", 1e9)
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "market_implausible")
    assert len(desk.model.prompts) == calls
    assert desk.venue.account().size_base("BTC") == size
    assert desk.standing()["BTC"] == {Leg.STOP_LOSS, Leg.TAKE_PROFIT}
