"""Reading the venue's JSON field by field, so that nothing odd gets further than this.

Belongs here: one checked read each; anything that the protocol does not allow is a ``VenueAnswerError``
that names where it stood.
Does not belong here: what the fields mean (``parse``).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.errors import VenueAnswerError

# The venue writes plain decimals. No exponent, NaN or Infinity; 40 digits are more than it ever sends.
_DECIMAL = re.compile(r"-?\d{1,40}(\.\d{1,40})?")


def shown(value: object) -> str:
    """A value for an error message, cut to a length that a person reads."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def broken(where: str, expected: str, value: object) -> VenueAnswerError:
    """The error for a value that is not what the protocol says."""
    return VenueAnswerError(f"Hyperliquid's {where} should be {expected}, but is {shown(value)}")


def as_decimal(value: object, where: str) -> Decimal:
    """A finite number in the venue's string form."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise broken(where, "a decimal in a string", value)
    return Decimal(value)


def as_list(value: object, where: str) -> Sequence[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise broken(where, "a list", value)
    return value


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object and where it stood in the answer."""

    raw: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, value: object, where: str) -> "Row":
        """``value`` as a JSON object."""
        if not isinstance(value, dict):
            raise broken(where, "an object", value)
        return cls(value, where)

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.raw.get(key) is not None

    def value(self, key: str) -> Any:  # noqa: ANN401 (whatever the JSON held)
        """The value of a key that must be there; it may be null."""
        if key not in self.raw:
            raise VenueAnswerError(f"Hyperliquid's {self.where} has no {key!r}: {shown(self.raw)}")
        return self.raw[key]

    def text(self, key: str) -> str:
        """A string."""
        value = self.value(key)
        if not isinstance(value, str):
            raise broken(f"{self.where}.{key}", "a string", value)
        return value

    def integer(self, key: str) -> int:
        """A whole number, as a JSON number."""
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise broken(f"{self.where}.{key}", "a whole number", value)
        return value

    def flag(self, key: str) -> bool:
        """A boolean that is left out when it is false."""
        value = self.raw.get(key)
        if value is not None and not isinstance(value, bool):
            raise broken(f"{self.where}.{key}", "true or false", value)
        return bool(value)

    def decimal(self, key: str) -> Decimal:
        """A number in the venue's string form."""
        return as_decimal(self.value(key), f"{self.where}.{key}")

    def optional_decimal(self, key: str) -> Decimal | None:
        """A number, or None where it is null or left out."""
        return self.decimal(key) if self.has(key) else None

    def price(self, key: str) -> Decimal:
        """A number above zero."""
        px = self.decimal(key)
        if px <= 0:
            raise broken(f"{self.where}.{key}", "a price above zero", str(px))
        return px

    def optional_price(self, key: str) -> Decimal | None:
        """A price, or None where it is null or left out."""
        return self.price(key) if self.has(key) else None

    def optional_text(self, key: str) -> str | None:
        """A string, or None where it is null or left out."""
        return self.text(key) if self.has(key) else None

    def row(self, key: str) -> "Row":
        """An object inside this one."""
        return Row.of(self.value(key), f"{self.where}.{key}")

    def rows(self, key: str) -> tuple["Row", ...]:
        """A list of objects inside this one."""
        return rows(self.value(key), f"{self.where}.{key}")


def rows(value: object, where: str) -> tuple[Row, ...]:
    """A list of objects."""
    return tuple(Row.of(item, f"{where}[{i}]") for i, item in enumerate(as_list(value, where)))
