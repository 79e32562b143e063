"""Liquidations, partial and whole, by the book and by the backstop, computed by hand."""

import pytest
from simulated_market import FREE, RULES, D, account, bar, fills, market, protect, send, statuses, trade, walk

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    Bar,
    Event,
    Liquidation,
    Slippage,
    Tif,
    account_value_usd,
    mark_to,
)


def _liquidations(events: tuple[Event, ...]) -> list[Liquidation]:
    return [event for event in events if isinstance(event, Liquidation)]


@pytest.mark.hand_computed("liquidation cross")
def test_a_cross_position_below_maintenance_is_sold_on_the_book() -> None:
    """1 BTC from 50,000 on 10,000 USD; at 40,400 equity 400 < maintenance 505, above two thirds of it.
    40,400 USD of notional are below 100,000: all of it goes at the bid.
    """
    state, events = mark_to(trade(account(), "1", 50_000), market(40_400), FREE, 1)
    (event,) = _liquidations(events)
    assert (event.is_backstop, event.is_partial) == (False, False)
    assert (event.equity_usd, event.maintenance_usd) == (400, 505)
    assert account_value_usd(state) == 400
    assert not state.positions


@pytest.mark.hand_computed("liquidation cross")
def test_a_liquidation_on_the_book_pays_the_taker_fee() -> None:
    """As above; entry fee 50,000·0.00045 = 22.5, exit 40,450·0.00045 = 18.2025; equity before 427.5."""
    state, events = mark_to(trade(account(), "1", 50_000, RULES), market(40_450), RULES, 1)
    assert fills(events)[0].fee_usd == D("18.2025")
    assert account_value_usd(state) == D("409.2975")


@pytest.mark.hand_computed("liquidation cross")
def test_nothing_happens_while_equity_meets_maintenance() -> None:
    """At 40,507 equity 507 ≥ maintenance 506.3375."""
    assert mark_to(trade(account(), "1", 50_000), market(40_507), FREE, 1)[1] == ()


@pytest.mark.hand_computed("liquidation cross")
def test_the_backstop_takes_everything_below_two_thirds_of_maintenance() -> None:
    """At 40,300 equity 300 < 2/3·503.75 = 335.83: taken over at the bankruptcy price 40,000."""
    state, events = mark_to(trade(account(), "1", 50_000), market(40_300), FREE, 1)
    (fill,) = fills(events)
    assert (fill.px, fill.direction, fill.fee_usd) == (40_000, "Liquidated Cross Long", 0)
    assert account_value_usd(state) == 0


@pytest.mark.hand_computed("liquidation cross")
def test_a_gap_beyond_bankruptcy_leaves_nothing_and_owes_nothing() -> None:
    """Gap to 35,000: equity −5,000; the takeover price is still 40,000."""
    state, _ = mark_to(trade(account(), "1", 50_000), market(35_000), FREE, 1)
    assert account_value_usd(state) == 0


@pytest.mark.hand_computed("liquidation cross", "short")
def test_a_short_is_taken_over_at_its_own_bankruptcy_price() -> None:
    """Short 1 from 50,000 on 10,000 USD: bankrupt at 60,000."""
    state, events = mark_to(trade(account(), "-1", 50_000), market(61_000), FREE, 1)
    assert (fills(events)[0].px, fills(events)[0].direction) == (60_000, "Liquidated Cross Short")
    assert account_value_usd(state) == 0


@pytest.mark.hand_computed("liquidation cross")
def test_a_large_position_is_liquidated_by_a_fifth_and_then_whole_within_30_seconds() -> None:
    """4 BTC from 50,000 on 20,000 USD (200,000 of notional, 10x). At 45,500: equity 2,000, maintenance
    182,000/80 = 2,275, two thirds 1,517: a fifth (0.8) goes, 3.2·45,500/80 = 1,820 ≤ 2,000.
    At 45,350 equity is 2,000 − 3.2·150 = 1,520 < 1,814 (two thirds 1,209): 10 s later all goes.
    """
    state = trade(account(20_000), "4", 50_000)
    state, events = mark_to(state, market(45_500), FREE, 1_000)
    assert _liquidations(events)[0].is_partial
    assert state.size_base("BTC") == D("3.2")
    later, events = mark_to(state, market(45_350), FREE, 11_000)
    assert (later.positions, _liquidations(events)[0].is_partial) == ({}, False)
    assert account_value_usd(later) == 1_520


def test_after_the_cooldown_it_is_a_fifth_again() -> None:
    """As above, but 31 s later: a fifth of 3.2 is 0.64."""
    state, _ = mark_to(trade(account(20_000), "4", 50_000), market(45_500), FREE, 1_000)
    state, events = mark_to(state, market(45_350), FREE, 32_000)
    assert _liquidations(events)[0].size_base == D("0.64")


def test_without_a_book_the_venue_waits_until_the_backstop() -> None:
    state = trade(account(), "1", 50_000)
    state, events = mark_to(state, market(40_400, depth="0"), FREE, 1)
    assert (_liquidations(events), state.size_base("BTC")) == ([], 1)
    state, events = mark_to(state, market(40_300, depth="0"), FREE, 2)
    assert _liquidations(events)[0].is_backstop


@pytest.mark.hand_computed("liquidation isolated")
def test_an_isolated_position_dies_alone() -> None:
    """0.2 BTC from 50,000 at 10x: margin 1,000, gone at 45,000. At 45,050 equity 10 < 2/3·112.6."""
    state, events = mark_to(trade(account(is_cross=False), "0.2", 50_000), market(45_050), FREE, 1)
    assert fills(events)[0].px == 45_000
    assert account_value_usd(state) == 9_000


@pytest.mark.hand_computed("liquidation cross")
def test_the_cross_account_sells_its_largest_maintenance_first() -> None:
    """1 BTC at 50,000 and 10 ETH at 2,000 on 10,000 USD (10x: 5,000 + 2,000 of margin).
    At BTC 40,700: equity 700, maintenance 508.75 + 20,000/50 = 908.75, two thirds 605.83.
    BTC goes first; 700 then covers the 400 of ETH.
    """
    state = trade(trade(account(), "1", 50_000), "10", 2_000, symbol="ETH")
    state, events = mark_to(state, market(40_700), FREE, 1)
    assert [event.symbol for event in _liquidations(events)] == ["BTC"]
    assert set(state.positions) == {"ETH"}


def test_liquidation_cancels_the_orders_that_could_open_and_the_protection() -> None:
    state = trade(account(), "1", 50_000)
    state, _ = protect(state, Leg.TAKE_PROFIT, 60_000, 50_000)
    state, _ = send(state, "0.01", 50_000, limit=30_000, tif=Tif.GTC)
    state, events = mark_to(state, market(40_400), FREE, 1)
    assert sorted(statuses(events)) == ["liquidatedCanceled", "reduceOnlyCanceled"]
    assert not state.orders


@pytest.mark.hand_computed("liquidation cross")
def test_inside_a_bar_liquidation_happens_one_tick_beyond_its_price() -> None:
    """Liquidation price 40,506.33 (tick 1): at 40,506 all is sold there: 10,000 − 9,494 = 506."""
    state, events = walk(trade(account(), "1", 50_000), bar(50_000, 50_100, 30_000, 49_000))
    assert (fills(events)[0].px, account_value_usd(state)) == (40_506, 506)


@pytest.mark.hand_computed("liquidation cross", "slippage fixed_bps")
@pytest.mark.parametrize(
    ("size", "candle", "mark_px"),
    [("1", bar(50_000, 50_100, 30_000, 50_000), 40_336), ("-1", bar(50_000, 70_000, 49_900, 50_000), 59_505)],
)
def test_inside_a_bar_what_the_slipped_book_does_not_take_goes_to_the_backstop(
    size: str, candle: Bar, mark_px: int
) -> None:
    """At 40,506 equity 506 < maintenance; 40,506·(1 − 150 bps) = 39,898 lies beyond bankruptcy at 40,000: no
    bid takes it. Equity p − 40,000 meets 2/3·p/80 at 40,336.13: below it the backstop leaves nothing; a short
    there 60,000 − p = p/120 at 59,504.13. The bar's recovery comes too late.
    """
    state, events = walk(trade(account(), size, 50_000), candle, slippage=Slippage(D(150)))
    (event,) = _liquidations(events)
    assert (event.is_backstop, event.mark_px) == (True, mark_px)
    assert state.positions == {}
    assert abs(account_value_usd(state)) < D("1e-15")


def test_inside_a_bar_that_turns_above_the_backstop_nothing_is_taken_by_a_book_without_bids() -> None:
    """Lowest 40,400: below maintenance, above two thirds of it."""
    slipped = Slippage(D(150))
    state, events = walk(trade(account(), "1", 50_000), bar(50_000, 50_100, 40_400, 50_000), slippage=slipped)
    assert (events, account_value_usd(state)) == ((), 10_000)


def test_inside_a_bar_a_stop_above_the_liquidation_price_saves_the_account() -> None:
    state, _ = protect(trade(account(), "1", 50_000), Leg.STOP_LOSS, 45_000, 50_000)
    state, events = walk(state, bar(50_000, 50_100, 30_000, 49_000))
    assert (_liquidations(events), account_value_usd(state)) == ([], 5_000)


def test_inside_a_bar_a_stop_below_the_liquidation_price_comes_too_late() -> None:
    state, _ = protect(trade(account(), "1", 50_000), Leg.STOP_LOSS, 39_000, 50_000)
    _, events = walk(state, bar(50_000, 50_100, 30_000, 49_000))
    assert len(_liquidations(events)) == 1
    assert statuses(events) == ["reduceOnlyCanceled"]


def test_a_bar_that_opens_beyond_bankruptcy_is_taken_over_before_any_stop() -> None:
    state, _ = protect(trade(account(), "1", 50_000), Leg.STOP_LOSS, 45_000, 50_000)
    state, events = walk(state, bar(38_000, 39_000, 37_000, 38_500))
    assert _liquidations(events)[0].is_backstop
    assert account_value_usd(state) == 0


@pytest.mark.hand_computed("liquidation cross")
def test_inside_a_bar_a_large_position_goes_by_a_fifth_and_the_rest_at_the_next_price() -> None:
    """4 BTC from 50,000 on 20,000: liquidation at 180,000/(4·0.98750) = 45,569.62; a fifth at 45,569.
    Equity there 2,276, then 3.2 BTC: (145,820.8 − 2,276)/(3.2·0.9875) = 45,425.57 …: the rest at 45,425.
    2,276 − 3.2·144 = 1,815.2.
    """
    state, events = walk(trade(account(20_000), "4", 50_000), bar(50_000, 50_000, 40_000, 41_000))
    assert [(e.size_base, e.mark_px) for e in _liquidations(events)] == [
        (D("0.8"), 45_569),
        (D("3.2"), 45_425),
    ]
    assert account_value_usd(state) == D("1815.2")
