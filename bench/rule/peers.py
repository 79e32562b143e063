"""The same bars and decisions in other backtesters, each in a process and an environment of its own.

Belongs here: the file that they read, starting them, their answers. Does not belong here: what a peer does
(``peer_….py``).
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from bench.rule.trader import DEPOSIT_USD, SIZE_BASE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = 3
LONG_SECONDS = 60.0
"""A peer that takes longer runs once."""
TIMEOUT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is run: its script and what ``uv run`` needs to make its environment."""

    name: str
    environment: Sequence[str]

    @property
    def script(self) -> Path:
        """What is run there."""
        return HERE / f"peer_{self.name}.py"


PEERS = (
    Peer("backtesting", ("--only-group", "peers", "--frozen")),
    Peer("freqtrade", ("--no-project", "--with", "freqtrade==2026.9", "--python", "3.11")),
    Peer("nautilus", ("--no-project", "--with", "nautilus_trader==1.231.0", "--python", "3.12")),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU seconds of each run, and what the last one told; or why there is nothing."""

    name: str
    cpu_seconds: Sequence[float] = ()
    told: Mapping[str, Any] | None = None
    not_measured: str = ""

    @property
    def bars_per_second(self) -> float:
        """At the median."""
        return self.told["bars"] / median(self.cpu_seconds) if self.told else 0.0

    def summary(self) -> str:
        """One line of facts."""
        if self.told is None:
            return f"not measured: {self.not_measured}"
        return (
            f"{self.told['version']}: {self.told['trades']} trades, "
            f"final equity {self.told['final_equity_usd']:.2f} USD, {len(self.cpu_seconds)} runs"
        )


def write_file(path: Path, frame: pl.DataFrame, decisions: pl.DataFrame, fee_rate: float) -> None:
    """Bars of one symbol and its decisions, each on the bar whose close made it."""
    at = decisions["bar"].to_numpy() - 1
    arrays: dict[str, Any] = {name: frame[name].to_numpy() for name in frame.columns}
    for name in ("side", "stop_px", "take_profit_px"):
        arrays[name] = np.zeros(frame.height, dtype=decisions[name].to_numpy().dtype)
        arrays[name][at] = decisions[name].to_numpy()
    account = {"deposit_usd": float(DEPOSIT_USD), "size_base": float(SIZE_BASE), "fee_rate": fee_rate}
    np.savez(path, **(arrays | account))


def measure(peer: Peer, file: Path) -> Measured:
    """Three runs, or one when that takes long; a peer that cannot run says why."""
    seconds: list[float] = []
    while True:
        told = _told(peer, file)
        if isinstance(told, str):
            return Measured(peer.name, not_measured=told)
        seconds.append(told["cpu_seconds"])
        if len(seconds) == RUNS or seconds[0] > LONG_SECONDS:
            return Measured(peer.name, seconds, told)


def _told(peer: Peer, file: Path) -> dict[str, Any] | str:
    uv = shutil.which("uv")
    if uv is None:
        return "uv is not installed"
    command = [uv, "run", "--quiet", "--isolated", *peer.environment, "python", str(peer.script), str(file)]
    try:
        done = subprocess.run(  # noqa: S603 (our own scripts)
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_SECONDS} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    if done.returncode == 0 and lines[-1].startswith("{"):
        told: dict[str, Any] = json.loads(lines[-1])
        return told
    return f"exit code {done.returncode}, {_reason(lines)}"


def _reason(lines: Sequence[str]) -> str:
    """The line with the error: the first of them from uv, the last one from Python."""
    errors = [line for line in lines if line.startswith(("error:", "  ×", "  cause:"))]
    return (errors[0] if errors else lines[-1]).strip()[:200]
