"""The simulator against arithmetic done by hand; how many such scenarios there are, here and elsewhere.

``pytest -m hand_computed --collect-only`` lists them all. Accounts hold 10,000 USD at leverage 10 and pay no
fees unless the scenario says so.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_market import (
    ETH,
    FREE,
    RULES,
    D,
    account,
    bar,
    fills,
    market,
    protect,
    send,
    stop_and_profit,
    trade,
    walk,
)

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    Bar,
    ExchangeState,
    Level,
    OrderRequest,
    Quote,
    Slippage,
    SlippageModel,
    Tif,
    account_value_usd,
    liquidation_px,
    maintenance_usd,
    mark_to,
    pay_funding,
    place_order,
)
from wonttrade_dagster.core.simulation.fills import fee_usd

REQUIRED = {
    "long", "short", "increase", "reduce", "flip", "partial fill", "funding", "stop inside the bar",
    "both inside", "gap through", "liquidation isolated", "liquidation cross", "tier change", "fee rounding",
    "reduce-only cap", "below minimum", "slippage fixed_bps", "slippage half_spread_impact",
    "slippage bar_range", "latency",
}  # fmt: skip
LEAST = 40


@pytest.mark.hand_computed("increase", "short")
def test_a_short_that_grows_averages_its_entry() -> None:
    """Short 0.1 at 50,000 and 0.1 at 48,000: entry 49,000; at mark 48,000 0.2·1,000 = +200."""
    state = trade(trade(account(), "-0.1", 50_000), "-0.1", 48_000)
    assert state.positions["BTC"].entry_px == 49_000
    assert account_value_usd(state) == 10_200


@pytest.mark.hand_computed("reduce", "short")
def test_a_short_that_shrinks_keeps_its_entry() -> None:
    """Short 0.4 at 50,000, 0.1 bought at 47,000: +300 realised, 0.3·3,000 = 900 open."""
    state = trade(trade(account(), "-0.4", 50_000), "0.1", 47_000)
    assert (state.positions["BTC"].entry_px, state.realized_pnl_usd) == (50_000, 300)
    assert account_value_usd(state) == 11_200


@pytest.mark.hand_computed("flip", "short")
def test_a_short_flips_to_a_long() -> None:
    """Short 0.1 at 50,000, 0.3 bought at 51,000: −100, then long 0.2 from 51,000."""
    state = trade(trade(account(), "-0.1", 50_000), "0.3", 51_000)
    assert (state.size_base("BTC"), state.positions["BTC"].entry_px) == (D("0.2"), 51_000)
    assert (state.realized_pnl_usd, account_value_usd(state)) == (-100, 9_900)


@pytest.mark.hand_computed("flip", "fee")
def test_a_flip_pays_the_fee_on_all_it_trades() -> None:
    """Long 0.1 at 50,000: fee 5,000·0.00045 = 2.25. Sell 0.3 at 49,000: −100, fee 14,700·0.00045 = 6.615.
    10,000 − 100 − 8.865 = 9,891.135.
    """
    state = trade(trade(account(), "0.1", 50_000, RULES), "-0.3", 49_000, RULES)
    assert (state.fees_usd, account_value_usd(state)) == (D("8.865"), D("9891.135"))


@pytest.mark.hand_computed("partial fill")
@pytest.mark.parametrize("side", [1, -1])
def test_an_order_takes_what_the_book_has_within_its_limit(side: int) -> None:
    """0.3 wanted, 0.1 at 50,000 and 0.1 at 50,010 there (mirrored for a sale): 0.2 at 50,005 on average; the
    mark stays at 50,000, so 0.1·10 = 1 is lost at once.
    """
    levels = (Level(D(50_000), D("0.1")), Level(D(50_000 + 10 * side), D("0.1")))
    book = Quote("BTC", *((levels[:1], levels) if side > 0 else (levels, levels[:1])), D(50_000), D(50_000))
    order = OrderRequest("BTC", side > 0, D("0.3"), D(50_000 + 10 * side), Tif.IOC)
    state, outcome = place_order(account(), order, {"BTC": book}, FREE, 0)
    assert (outcome.filled_base, outcome.average_px) == (D("0.2"), 50_000 + 5 * side)
    assert (account_value_usd(state), state.orders) == (9_999, {})


@pytest.mark.hand_computed("funding")
@pytest.mark.parametrize(
    ("signed", "rate", "value"),
    [
        ("0.5", "0.0001", 9_952),
        ("0.5", "-0.0001", 10_048),
        ("-0.5", "0.0001", 10_048),
        ("-0.5", "-0.0001", 9_952),
    ],
)
def test_a_day_of_funding(signed: str, rate: str, value: int) -> None:
    """0.5 at an oracle of 40,000, rate 0.0001: 2 USD an hour, 24·2 = 48 a day; longs pay a positive rate."""
    state = trade(account(), signed, 40_000)
    for hour in range(24):
        state, _ = pay_funding(state, "BTC", D(rate), D(40_000), hour * 3_600_000)
    assert account_value_usd(state) == value


@pytest.mark.hand_computed("funding")
def test_funding_follows_the_oracle() -> None:
    """0.5·0.0001·(40,000 + 42,000 + 38,000) = 6."""
    state = trade(account(), "0.5", 40_000)
    for hour, oracle in enumerate((40_000, 42_000, 38_000)):
        state, _ = pay_funding(state, "BTC", D("0.0001"), D(oracle), hour)
    assert state.funding_usd == 6


@pytest.mark.hand_computed("funding")
def test_funding_is_rounded_to_six_decimals() -> None:
    """0.00031·33,333·0.0000125 = 0.000129165…: 0.000129."""
    state, _ = pay_funding(trade(account(), "0.00031", 33_333), "BTC", D("0.0000125"), D(33_333), 1)
    assert state.funding_usd == D("0.000129")


@pytest.mark.hand_computed("liquidation isolated")
@pytest.mark.parametrize(("signed", "mark"), [("0.2", 45_500), ("-0.2", 54_500)])
def test_an_isolated_position_is_sold_on_the_book_and_keeps_what_is_left(signed: str, mark: int) -> None:
    """0.2 at 50,000, margin 1,000; 4,500 against it leaves 100. Maintenance 0.2·45,500/80 = 113.75 (short
    0.2·54,500/80 = 136.25), two thirds 75.8 (90.8): sold at the mark, 9,000 + 100 = 9,100.
    """
    state, events = mark_to(trade(account(is_cross=False), signed, 50_000), market(mark), FREE, 1)
    assert [fill.px for fill in fills(events)] == [mark]
    assert (account_value_usd(state), state.positions) == (9_100, {})


@pytest.mark.hand_computed("liquidation isolated")
@pytest.mark.parametrize(("signed", "px"), [("0.2", "45569.62"), ("-0.2", "54320.99")])
def test_the_isolated_liquidation_price(signed: str, px: str) -> None:
    """Long: 9,000/(0.2·(1 − 1/80)) = 45,569.62; short: 11,000/(0.2·(1 + 1/80)) = 54,320.99."""
    found = liquidation_px(trade(account(is_cross=False), signed, 50_000), "BTC", FREE)
    assert round(found or D(0), 2) == D(px)


@pytest.mark.hand_computed("tier change")
def test_the_second_tier_of_eth_costs_more_above_its_bound_only() -> None:
    """120M: 100M·1/50 + 20M·1/30 = 2M + 0.6667M; by rate and deduction 4M − 100M·(1/30 − 1/50)."""
    assert maintenance_usd(ETH, D(100_000_000)) == 2_000_000
    assert round(maintenance_usd(ETH, D(120_000_000)), 2) == D("2666666.67")


@pytest.mark.hand_computed("fee rounding")
@pytest.mark.parametrize(
    ("px", "size", "rate", "fee"),
    [("49999", "0.00013", "0.00045", "0.002924"), ("33333", "0.00007", "0.00015", "0.000349")],
)
def test_fees_are_cut_after_six_decimals(px: str, size: str, rate: str, fee: str) -> None:
    """49,999·0.00013·0.00045 = 0.0029249415; 33,333·0.00007·0.00015 = 0.000349997 (rounded: 0.00035)."""
    assert fee_usd(D(px), D(size), D(rate)) == D(fee)


@pytest.mark.hand_computed("reduce-only cap")
@pytest.mark.parametrize(("held", "order", "px"), [("0.1", "-0.5", 51_000), ("-0.1", "0.5", 49_000)])
def test_a_reduce_only_order_closes_and_never_flips(held: str, order: str, px: int) -> None:
    """0.5 against 0.1: 0.1 is closed, 0.1·1,000 = +100, nothing is opened."""
    state, outcome = send(trade(account(), held, 50_000), order, px, reduce_only=True)
    assert outcome.filled_base == D("0.1")
    assert (account_value_usd(state), state.positions) == (10_100, {})


@pytest.mark.hand_computed("below minimum")
@pytest.mark.parametrize(("size", "is_taken"), [("0.00019", False), ("0.0002", True)])
def test_an_order_below_ten_dollars_is_refused(size: str, is_taken: bool) -> None:
    """0.00019·50,000 = 9.50 < 10; 0.0002·50,000 = 10."""
    state, outcome = send(account(), size, 50_000)
    assert (outcome.error is None, bool(state.positions)) == (is_taken, is_taken)


@pytest.mark.hand_computed("gap through", "short")
def test_a_short_profits_no_more_than_its_take_profit_from_a_gap() -> None:
    """Take-profit 49,000, the bar opens at 48,200: bought at 49,000, 0.1·1,000 = +100."""
    state, events = walk(_held(-1), bar(48_200, 48_600, 48_000, 48_500))
    assert (fills(events)[0].px, account_value_usd(state)) == (49_000, 10_100)


@pytest.mark.hand_computed("gap through", "short", "slippage fixed_bps")
def test_a_gap_through_a_shorts_stop_slips_from_the_open() -> None:
    """51,700·(1 + 10 bps) = 51,751.7, so 51,752: −175.2."""
    state, _ = walk(_held(-1), bar(51_700, 51_900, 51_100, 51_200), slippage=Slippage(D(10)))
    assert account_value_usd(state) == D("9824.8")


@pytest.mark.hand_computed("liquidation isolated", "stop inside the bar")
def test_an_isolated_stop_gives_its_margin_back() -> None:
    """Long 0.2 at 50,000, margin 1,000, stop 49,000: −200, the other 800 return to the cross account."""
    state, _ = protect(trade(account(is_cross=False), "0.2", 50_000), Leg.STOP_LOSS, 49_000, 50_000)
    state, _ = walk(state, bar(50_000, 50_100, 48_000, 48_500))
    assert (state.cross_raw_usd, account_value_usd(state)) == (9_800, 9_800)


# --- slippage --------------------------------------------------------------------------------------

IMPACT = Slippage(model=SlippageModel.HALF_SPREAD_IMPACT, half_spread_bps=D(1), impact_coefficient=D(1))
RANGE = Slippage(model=SlippageModel.BAR_RANGE, range_fraction=D("0.1"))


def _busy(prices: tuple[float, ...]) -> Bar:
    """A bar in which 10 were traded."""
    return replace(bar(*prices), volume_base=10.0)


def _held(side: int, size: str = "0.1") -> ExchangeState:
    state = trade(account(), str(D(size) * side), 50_000)
    return stop_and_profit(state, 50_000 - 1_000 * side, 50_000 + 1_000 * side, 50_000)


@pytest.mark.hand_computed("slippage half_spread_impact")
@pytest.mark.parametrize(("side", "px", "value"), [(1, 48_876, D("9887.6")), (-1, 51_129, D("9887.1"))])
def test_a_stop_pays_half_the_spread_and_its_impact(side: int, px: int, value: D) -> None:
    """σ = ln(50,500/48,500)/1.66511 = 0.0404096/1.66511 = 242.685 bps; 0.1 of 10 traded: √0.01 = 0.1.
    1 + 24.2685 = 25.2685 bps: 49,000·(1 − 0.00252685) = 48,876.18, so 48,876: −112.4. A short's stop in a bar
    of the same ratio: 51,000·1.00252685 = 51,128.87, so 51,129: −112.9.
    """
    candle = _busy((50_000, 50_500, 48_500, 50_400) if side > 0 else (50_500, 51_512, 49_472, 50_000))
    state, events = walk(_held(side), candle, slippage=IMPACT)
    assert (fills(events)[0].px, account_value_usd(state)) == (px, value)
    assert abs(fills(events)[0].slippage_bps - D("25.2685")) < D("0.02")


@pytest.mark.hand_computed("slippage half_spread_impact")
def test_four_times_the_size_has_twice_the_impact() -> None:
    """As above with 0.4: √0.04 = 0.2, 1 + 48.537 = 49.537 bps: 49,000·0.9950463 = 48,757.27, so 48,757."""
    _, events = walk(_held(1, "0.4"), _busy((50_000, 50_500, 48_500, 50_400)), slippage=IMPACT)
    assert fills(events)[0].px == 48_757


@pytest.mark.hand_computed("slippage half_spread_impact")
def test_a_bar_in_which_nobody_traded_costs_the_most() -> None:
    """900 bps: 49,000·0.91 = 44,590; 0.1·5,410 = −541."""
    state, events = walk(_held(1), bar(50_000, 50_500, 48_500, 50_400), slippage=IMPACT)
    assert (fills(events)[0].px, account_value_usd(state)) == (44_590, 9_459)


@pytest.mark.hand_computed("slippage bar_range")
@pytest.mark.parametrize(("side", "candle", "px"), [
    (1, (50_000, 50_500, 48_500, 50_400), 48_800),
    (-1, (50_000, 51_500, 49_500, 50_000), 51_200),
])  # fmt: skip
def test_a_stop_pays_a_share_of_the_bars_range(side: int, candle: tuple[float, ...], px: int) -> None:
    """0.1·(50,500 − 48,500) = 200 beyond the stop: 0.1·(1,000 + 200) = −120."""
    state, events = walk(_held(side), bar(*candle), slippage=RANGE)
    assert (fills(events)[0].px, account_value_usd(state)) == (px, 9_880)


@pytest.mark.hand_computed("slippage bar_range", "liquidation cross")
def test_a_liquidation_pays_the_slippage_too() -> None:
    """1 BTC: liquidated at 40,506, a range of 1,000 costs 0.1·1,000 = 100: 10,000 − 9,494 − 100 = 406."""
    start = trade(account(), "1", 50_000)
    state, events = walk(start, bar(41_000, 41_100, 40_100, 41_000), slippage=RANGE)
    assert (fills(events)[0].px, account_value_usd(state)) == (40_406, 406)


# --- how many --------------------------------------------------------------------------------------


def _scenarios() -> Iterator[tuple[str, set[str], int, str]]:
    """Name, topics, rows and docstring of every test with the marker, below ``tests``."""
    for path in sorted(Path(__file__).parents[1].glob("*/test_simulat*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            calls = {c.func.attr: c for c in node.decorator_list if isinstance(c, ast.Call)
                     and isinstance(c.func, ast.Attribute)}  # fmt: skip
            if "hand_computed" in calls:
                topics = {ast.literal_eval(topic) for topic in calls["hand_computed"].args}
                rows = calls["parametrize"].args[1].elts if "parametrize" in calls else (None,)
                yield node.name, topics, len(rows), ast.get_docstring(node) or ""


def test_there_are_enough_and_each_shows_its_arithmetic() -> None:
    found = list(_scenarios())
    assert sum(rows for _, _, rows, _ in found) >= LEAST
    assert set().union(*(topics for _, topics, _, _ in found)) >= REQUIRED
    for name, _, _, told in found:
        assert sum(character.isdigit() for character in told) >= 4, f"{name} does not show its arithmetic"
