"""How numbers and foreign text are written into a prompt.

Belongs here: formats, and making model text harmless where it is quoted.
Does not belong here: which facts are shown (``core.prompt_facts``).
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

from wonttrade_dagster.core.precision import wire

ABSENT = "absent"
SHORTEST_CHARS = 16
"""Up to 15 digits and a point, the text of a number is the shortest one of the float nearest to it."""
_SMALLEST_PLAIN = -4
"""A float whose first digit stands further behind the point than this is spelled with an exponent."""
_SMALLEST_KEPT = 0.001
"""A smaller float may be spelled with an exponent once it is rounded."""

_CUT = " …[cut]"
_json = json.JSONEncoder(allow_nan=False).encode
_EPOCH = date(1970, 1, 1)


def _neutral(char: str) -> str:
    # Whatever becomes a backtick under any Unicode normalisation could close a fence later on.
    if "`" in unicodedata.normalize("NFKC", char):
        return "'"
    if char.isspace():
        return " "
    return "" if unicodedata.category(char).startswith("C") else char


_ASCII: Mapping[int, str] = MappingProxyType(
    {code: _neutral(chr(code)) if code not in range(0x20) else " " for code in range(0x80)}
)


@lru_cache(maxsize=256)  # a plan that is kept says the same in every cycle
def quoted(text: str, limit: int) -> str:
    """``text`` of a model or a server as one harmless line, to stand inside a fence.

    Line breaks become spaces, control, format and private characters disappear, backticks (and what
    normalises to one) become apostrophes, ``<|`` (a chat template's token) is broken up, and everything
    beyond ``limit`` characters is cut.
    """
    head = text[:limit]
    clean = head.translate(_ASCII) if head.isascii() else "".join(map(_neutral_any, head))
    line = " ".join(clean.replace("<|", "< |").split())
    return line + _CUT if len(text) > limit else line


def _neutral_any(char: str) -> str:
    return _ASCII[ord(char)] if char.isascii() else _neutral(char)


def utc_seconds(time_ms: int) -> str:
    """The time in UTC, e.g. ``2026-11-23 12:03:00``."""
    minutes, second = divmod(time_ms // 1000, 60)
    return f"{_day(minutes // 1_440)} {_clock(minutes % 1_440)}:{second:02}"


def cycle_name(cycle_ms: int) -> str:
    """The cycle's partition key, e.g. ``2026-11-23-12:03``."""
    days, minute = divmod(cycle_ms // 60_000, 1_440)
    return f"{_day(days)}-{_clock(minute)}"


@lru_cache(maxsize=64)  # making a date takes ten times as long as the rest of a time's text
def _day(days: int) -> str:
    return (_EPOCH + timedelta(days)).isoformat()


@lru_cache(maxsize=1_440)
def _clock(minute_of_day: int) -> str:
    return f"{minute_of_day // 60:02}:{minute_of_day % 60:02}"


def age(duration_ms: int) -> str:
    """A duration to the minute, e.g. ``2 d 3 h 5 min``."""
    days, minutes = divmod(max(duration_ms, 0) // 60_000, 1_440)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{days} d" if days else "", f"{hours} h" if days or hours else "", f"{minutes} min")
    return " ".join(part for part in parts if part)


def usd(amount: Decimal | float) -> str:
    """An amount in cents."""
    return f"{amount:.2f}"


def signed(size_base: Decimal) -> str:
    """A signed size, the plus written out."""
    return ("+" if size_base > 0 else "") + wire(size_base)


def percent(fraction: float, decimals: int = 2) -> str:
    """A signed percentage."""
    return "%+.*f%%" % (decimals, fraction * 100)  # noqa: UP031 (twice as quick as a format of a format)


def decimals_of(step: Decimal) -> int:
    """Decimals of a tick or lot: 0.001 has 3."""
    exponent = step.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


@dataclass(frozen=True, slots=True, eq=False)
class PriceFormat:
    """Number formats of one symbol at its current price.

    Prices have the tick's decimals. Averages have one more, and at least 5 significant figures (the tick of
    a very cheap coin is coarse); differences of prices (MACD, ATR), small beside the price, one more again.
    """

    tick: Decimal
    px_decimals: int
    average_decimals: int

    @classmethod
    def of(cls, tick: Decimal, px: Decimal) -> "PriceFormat":
        """The formats that belong to a tick and a price."""
        px_decimals = decimals_of(tick)
        return cls(tick, px_decimals, max(px_decimals + 1, 4 - px.adjusted()))

    @property
    def difference_decimals(self) -> int:
        """Decimals of MACD and ATR."""
        return self.average_decimals + 1

    def px(self, value: Decimal | float | None) -> str:
        """A price, or ``absent``."""
        return number(value, self.px_decimals)


class Texts(dict[float, str]):
    """Number → text with so many decimals. Nine of ten points of a window stood in the prompt before."""

    _REMEMBERED = 1024  # of a handful of symbols; more would not stay in the processor's cache

    def __init__(self, decimals: int) -> None:
        super().__init__()
        self._decimals = decimals

    def __missing__(self, value: float) -> str:
        """Make it; never ``-0``."""
        if len(self) >= self._REMEMBERED:
            self.clear()
        text = self[value] = _without_minus_zero(f"{value:.{self._decimals}f}")
        return text

    def of(self, value: float | None) -> str:
        """The number; ``absent`` for None."""
        return ABSENT if value is None else self[value]

    def series(self, values: Iterable[float | None]) -> str:
        """Values oldest → newest in brackets; ``null`` where an indicator has no value yet."""
        return f"[{', '.join(['null' if v is None else self[v] for v in values])}]"

    def json(self, value: float | None) -> str:
        """``round(value, decimals)`` in JSON, made from the text of the prose, which is there already.

        Raises:
            ValueError: it is not finite.
        """
        if value is None:
            return "null"
        text, size = self[value], abs(value)
        if size < _SMALLEST_KEPT or len(text) > SHORTEST_CHARS or "." not in text:
            return _json(round(value, self._decimals))
        if text[-1] != "0":
            return text
        if size < 1.0:  # maybe nothing is left but a zero, whose sign JSON keeps
            return _json(round(value, self._decimals))
        digits = text.rstrip("0")
        return f"{digits}0" if digits[-1] == "." else digits


texts_of = lru_cache(maxsize=32)(Texts)
"""The texts of numbers with so many decimals."""


def _without_minus_zero(text: str) -> str:
    return text[1:] if text[0] == "-" and not text.strip("-0.") else text


def number(value: Decimal | float | None, decimals: int) -> str:
    """A number with that many decimals; ``absent`` for None; never ``-0``."""
    if isinstance(value, Decimal):  # which takes as long to be looked for as to be written
        return _without_minus_zero(f"{value:.{decimals}f}")
    return texts_of(decimals).of(value)


def decimal_json(value: Decimal | None) -> str:
    """The number as JSON spells it: a whole one as such, any other as the float nearest to it.

    Raises:
        ValueError: it is not finite; ``ArithmeticError`` where that shows earlier.
    """
    if value is None:
        return "null"
    if value.is_finite() and len(str(value)) <= SHORTEST_CHARS and value.adjusted() >= _SMALLEST_PLAIN:
        return wire(value)
    return _json(int(value) if value == value.to_integral_value() else float(value))
