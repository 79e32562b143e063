"""Broken candle files by the thousand: each is refused whole, or imported right, and never in part.

Belongs here: making a file, damaging it, importing it beside a good one, and the referee.
Does not belong here: reading files (``adapters.history_files``).

The referee knows what it did to the file: some damage must be refused, some (another unit, another order of
rows, a hole) is none and must be imported as if it had not been there. Where bytes were damaged it cannot
know, so whatever was imported must obey the rules of candles.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bench.measure import Figure, Laps, Result
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_files import import_files
from wonttrade_dagster.core.errors import HistoryError
from wonttrade_dagster.core.model import CANDLE_SCHEMA

STEP_MS = 300_000
FIRST_MS = 1_748_736_000_000
_ROWS = 24
_FRESH_EVERY = 150
"""So many imports share a database: a large one would be what is measured."""
_MOST_VIOLATIONS = 10

Damage = Callable[[pl.DataFrame, random.Random], pl.DataFrame]


def _at(draws: random.Random) -> pl.Expr:
    return pl.int_range(pl.len()) == draws.randrange(_ROWS)


def _set(column: str, value: float | None) -> Damage:
    def damage(frame: pl.DataFrame, draws: random.Random) -> pl.DataFrame:
        new = pl.lit(value, pl.Float64)
        return frame.with_columns(pl.when(_at(draws)).then(new).otherwise(pl.col(column)).alias(column))

    return damage


def _scaled(multiply: int, divide: int) -> Damage:
    return lambda frame, _: frame.with_columns(pl.col("open_time_ms") * multiply // divide).rename(
        {"open_time_ms": "open_time"}
    )


def _text(form: str) -> Damage:
    time = pl.from_epoch("open_time_ms", time_unit="ms").dt.strftime(form).alias("time")
    return lambda frame, _: frame.select(time, pl.exclude("open_time_ms"))


def _mixed_units(frame: pl.DataFrame, draws: random.Random) -> pl.DataFrame:
    scaled = pl.when(_at(draws)).then(pl.col("open_time_ms") // 1000).otherwise(pl.col("open_time_ms"))
    return frame.with_columns(scaled.alias("open_time_ms")).rename({"open_time_ms": "time"})


def _shifted(frame: pl.DataFrame, draws: random.Random) -> pl.DataFrame:
    moved = pl.when(_at(draws)).then(draws.randrange(1, STEP_MS)).otherwise(0)
    return frame.with_columns(pl.col("open_time_ms") + moved)


HARMLESS: Mapping[str, Damage] = {
    "none": lambda frame, _: frame,
    "rows_shuffled": lambda frame, draws: frame.sample(
        fraction=1, shuffle=True, seed=draws.randrange(1 << 30)
    ),
    "seconds": _scaled(1, 1000),
    "microseconds": _scaled(1000, 1),
    "nanoseconds": _scaled(1_000_000, 1),
    "zoned_text": _text("%Y-%m-%dT%H:%M:%SZ"),
    "other_names": lambda frame, _: frame.rename(dict(zip(frame.columns, "tohlcv", strict=True))),
    "more_columns": lambda frame, _: frame.with_columns(trades=pl.lit(3), note=pl.lit("x")),
}
HARMFUL: Mapping[str, Damage] = {
    "column_lost": lambda frame, draws: frame.drop(draws.choice(frame.columns)),
    "column_doubled": lambda frame, _: frame.with_columns(vol=pl.col("volume")),
    "value_missing": _set("close", None),
    "value_nan": _set("high", float("nan")),
    "value_infinite": _set("volume", float("inf")),
    "price_negative": _set("low", -1.0),
    "price_zero": _set("open", 0.0),
    "volume_negative": _set("volume", -0.5),
    "high_below_low": _set("high", 1e-6),
    "close_outside": _set("close", 1e9),
    "row_doubled": lambda frame, draws: pl.concat([frame, frame.slice(draws.randrange(_ROWS), 1)]),
    "time_off_grid": _shifted,
    "time_without_zone": _text("%Y-%m-%d %H:%M:%S"),
    "time_nonsense": _text("day %j"),
    "units_mixed": _mixed_units,
    "time_of_1980": lambda frame, _: frame.with_columns(pl.col("open_time_ms") // 5),
    "words_for_numbers": lambda frame, _: frame.with_columns(close=pl.lit("cheap")),
    "other_interval_than_named": lambda frame, _: frame.gather_every(3),
    "no_rows": lambda frame, _: frame.clear(),
}
BYTES = ("cut", "flipped", "garbage")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file; ``wrong`` is empty, or says what must never be."""

    damage: str
    outcome: str
    wrong: str = ""


def candles(draws: random.Random) -> pl.DataFrame:
    """A short random walk on the five-minute grid, in ``CANDLE_SCHEMA``."""
    first_ms, px, rows = FIRST_MS + draws.randrange(10_000) * STEP_MS, draws.uniform(0.01, 1e5), []
    for i in range(_ROWS):
        close = px * draws.uniform(0.99, 1.01)
        high, low = max(px, close) * draws.uniform(1, 1.01), min(px, close) * draws.uniform(0.99, 1)
        rows.append((first_ms + i * STEP_MS, px, high, low, close, draws.uniform(0, 50)))
        px = close
    return pl.DataFrame(rows, schema=dict(CANDLE_SCHEMA), orient="row")


def attempt(number: int, draws: random.Random, folder: Path, history: MarketHistory) -> Verdict:
    """Import a damaged file together with a good one, and look at what is stored of both."""
    good, frame = candles(draws), candles(draws)
    name = draws.choice([*HARMLESS, *HARMFUL, *BYTES])
    symbols = f"G{number}", f"B{number}"
    paths = [_written(folder, symbols[0], good, ".parquet")]
    damage = {**HARMLESS, **HARMFUL}.get(name)
    damaged = damage(frame, draws) if damage else frame
    paths.append(_written(folder, symbols[1], damaged, draws.choice([".csv", ".parquet", ".feather"])))
    if name in BYTES:
        _damage_bytes(paths[1], name, draws)
    draws.shuffle(paths)
    before = _state(history.path)
    try:
        import_files(history, paths)
    except HistoryError:
        wrong = "refused, though nothing was wrong with it" if name in HARMLESS else ""
        left = "" if _state(history.path) == before else "refused, and the history was written to"
        return Verdict(name, "refused", wrong or left)
    finally:
        for path in paths:
            path.unlink()
    stored = [history.candles(symbol, "5m") for symbol in symbols]
    return Verdict(name, "imported", _misimported(name, stored, good, frame))


def _state(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


def _misimported(name: str, stored: list[pl.DataFrame], good: pl.DataFrame, frame: pl.DataFrame) -> str:
    if name in HARMFUL:
        return "imported, though it is broken"
    if not stored[0].equals(good):
        return "the good file beside it is not stored as it was"
    if name in HARMLESS:
        return "" if stored[1].equals(frame) else "stored otherwise than it was"
    inside = [pl.col(price).is_between(pl.col("low"), pl.col("high")) for price in ("open", "close")]
    fine = stored[1].select(pl.all_horizontal(*inside, pl.col("low") > 0, pl.col("volume") >= 0).all())
    return "" if fine.item() else "damaged bytes became candles that cannot be"


def _written(folder: Path, symbol: str, frame: pl.DataFrame, suffix: str) -> Path:
    path = folder / f"{symbol}-5m{suffix}"
    match suffix:
        case ".csv":
            frame.write_csv(path)
        case ".parquet":
            frame.write_parquet(path)
        case _:
            frame.write_ipc(path)
    return path


def _damage_bytes(path: Path, how: str, draws: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[draws.randrange(len(content)) :]
    elif how == "flipped":
        for _ in range(draws.randrange(1, 4)):
            content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    else:
        content = bytearray(draws.randbytes(draws.randrange(400)))
    path.write_bytes(content)


@dataclass(slots=True)
class _Tally:
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def run(count: int, seed: int) -> Result:
    """``count`` damaged files, each with draws of its own, so that one can be looked at alone."""
    tally, times = _Tally(), Laps()
    with tempfile.TemporaryDirectory(prefix="wonttrade-history-") as name:
        folder = Path(name)
        for number in range(count):
            history = MarketHistory(folder / f"{number // _FRESH_EVERY}" / "market.duckdb")
            with times.lap():
                verdict = attempt(number, random.Random(f"{seed}:{number}"), folder, history)
            tally.outcomes[f"{verdict.damage}: {verdict.outcome}"] += 1
            if verdict.wrong and len(tally.wrong) < _MOST_VIOLATIONS:
                tally.wrong.append(f"file {number} of --seed {seed}, {verdict.damage}: {verdict.wrong}")
    facts = {"outcomes": dict(sorted(tally.outcomes.items()))}
    return Result([Figure.of("file", times)], {}, facts, tally.wrong)
