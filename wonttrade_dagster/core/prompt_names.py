"""Which indicators a prompt shows, and under which names.

Belongs here: reading a template for the names in it, labels with the true lengths, the schema's series.
Does not belong here: the numbers (``core.prompt_market``), the lengths (``core.model.indicators``).

A template names an indicator by its role (``latest.ema_fast``, whatever its length) or by its column
(``latest.ema_20``, an error where that is not the configured length).
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.model import FURTHER, USUAL_INDICATORS, IndicatorSetting

_LENGTHS = re.compile(r"(_\d+)+$")


@dataclass(frozen=True, slots=True)
class IndicatorLabels:
    """What each role is called in a sentence, with its true length, e.g. ``EMA20``."""

    ema_fast: str
    ema_slow: str
    macd: str
    macd_signal: str
    macd_histogram: str
    rsi_fast: str
    rsi_slow: str
    atr_fast: str
    atr_slow: str
    volume_mean: str
    volatility: str
    roc: str
    vwap: str
    bollinger_width: str
    volume_z_score: str


def labels_of(setting: IndicatorSetting) -> IndicatorLabels:
    """The labels of a setting; MACD tells its lengths where they are not 12, 26 and 9."""
    lengths = setting.macd_suffix.strip("_").replace("_", ",")
    macd = f"MACD({lengths})" if lengths else "MACD"
    return IndicatorLabels(
        ema_fast=f"EMA{setting.ema_fast_bars}",
        ema_slow=f"EMA{setting.ema_slow_bars}",
        macd=macd,
        macd_signal=f"{macd} signal",
        macd_histogram=f"{macd} histogram",
        rsi_fast=f"RSI{setting.rsi_fast_bars}",
        rsi_slow=f"RSI{setting.rsi_slow_bars}",
        atr_fast=f"ATR{setting.atr_fast_bars}",
        atr_slow=f"ATR{setting.atr_slow_bars}",
        volume_mean=f"average of {setting.volume_mean_bars} bars",
        volatility=f"volatility of {setting.volatility_bars} bars (% per bar)",
        roc=f"ROC{setting.roc_bars} (%)",
        vwap=f"VWAP{setting.vwap_bars}",
        bollinger_width=f"Bollinger width of {setting.bollinger_width_bars} bars (%)",
        volume_z_score=f"volume z-score of {setting.volume_z_score_bars} bars",
    )


def setting_shown(name: str, source: str, setting: IndicatorSetting) -> IndicatorSetting:
    """``setting`` with the further columns that a prompt names, by role or by column.

    Args:
        name: of the prompt, for an error.
        source: Jinja2 source of its user message.
        setting: the configured lengths.

    Raises:
        ConfigurationError: the source is no template, or names an indicator of another length.
    """
    roles = {_LENGTHS.sub("", word) for word in _words(name, source)}
    shown = replace(setting, further=tuple(role for role in FURTHER if role in roles))
    refuse_other_lengths(name, source, shown)
    return shown


def refuse_other_lengths(name: str, source: str, setting: IndicatorSetting) -> None:
    """Raise ``ConfigurationError`` for a source with an indicator that ``setting`` does not compute."""
    stems = {_LENGTHS.sub("", column): column for column in setting.columns}
    absent = set(FURTHER) - set(setting.further)
    for word in _words(name, source):
        stem = _LENGTHS.sub("", word)
        is_other = stem in stems and word != stem and word not in setting.columns
        if is_other or stem in absent:
            there = ", ".join(column for column in setting.columns if _LENGTHS.sub("", column) == stem)
            role = " or ".join(r for r, c in setting.names.items() if _LENGTHS.sub("", c) == stem)
            remedy = f"write {role}, which is whatever [indicators] says" if role else "it is not computed"
            raise ConfigurationError(f"prompt {name} shows {word}, computed is {there or 'none'}: {remedy}")


def _words(name: str, source: str) -> Iterator[str]:
    """What stands behind a dot in the template's expressions, and the words of its strings."""
    environment = jinja2.Environment(autoescape=True)
    before = ""
    try:
        for _, kind, text in environment.lex(source):
            if kind == "name" and before == ".":
                yield text
            elif kind == "string":
                yield from re.findall(r"\w+", text)
            if kind != "whitespace":
                before = text
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(f"prompt {name}, line {error.lineno}: {error.message}") from error


def fitted_schema(schema: Mapping[str, Any], setting: IndicatorSetting) -> Mapping[str, Any]:
    """The reply's schema with the columns of ``setting`` among the series that a condition may name.

    A schema without such a list is returned as it is, and so is every schema with the usual setting.
    """
    if setting == USUAL_INDICATORS:
        return schema
    fitted = copy.deepcopy(dict(schema))
    try:
        series = fitted["properties"]["conditions"]["items"]["properties"]["series"]
        listed = list(series["enum"])
    except (KeyError, TypeError):
        return schema
    named = {column: setting.names[role] for role, column in USUAL_INDICATORS.names.items()}
    further = [setting.names[role] for role in setting.further]
    series["enum"] = list(dict.fromkeys([*(named.get(one, one) for one in listed), *further]))
    return fitted
