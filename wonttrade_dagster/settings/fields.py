"""The kinds of value a field of ``wonttrade.toml`` can hold, each with the words that explain it.

Belongs here: annotated types and the small validators they need.
Does not belong here: which table has which field, and rules between fields.

``Expected`` is the text behind "expected …" in an error; pydantic carries it along and ignores it.
TOML is parsed with ``parse_float=Decimal``, so that ``4.5`` stays 4.5 and money never passes a float.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from ipaddress import ip_address
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from wonttrade_dagster.core.model import RuntimeMode

INTERVAL_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}
MINUTES_PER_DAY = 1440
MIN_API_KEY_LENGTH = 8
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Expected:
    """What a field wants, completing the sentence "expected …"."""

    text: str


def as_decimal(value: object) -> object:
    """A TOML number as ``Decimal``; anything else is left for pydantic to refuse."""
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_float(value: object) -> object:
    """A TOML number as ``float``; anything else is left for pydantic to refuse."""
    return float(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def as_tuple(value: object) -> object:
    """A TOML list as a tuple; anything else is left for pydantic to refuse."""
    return tuple(value) if isinstance(value, list) else value


def as_day(value: object) -> object:
    """A day of ``YYYY-MM-DD``; a date with a time, and anything else, is left for pydantic to refuse."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return date.fromisoformat(value)
    return str(value) if isinstance(value, datetime) else value


def _as_path(value: str) -> str:
    if not value.strip() or "\0" in value or PurePath(value).name in {"", ".."}:
        raise ValueError("not a path")
    return value


def _is_a_cadence(minutes: int) -> int:
    # What a cron schedule can say evenly: a divisor of the hour, or whole hours that divide a day.
    if MINUTES_PER_DAY % minutes or (60 % minutes and minutes % 60):
        raise ValueError("divides neither an hour nor a day in whole hours")
    return minutes


def _unique(symbols: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(symbols)) != len(symbols):
        raise ValueError("named twice")
    return symbols


def _is_signing_key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not re.fullmatch(r"0x[0-9a-fA-F]{64}", text) or not 0 < int(text, 16) < _SECP256K1_ORDER:
        raise ValueError("not a private key")
    return secret


def _is_api_key(secret: SecretStr) -> SecretStr:
    # It travels in an HTTP header, and it is redacted by value: a short word would redact ordinary text, and
    # a quote or backslash stands escaped in JSON, where it would not be found.
    text = secret.get_secret_value()
    if len(text) < MIN_API_KEY_LENGTH or not re.fullmatch(r"[!#-\[\]-~]+", text):
        raise ValueError("not an API key")
    return secret


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(schemes: tuple[str, ...], *, loopback: bool = False) -> Callable[[str], str]:
    def check(value: str) -> str:
        parts = urlsplit(value)
        parts.port  # noqa: B018 (reading it is what raises ValueError for a port out of range)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in schemes or not parts.hostname or not plain or re.search(r"\s", value):
            raise ValueError("not a plain URL")
        if loopback and not is_loopback(parts.hostname):
            raise ValueError("not on this machine")
        return value.rstrip("/")

    return check


def _secret(check: Callable[[SecretStr], SecretStr]) -> tuple[Any, ...]:
    # Field(strict=False): a strict SecretStr takes no plain string.
    return (Field(strict=False), AfterValidator(check))


def count(low: int, high: int, what: str) -> Any:  # noqa: ANN401 (metadata of an Annotated type)
    """Bounds of a whole number together with their words, as metadata for ``Annotated[int, …]``."""
    return Field(
        ge=low, le=high, json_schema_extra={"expected": f"a whole number from {low} to {high}, {what}"}
    )


Mode = Annotated[RuntimeMode, Field(strict=False), Expected("LIVE, TESTNET or BACKTEST")]
CycleMinutes = Annotated[
    int,
    Field(ge=1, le=MINUTES_PER_DAY),
    AfterValidator(_is_a_cadence),
    Expected("minutes that divide an hour, or whole hours that divide a day, e.g. 1, 3, 5, 15, 60, 240"),
]
Switch = Annotated[bool, Expected("true or false")]
RelativePath = Annotated[
    str, AfterValidator(_as_path), Expected("a path; a relative one starts at the folder of this file")
]
Address = Annotated[
    str,
    StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$", to_lower=True),
    Expected("an account address: 0x followed by 40 hexadecimal digits"),
]
AddressOrEmpty = Annotated[
    str,
    StringConstraints(pattern=r"^(0x[0-9a-fA-F]{40})?$", to_lower=True),
    Expected('"" or the account address once more (0x followed by 40 hexadecimal digits)'),
]
SigningKey = Annotated[
    SecretStr,
    *_secret(_is_signing_key),
    Expected("the private key of an agent wallet: 0x followed by 64 hexadecimal digits"),
]
ApiKey = Annotated[
    SecretStr,
    *_secret(_is_api_key),
    Expected(
        f"at least {MIN_API_KEY_LENGTH} characters without spaces and quotes (for a server that "
        'wants no key, write e.g. "no-key-needed")'
    ),
]
PlainUrl = Annotated[
    str,
    AfterValidator(_url(("http", "https"))),
    Expected("an http:// or https:// address without user, password, query or fragment"),
]
LoopbackUrl = Annotated[
    str,
    AfterValidator(_url(("http",), loopback=True)),
    Expected("an http:// address of this machine, e.g. http://127.0.0.1:8600"),
]
Symbols = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,20}$")], ...],
    BeforeValidator(as_tuple),
    Field(min_length=1, max_length=50),
    AfterValidator(_unique),
    Expected('a list of 1 to 50 different coin names, e.g. ["BTC", "ETH"]'),
]
PromptName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"),
    Expected('a folder below runtime.prompts_dir, e.g. "trader/v1"'),
]
Name = Annotated[str, StringConstraints(pattern=r"^\S(.*\S)?$", max_length=200), Expected("a name")]
Day = Annotated[date, BeforeValidator(as_day), Expected('a day, e.g. 2025-06-01 or "2025-06-01"')]
PositiveUsd = Annotated[
    Decimal,
    BeforeValidator(as_decimal),
    Field(gt=0, allow_inf_nan=False),
    Expected("an amount in US dollars above 0"),
]
PriceUsd = Annotated[
    Decimal,
    BeforeValidator(as_decimal),
    Field(ge=0, allow_inf_nan=False),
    Expected("US dollars per million tokens, 0 or more"),
]
Bps = Annotated[
    Decimal,
    BeforeValidator(as_decimal),
    Field(ge=0, le=1000, allow_inf_nan=False),
    Expected("basis points (0.01 %) from 0 to 1000"),
]
Coefficient = Annotated[
    Decimal,
    BeforeValidator(as_decimal),
    Field(ge=0, le=10, allow_inf_nan=False),
    Expected("a number from 0 to 10"),
]
Seconds = Annotated[
    float,
    BeforeValidator(as_float),
    Field(gt=0, le=86400, allow_inf_nan=False),
    Expected("seconds above 0, at most 86400"),
]
Fraction = Annotated[
    float,
    BeforeValidator(as_float),
    Field(gt=0, le=10, allow_inf_nan=False),
    Expected("a fraction above 0, at most 10 (0.5 is 50 %)"),
]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
