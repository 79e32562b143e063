"""Indicators in a prompt: under their true names, the further ones where they are asked for."""

import json
import pickle
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indicator_samples import EVERY_COLUMN
from trader_samples import LIMITS, PROMPTS, RULES, D, context_inputs, judgement, market, symbol_market

from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.context import ContextBuilder, PromptTemplate
from wonttrade_dagster.core.decision import judge
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.invalidation import readings
from wonttrade_dagster.core.model import (
    FURTHER,
    USUAL_INDICATORS,
    Condition,
    Decision,
    IndicatorSetting,
    Prompt,
    Refusal,
)
from wonttrade_dagster.core.prompt_names import fitted_schema

SHIPPED = load_prompt(PROMPTS, "trader/v1")
OTHER = IndicatorSetting(
    ema_fast_bars=34, ema_slow_bars=89, macd_fast_bars=8, macd_slow_bars=17,
    rsi_fast_bars=5, rsi_slow_bars=21, atr_fast_bars=2, atr_slow_bars=10, volume_mean_bars=30,
)  # fmt: skip
SHOWS_ALL = """
{% for s in facts.symbols %}
{{ s.symbol }} {{ s.intraday.interval }}
{% for window in (s.intraday, s.long_term) %}
{{ facts.labels.volatility }}: {{ window.latest.volatility }} {{ window.series.volatility }}
{{ facts.labels.roc }}: {{ window.latest.roc }} {{ window.series.roc }}
{{ facts.labels.vwap }}: {{ window.latest.vwap }} {{ window.series.vwap }}
{{ facts.labels.bollinger_width }}: {{ window.latest.bollinger_width }} {{ window.series.bollinger_width }}
{{ facts.labels.volume_z_score }}: {{ window.latest.volume_z_score }} {{ window.series.volume_z_score }}
{{ facts.labels.macd_signal }}: {{ window.latest.macd_signal }}, {{ window.series.macd_histogram }}
{{ window.series.open }} {{ window.latest.high }} {{ window.latest.low }} {{ window.series.volume }}
{% endfor %}
{% endfor %}
{{ facts.data_json }}
"""


def prompt_of(source: str) -> PromptTemplate:
    return replace(SHIPPED, name="mine/v1", user_source=source)


def built(template: PromptTemplate, lengths: IndicatorSetting = USUAL_INDICATORS) -> Prompt:
    """As a live cycle does it: the template says what is computed."""
    builder = ContextBuilder(template, LIMITS, RULES, 5, template.indicators(lengths))
    inputs = context_inputs(snapshot=market(symbol_market(), symbol_market("ETH", "4000", 4)))
    computed = IndicatorEngine(setting=builder.indicators).compute(inputs.market)
    return builder.build(replace(inputs, indicators=computed))


def data_of(user: str) -> dict[str, Any]:
    line = next(line for line in user.splitlines() if line.startswith("{"))
    data: dict[str, Any] = json.loads(line)
    return data


# --- lengths ---------------------------------------------------------------------------------------


def test_the_shipped_prompt_tells_true_lengths_and_no_others() -> None:
    prompt = built(SHIPPED, OTHER)
    for label in ("EMA34", "EMA89", "MACD(8,17,9)", "RSI5", "RSI21", "ATR2", "ATR10", "average of 30 bars"):
        assert label in prompt.user, label
    for usual in (
        "EMA20",
        "EMA50",
        "RSI7",
        "RSI14",
        "ATR3",
        "ATR14",
        "ema_20",
        "rsi_14",
        "of 20 bars",
        "MACD:",
    ):
        assert usual not in prompt.user + prompt.system, usual
    assert (
        "ema_34, ema_89, macd_8_17_9, rsi_5, rsi_21, atr_2, atr_10, volume, volume_mean_30" in prompt.system
    )
    window = data_of(prompt.user)["symbols"]["BTC"]["long_term"]
    assert list(window) == ["ema_34", "ema_89", "macd_8_17_9", "rsi_5", "rsi_21", "atr_10"]


def test_a_name_of_another_length_is_an_error_before_anything_is_asked() -> None:
    by_name = prompt_of("EMA20 {{ facts.symbols[0].intraday.latest.ema_20 }}")
    assert "EMA20 9" in built(by_name).user
    said = "mine/v1 shows ema_20, computed is ema_34, ema_89: write ema_fast or ema_slow"
    with pytest.raises(ConfigurationError, match=said):
        by_name.indicators(OTHER)
    with pytest.raises(ConfigurationError, match=said):
        ContextBuilder(by_name, LIMITS, RULES, 5, OTHER)
    with pytest.raises(ConfigurationError, match="shows vwap_50, computed is vwap_20: write vwap"):
        prompt_of("{{ facts.symbols[0].intraday.latest.vwap_50 }}").indicators(USUAL_INDICATORS)


def test_words_outside_of_expressions_are_no_names() -> None:
    prose = prompt_of("An ema_20 and a vwap_50 are averages. {# latest.rsi_9 #}")
    assert prose.indicators(OTHER) == OTHER


@given(
    st.builds(
        IndicatorSetting,
        *(st.integers(2, 1000) for _ in range(15)),
        further=st.sets(st.sampled_from(FURTHER)).map(lambda f: tuple(r for r in FURTHER if r in f)),
    )
)
@settings(max_examples=200)
def test_every_column_has_a_name_of_its_own_as_long_as_fast_is_not_slow(setting: IndicatorSetting) -> None:
    pairs = [
        (getattr(setting, f"{n}_fast_bars"), getattr(setting, f"{n}_slow_bars"))
        for n in ("ema", "rsi", "atr")
    ]
    same = sum(fast == slow for fast, slow in pairs)
    assert len(set(setting.columns)) == 10 + len(setting.further) - same
    assert set(setting.window_series) - {"close", "volume"} <= set(setting.columns)


# --- further columns -------------------------------------------------------------------------------


def test_a_small_template_shows_every_further_column() -> None:
    prompt = built(prompt_of(SHOWS_ALL))
    lines = prompt.user.splitlines()
    shown = [line for line in lines if line.startswith("VWAP20: ")]
    assert len(shown) == 4
    values = json.loads(shown[0].split(" ", 2)[2])
    assert len(values) == 10
    assert all(95_000 < value < 105_000 for value in values)
    assert f"{values[-1]:.1f}" == shown[0].split()[1]
    for label in ("volatility of 20 bars (% per bar): 0.", "ROC10 (%): ", "Bollinger width of 20 bars (%): "):
        assert sum(label in line for line in lines) == 4, label
    assert sum(line.startswith("volume z-score of 20 bars: ") for line in lines) == 4
    assert "absent" not in prompt.user
    window = data_of(prompt.user)["symbols"]["ETH"]["intraday"]
    assert list(window)[6:] == [
        "volatility_20",
        "roc_10",
        "vwap_20",
        "bollinger_width_20",
        "volume_z_score_20",
    ]
    assert None not in window.values()


def test_only_what_a_template_shows_is_computed() -> None:
    assert SHIPPED.indicators(USUAL_INDICATORS) == USUAL_INDICATORS
    some = prompt_of(
        "{{ facts.symbols[0].intraday.latest['vwap'] }}{{ facts.symbols[0].long_term.series.roc_10 }}"
    )
    assert some.indicators(USUAL_INDICATORS).further == ("roc", "vwap")
    assert prompt_of(SHOWS_ALL).indicators(USUAL_INDICATORS) == EVERY_COLUMN


@pytest.mark.parametrize("name", ["nonsense", "vwapp", "ema", "ema_fast_20"])
@pytest.mark.parametrize("place", ["latest", "series"])
def test_a_column_that_does_not_exist_is_an_error(place: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"mine/v1.*{name}"):
        built(prompt_of("{{ facts.symbols[0].intraday." + place + "." + name + " }}"))


def test_a_column_that_nobody_computed_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="shows vwap, computed is none"):
        ContextBuilder(prompt_of(SHOWS_ALL.replace("volatility", "vwap")), LIMITS, RULES, 5)


# --- the reply -------------------------------------------------------------------------------------


def enum_of(schema: Any) -> list[str]:
    listed: list[str] = schema["properties"]["conditions"]["items"]["properties"]["series"]["enum"]
    return listed


def test_the_schema_lists_what_the_system_message_lists() -> None:
    usual = enum_of(SHIPPED.schema)
    assert fitted_schema(SHIPPED.schema, USUAL_INDICATORS) is SHIPPED.schema
    fitted = enum_of(fitted_schema(SHIPPED.schema, replace(OTHER, further=("vwap",))))
    assert fitted == ["price", "funding_hourly", "open_interest", *OTHER.window_series, "vwap_20"]
    assert enum_of(SHIPPED.schema) == usual
    assert fitted_schema({"type": "object"}, OTHER) == {"type": "object"}


def answer(series: str) -> str:
    flat = {"target_size": 0, "stop_loss": None, "take_profit": None, "confidence": 0.5, "rationale": "x"}
    condition = {"symbol": "BTC", "series": series, "operator": "<", "value": 1, "interval": "4h"}
    return json.dumps(
        {
            "explanation": "x",
            "invalidation_condition": "x",
            "conditions": [condition],
            "prior_plan": "none",
            "targets": [{"symbol": symbol, **flat} for symbol in ("BTC", "ETH")],
        }
    )


def test_a_condition_names_the_series_by_its_true_length() -> None:
    inputs = replace(judgement(), window_series=replace(OTHER, further=("vwap",)).window_series)
    assert isinstance(judge(answer("ema_34"), inputs), Decision)
    assert isinstance(judge(answer("vwap_20"), inputs), Decision)
    for unknown in ("ema_20", "roc_10"):
        refusal = judge(answer(unknown), inputs)
        assert isinstance(refusal, Refusal)
        assert [v.rule for v in refusal.violations] == ["condition_unknown_series"]
    assert isinstance(judge(answer("ema_20"), judgement()), Decision)


def test_a_condition_on_a_further_column_is_read_and_one_on_a_length_of_the_past_is_not_known() -> None:
    setting = replace(OTHER, further=("vwap",))
    snapshot = market()
    computed = IndicatorEngine(setting=setting).compute(snapshot)
    conditions = tuple(Condition("BTC", s, ">", D(0), "5m") for s in ("vwap_20", "ema_34", "ema_20"))
    found = readings(conditions, snapshot, computed, setting.window_series)
    newest = computed.of("BTC").intraday
    assert [r.value for r in found] == [newest.newest("vwap_20"), newest.newest("ema_34"), None]
    assert [r.holds for r in found] == [True, True, None]


def test_a_setting_is_pickled_and_copied_whatever_was_asked_of_it() -> None:
    setting = replace(OTHER, further=("vwap",))
    assert setting.names["vwap"] in setting.window_series
    for again in (pickle.loads(pickle.dumps(setting)), deepcopy(setting)):
        assert again == setting
        assert again.window_series == setting.window_series
