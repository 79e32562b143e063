"""Reading a history file's columns: which is which, and what its times mean.

Belongs here: file formats, column names and their synonyms, units and zones of times, numbers.
Does not belong here: whether the values make sense (``history_checks``), where they go (``history``).

Nothing is guessed: a name that could mean two things, a time without a zone or a number without a clear
unit is refused with the row it stands in. Rows are counted from 1, without a header line.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from zoneinfo import available_timezones

import polars as pl

from wonttrade_dagster.core.errors import HistoryError, UsageError

ROW = "row"
"""Column that keeps each value's place in the file, counted from 1."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "time": (
        "t",
        "time",
        "timestamp",
        "ts",
        "date",
        "datetime",
        "opentime",
        "opentimestamp",
        "opendate",
        "candletime",
        "candleopentime",
        "start",
        "starttime",
        "periodstart",
        "bartime",
        "fundingtime",
    ),
    "open": ("o", "open", "openprice", "openpx", "openusd"),
    "high": ("h", "high", "highprice", "highpx", "highusd"),
    "low": ("l", "low", "lowprice", "lowpx", "lowusd"),
    "close": ("c", "close", "closeprice", "closepx", "closeusd"),
    "volume": ("v", "volume", "vol", "basevolume", "volumebase"),
    "rate": ("fundingrate", "rate", "ratehourly", "fundingratehourly", "hourlyrate", "funding"),
    "open_interest": ("openinterest", "openinterestbase", "oi"),
    "symbol": ("s", "symbol", "coin", "ticker", "asset", "market", "pair", "instrument"),
    "interval": ("i", "interval", "timeframe", "resolution"),
}

_UNIT_WORDS: Mapping[str, str] = {"ms": "ms", "us": "us", "ns": "ns", "s": "s", "sec": "s", "seconds": "s"}
_UNITS: Mapping[str, tuple[int, int]] = {
    "s": (1, 1_000),
    "ms": (1, 1),
    "us": (1_000, 1),
    "ns": (1_000_000, 1),
}
"""Divisor and factor that bring a unit to milliseconds."""

_FIRST_S, _LAST_S = 1_000_000_000, 4_102_444_800
"""2001-09-09 and 2100-01-01 in seconds: between them s, ms, µs and ns never overlap."""

_REPEATED = re.compile(r"_duplicated_\d+$")
"""What polars appends to a CSV column whose name stood before: it must not pass for another, unknown one."""

_ZONE = re.compile(r"(Z|UTC|GMT|[+-]\d{2}:?\d{2}|:\d{2}(\.\d+)?[+-]\d{2})$")
_DAY = r"^(\d{4}-\d{2}-\d{2})(\+0000)?$"
_PARQUET = b"PAR1"
"""How such a file begins."""
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")


TimeUnit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class StatedTimes:
    """What somebody who knows says of a file's times; None is read off the file, or refused.

    Attributes:
        unit: of times that are numbers since 1970-01-01 UTC; values that do not fit into it are refused.
        zone: of times that name none, as the IANA database calls it, like ``Europe/Berlin``.

    Raises:
        UsageError: there is no such time zone.
    """

    unit: TimeUnit | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        if self.zone is not None and self.zone not in available_timezones():
            raise UsageError(f"{self.zone!r} is no time zone: give one like UTC or Europe/Berlin")


NOTHING_STATED = StatedTimes()


def refusal(path: Path, what: str, remedy: str) -> HistoryError:
    """The one sentence that refuses a whole file."""
    return HistoryError(f"{path}: {what}; {remedy} (nothing was imported)")


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and of a folder those directly in it whose suffix is known, by name.

    Raises:
        HistoryError: a folder holds none, or cannot be listed.
    """
    files = list[Path]()
    for path in paths:
        files += _files_in(path) if path.is_dir() else [path]
    return files


def _files_in(folder: Path) -> list[Path]:
    try:
        found = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in _READERS and path.is_file()
        )
    except OSError as error:
        raise refusal(folder, f"it cannot be listed ({error.strerror})", "make it readable") from error
    if not found:
        raise refusal(folder, "no Parquet, CSV or Feather file lies in this folder", "check the path")
    return found


_READERS: Mapping[str, Callable[[BinaryIO], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": lambda file: pl.read_csv(file, infer_schema=False),
    ".feather": pl.read_ipc,
    ".arrow": pl.read_ipc,
}


def read_raw(path: Path) -> pl.DataFrame:
    """The file as it is, by its suffix, with a ``row`` column. CSV cells stay text."""
    if not path.is_file():
        raise refusal(path, "there is no such file", "check the path")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise refusal(
            path, f"a {path.suffix or 'nameless'} file is not known", "give Parquet, CSV or Feather files"
        )
    try:
        with path.open("rb") as file:  # by its name, polars would take [ and * for a pattern of other names
            _refuse_part(path, file)
            frame = reader(file)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        # a damaged Parquet header makes polars panic, which is no ordinary exception
        first_line = str(error).strip().partition("\n")[0]
        raise refusal(
            path, f"it cannot be read as {path.suffix[1:]} ({first_line})", "download it again"
        ) from error
    if frame.is_empty():
        raise refusal(path, "it has no rows", "give a file with at least two rows")
    return frame.drop(ROW, strict=False).with_row_index(ROW, offset=1)


def _refuse_part(path: Path, file: BinaryIO) -> None:
    """Polars panics at the end of a Parquet file, and says so aloud."""
    if path.suffix.lower() == ".parquet" and file.read(len(_PARQUET)) != _PARQUET:
        raise refusal(path, "it does not begin as a Parquet file does", "download it again")
    file.seek(0)


def map_columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Meaning → column name, for every column that means something here."""
    found: dict[str, str] = {}
    for name in names:
        word = _plain(_REPEATED.sub("", name))
        meaning = next((m for m, words in _SYNONYMS.items() if word in words), None)
        if meaning is None:
            continue
        _refuse_other_unit(path, name, meaning)
        if meaning in found:
            raise refusal(
                path,
                f"columns {found[meaning]!r} and {name!r} could both be the {meaning}",
                "keep one of them",
            )
        found[meaning] = name
    return found


def _refuse_other_unit(path: Path, name: str, meaning: str) -> None:
    wanted = {"rate": "fractions an hour", "volume": "base units", "open_interest": "base units"}.get(meaning)
    if wanted is not None and (sign := next((sign for sign in "%‰$€" if sign in name), None)):
        raise refusal(path, f"column {name!r} says {sign}", f"convert it to {wanted} and rename it")


def _plain(name: str) -> str:
    """The bare word of a column name, without its unit. The venue's ``T`` (close time) is not ``t``."""
    if len(name) == 1:
        return name if name.islower() else ""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return "".join(word for word in words if word not in _UNIT_WORDS and word != "utc")


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))


def numbers(path: Path, frame: pl.DataFrame, column: str) -> pl.Series:
    """A column as finite floats; refuses text that is no number, null, NaN and infinities."""
    raw = frame[column]
    # Polars would make numbers of others, too: 1.0 of true, days since 1970 of a day.
    if not (raw.dtype.is_numeric() or raw.dtype in (pl.String, pl.Null)):
        raise refusal(path, f"column {column!r} holds {raw.dtype}, not numbers", "write plain numbers")
    plain = raw.str.strip_chars() if raw.dtype == pl.String else raw
    values = plain.cast(pl.Float64, strict=False)
    broken = (~values.is_finite()).fill_null(value=True)
    _refuse_first(path, frame, column, broken, lambda at: f"{raw[at]!r} is not a finite number")
    return values


def _refuse_first(
    path: Path,
    frame: pl.DataFrame,
    column: str,
    broken: pl.Series,
    what: Callable[[int], str],
    remedy: str = "repair or drop the row",
) -> None:
    """Refuse the file for the first broken row, if there is one; ``what`` says of a row what is wrong."""
    if broken.any():
        at = broken.arg_max() or 0
        raise refusal(path, f"row {frame[ROW][at]}, column {column!r}: {what(at)}", remedy)


def times_ms(path: Path, frame: pl.DataFrame, column: str, stated: StatedTimes = NOTHING_STATED) -> pl.Series:
    """A time column as milliseconds of the UTC epoch.

    Zoned datetimes, text with a zone, or numbers whose unit their size makes clear. A time without a
    zone is taken only when the column's name says UTC, or the zone is stated. Refused are times before
    2001 or after 2100: a zero epoch or a slip of the year would make a gap of millions of candles.
    """
    times = _read_times(path, frame, column, stated)
    is_far = ~times.is_between(_FIRST_S * 1_000, _LAST_S * 1_000)
    raw = frame[column]
    _refuse_first(path, frame, column, is_far, lambda at: f"the time {raw[at]} is not of these years")
    return times


def _read_times(path: Path, frame: pl.DataFrame, column: str, stated: StatedTimes) -> pl.Series:
    raw = frame[column]
    _refuse_first(path, frame, column, raw.is_null(), lambda _: "the time is missing")
    if isinstance(raw.dtype, pl.Date):
        raw = raw.cast(pl.Datetime("ms"))
    if isinstance(raw.dtype, pl.Datetime):
        return _from_datetimes(path, frame, raw, column, stated.zone)
    if raw.dtype == pl.String:
        stripped = raw.str.strip_chars()
        numeric = stripped.str.contains(r"^-?\d+(\.\d+)?([eE]\+?\d+)?$")
        if not numeric.all():
            return _from_text(path, frame, stripped, column, stated.zone)
    return _from_numbers(path, frame, column, stated.unit)


def _says_utc(column: str) -> bool:
    return "utc" in _words(column)


def _naive(path: Path, column: str, where: str) -> HistoryError:
    return refusal(
        path,
        f"{where}column {column!r} has no time zone",
        f"write times in UTC with a zone (2025-03-14T10:00:00Z), name the column '{column}_utc', "
        "or state it by --timezone",
    )


def _from_datetimes(
    path: Path, frame: pl.DataFrame, raw: pl.Series, column: str, zone: str | None
) -> pl.Series:
    own = raw.dtype.time_zone if isinstance(raw.dtype, pl.Datetime) else None
    if own is not None:
        return raw.dt.epoch("ms")
    if _says_utc(column):
        return raw.dt.epoch("ms")
    if zone is None:
        raise _naive(path, column, "")
    return _in_zone(path, frame, raw, column, zone)


def _in_zone(path: Path, frame: pl.DataFrame, naive: pl.Series, column: str, zone: str) -> pl.Series:
    """Local times as UTC; an hour that a clock change skips or repeats cannot be told."""
    zoned = naive.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    _refuse_first(
        path,
        frame,
        column,
        zoned.is_null(),
        lambda at: f"{naive[at]} is skipped or repeated by a change of the clock in {zone}",
        "write times in UTC",
    )
    return zoned.dt.epoch("ms")


def _from_text(path: Path, frame: pl.DataFrame, text: pl.Series, column: str, zone: str | None) -> pl.Series:
    zoned = text.str.contains(_ZONE.pattern)
    if zone is not None and not zoned.any() and not _says_utc(column):
        return _in_zone(path, frame, _parsed(path, frame, text, column), column, zone)
    if not zoned.all() and not _says_utc(column):
        raise _naive(path, column, f"row {frame[ROW][zoned.arg_min() or 0]}: ")
    return _parsed(path, frame, text, column).dt.epoch("ms")


def _parsed(path: Path, frame: pl.DataFrame, text: pl.Series, column: str) -> pl.Series:
    """Datetimes in UTC where a zone is written, else as they are written."""
    stated = text.str.replace(r"\s*(Z|UTC|GMT)$", "+0000").str.replace(r"\s+([+-]\d{2}:?\d{2})$", "$1")
    stated = stated.str.replace(r"(:\d{2}(?:\.\d+)?[+-]\d{2})$", "$1:00")  # as Postgres writes it
    offset = stated.str.contains(r"[+-]\d{2}:?\d{2}$") & stated.str.contains(r"\d{2}:\d{2}|\+0000$")
    # a day alone is its midnight; chrono parses no date that has an offset and no time
    shaped = stated.str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T").str.replace(_DAY, "${1}T00:00$2")
    full = pl.select(pl.when(offset).then(shaped).otherwise(shaped + "+0000")).to_series()
    parsed = pl.select(
        pl.coalesce(full.str.to_datetime(f, strict=False, time_zone="UTC", time_unit="us") for f in _FORMATS)
    ).to_series()
    _refuse_first(
        path,
        frame,
        column,
        parsed.is_null(),
        lambda at: f"{text[at]!r} is not a time",
        "write 2025-03-14T10:00:00Z",
    )
    return parsed.dt.replace_time_zone(None)


def _from_numbers(path: Path, frame: pl.DataFrame, column: str, stated: TimeUnit | None) -> pl.Series:
    values = numbers(path, frame, column)
    unit = _unit(path, frame, values, column)
    if stated not in (None, unit):
        raise refusal(
            path,
            f"column {column!r} holds {unit}, --time-unit says {stated}",
            "leave the option out, or correct it",
        )
    divisor, factor = _UNITS[unit]
    if frame[column].dtype.is_integer():
        return frame[column].cast(pl.Int64) // divisor * factor
    return (values * factor / divisor).round().cast(pl.Int64)


def _unit(path: Path, frame: pl.DataFrame, values: pl.Series, column: str) -> str:
    """The one unit in which every value lies between 2001 and 2100."""
    scales = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    fits = {unit: values.is_between(_FIRST_S * scale, _LAST_S * scale) for unit, scale in scales.items()}
    unit = next((unit for unit, inside in fits.items() if inside[0]), None)
    if unit is None or not fits[unit].all():
        at = 0 if unit is None else (fits[unit].arg_min() or 0)
        raise refusal(
            path,
            f"row {frame[ROW][at]}, column {column!r}: {frame[column][at]!r} is in no clear unit of time",
            "write every time in milliseconds since 1970-01-01 UTC",
        )
    named = next((_UNIT_WORDS[word] for word in _words(column) if word in _UNIT_WORDS), unit)
    if named != unit:
        raise refusal(path, f"column {column!r} says {named} but holds {unit}", "rename the column")
    return unit
