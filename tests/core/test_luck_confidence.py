"""The confidence that a trade was opened with, and how such trades went."""

import polars as pl
import pytest

from wonttrade_dagster.core.confidence import EDGES, confidence_groups
from wonttrade_dagster.core.round_trips import RoundTrip

COLUMNS = ("cycle_ms", "symbol", "target_size_base", "confidence")


def trip(opened_ms: int, *, is_long: bool = True, net_usd: float = 1.0, symbol: str = "BTC") -> RoundTrip:
    """One unit from 100, no fees: 1 USD is 100 bps of the entry."""
    return RoundTrip(symbol, is_long, opened_ms, opened_ms + 5, 1.0, 100.0, 101.0, net_usd, 0.0, "close", 2)


def targets(*rows: tuple[int, str, float, float]) -> pl.DataFrame:
    kinds = (pl.Int64, pl.String, pl.Float64, pl.Float64)
    return pl.DataFrame(list(rows), schema=dict(zip(COLUMNS, kinds, strict=True)), orient="row")


def test_a_trade_has_the_confidence_of_the_newest_target_of_its_symbol_and_side() -> None:
    said = targets(
        (0, "BTC", 1.0, 0.55), (10, "BTC", -1.0, 0.95), (20, "BTC", 1.0, 0.75), (0, "ETH", 1.0, 0.1)
    )
    found = confidence_groups(
        [trip(0, net_usd=2), trip(15, net_usd=-1), trip(12, is_long=False, net_usd=3), trip(20, net_usd=1)],
        said,
    )
    assert [(g.low, g.high, g.round_trips, g.win_fraction) for g in found] == [
        (0.5, 0.6, 2, 0.5),
        (0.7, 0.8, 1, 1.0),
        (0.9, 1.0, 1, 1.0),
    ]
    assert [g.mean_return_bps for g in found] == pytest.approx([50, 100, 300])


@pytest.mark.parametrize("index", range(len(EDGES) - 1))
def test_a_confidence_on_an_edge_belongs_to_the_upper_group(index: int) -> None:
    (found,) = confidence_groups([trip(5)], targets((5, "BTC", 1.0, EDGES[index])))
    assert (found.low, found.high) == EDGES[index : index + 2]


def test_full_confidence_is_in_the_last_group() -> None:
    (found,) = confidence_groups([trip(5)], targets((5, "BTC", 1.0, 1.0)))
    assert found.high == 1.0


def test_open_trades_and_trades_that_nobody_asked_for_are_left_out() -> None:
    still_open = RoundTrip("BTC", True, 5, None, 1.0, 100.0, None, 0.0, 0.0, None, 1)
    flat, later, other_side = (5, "BTC", 0.0, 0.9), (6, "BTC", 1.0, 0.9), (5, "BTC", -1.0, 0.9)
    assert confidence_groups([still_open], targets((5, "BTC", 1.0, 0.9))) == ()
    assert confidence_groups([trip(5)], targets(flat, later, other_side)) == ()
    assert confidence_groups([], targets()) == ()
