"""A year of minutes through the simulated exchange by a fixed rule, side by side with other backtesters.

Belongs here: the run, its figures and the comparison. Does not belong here: the decisions (``decisions``),
the trading (``trader``), the stopwatch (``shares``), the peers (``peers``, ``peer_….py``).

EMA 20 and EMA 50 of the close cross: the position turns to that side, with a stop and a take-profit at fixed
fractions. The decisions are computed beforehand, for everybody. What a cycle costs on top is measured by
``backtest``.
"""

import gc
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from bench.candles import SYMBOLS, walk
from bench.measure import Figure, Laps, Result, peak_rss_mb, time_calls
from bench.rule.decisions import decide
from bench.rule.peers import PEERS, Measured, measure, write_file
from bench.rule.shares import Stopwatch, watched
from bench.rule.trader import RuleDecision, RuleTrader, rows
from wonttrade_dagster.adapters.replay import default_assets
from wonttrade_dagster.core.simulation import (
    BarTable,
    Execution,
    FundingPayment,
    TriggerFired,
    VenueRules,
    account_value_usd,
)

FROM_MS = 1_748_736_000_000
ROUNDS = 3
GOAL_BARS_PER_SECOND = 200_000.0
GOAL_PEAK_MB = 1024.0


class _Runs:
    """Bars, decisions and table of some symbols, traded again and again from the start."""

    def __init__(self, frames: Mapping[str, pl.DataFrame]) -> None:
        self.rules = VenueRules(default_assets(frames))
        self.decided = decide(frames, self.rules.assets)
        self.decisions: Sequence[RuleDecision] = rows(self.decided, self.rules.assets)
        self.table = BarTable.of(frames)
        self.last = self.trader()

    def trader(self) -> RuleTrader:
        return RuleTrader(self.table, self.rules)

    def trade(self) -> None:
        self.last = self.trader()
        self.last.trade(self.decisions)

    def watched(self) -> tuple[Stopwatch, dict[str, float]]:
        trader = self.trader()
        with watched() as watch:
            began_ns = time.process_time_ns()
            trader.trade(self.decisions)
            return watch, watch.shares(time.process_time_ns() - began_ns)


def run(count: int, seed: int, *, with_peers: bool = False) -> Result:
    """``count`` one-minute bars of one symbol and of two; the peers trade the first symbol."""
    frames = {symbol: walk(symbol, FROM_MS, count, 1, seed) for symbol in SYMBOLS}
    first = {"BTC": frames["BTC"]}
    preparing = time_calls(lambda: _Runs(first), ROUNDS, warm_up=0)
    one, two = _Runs(first), _Runs(frames)
    with _out_of_sight():
        laps = time_calls(one.trade, ROUNDS, warm_up=1)
        laps_two = time_calls(two.trade, ROUNDS, warm_up=0)
    watch, shares = one.watched()
    peak_mb = peak_rss_mb()
    rate = _rate("bars_per_second", laps, count, GOAL_BARS_PER_SECOND)
    figures = [
        rate,
        _rate("bars_per_second_two_symbols", laps_two, count),
        Figure.of("prepare", preparing),
        Figure("peak_rss", "MB", [peak_mb], goal=GOAL_PEAK_MB),
    ]
    ratios = {"two_symbols_to_one": figures[1].median / rate.median}
    ratios |= {f"cpu_share.{part}": share for part, share in shares.items()}
    facts = _facts("", one) | _facts("two_symbols.", two)
    facts |= {f"checks.{part}": calls for part, calls in watch.calls.items() if part == "identities"}
    for peer in _peers(one, frames["BTC"]) if with_peers else ():
        if peer.told is not None:
            speeds = [peer.told["bars"] / seconds for seconds in peer.cpu_seconds]
            figures.append(Figure(f"peer.{peer.name}", "bars/s", speeds, speeds, is_rate=True))
            ratios[f"to_{peer.name}"] = rate.median / peer.bars_per_second
        facts[f"peer.{peer.name}"] = peer.summary()
    return Result(figures, ratios, facts)


@contextmanager
def _out_of_sight() -> Iterator[None]:
    """The garbage collector looks through what the runs make, not through all that was imported before.

    So it is in each peer's process, which imports less.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _rate(name: str, laps: Laps, bars: int, goal: float | None = None) -> Figure:
    """Bars per second of CPU time: the goal is one of CPU, and neighbours must not move it."""
    cpu = [1000 * bars / ms for ms in laps.cpu_ms]
    return Figure(name, "bars/s", cpu, cpu, goal, is_rate=True)


def _facts(prefix: str, runs: _Runs) -> dict[str, Any]:
    trader = runs.last
    seen = Counter(type(event) for event in trader.events)
    facts = {
        "decisions": trader.decisions,
        "trades": trader.entries,
        "fills": seen[Execution],
        "triggers_fired": seen[TriggerFired],
        "funding_payments": seen[FundingPayment],
        "final_equity_usd": str(account_value_usd(trader.state)),
    }
    return {prefix + name: value for name, value in facts.items()}


def _peers(runs: _Runs, frame: pl.DataFrame) -> Sequence[Measured]:
    with TemporaryDirectory(prefix="wonttrade-bench-") as folder:
        file = Path(folder) / "rule.npz"
        write_file(file, frame, runs.decided, float(runs.rules.taker_fee_rate))
        return [measure(peer, file) for peer in PEERS]
