"""Stretches of candles: cut out of a long history, they are what frames of those rows would be."""

import polars as pl
import pytest

from wonttrade_dagster.core.model import CANDLE_SCHEMA
from wonttrade_dagster.core.simulation import BarStretch, BarTable

MINUTE_MS = 60_000


def _candles(count: int, step: int, px: float) -> pl.DataFrame:
    opens = [px + n for n in range(count)]
    columns = {
        "open_time_ms": [n * step * MINUTE_MS for n in range(count)],
        "open": opens,
        "high": [each + 2.5 for each in opens],
        "low": [each - 1.5 for each in opens],
        "close": [each + 0.5 for each in opens],
        "volume": [each / 7 for each in opens],
    }
    return pl.DataFrame(columns, schema=CANDLE_SCHEMA)


@pytest.mark.parametrize("other_step", [1, 5])
@pytest.mark.parametrize("bounds", [(0, 30), (7, 8), (11, 23), (12, 12)])
def test_a_table_over_stretches_is_that_of_their_frames(bounds: tuple[int, int], other_step: int) -> None:
    from_ms, to_ms = (minute * MINUTE_MS for minute in bounds)
    frames = {"BTC": _candles(30, 1, 50_000.0), "ETH": _candles(30 // other_step, other_step, 2_000.0)}
    is_inside = pl.col("open_time_ms").is_between(from_ms, to_ms, closed="left")

    found = BarTable.over({s: BarStretch.of(each).between(from_ms, to_ms) for s, each in frames.items()})
    expected = BarTable.of({symbol: each.filter(is_inside) for symbol, each in frames.items()})

    assert tuple(found.open_time_ms) == tuple(expected.open_time_ms)
    assert found.columns.keys() == expected.columns.keys()
    for symbol, columns in found.columns.items():
        for index, time_ms in enumerate(found.open_time_ms):
            assert columns.bar(index, time_ms) == expected.columns[symbol].bar(index, time_ms)


def test_a_volume_that_is_not_known_counts_as_none() -> None:
    frame = _candles(3, 1, 50_000.0).with_columns(volume=pl.Series([1.0, None, 2.0]))

    bars = [BarStretch.of(frame).bar(row) for row in range(3)]

    assert [bar.volume_base for bar in bars] == [1.0, 0.0, 2.0]
