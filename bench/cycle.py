"""Warm live cycles against the loopback venue: where the process's own CPU goes.

Belongs here: driving ``LiveCycle`` minute by minute and summing up. Does not belong here: Dagster.

Minutes are not waited for: the venue's clock and this process's are moved on together. Prices jump at random
before each cycle, so that stops are hit, positions reopened and orders really signed and sent.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from bench.candles import SYMBOLS
from bench.ground import Control, servers, work_folder, write_settings
from bench.measure import Figure, Laps, Result
from bench.meters import MeteredModel, machine_clock, metered_signing
from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.core.model import CycleReport, Stage
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.defs.live_cycle import LiveCycle

WARM_UP = 2
JUMP = 0.008
"""Standard deviation of a price's jump between two cycles: the rule's stops stand 0.3 % away, or more."""
MINUTE_MS = 60_000
OWN_CPU_GOAL_MS = 300.0
_INTO_THE_MINUTE_MS = 1_000


@dataclass(slots=True)
class _Minutes:
    """The machine's clock, and how far it was moved on."""

    ahead_ms: int = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def next_minute(self, control: Control) -> int:
        """Go to just after the next full minute, the venue too; that minute."""
        now_ms = self.now_ms()
        step_ms = MINUTE_MS - now_ms % MINUTE_MS + _INTO_THE_MINUTE_MS
        control.post("time", {"advance_ms": step_ms})
        self.ahead_ms += step_ms
        return (now_ms + step_ms) // MINUTE_MS * MINUTE_MS


@dataclass(slots=True)
class _Bed:
    """One live cycle's parts, with their meters."""

    live: LiveCycle
    control: Control
    minutes: _Minutes
    model: Laps
    signing: Laps
    stages: dict[Stage, Laps] = field(default_factory=lambda: {stage: Laps() for stage in EDGES})
    whole: Laps = field(default_factory=Laps)
    model_share: Laps = field(default_factory=Laps)
    signing_share: Laps = field(default_factory=Laps)
    signatures: list[int] = field(default_factory=list)
    reports: list[CycleReport] = field(default_factory=list)

    def run_cycle(self, draws: random.Random) -> None:
        cycle_ms = self.minutes.next_minute(self.control)
        mids = self.control.mids()
        for symbol in SYMBOLS:
            mid = mids[symbol] * (1 + max(-0.03, min(0.03, draws.gauss(0, JUMP))))
            self.control.post("price", {"coin": symbol, "mid": f"{mid:.5g}"})
        before = len(self.model.wall_ms), len(self.signing.wall_ms)
        with self.whole.lap():
            for stage, laps in self.stages.items():
                with laps.lap():
                    record = self.live.run(stage, cycle_ms, None)
        if isinstance(record, CycleReport):
            self.reports.append(record)
        self._book(*before)

    def _book(self, model_calls: int, signatures: int) -> None:
        for share, laps, since in (
            (self.model_share, self.model, model_calls),
            (self.signing_share, self.signing, signatures),
        ):
            share.wall_ms.append(sum(laps.wall_ms[since:]))
            share.cpu_ms.append(sum(laps.cpu_ms[since:]))
        self.signatures.append(len(self.signing.wall_ms) - signatures)

    def forget_warm_up(self) -> None:
        for laps in (*self.stages.values(), self.whole, self.model_share, self.signing_share):
            laps.drop(WARM_UP)
        del self.signatures[:WARM_UP], self.reports[:WARM_UP]


@contextmanager
def _bed(seed: int) -> Iterator[_Bed]:
    minutes = _Minutes()
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        urls = stack.enter_context(servers(seed))
        settings = write_settings(folder, urls)
        signing = stack.enter_context(metered_signing())
        stack.enter_context(machine_clock(minutes.now_ms))
        live = compose_live_cycle(settings, Executors())
        stack.callback(live.lease.release)
        engine = live.parts.decision_engine
        model = MeteredModel(engine.model)
        live.parts = replace(live.parts, decision_engine=replace(engine, model=model))
        yield _Bed(live, Control(urls["venue"]), minutes, model.laps, signing)


def run(count: int, seed: int) -> Result:
    """``count`` cycles after a warm-up."""
    draws = random.Random(seed)
    with _bed(seed) as bed:
        for _ in range(WARM_UP + count):
            bed.run_cycle(draws)
    bed.forget_warm_up()
    return _result(bed)


def _result(bed: _Bed) -> Result:
    whole, model, signing = bed.whole, bed.model_share, bed.signing_share
    own = _minus(whole.cpu_ms, model.cpu_ms, signing.cpu_ms)
    figures = [
        Figure("own_cpu_without_sdk", "ms", own, goal=OWN_CPU_GOAL_MS),
        Figure("own_cpu", "ms", whole.cpu_ms),
        Figure("wall_without_model", "ms", _minus(whole.wall_ms, model.wall_ms), whole.cpu_ms),
        Figure.of("model_call", model),
        Figure.of("signing", signing),
        *(Figure.of(f"stage.{stage.value}", laps) for stage, laps in bed.stages.items()),
    ]
    busy = [cpu for cpu, sent in zip(own, bed.signatures, strict=True) if sent]
    if busy:  # most cycles only keep what they hold: a median over all of them hides what trading costs
        figures.insert(1, Figure("own_cpu_without_sdk_with_orders", "ms", busy, goal=OWN_CPU_GOAL_MS))
    ratios = {
        "signing_share_of_own_cpu": sum(signing.cpu_ms) / sum(whole.cpu_ms),
        "model_sdk_share_of_own_cpu": sum(model.cpu_ms) / sum(whole.cpu_ms),
        "cycles_with_orders": len(busy) / len(own),
    }
    return Result(figures, ratios, _facts(bed))


def _facts(bed: _Bed) -> dict[str, object]:
    outcomes = Counter(f"{r.outcome} {r.reason}".strip() for r in bed.reports)
    return {
        "signed_actions": sum(bed.signatures),
        "signed_actions_per_cycle": round(sum(bed.signatures) / len(bed.signatures), 2),
        "fills": sum(len(report.fills) for report in bed.reports),
        "outcomes": dict(outcomes),
    }


def _minus(whole: Sequence[float], *parts: Sequence[float]) -> list[float]:
    return [total - sum(shares) for total, *shares in zip(whole, *parts, strict=True)]
