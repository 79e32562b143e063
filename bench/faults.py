"""A fault campaign: random decisions, prices, faults and kills, then the question whether money was safe.

Belongs here: the order of a campaign, and its result. Does not belong here: its parts (``bench.campaign``).
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.campaign.audit import Audit, Cycle
from bench.campaign.books import Books
from bench.campaign.draws import CyclePlan, Pace, plans
from bench.campaign.journal_log import JournalLog
from bench.campaign.trader import Ending, Job, start, warm_up
from bench.campaign.world import World, servers, settings_of
from bench.measure import Figure, Result
from wonttrade_dagster.defs import compose
from wonttrade_dagster.settings import Settings

CHECK_EVERY = 20
COMPACT_EVERY = 30
PROGRESS_EVERY = 100
MOST_VIOLATIONS = 5


@dataclass(slots=True)
class Campaign:
    """One campaign in progress."""

    seed: int
    settings: dict[Pace, Settings]
    world: World
    audit: Audit
    last_ms: int = 0
    cycle_ms: list[float] = field(default_factory=list)
    process_ms: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def run(self, plan: CyclePlan) -> None:
        """One cycle, its processes, and the questions after it."""
        started = time.monotonic()
        if plan.deletes_data or any(event.what.value == "delete_data" for event in plan.events):
            self.audit.check_all()
        self.world.prepare(plan, self.seed)
        if plan.deletes_data:
            self.audit.data_deleted()
        self._count(plan)
        before = self.audit.books.look() if plan.is_clean else None
        cycle = self._next_cycle(plan)
        self.audit.begin(cycle)
        ending = self._processes(plan, cycle)
        self.world.clear_faults()
        self.world.read_mids()
        if before is not None:
            self.audit.clean(cycle, ending, before)
        self.cycle_ms.append((time.monotonic() - started) * 1000)
        if plan.number % CHECK_EVERY == 0:
            self.audit.check_all()
        if plan.number % COMPACT_EVERY == 0:
            self.world.compact()

    def _count(self, plan: CyclePlan) -> None:
        for fault in (*plan.faults, *plan.model_faults):
            where = fault["on"] if fault["on"] != "*" else "model"
            self.faults[f"{where} {fault['kind']}"] += 1
        self.audit.counts["disks_full"] += plan.disk_bytes is not None
        self.audit.counts["ledgers_held"] += plan.holds_ledger
        self.audit.counts["hands"] += len(plan.hands)

    def _next_cycle(self, plan: CyclePlan) -> Cycle:
        settings = self.settings[plan.pace]
        age_ms = int(settings.execution.max_decision_age_seconds * 1000)
        now_ms = time.time_ns() // 1_000_000
        cycle_ms = max(now_ms, self.last_ms + 1)
        if plan.is_stale:
            time.sleep((age_ms + 100) / 1000)
        self.last_ms = cycle_ms
        if plan.resumes_calmly and plan.pace is Pace.ROUGH:
            age_ms = int(self.settings[Pace.CALM].execution.max_decision_age_seconds * 1000)
        return Cycle(plan, cycle_ms, age_ms)

    def _processes(self, plan: CyclePlan, cycle: Cycle) -> Ending:
        job = Job(self.settings[plan.pace], cycle.cycle_ms, plan.events, plan.disk_bytes)
        again = replace(job, events=(), disk_bytes=None, is_resumed=True)
        with self.world.held_ledger() if plan.holds_ledger else nullcontext():
            if plan.has_twin:
                self.audit.counts["twins"] += 1
                return self._run(job, again)[0]
            ending = self._run(job)[0]
            if ending.signal and plan.resumes and not plan.resumes_calmly:
                self.audit.counts["cycles_resumed"] += 1
                return self._run(again)[0]
        if ending.signal and plan.resumes and plan.resumes_calmly:
            return self._resume_calmly(plan, again)
        return ending

    def _resume_calmly(self, plan: CyclePlan, again: Job) -> Ending:
        """The kill was the last fault: the same cycle, executed again, puts everything in order."""
        self.world.clear_faults()
        self.audit.counts["cycles_resumed_calmly"] += 1
        pace = Pace.LATE if plan.pace is Pace.HASTY else Pace.CALM
        ending = self._run(replace(again, settings=self.settings[pace]))[0]
        self.audit.resumed(ending)
        return ending

    def _run(self, *jobs: Job) -> list[Ending]:
        """Side by side; all of them start before the first is waited for."""
        processes = [start(job, self.world.jump_from_elsewhere) for job in jobs]
        endings = [process.ending() for process in processes]
        for ending in endings:
            self.process_ms.append(ending.seconds * 1000)
            self.audit.ended(ending)
        return endings


def _fast_folder() -> str | None:
    """Memory instead of a disk: a killed process loses nothing there that it would keep on a disk."""
    memory = Path("/dev/shm")  # noqa: S108 (Linux's own; elsewhere the usual folder)
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None


@contextmanager
def _campaign(seed: int) -> Iterator[Campaign]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="wonttrade-faults-", dir=_fast_folder())))
        urls = stack.enter_context(servers(seed))
        settings = settings_of(folder, urls)
        any_settings = settings[Pace.CALM]
        warm_up(any_settings)
        world = World(urls, any_settings)
        rules = compose.execution_rules(any_settings)
        journal = JournalLog(any_settings.decision_log_path)
        yield Campaign(seed, settings, world, Audit(world, Books(world.info), journal, rules.cloid_tag))


def run(count: int, seed: int) -> Result:
    """``count`` cycles of the campaign that belongs to ``seed``; stops after a few violations."""
    with _campaign(seed) as campaign:
        audit, done, told = campaign.audit, 0, 0
        for plan in plans(seed, count):
            campaign.run(plan)
            done = plan.number
            for violation in audit.violations[told:]:
                print(f"VIOLATION in {violation}", file=sys.stderr, flush=True)
            told = len(audit.violations)
            if done % PROGRESS_EVERY == 0:
                print(f"{done} of {count} cycles, {len(audit.violations)} violations", file=sys.stderr)
            if len(audit.violations) >= MOST_VIOLATIONS:
                break
        audit.check_all()
        return _result(campaign, done)


def _result(campaign: Campaign, done: int) -> Result:
    audit = campaign.audit
    facts = {"cycles": done, "violations": len(audit.violations), **audit.summary()}
    facts |= {"faults": sum(campaign.faults.values()), "kinds_of_fault": len(campaign.faults)}
    if audit.violations:
        facts["again"] = f"python -m bench faults --cycles {done} --seed {campaign.seed}"
    figures = [
        Figure("cycle", "ms", campaign.cycle_ms),
        Figure("process", "ms", campaign.process_ms),
    ]
    return Result(figures, {"minutes": sum(campaign.cycle_ms) / 60_000}, facts, audit.violations)
