import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.core.performance import FILL_SCHEMA
from wonttrade_dagster.core.round_trips import round_trips, time_in_market_ms

Row = tuple[int, float, float, float, float, str]


def fills(*rows: Row, symbol: str = "BTC") -> pl.DataFrame:
    """Rows of time, size, price, fee, closed PnL, purpose."""
    full = [(t, symbol, px, size, fee, pnl, purpose, "", 0) for t, size, px, fee, pnl, purpose in rows]
    return pl.DataFrame(full, schema=FILL_SCHEMA, orient="row")


def test_scaling_in_and_out_is_one_trade_with_mean_prices() -> None:
    (trip,) = round_trips(
        fills(
            (1, 1.0, 100.0, 0.1, 0.0, "open"),
            (2, 3.0, 104.0, 0.3, 0.0, "increase"),
            (3, -2.0, 110.0, 0.2, 14.0, "reduce"),
            (9, -2.0, 90.0, 0.2, -26.0, "stop_loss"),
        )
    )
    assert (trip.is_long, trip.opened_ms, trip.closed_ms, trip.holding_ms) == (True, 1, 9, 8)
    assert (trip.entry_px, trip.exit_px, trip.max_size_base) == (103.0, 100.0, 4.0)
    assert trip.net_pnl_usd == pytest.approx(-12.0 - 0.8)
    assert (trip.closed_by, trip.fills) == ("stop_loss", 4)


def test_a_flip_ends_one_trade_and_starts_the_next_with_its_share_of_the_fee() -> None:
    first, second = round_trips(
        fills((1, 1.0, 100.0, 0.1, 0.0, "open"), (5, -4.0, 110.0, 0.4, 10.0, "trade"))
    )
    assert (first.is_long, first.closed_ms, first.pnl_usd) == (True, 5, 10.0)
    assert (second.is_long, second.opened_ms, second.closed_ms, second.pnl_usd) == (False, 5, None, 0.0)
    assert (first.fees_usd, second.fees_usd) == (pytest.approx(0.2), pytest.approx(0.3))
    assert second.max_size_base == 3.0


def test_float_dust_of_decimal_sizes_counts_as_flat() -> None:
    (trip,) = round_trips(
        fills(
            (1, 0.1, 100.0, 0.0, 0.0, "open"),
            (2, 0.2, 100.0, 0.0, 0.0, "increase"),
            (3, -0.3, 101.0, 0.0, 0.3, "close"),
        )
    )
    assert (trip.closed_ms, trip.closed_by) == (3, "close")


def test_symbols_do_not_mix_and_trades_are_ordered_by_opening() -> None:
    both = pl.concat(
        [
            fills((3, 1.0, 10.0, 0.0, 0.0, "open"), symbol="ETH"),
            fills((1, 1.0, 100.0, 0.0, 0.0, "open"), (4, -1.0, 99.0, 0.0, -1.0, "close")),
        ]
    ).sort("time_ms")
    assert [(trip.symbol, trip.closed_ms) for trip in round_trips(both)] == [("BTC", 4), ("ETH", None)]


def test_without_fills_there_are_no_trades() -> None:
    assert round_trips(fills()) == ()


@given(st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.floats(-9, 9), st.floats(0, 1)), max_size=40))
@settings(max_examples=100)
def test_trades_keep_every_fee_every_profit_and_the_position(rows: list[tuple[int, float, float]]) -> None:
    frame = fills(*[(t, float(size), 100.0, fee, pnl, "x") for t, (size, pnl, fee) in enumerate(rows)])
    trips = round_trips(frame)
    assert sum(trip.fees_usd for trip in trips) == pytest.approx(frame["fee_usd"].sum(), abs=1e-9)
    assert sum(trip.pnl_usd for trip in trips) == pytest.approx(frame["closed_pnl_usd"].sum(), abs=1e-9)
    held = sum(size for size, _, _ in rows)
    still_open = [trip for trip in trips if trip.closed_ms is None]
    assert len(still_open) == (held != 0)
    assert all(trip.is_long == (held > 0) for trip in still_open)


@given(st.lists(st.tuples(st.integers(-2, 2).filter(bool)), max_size=30))
@settings(max_examples=60)
def test_time_in_the_market_never_exceeds_the_range(sizes: list[tuple[int]]) -> None:
    frame = fills(*[(t * 10, float(size), 100.0, 0.0, 0.0, "x") for t, (size,) in enumerate(sizes)])
    end_ms = 10 * len(sizes)
    held, expected_ms = 0, 0
    for (size,) in sizes:
        held += size
        expected_ms += 10 if held else 0
    assert time_in_market_ms(round_trips(frame), 0, end_ms) == expected_ms
