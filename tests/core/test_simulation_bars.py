"""What happens inside a candle, computed by hand; and that skipping quiet candles changes nothing."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_market import (
    FREE,
    NO_SLIP,
    RULES,
    D,
    account,
    bar,
    fills,
    protect,
    send,
    statuses,
    stop_and_profit,
    trade,
    walk,
)

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    Bar,
    BarColumns,
    BarTable,
    ExchangeState,
    Slippage,
    Tif,
    account_value_usd,
    walk_bar,
    walk_bars,
)
from wonttrade_dagster.core.simulation.matching import Step


def _long(stop: int = 49_000, profit: int = 51_000) -> ExchangeState:
    return stop_and_profit(trade(account(), "0.1", 50_000), stop, profit, 50_000)


def _short(stop: int = 51_000, profit: int = 49_000) -> ExchangeState:
    return stop_and_profit(trade(account(), "-0.1", 50_000), stop, profit, 50_000)


@pytest.mark.parametrize(
    ("name", "start", "candle", "px", "value"),
    [
        ("stop inside the bar", _long(), bar(50_000, 50_500, 48_500, 50_400), 49_000, 9_900),
        ("take-profit inside the bar", _long(), bar(50_000, 51_200, 49_500, 51_100), 51_000, 10_100),
        ("both inside: the stop wins", _long(), bar(50_000, 51_200, 48_900, 51_100), 49_000, 9_900),
        ("gap through the stop: the open", _long(), bar(48_200, 48_900, 48_000, 48_800), 48_200, 9_820),
        ("gap over the profit: not better", _long(), bar(51_800, 52_000, 51_500, 51_900), 51_000, 10_100),
        ("the low just touches the stop", _long(), bar(50_000, 50_100, 49_000, 50_000), 49_000, 9_900),
        ("short, stop inside", _short(), bar(50_000, 51_500, 49_500, 50_000), 51_000, 9_900),
        ("short, take-profit inside", _short(), bar(50_000, 50_500, 48_800, 48_900), 49_000, 10_100),
        ("short, both inside", _short(), bar(50_000, 51_500, 48_500, 49_000), 51_000, 9_900),
        ("short, gap through the stop", _short(), bar(51_700, 51_900, 51_100, 51_200), 51_700, 9_830),
    ],
)
@pytest.mark.hand_computed("stop inside the bar", "both inside", "gap through")
def test_one_exit_inside_a_bar(name: str, start: ExchangeState, candle: Bar, px: int, value: int) -> None:
    """0.1 BTC from 50,000: every 1,000 USD of price are 100 USD."""
    state, events = walk(start, candle)
    assert [fill.px for fill in fills(events)] == [px], name
    assert (account_value_usd(state), state.positions, state.orders) == (value, {}, {})


def test_a_bar_between_the_triggers_does_nothing_but_move_the_mark() -> None:
    before = _long()
    after, events = walk(before, bar(50_000, 50_999, 49_001, 50_700))
    assert events == ()
    assert (after.orders, after.marks["BTC"]) == (before.orders, D(50_700))
    assert account_value_usd(after) == 10_070


def test_the_bar_that_follows_an_entry_counts_from_its_open() -> None:
    """Entered at 50,000, the very next bar falls to 48,900: stopped in it."""
    state = stop_and_profit(trade(account(), "0.1", 50_000), 49_000, 51_000, 50_000)
    assert len(fills(walk(state, bar(50_000, 50_000, 48_900, 49_900))[1])) == 1


@pytest.mark.hand_computed("slippage fixed_bps")
def test_slippage_worsens_a_stop_and_is_rounded_against_the_account() -> None:
    """49,000·(1 − 5 bps) = 48,975.5 → 48,975 (tick 1): 0.1·(48,975 − 50,000) = −102.5."""
    state, events = walk(_long(), bar(50_000, 50_500, 48_500, 50_400), slippage=Slippage(D(5)))
    assert fills(events)[0].px == 48_975
    assert account_value_usd(state) == D("9897.5")


@pytest.mark.hand_computed("slippage fixed_bps", "gap through")
def test_slippage_on_a_gap_comes_on_top_of_the_open() -> None:
    """Open 48,200·(1 − 10 bps) = 48,151.8 → 48,151."""
    _, events = walk(_long(), bar(48_200, 48_900, 48_000, 48_800), slippage=Slippage(D(10)))
    assert fills(events)[0].px == 48_151


@pytest.mark.hand_computed("slippage fixed_bps", "short")
def test_a_short_stop_slips_upwards() -> None:
    """51,000·(1 + 5 bps) = 51,025.5 → 51,026."""
    _, events = walk(_short(), bar(50_000, 51_500, 49_500, 50_000), slippage=Slippage(D(5)))
    assert fills(events)[0].px == 51_026


@pytest.mark.hand_computed("fee")
def test_the_stop_pays_the_taker_fee() -> None:
    """Entry 5,000·0.00045 = 2.25, exit 4,900·0.00045 = 2.205."""
    start = stop_and_profit(trade(account(), "0.1", 50_000, RULES), 49_000, 51_000, 50_000)
    state, _ = walk(start, bar(50_000, 50_500, 48_500, 50_400), RULES)
    assert account_value_usd(state) == 10_000 - 100 - D("4.455")


def test_a_resting_buy_needs_a_price_below_it_not_a_touch() -> None:
    state, _ = send(account(), "0.1", 50_000, limit=49_000, tif=Tif.GTC)
    touched, events = walk(state, bar(50_000, 50_100, 49_000, 50_000))
    assert (events, touched.positions) == ((), {})
    through, events = walk(state, bar(50_000, 50_100, 48_999, 50_000))
    assert (fills(events)[0].px, fills(events)[0].crossed) == (49_000, False)
    assert account_value_usd(through) == 10_100


def test_a_resting_exit_and_a_stop_in_one_bar_the_stop_wins() -> None:
    state, _ = protect(trade(account(), "0.1", 50_000), Leg.STOP_LOSS, 49_000, 50_000)
    state, _ = send(state, "-0.1", 50_000, limit=51_000, tif=Tif.GTC, reduce_only=True)
    state, events = walk(state, bar(50_000, 52_000, 48_000, 50_000))
    assert fills(events)[0].px == 49_000
    assert statuses(events) == ["triggered", "filled", "reduceOnlyCanceled"]


@pytest.mark.hand_computed("partial fill")
def test_two_partial_take_profits_fire_in_the_order_of_their_prices() -> None:
    """Long 0.2; 0.1 out at 51,000 (+100), 0.1 at 52,000 (+200)."""
    state = trade(account(), "0.2", 50_000)
    for px in (52_000, 51_000):
        state, _ = protect(state, Leg.TAKE_PROFIT, px, 50_000, size="0.1")
    state, events = walk(state, bar(50_000, 53_000, 49_900, 52_500))
    assert [fill.px for fill in fills(events)] == [51_000, 52_000]
    assert account_value_usd(state) == 10_300


@pytest.mark.hand_computed("liquidation cross")
def test_cross_margin_sees_the_worst_of_all_symbols_together() -> None:
    """10,000 USD, long 1 BTC (50,000) and 10 ETH (2,000). BTC alone to 44,000 leaves 4,000, ETH alone to
    1,400 leaves 4,000; together −2,000: the account is liquidated in that bar, whatever the order.
    """
    start = trade(trade(account(), "1", 50_000), "10", 2_000, symbol="ETH")
    flat = {"open": 2_000.0, "high": 2_000.0, "low": 2_000.0, "close": 2_000.0}
    falls = {**flat, "low": 1_400.0}
    btc = {"open": 50_000.0, "high": 50_000.0, "low": 44_000.0, "close": 50_000.0}
    for eth, is_liquidated in ((flat, False), (falls, True)):
        table = BarTable(
            [0], {s: BarColumns(**{k: [v] for k, v in c.items()}) for s, c in (("BTC", btc), ("ETH", eth))}
        )
        state, events = walk_bars(start, table, FREE, NO_SLIP)
        assert bool(fills(events)) is is_liquidated
        assert account_value_usd(state) >= 0


def test_a_symbol_without_a_bar_stands_still_at_its_last_close() -> None:
    frames = {
        "BTC": _frame([(0, 1.0, 2.0, 0.5, 1.5), (60_000, 1.5, 3.0, 1.0, 2.5)]),
        "ETH": _frame([(60_000, 7.0, 9.0, 6.0, 8.0), (120_000, 8.0, 9.0, 7.5, 8.5)]),
    }
    table = BarTable.of(frames)
    assert list(table.open_time_ms) == [0, 60_000, 120_000]
    assert list(table.columns["BTC"].low) == [0.5, 1.0, 2.5]
    assert list(table.columns["ETH"].high) == [7.0, 9.0, 9.0]


def _frame(rows: list[tuple[int, float, float, float, float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["open_time_ms", "open", "high", "low", "close"], orient="row")


STEPS = st.lists(st.integers(-900, 900), min_size=8, max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    btc=STEPS,
    eth=STEPS,
    signs=st.tuples(st.sampled_from([-1, 1]), st.sampled_from([-1, 1])),
    is_cross=st.booleans(),
    leverage=st.sampled_from([3, 10, 25]),
    size=st.sampled_from(["0.05", "0.3", "0.9"]),
)
def test_skipping_quiet_bars_gives_what_walking_every_bar_gives(
    btc: list[int], eth: list[int], signs: tuple[int, int], is_cross: bool, leverage: int, size: str
) -> None:
    length = min(len(btc), len(eth))
    table = BarTable(
        [60_000 * i for i in range(length)],
        {"BTC": _columns(50_000, btc[:length], 1), "ETH": _columns(2_000, eth[:length], 0.04)},
    )
    start = account(10_000 if leverage > 3 else 30_000, leverage, is_cross=is_cross)
    start, _ = send(start, str(D(size) * signs[0]), 50_000)
    start, _ = send(start, str(D(size) * 10 * signs[1]), 2_000, symbol="ETH")
    if start.positions.get("BTC"):
        start = stop_and_profit(start, 50_000 - 2_000 * signs[0], 50_000 + 3_000 * signs[0], 50_000)
    fast, fast_events = walk_bars(start, table, RULES, Slippage(D(3)))
    slow, slow_events = start, ()
    for index in range(length):
        slow, events = _slow(slow, table, index)
        slow_events += events
    assert fast_events == slow_events
    assert fast == slow


def _columns(px: float, steps: list[int], scale: float) -> BarColumns:
    opens, highs, lows, closes = [], [], [], []
    for step in steps:
        close = round(max(px + step * scale, px * 0.7), 1)
        opens.append(px)
        closes.append(close)
        highs.append(round(max(px, close) + abs(step) * scale / 2, 1))
        lows.append(round(min(px, close) - abs(step) * scale / 2, 1))
        px = close
    return BarColumns(opens, highs, lows, closes)


def _slow(state: ExchangeState, table: BarTable, index: int) -> Step:
    """Every bar by the full path; ``walk_bars`` of one bar would use the shortcut."""
    from wonttrade_dagster.core.simulation.bars import _bars, _walk

    return _walk(state, _bars(table, index), RULES, Slippage(D(3)))


def test_walking_one_symbol_leaves_the_other_marks_alone() -> None:
    state = replace(_long(), marks={"BTC": D(50_000), "ETH": D(2_000)})
    after, _ = walk_bar(state, "BTC", bar(50_000, 50_100, 49_900, 50_050), FREE, NO_SLIP)
    assert after.marks == {"BTC": D(50_050), "ETH": D(2_000)}


def test_a_quiet_year_of_minutes_is_only_compared() -> None:
    """525,600 bars in well under a second of CPU; the bound leaves room for a busy machine."""
    import time

    count = 525_600
    opens = [50_000.0 + index % 7 for index in range(count)]
    highs, lows = [px + 5 for px in opens], [px - 5 for px in opens]
    table = BarTable(range(0, 60_000 * count, 60_000), {"BTC": BarColumns(opens, highs, lows, opens)})
    started = time.process_time()
    _, events = walk_bars(_long(), table, FREE, NO_SLIP)
    assert events == ()
    assert time.process_time() - started < count / 200_000
