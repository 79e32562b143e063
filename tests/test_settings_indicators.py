"""``[indicators]``: which lengths are accepted, and how a wrong one is told."""

from pathlib import Path

import pytest
from settings_samples import problems, toml, write

from wonttrade_dagster.core.model import USUAL_INDICATORS, IndicatorSetting
from wonttrade_dagster.defs.compose import indicator_setting
from wonttrade_dagster.settings import load_settings
from wonttrade_dagster.settings.tables import IndicatorsTable


def lengths(folder: Path, **changes: str) -> IndicatorSetting:
    return indicator_setting(load_settings(write(folder, toml(**changes))))


def test_without_the_table_the_lengths_are_the_usual_ones(tmp_path: Path) -> None:
    assert lengths(tmp_path) == USUAL_INDICATORS


@pytest.mark.parametrize("key", IndicatorsTable.model_fields)
def test_every_length_reaches_the_indicators(tmp_path: Path, key: str) -> None:
    bars = {"ema_fast_bars": 21, "macd_fast_bars": 10, "rsi_fast_bars": 8, "atr_fast_bars": 5}.get(key, 77)
    changed = lengths(tmp_path, **{f"indicators__{key}": str(bars)})
    assert getattr(changed, key) == bars
    assert changed != USUAL_INDICATORS


@pytest.mark.parametrize("name", ["ema", "macd", "rsi", "atr"])
@pytest.mark.parametrize("fast", ["30", "31"])
def test_fast_is_faster_than_slow(tmp_path: Path, name: str, fast: str) -> None:
    changes = {f"indicators__{name}_fast_bars": fast, f"indicators__{name}_slow_bars": "30"}
    assert problems(tmp_path, **changes) == [
        f"indicators.{name}_fast_bars: found {fast}, expected less than indicators.{name}_slow_bars (30)"
    ]


@pytest.mark.parametrize("value", ["1", "0", "-5", "1001", "20.5", '"20"', "true"])
def test_a_length_is_a_whole_number_of_bars(tmp_path: Path, value: str) -> None:
    (problem,) = problems(tmp_path, indicators__vwap_bars=value)
    assert problem == f"indicators.vwap_bars: found {value}, expected a whole number from 2 to 1000, bars"


@pytest.mark.parametrize(
    ("key", "longest"),
    [
        ("ema_slow_bars", 60), ("volume_mean_bars", 60), ("vwap_bars", 60), ("bollinger_width_bars", 60),
        ("volume_z_score_bars", 60), ("rsi_slow_bars", 59), ("atr_slow_bars", 59), ("volatility_bars", 59),
        ("roc_bars", 59), ("macd_slow_bars", 52),
    ],
)  # fmt: skip
def test_every_indicator_has_its_first_value_within_the_history(
    tmp_path: Path, key: str, longest: int
) -> None:
    history = {"symbols__history_bars": "60"}
    assert getattr(lengths(tmp_path, **history, **{f"indicators__{key}": str(longest)}), key) == longest
    (problem,) = problems(tmp_path, **history, **{f"indicators__{key}": str(longest + 1)})
    assert problem == (
        f"indicators.{key}: found {longest + 1}, whose first value needs 61 candles, "
        "expected at most symbols.history_bars (60) of them"
    )


def test_an_unknown_length_and_a_wrong_one_are_told_together(tmp_path: Path) -> None:
    told = problems(tmp_path, indicators__ema_bars="20", indicators__rsi_fast_bars="1")
    assert any(line.startswith("indicators.ema_bars: found an unknown key, expected ema_") for line in told)
    assert any(line.startswith("indicators.rsi_fast_bars: found 1, expected a whole") for line in told)
    assert len(told) == 2
