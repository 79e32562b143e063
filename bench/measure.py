"""Stopwatches and the figures made of their laps.

Belongs here: reading clocks, medians and spreads, the machine. Does not belong here: what is measured.

Wall time and the process's CPU time (all its threads) are read side by side: on a shared machine the first
includes waiting for others, the second does not.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

_NS_PER_MS = 1e6
_MANY_SAMPLES = 10


@dataclass(slots=True)
class Laps:
    """Durations of the same thing, done again and again, in milliseconds."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @contextmanager
    def lap(self) -> Iterator[None]:
        """Time a block."""
        # Reading the CPU clock is a system call: it stays outside of the wall time.
        cpu_ns = time.process_time_ns()
        wall_ns = time.perf_counter_ns()
        yield
        wall_end_ns = time.perf_counter_ns()
        self.cpu_ms.append((time.process_time_ns() - cpu_ns) / _NS_PER_MS)
        self.wall_ms.append((wall_end_ns - wall_ns) / _NS_PER_MS)

    def drop(self, count: int) -> None:
        """Forget the first laps: the warm-up."""
        del self.wall_ms[:count], self.cpu_ms[:count]


def time_calls(call: Callable[[], object], count: int, warm_up: int = 3) -> Laps:
    """``count`` timed calls after some that are not."""
    for _ in range(warm_up):
        call()
    laps = Laps()
    for _ in range(count):
        with laps.lap():
            call()
    return laps


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: stable, for scripts.
        unit: of every number in it.
        values: the samples, of wall time or of what the unit says.
        cpu_values: the process's CPU time of the same samples, in the same unit; empty where not measured.
        goal: the median to stay below (or above, when ``is_rate``).
        is_rate: more is better.
    """

    name: str
    unit: str
    values: Sequence[float]
    cpu_values: Sequence[float] = ()
    goal: float | None = None
    is_rate: bool = False

    @classmethod
    def of(cls, name: str, laps: Laps, goal: float | None = None) -> "Figure":
        """Laps in milliseconds."""
        return cls(name, "ms", laps.wall_ms, laps.cpu_ms, goal)

    @property
    def median(self) -> float:
        """The middle sample."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.is_rate else self.median <= self.goal

    def data(self) -> dict[str, Any]:
        """As JSON."""
        low, high = spread(self.values)
        facts: dict[str, Any] = {"unit": self.unit, "median": _short(self.median)}
        facts |= {"low": _short(low), "high": _short(high), "samples": len(self.values)}
        if self.cpu_values:
            facts["cpu_median"] = _short(median(self.cpu_values))
        if self.goal is not None:
            facts |= {"goal": self.goal, "met": self.is_met}
        return facts


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a benchmark found.

    Attributes:
        figures: with spread.
        ratios: one figure against another, by name.
        facts: whatever a reader needs to judge the figures: counts, outcomes, sizes.
        violations: what must never be and was seen; any of them makes the command fail.
    """

    figures: Sequence[Figure]
    ratios: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    violations: Sequence[str] = ()

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "machine": machine(),
            "figures": {figure.name: figure.data() for figure in self.figures},
            "ratios": {name: _short(value) for name, value in self.ratios.items()},
            "facts": self.facts,
        } | ({"violations": list(self.violations)} if self.violations else {})


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile; smallest and largest of fewer than ten samples."""
    ordered = sorted(values)
    cut = len(ordered) // 10 if len(ordered) >= _MANY_SAMPLES else 0
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def peak_rss_mb() -> float:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def _short(value: float) -> float:
    """Four significant digits: more than any of this is worth."""
    return float(f"{value:.4g}")
