"""What the stream leaves on disk for other processes, and how they read it.

Belongs here: the three kinds of file, their writer and their reader. Does not belong here: what is in them.

Readers take no lock, and whoever writes may be killed at any moment:

- ``windows.parquet``: every closed-candle window with the listing of the tracked symbols, replaced whole
  when a bar has closed. A reader sees the old file or the new one, never a part. Parquet, because it keeps
  floats bit by bit, takes its facts along as metadata, and opens in DuckDB or polars as it is.
- ``now.json``: the newest contexts, the age of every channel and the counters, replaced every second.
- ``minutes-YYYY-MM-DD.ndjson``: one line a minute and symbol, only appended to. A line that was cut off by a
  kill is skipped by readers and closed by the next writer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.files import replace_atomically
from wonttrade_dagster.adapters.ndjson import lines, tail_without_newline
from wonttrade_dagster.core import codec
from wonttrade_dagster.core.model import CANDLE_SCHEMA, AssetSpec, CandleSeries

WINDOWS_NAME = "windows.parquet"
NOW_NAME = "now.json"
MINUTE_MS = 60_000
_FACTS_KEY = "wonttrade"
_SCHEMA = {"symbol": pl.String(), "interval": pl.String(), **CANDLE_SCHEMA}


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Whose stream it is: a reader that is configured otherwise does not use it."""

    base_url: str
    symbols: tuple[str, ...]
    intervals: tuple[str, ...]
    history_bars: int


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What stands beside the candles.

    Attributes:
        identity: whose they are.
        assets: of the tracked symbols.
        assets_at_ms: when the venue listed them.
        taken_at_ms: by ``symbol interval``, when the newest bar came.
        has_all: those series of which the venue has no more bars.
    """

    identity: StreamIdentity
    assets: tuple[AssetSpec, ...]
    assets_at_ms: int
    taken_at_ms: Mapping[str, int]
    has_all: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamNow:
    """The newest of everything.

    Attributes:
        identity: whose it is.
        written_ms: when; an old one means that no stream runs.
        state: ``up`` or ``down``.
        contexts: by symbol, the venue's context as it wrote it.
        received_ms: by symbol, when that came.
        open_interest_mean_base: by symbol, where there is enough of a record.
        channels_ms: by channel, when it spoke last.
        counts: connections, losses by reason, requests, corrected bars, …
        problem: what is wrong at the moment, in words; empty when nothing is.
    """

    identity: StreamIdentity
    written_ms: int
    state: str
    contexts: Mapping[str, Mapping[str, Any]]
    received_ms: Mapping[str, int]
    open_interest_mean_base: Mapping[str, float]
    channels_ms: Mapping[str, int]
    counts: Mapping[str, int]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Minute:
    """The market of one symbol at a full minute; prices and rates as the venue wrote them.

    ``age_ms`` is how old the context was, negative where it came only after the minute. ``bid``, ``ask`` and
    ``mid`` are None where nothing was pushed within a minute.
    """

    time_ms: int
    symbol: str
    mid: str | None
    bid: str | None
    ask: str | None
    mark: str
    oracle: str
    funding: str
    open_interest: str
    age_ms: int


class StreamFiles:
    """The folder of one stream: written by one process, read by any number.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_windows(self, facts: WindowFacts, windows: Sequence[CandleSeries]) -> None:
        """Replace the windows. Raises ``OSError``."""
        frames = [
            series.frame.select(
                pl.lit(series.symbol).alias("symbol"), pl.lit(series.interval).alias("interval"), pl.all()
            )
            for series in windows
        ]
        buffer = BytesIO()
        pl.concat(frames).write_parquet(buffer, metadata={_FACTS_KEY: codec.encode(facts).decode()})
        replace_atomically(self._folder / WINDOWS_NAME, buffer.getvalue())

    def windows(self) -> tuple[WindowFacts, Mapping[tuple[str, str], CandleSeries]] | None:
        """The windows by symbol and interval; None when there are none, or they cannot be read."""
        try:
            content = (self._folder / WINDOWS_NAME).read_bytes()
            facts = codec.decode(WindowFacts, pl.read_parquet_metadata(BytesIO(content))[_FACTS_KEY])
            table = pl.read_parquet(BytesIO(content))
        except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
            return None
        if table.schema != pl.Schema(_SCHEMA):
            return None
        parts = table.partition_by("symbol", "interval", as_dict=True, maintain_order=True)
        return facts, {
            (str(symbol), str(interval)): CandleSeries(
                str(symbol), str(interval), frame.select(*CANDLE_SCHEMA).rechunk()
            )
            for (symbol, interval), frame in parts.items()
        }

    def write_now(self, now: StreamNow) -> None:
        """Replace the newest state. Not synced to the disk: it is worth nothing a minute later.

        Raises:
            OSError: the disk did not take it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{NOW_NAME}.tmp"
        temporary.write_bytes(codec.encode(now))
        temporary.replace(self._folder / NOW_NAME)

    def now(self) -> StreamNow | None:
        """The newest state; None when there is none, or it cannot be read."""
        try:
            now: StreamNow = codec.decode(StreamNow, (self._folder / NOW_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        return now

    def append_minutes(self, rows: Sequence[Minute]) -> None:
        """Add lines to the files of their days. Raises ``OSError``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for row in rows:
            with self._day_path(row.time_ms).open("a+b") as file:
                cut = b"\n" if tail_without_newline(file) else b""
                file.write(cut + codec.encode(row) + b"\n")

    def minutes(self, from_ms: int, to_ms: int) -> Iterator[Minute]:
        """The recorded minutes in ``[from_ms, to_ms]``, oldest first; broken lines are skipped.

        Raises:
            OSError: a file is there and cannot be read.
        """
        day_ms = 24 * 60 * MINUTE_MS
        for day in range(from_ms // day_ms, to_ms // day_ms + 1):
            for line in lines(self._day_path(day * day_ms)):
                row = _minute(line)
                if row is not None and from_ms <= row.time_ms <= to_ms:
                    yield row

    def _day_path(self, time_ms: int) -> Path:
        day = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
        return self._folder / f"minutes-{day}.ndjson"


def _minute(line: bytes) -> Minute | None:
    try:
        row: Minute = codec.decode(Minute, json.dumps(json.loads(line)))
        is_number = isfinite(float(row.open_interest))  # a mean is taken of it
    except ValueError:
        return None
    return row if is_number else None
