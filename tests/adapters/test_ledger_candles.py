"""The candles of market snapshots in the ledger: stored once, given back byte for byte."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from cycle_samples import at, candles, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import ledger

from wonttrade_dagster.adapters.duckdb_file import connect
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.model import CandleSeries, Stage, StageFailure


def test_candles_of_following_snapshots_are_stored_once(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payloads = {cycle: snapshot(cycle, candles(cycle, 1000)) for cycle in range(5)}
    for cycle, payload in payloads.items():
        kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payload)
        kept.drain()
    assert {c: kept.load(at(c), Stage.MARKET_SNAPSHOTS) for c in payloads} == payloads
    with connect(kept.path, 1.0) as connection:
        rows = connection.execute("SELECT count(*) FROM snapshot_candles WHERE interval = '5m'").fetchone()
        assert rows == (1004,)
        (longest,) = connection.execute("SELECT max(length(payload)) FROM stages").fetchone() or (0,)
    assert 0 < longest < 2000 < len(payloads[0])


@settings(max_examples=12, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.integers(0, 6), st.integers(0, 8), st.integers(1, 6), st.sampled_from([0.0, 1e-9, -3.0])
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    together=st.booleans(),
)
def test_any_snapshots_in_any_order_come_back_byte_for_byte(
    plan: list[tuple[int, int, int, float]], together: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept, payloads = ledger(Path(folder)), dict[int, bytes]()
        for cycle, start, bars, change in plan:
            payloads[cycle] = snapshot(cycle, candles(start, bars, change), candles(start + 1, bars))
            kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payloads[cycle])
            if not together:
                assert kept.drain().deferred is None
        assert kept.drain().set_aside == ()
        assert {c: kept.load(at(c), Stage.MARKET_SNAPSHOTS) for c in payloads} == payloads


def drained_snapshot(kept: DuckDBLedger, cycle: int, *series: CandleSeries) -> int:
    """Store a snapshot, require it back byte for byte, and tell how many candles the table holds then."""
    payload = snapshot(cycle, *series)
    kept.record(at(cycle), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(cycle), Stage.MARKET_SNAPSHOTS) == payload
    with connect(kept.path, 1.0, read_only=True) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM snapshot_candles").fetchone() or (0,)
    return int(rows)


def with_volume(series: CandleSeries, volume: float) -> CandleSeries:
    return replace(series, frame=series.frame.with_columns(volume=pl.lit(volume)))


def test_a_candle_is_stored_again_only_where_its_bits_changed(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    zero, minus_zero = (with_volume(candles(0, 5), volume) for volume in (0.0, -0.0))
    before = drained_snapshot(kept, 0, zero)
    assert drained_snapshot(kept, 1, zero) == before
    assert drained_snapshot(kept, 2, minus_zero) == before + 5
    assert drained_snapshot(kept, 3, candles(0, 5, change=1e-9)) == before + 10
    assert drained_snapshot(kept, 4, candles(0, 5)) == before + 11


def test_a_window_without_a_candle_that_is_stored_keeps_its_own_text(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    before = drained_snapshot(kept, 0, candles(0, 6))
    gappy = candles(0, 6)
    assert drained_snapshot(kept, 1, replace(gappy, frame=gappy.frame[[0, 1, 4, 5]])) == before
    assert drained_snapshot(kept, 2, candles(0, 7)) == before + 1


def test_one_series_twice_in_a_snapshot_never_changes_what_the_first_one_sees(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    before = drained_snapshot(kept, 0, candles(0, 6))
    assert drained_snapshot(kept, 1, candles(0, 6), candles(0, 6)) == before
    assert drained_snapshot(kept, 2, candles(0, 6), candles(0, 6, change=1.0)) == before
    assert drained_snapshot(kept, 3, candles(0, 6, change=1.0), candles(0, 6)) == before + 1


@pytest.mark.parametrize(
    "text", ["candles in another order", "whole numbers", "spaces", "a twin", "no candle"]
)
def test_candles_that_are_written_in_another_way_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    kept = ledger(tmp_path)
    drained_snapshot(kept, 0, candles(0, 4))
    document = json.loads(snapshot(1, candles(0, 4)))
    columns = document["markets"][0]["intraday"]["frame"]["columns"]
    for name, values in columns.items():
        if text == "candles in another order":
            values.reverse()
        elif text == "a twin":
            values.append(values[-1])
        elif text == "no candle":
            values.clear()
        elif text == "whole numbers":
            columns[name] = [int(value) for value in values]
    payload = json.dumps(document, separators=None if text == "spaces" else (",", ":")).encode()
    kept.record(at(1), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(1), Stage.MARKET_SNAPSHOTS) == payload


def test_a_failed_market_stage_is_kept_as_it_is(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    payload = encode(StageFailure(Stage.MARKET_SNAPSHOTS, "venue_unavailable", "no answer"))
    kept.record(at(1), Stage.MARKET_SNAPSHOTS, payload)
    assert kept.drain().set_aside == ()
    assert kept.load(at(1), Stage.MARKET_SNAPSHOTS) == payload
