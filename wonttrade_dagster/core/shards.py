"""A range of days cut into independent windows (shards), and what their results say together.

Belongs here: the cut, the distribution of a figure over the windows, how long they take side by side.
Does not belong here: files of a shard (``adapters.backtest_shards``), running one (``defs.backtest_shards``).

Each window has an account of its own: its results are draws of one strategy, never links of one chain.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from wonttrade_dagster.core.backtest import decision_times

DAY_FORMAT = "%Y-%m-%d"
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Window:
    """Whole UTC days in a row, both ends included, as ``YYYY-MM-DD``."""

    first_day: str
    last_day: str

    @property
    def from_ms(self) -> int:
        """Start of the first day."""
        return _day_ms(self.first_day)

    @property
    def to_ms(self) -> int:
        """End of the last day, excluded."""
        return _day_ms(self.last_day) + DAY_MS

    @property
    def days(self) -> tuple[str, ...]:
        """Every day of it, ascending."""
        return tuple(_text(day) for day in range(self.from_ms, self.to_ms, DAY_MS))

    def cycles(self, cycle_minutes: int) -> int:
        """Decision times in it."""
        return len(decision_times(self.from_ms, self.to_ms, cycle_minutes))


def windows_of(days: Iterable[str], shard_days: int) -> tuple[Window, ...]:
    """The windows of a backtest over ``days``, cut as Dagster cuts a backfill into runs.

    Args:
        days: ``YYYY-MM-DD``, in any order; a day given twice counts once.
        shard_days: days of a window at most; 0 leaves days in a row together.

    Returns:
        Ascending, disjoint; together they are the days. Days that do not follow each other are never in one
        window.

    Raises:
        ValueError: a day is none, or ``shard_days`` is negative.
    """
    if shard_days < 0:
        raise ValueError(f"shard_days is {shard_days}: give 0 or more")
    found: list[Window] = []
    for run in _in_a_row(sorted({_day_ms(day) for day in days})):
        size = shard_days or len(run)
        pieces = [run[at : at + size] for at in range(0, len(run), size)]
        found += [Window(_text(piece[0]), _text(piece[-1])) for piece in pieces]
    return tuple(found)


def _in_a_row(days_ms: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for day_ms in days_ms:
        if run and day_ms != run[-1] + DAY_MS:
            yield run
            run = []
        run.append(day_ms)
    if run:
        yield run


@dataclass(frozen=True, slots=True)
class Distribution:
    """One figure over the shards.

    Attributes:
        shards: in which it is defined; the others are left out.
        median: the middle one.
        lower_quartile: a quarter of the shards is at or below it (interpolated).
        upper_quartile: a quarter is at or above it.
        worst: of the shards.
        best: of the shards.
    """

    shards: int
    median: float
    lower_quartile: float
    upper_quartile: float
    worst: float
    best: float


def distribution(values: Iterable[float | None], *, is_more_better: bool = True) -> Distribution | None:
    """How a figure is spread; None where no shard has it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75]))
    ends = (min(known), max(known))
    worst, best = ends if is_more_better else ends[::-1]
    return Distribution(len(known), middle, low, high, worst, best)


def longest_chain(lengths: Sequence[int], side_by_side: int) -> int:
    """What the busiest place does when ``lengths`` start in order, each as soon as a place is free."""
    busy = [0] * max(1, min(side_by_side, len(lengths)))
    for length in lengths:
        busy[busy.index(min(busy))] += length
    return max(busy)


def _day_ms(text: str) -> int:
    day = date.fromisoformat(text)
    return int((day - date(1970, 1, 1)) / timedelta(milliseconds=1))


def _text(day_ms: int) -> str:
    return datetime.fromtimestamp(day_ms / 1000, UTC).strftime(DAY_FORMAT)
