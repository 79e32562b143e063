"""What any slippage keeps to: never in the taker's favour, the same for both sides and when asked again."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_market import FREE, D, account, bar, stop_and_profit, trade

from wonttrade_dagster.core.precision import is_valid_price
from wonttrade_dagster.core.simulation import (
    Bar,
    Execution,
    Slippage,
    SlippageModel,
    Taking,
    bar_quote,
    slippage_bps,
    walk_bar,
)
from wonttrade_dagster.core.simulation.slippage import MAX_SLIPPAGE_BPS

RATES = st.integers(0, 1_000).map(lambda tenths: D(tenths) / 10)
SLIPPAGES = st.builds(
    Slippage,
    bps=RATES,
    model=st.sampled_from(list(SlippageModel)),
    half_spread_bps=RATES,
    impact_coefficient=st.integers(0, 100).map(lambda tenths: D(tenths) / 10),
    range_fraction=st.integers(0, 100).map(lambda percent: D(percent) / 100),
    random_bps=st.sampled_from([D(0), D(3), D(1_000)]),
    seed=st.integers(0, 9),
)
BARS = st.builds(
    lambda low, width, volume: Bar(0, low, low + width, low, low, volume),
    low=st.integers(1, 100_000).map(float),
    width=st.integers(0, 5_000).map(float),
    volume=st.sampled_from([0.0, 0.001, 12.5, 1e9]),
)
TAKINGS = st.builds(
    Taking,
    symbol=st.just("BTC"),
    size_base=st.integers(1, 10**7).map(lambda lots: D(lots) / 100_000),
    oid=st.integers(1, 10**6),
    bar=st.one_of(st.none(), BARS),
)
PRICES = st.integers(1, 200_000).map(D)


@settings(deadline=None)
@given(slippage=SLIPPAGES, taking=TAKINGS, px=PRICES)
def test_a_quote_is_never_better_than_the_price_never_free_and_on_the_grid(
    slippage: Slippage, taking: Taking, px: Decimal
) -> None:
    quote = bar_quote("BTC", px, FREE, slippage, taking)
    (bid,), (ask,) = quote.bids, quote.asks
    assert 0 < bid.px <= px <= ask.px
    assert is_valid_price(bid.px, 5)
    assert is_valid_price(ask.px, 5)
    assert (quote.mark_px, quote) == (px, bar_quote("BTC", px, FREE, slippage, taking))


@settings(deadline=None)
@given(slippage=SLIPPAGES, taking=TAKINGS, px=PRICES)
def test_both_sides_slip_by_the_same_basis_points(slippage: Slippage, taking: Taking, px: Decimal) -> None:
    bps, quote = slippage_bps(slippage, px, taking), bar_quote("BTC", px, FREE, slippage, taking)
    assert 0 <= bps <= max(MAX_SLIPPAGE_BPS, slippage.bps)
    allowed = D("0.0001") + D("1e-12") * px
    for level, side in ((quote.asks[0], 1), (quote.bids[0], -1)):
        beyond = side * (level.px - px * (1 + side * bps / 10_000))
        assert -allowed <= beyond <= 1 + allowed, "no more than a tick is added"


@settings(deadline=None)
@given(
    slippage=SLIPPAGES.map(lambda s: replace(s, random_bps=D(0))),
    taking=TAKINGS,
    px=PRICES,
    more=st.integers(2, 9),
)
def test_a_larger_order_never_slips_less(slippage: Slippage, taking: Taking, px: Decimal, more: int) -> None:
    larger = replace(taking, size_base=taking.size_base * more)
    assert slippage_bps(slippage, px, larger) >= slippage_bps(slippage, px, taking)


def test_the_random_part_is_drawn_by_seed_symbol_and_order() -> None:
    drawn = Slippage(D(5), random_bps=D(10), seed=1)
    found = {oid: slippage_bps(drawn, D(100), Taking("BTC", oid=oid)) for oid in range(400)}
    assert found == {oid: slippage_bps(drawn, D(100), Taking("BTC", oid=oid)) for oid in range(400)}
    assert all(5 <= bps < 15 for bps in found.values())
    assert abs(sum(found.values()) / 400 - 10) < D("0.5"), "uniform: 5 + 10/2 on average"
    for other in (replace(drawn, seed=2), drawn):
        symbol = "ETH" if other is drawn else "BTC"
        assert slippage_bps(other, D(100), Taking(symbol, oid=7)) != found[7]


@pytest.mark.parametrize("broken", [{"bps": D(-1)}, {"bps": D(10_000)}, {"random_bps": D("NaN")}])
def test_a_slippage_that_cannot_be_is_refused(broken: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="slippage"):
        Slippage(**broken)


@settings(max_examples=60, deadline=None)
@given(slippage=SLIPPAGES, side=st.sampled_from([1, -1]), volume=st.sampled_from([0.0, 5.0, 900.0]))
def test_every_fill_of_a_stop_says_what_it_slipped(slippage: Slippage, side: int, volume: float) -> None:
    start = stop_and_profit(
        trade(account(), str(D("0.1") * side), 50_000), 50_000 - 900 * side, 50_000 + 900 * side, 50_000
    )
    candle = replace(bar(50_000, 51_500, 48_500, 50_000), volume_base=volume)
    _, events = walk_bar(start, "BTC", candle, FREE, slippage)
    (fill,) = (event for event in events if isinstance(event, Execution))
    stop_px = D(50_000 - 900 * side)
    told_px = stop_px * (1 - side * fill.slippage_bps / 10_000)
    assert abs(fill.px - told_px) <= D("1.01")
