"""What must hold for any sequence of orders, prices and funding."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_market import FREE, NO_SLIP, RULES, D, account, bar, stop_and_profit, trade

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import (
    Bar,
    ExchangeState,
    Execution,
    History,
    Level,
    LeverageSetting,
    OrderRequest,
    Quote,
    Slippage,
    SlippageModel,
    Tif,
    Trigger,
    account_value_usd,
    cancel_order,
    check_identities,
    mark_to,
    open_account,
    pay_funding,
    place_order,
    set_leverage,
    walk_bar,
)

SLIPPAGES = (
    Slippage(D(5)),
    Slippage(
        model=SlippageModel.HALF_SPREAD_IMPACT, half_spread_bps=D(1), impact_coefficient=D(2), random_bps=D(3)
    ),
    Slippage(model=SlippageModel.BAR_RANGE, range_fraction=D("0.3"), seed=4),
)
PRICES = st.one_of(st.integers(48_500, 51_500), st.integers(42_000, 58_000)).map(D)
LOTS = st.integers(5, 150).map(lambda lots: D(lots) / 100)
ORDERS = st.fixed_dictionaries(
    {
        "px": PRICES,
        "size": LOTS,
        "is_buy": st.booleans(),
        "offset": st.integers(1, 2_000),
        "reach": st.sampled_from([-400, 0, 10, 30, 300]),
        "tif": st.sampled_from(list(Tif)),
        "reduce_only": st.sampled_from([False, False, True]),
        "trigger": st.sampled_from([None, None, None, Leg.STOP_LOSS, Leg.TAKE_PROFIT]),
        "depth": LOTS,
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), ORDERS),
        st.tuples(st.just("order"), ORDERS),
        st.tuples(st.just("mark"), st.tuples(PRICES, LOTS)),
        st.tuples(st.just("funding"), st.integers(-4_000, 4_000)),
        st.tuples(st.just("cancel"), st.integers(1, 12)),
        st.tuples(st.just("bar"), st.tuples(PRICES, PRICES, PRICES, PRICES)),
    ),
    min_size=8,
    max_size=30,
)


def _book(px: Decimal, depth: Decimal) -> dict[str, Quote]:
    """Two levels a side, 20 USD apart."""
    bids = (Level(px - 10, depth), Level(px - 30, depth * 5))
    asks = (Level(px + 10, depth), Level(px + 30, depth * 5))
    return {"BTC": Quote("BTC", bids, asks, px, px)}


def _request(what: dict[str, Any]) -> OrderRequest:
    """A limit that reaches into the book, or a trigger on the right side of the mark."""
    side, trigger, limit_px = 1 if what["is_buy"] else -1, None, what["px"]
    if what["trigger"]:
        away = side if what["trigger"] is Leg.STOP_LOSS else -side
        trigger = Trigger(
            what["px"] + away * what["offset"], is_market=what["offset"] > 200, leg=what["trigger"]
        )
        limit_px = trigger.trigger_px
    limit_px += side * what["reach"] if trigger is None else side * 100
    return OrderRequest(
        "BTC", what["is_buy"], what["size"], limit_px, what["tif"], what["reduce_only"], trigger=trigger
    )


def _step(state: ExchangeState, history: History, time_ms: int, kind: str, what: object) -> ExchangeState:
    if kind == "order" and isinstance(what, dict):
        request = _request(what)
        book = _book(what["px"], what["depth"])
        held = state.size_base("BTC")
        state, outcome = place_order(state, request, book, RULES, time_ms)
        if what["reduce_only"] and outcome.filled_base:
            assert state.size_base("BTC") * held >= 0, "reduce-only never flips"
            assert abs(state.size_base("BTC")) < abs(held)
        events = outcome.events
    elif kind == "mark" and isinstance(what, tuple):
        state, events = mark_to(state, _book(*what), RULES, time_ms)
    elif kind == "funding" and isinstance(what, int):
        oracle = state.marks.get("BTC", D(50_000))
        state, events = pay_funding(state, "BTC", D(what) / 1_000_000, oracle, time_ms)
    elif kind == "bar" and isinstance(what, tuple):
        low, *between, high = sorted(float(px) for px in what)
        candle = Bar(time_ms, between[0], high, low, between[1], float(time_ms % 70_000))
        slippage = SLIPPAGES[time_ms // 10_000 % len(SLIPPAGES)]
        state, events = walk_bar(state, "BTC", candle, RULES, slippage)
    else:
        state, outcome = cancel_order(state, int(str(what)), time_ms)
        events = outcome.events
    history.record(events)
    return state


@settings(max_examples=400, deadline=None)
@given(steps=STEPS, is_cross=st.booleans(), leverage=st.sampled_from([2, 10, 40]))
def test_the_identities_hold_for_any_sequence(
    steps: list[tuple[str, object]], is_cross: bool, leverage: int
) -> None:
    state, history = open_account(D(10_000), 0), History()
    state, _ = set_leverage(state, "BTC", LeverageSetting(leverage, is_cross), RULES, 0)
    for index, (kind, what) in enumerate(steps):
        state = _step(state, history, index * 10_000, kind, what)
        check_identities(state)
        _check_against_history(state, history)


def _check_against_history(state: ExchangeState, history: History) -> None:
    """The state's totals are the sums of what was reported; standing orders were reported open."""
    executions = history.executions
    assert sum((e.signed_base for e in executions), D(0)) == state.size_base("BTC")
    assert sum((e.fee_usd for e in executions), D(0)) == state.fees_usd
    assert sum((e.closed_pnl_usd for e in executions), D(0)) == state.realized_pnl_usd
    assert history.funding_paid_usd(0, 2**63) == state.funding_usd
    for oid, order in state.orders.items():
        filled = sum((e.size_base for e in history.fills_of(oid)), D(0))
        assert filled + order.open_base <= order.request.size_base
        if order.request.reduce_only and not order.is_waiting:
            assert state.size_base("BTC") * (1 if order.request.is_buy else -1) < 0


TRADES = st.lists(
    st.tuples(st.integers(-40, 40).filter(bool), st.integers(42_000, 58_000), st.integers(-300, 300)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(trades=TRADES)
def test_a_mirrored_world_gives_the_mirrored_pnl_before_fees(trades: list[tuple[int, int, int]]) -> None:
    """Prices reflected at 50,000 and sides swapped: size·(mark − entry) keeps its value, funding by size
    changes its sign with the oracle held equal, so it is reflected too by a negative rate.
    """
    state, mirror = account(10_000_000), account(10_000_000)
    for lots, px, rate in trades:
        size = D(lots) / 100
        state = trade(state, str(size), px)
        mirror = trade(mirror, str(-size), 100_000 - px)
        state, _ = pay_funding(state, "BTC", D(rate) / 1_000_000, D(50_000), 0)
        mirror, _ = pay_funding(mirror, "BTC", -D(rate) / 1_000_000, D(50_000), 0)
        assert abs(account_value_usd(state) - account_value_usd(mirror)) < D("1e-15")
        assert abs(state.realized_pnl_usd - mirror.realized_pnl_usd) < D("1e-15")


@settings(max_examples=100, deadline=None)
@given(
    sign=st.sampled_from([1, -1]),
    prices=st.tuples(*[st.integers(45_000, 55_000)] * 4),
    distances=st.tuples(st.integers(100, 3_000), st.integers(100, 3_000)),
)
def test_a_mirrored_bar_gives_the_mirrored_exit(
    sign: int, prices: tuple[int, int, int, int], distances: tuple[int, int]
) -> None:
    low, open_, close, high = sorted(prices)
    stop, profit = 50_000 - sign * distances[0], 50_000 + sign * distances[1]
    plain = stop_and_profit(trade(account(), str(D("0.1") * sign), 50_000), stop, profit, 50_000)
    other = stop_and_profit(
        trade(account(), str(D("-0.1") * sign), 50_000), 100_000 - stop, 100_000 - profit, 50_000
    )
    plain, _ = walk_bar(plain, "BTC", bar(open_, high, low, close), FREE, NO_SLIP)
    mirrored = bar(100_000 - open_, 100_000 - low, 100_000 - high, 100_000 - close)
    other, _ = walk_bar(other, "BTC", mirrored, FREE, NO_SLIP)
    assert account_value_usd(plain) == account_value_usd(other)


PATHS = st.lists(st.integers(44_000, 56_000), min_size=3, max_size=9)


def _bar_of(points: list[int]) -> Bar:
    return bar(points[0], max(points), min(points), points[-1])


@settings(max_examples=200, deadline=None)
@given(
    sign=st.sampled_from([1, -1]),
    path=PATHS,
    cut=st.integers(1, 7),
    is_heavy=st.booleans(),
    bps=st.sampled_from([0, 7]),
)
def test_a_whole_bar_is_never_better_than_its_parts(
    sign: int, path: list[int], cut: int, is_heavy: bool, bps: int
) -> None:
    """Where the parts join without a gap, the coarse bar assumes the worst order of what they show: knowing
    less never pays. Heavy positions are liquidated inside.
    """
    path = [50_000, *path]
    cut = min(cut, len(path) - 2)
    size = "1.5" if is_heavy else "0.1"
    start = trade(account(), str(D(size) * sign), 50_000)
    start = stop_and_profit(start, 50_000 - 2_000 * sign, 50_000 + 2_000 * sign, 50_000)
    whole, _ = walk_bar(start, "BTC", _bar_of(path), FREE, Slippage(D(bps)))
    parts, _ = walk_bar(start, "BTC", _bar_of(path[: cut + 1]), FREE, Slippage(D(bps)))
    parts, _ = walk_bar(parts, "BTC", _bar_of(path[cut:]), FREE, Slippage(D(bps)))
    assert account_value_usd(whole) <= account_value_usd(parts)


@settings(max_examples=200, deadline=None)
@given(sign=st.sampled_from([1, -1]), first=PATHS, second=PATHS)
def test_splitting_a_bar_never_helps_unless_it_held_both_exits(
    sign: int, first: list[int], second: list[int]
) -> None:
    """With gaps between the parts too: a gap through the stop can only cost."""
    first = [50_000, *first]
    whole = _bar_of(first + second)
    if whole.high >= 52_000 and whole.low <= 48_000:
        return
    start = trade(account(), str(D("0.1") * sign), 50_000)
    start = stop_and_profit(start, 50_000 - 2_000 * sign, 50_000 + 2_000 * sign, 50_000)
    coarse, _ = walk_bar(start, "BTC", whole, FREE, NO_SLIP)
    fine, _ = walk_bar(start, "BTC", _bar_of(first), FREE, NO_SLIP)
    fine, _ = walk_bar(fine, "BTC", _bar_of(second), FREE, NO_SLIP)
    assert account_value_usd(fine) <= account_value_usd(coarse)


@settings(max_examples=100, deadline=None)
@given(
    sign=st.sampled_from([1, -1]),
    prices=st.tuples(*[st.integers(44_000, 56_000)] * 4),
    bps=st.integers(0, 50),
)
def test_no_fill_inside_a_bar_is_better_than_the_bar_shows(
    sign: int, prices: tuple[int, int, int, int], bps: int
) -> None:
    low, open_, close, high = sorted(prices)
    start = trade(account(), str(D("0.1") * sign), 50_000)
    start = stop_and_profit(start, 50_000 - 1_500 * sign, 50_000 + 1_500 * sign, 50_000)
    _, events = walk_bar(start, "BTC", bar(open_, high, low, close), RULES, Slippage(D(bps)))
    for fill in (event for event in events if isinstance(event, Execution)):
        assert fill.px >= low if fill.is_buy else fill.px <= high
