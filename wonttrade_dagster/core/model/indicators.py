"""With which lengths indicators are computed, and the names that follow from them.

Belongs here: the setting, the name of each column, how much history a column remembers.
Does not belong here: formulas (``core.indicators``), where the lengths come from (``settings.tables``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType

FURTHER = ("volatility", "roc", "vwap", "bollinger_width", "volume_z_score")
"""Roles of the columns that are computed only where a template shows them, in the order of the columns."""

_USUAL_MACD = (12, 26, 9)
_FORGOTTEN = 2.0**-53
"""The weight of a first value below which a float no longer shows it."""


@dataclass(frozen=True)  # without slots: names that are asked for a dozen times a cycle live in its dict
class IndicatorSetting:
    """Lengths in bars (``[indicators]``), and which further columns are computed.

    A *role* (``ema_fast``) is what a template can rely on whatever is configured; the *name* of its column
    (``ema_20``) tells the length, so that no number ever stands under another length's name.

    Attributes:
        further: roles out of ``FURTHER``, in that order.
    """

    ema_fast_bars: int = 20
    ema_slow_bars: int = 50
    macd_fast_bars: int = 12
    macd_slow_bars: int = 26
    macd_signal_bars: int = 9
    rsi_fast_bars: int = 7
    rsi_slow_bars: int = 14
    atr_fast_bars: int = 3
    atr_slow_bars: int = 14
    volume_mean_bars: int = 20
    volatility_bars: int = 20
    roc_bars: int = 10
    vwap_bars: int = 20
    bollinger_width_bars: int = 20
    volume_z_score_bars: int = 20
    further: tuple[str, ...] = ()

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Role → column, in the order of the columns."""
        return _names_of(self)

    def __getstate__(self) -> dict[str, object]:
        """The fields alone: what was found out of them cannot be pickled, and is found again."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def macd_suffix(self) -> str:
        """Empty for MACD's usual 12, 26, 9; else those three, e.g. ``_8_17_9``."""
        lengths = (self.macd_fast_bars, self.macd_slow_bars, self.macd_signal_bars)
        return "" if lengths == _USUAL_MACD else "_{}_{}_{}".format(*lengths)

    def further_bars(self, role: str) -> int:
        """The length of one of ``FURTHER``."""
        bars: int = getattr(self, f"{role}_bars")
        return bars

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all computed columns, in their order."""
        return tuple(self.names.values())

    @cached_property
    def window_series(self) -> tuple[str, ...]:
        """Series of a window that a condition may name."""
        names = self.names
        shown = ("ema_fast", "ema_slow", "macd", "rsi_fast", "rsi_slow", "atr_fast", "atr_slow")
        means = ("volume", names["volume_mean"], *(names[role] for role in self.further))
        return ("close", *(names[role] for role in shown), *means)

    def forgets_within(self, bars: int) -> bool:
        """Whether a value after ``bars`` rows no longer shows where its window begins.

        Only then do a pass over a whole range and a pass over a cycle's own window give the same numbers.
        Windowed columns forget at once; a recursion keeps ``(1 − alpha) ** n`` of its first value.
        """
        averages = (self.ema_slow_bars, 2.0), (self.macd_slow_bars + self.macd_signal_bars, 2.0)
        wilder = (self.rsi_slow_bars, 1.0), (self.atr_slow_bars, 1.0)
        return all(_kept(length, part, bars) < _FORGOTTEN for length, part in (*averages, *wilder))


def _names_of(setting: IndicatorSetting) -> Mapping[str, str]:
    macd = setting.macd_suffix
    names = {
        "ema_fast": f"ema_{setting.ema_fast_bars}",
        "ema_slow": f"ema_{setting.ema_slow_bars}",
        "macd": f"macd{macd}",
        "macd_signal": f"macd_signal{macd}",
        "macd_histogram": f"macd_histogram{macd}",
        "rsi_fast": f"rsi_{setting.rsi_fast_bars}",
        "rsi_slow": f"rsi_{setting.rsi_slow_bars}",
        "atr_fast": f"atr_{setting.atr_fast_bars}",
        "atr_slow": f"atr_{setting.atr_slow_bars}",
        "volume_mean": f"volume_mean_{setting.volume_mean_bars}",
    }
    return MappingProxyType(
        names | {role: f"{role}_{setting.further_bars(role)}" for role in setting.further}
    )


def _kept(length: int, part: float, bars: int) -> float:
    alpha = part / (length + part - 1.0)
    return (1.0 - alpha) ** max(bars - length - 1, 0)


USUAL_INDICATORS = IndicatorSetting()
"""The defaults, and what cycles were computed with before lengths could be configured."""
