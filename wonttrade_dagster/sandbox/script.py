"""Prices by script: moves of the mid, now and ahead of time.

Belongs here: reading a script and putting it on the tape. Does not belong here: what the moves then do.

A script is a JSON list of moves ``{"coin": "BTC", "mid": 80000, "after_ms": 60000, "hold_ms": 30000}``:
``after_ms`` counts from the moment the script is handed over (0 is now), ``hold_ms`` is how long the price
stands still before the market goes on from it.
"""

import json
from decimal import Decimal
from pathlib import Path

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.control import read_decimal
from wonttrade_dagster.sandbox.market import DEFAULT_HOLD_MS
from wonttrade_dagster.sandbox.venue import LoopbackVenue


def play(venue: LoopbackVenue, rows: Json) -> int:
    """Put every move on the venue's tape; how many. Raises ``ValueError``, ``KeyError``; then none is put."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("a script is a list of moves: objects with coin, mid, after_ms and hold_ms")
    moves = [
        (
            str(row["coin"]),
            read_decimal(row["mid"]),
            _milliseconds(row, "after_ms", 0),
            _milliseconds(row, "hold_ms", DEFAULT_HOLD_MS),
        )
        for row in rows
    ]
    for coin, mid, *_ in moves:
        _check(venue, coin, mid)
    with venue.lock:
        for coin, mid, after_ms, hold_ms in moves:
            venue.set_price(coin, mid, hold_ms, after_ms)
    return len(moves)


def read_script(path: Path) -> Json:
    """The rows of a script file. Raises ``UsageError`` with what is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the script {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"the script {path} is no JSON ({error})") from error


def _check(venue: LoopbackVenue, coin: str, mid: Decimal) -> None:
    if coin not in venue.market.books():
        raise ValueError(f"{coin} is not listed here")
    if mid <= 0:
        raise ValueError(f"the mid of {coin} must be positive")


def _milliseconds(row: dict[str, Json], name: str, default: int) -> int:
    value = row.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"a move's {name} must be a whole number of milliseconds, not {value!r}")
    return value
