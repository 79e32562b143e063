"""A window of plain columns is stored as the frame that it was cut from, and read back as it was."""

import json
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from wonttrade_dagster.core.codec import FrameCodec, decode, encode
from wonttrade_dagster.core.model import IndicatorSnapshot, IndicatorWindow, SymbolIndicators

FRAME = pl.DataFrame({"open_time_ms": [1, 2], "close": [1.5, 2.0], "ema_20": [None, 1.75]})
WINDOW = IndicatorWindow.of(FRAME)
SNAPSHOT = IndicatorSnapshot(7, (SymbolIndicators("BTC", WINDOW, IndicatorWindow.of(FRAME.head(0))),))


def test_a_window_is_stored_as_its_frame_and_comes_back() -> None:
    payload = encode(SNAPSHOT)
    stored = json.loads(payload)["symbols"][0]["intraday"]
    assert stored == FrameCodec.encode(FRAME)
    again: IndicatorSnapshot = decode(IndicatorSnapshot, payload)
    assert again.of("BTC").intraday.columns == WINDOW.columns
    assert again.of("BTC").long_term.height == 0
    assert encode(again) == payload


@pytest.mark.parametrize(
    "columns",
    [
        [],
        {"close": 1.0},
        {"close": None},
        {"close": "12"},
        {"close": ["1"]},
        {"close": [True]},
        {"close": [[1.0]]},
        {"close": [10**400]},
        {"close": [1.0], "ema_20": [1.0, 2.0]},
    ],
)
def test_what_is_no_window_is_refused(columns: Any) -> None:
    document = json.loads(encode(SNAPSHOT))
    document["symbols"][0]["intraday"]["columns"] = columns
    with pytest.raises(ValidationError):
        decode(IndicatorSnapshot, json.dumps(document))
