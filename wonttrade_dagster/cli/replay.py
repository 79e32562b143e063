"""``wonttrade replay``: compute stored cycles again and name every byte that differs.

Belongs here: which cycles, and showing what came of them. Does not belong here: the computation
(``core.replay``), reading records (``adapters.archive``).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.archive import CycleArchive, cycle_text
from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.cli.archives import open_archive
from wonttrade_dagster.cli.output import err, out, print_json, print_table, printable, progress
from wonttrade_dagster.core.errors import ConfigurationError, UsageError
from wonttrade_dagster.core.model import LlmContext, Stage
from wonttrade_dagster.core.replay import ReplayVerdict, StageCheck, StoredCycle, replay_cycle
from wonttrade_dagster.settings import load_settings

MAX_SHOWN = 20
"""So many cycles that are not the same are shown one by one; the counts hold all of them."""


_OWN_FILES = "the record's own files were used"


@dataclass(slots=True)
class Replayed:
    """What came of the cycles so far."""

    cycles: int = 0
    same: int = 0
    counts: Counter[tuple[Stage, ReplayVerdict]] = field(default_factory=Counter)
    unequal: list[tuple[int, tuple[StageCheck, ...]]] = field(default_factory=list)

    def add(self, cycle_ms: int, checks: tuple[StageCheck, ...]) -> None:
        """Take in one cycle."""
        self.cycles += 1
        self.counts.update((check.stage, check.verdict) for check in checks)
        if all(check.verdict is ReplayVerdict.SAME for check in checks):
            self.same += 1
        else:
            self.unequal.append((cycle_ms, checks))


def run_replay(
    config: Path, cycle: str | None, backtest_id: str | None, *, every: bool, as_json: bool
) -> int:
    """Replay one cycle or all; 0 when everything is identical, 1 otherwise.

    Raises:
        UsageError: neither or both were asked for, or there is no such backtest.
        UnknownCycleError: the cycle is not stored.
    """
    if every == (cycle is not None):
        raise UsageError("name one CYCLE, or ask for --all")
    settings = load_settings(config)
    archive = open_archive(settings, backtest_id)
    if cycle is None:
        return _every(archive, as_json=as_json)
    cycle_ms = archive.find(cycle)
    stored = archive.cycle(cycle_ms)
    checks, remark = replay_cycle(stored), prompt_remark(settings.prompts_dir, stored)
    if as_json:
        facts = {"archive": archive.name, "cycle": cycle_text(cycle_ms), "remark": remark}
        print_json(facts | {"stages": _data(checks)})
    else:
        _show(f"{archive.name}, cycle {cycle_text(cycle_ms)}", checks)
        if remark:
            out.print(remark, markup=False, soft_wrap=True)
    return int(any(check.verdict is not ReplayVerdict.SAME for check in checks))


def prompt_remark(prompts_dir: Path, stored: StoredCycle) -> str | None:
    """Whether the prompt's directory is another one by now; the cycle is computed with its record's files."""
    context = stored.record(Stage.LLM_CONTEXTS)
    if not isinstance(context, LlmContext):
        return None
    then = context.prompt
    try:
        now = load_prompt(prompts_dir, then.template)
    except ConfigurationError:
        return (
            f"the prompt {then.template} is not in {prompts_dir} any more: the record's own files were used"
        )
    changed = [
        f"{what} {before[:12]} then, {after[:12]} now"
        for what, before, after in (
            ("template", then.template_sha256, now.template_sha256),
            ("schema", then.schema_sha256, now.schema_sha256),
        )
        if before != after
    ]
    said = f"the prompt {then.template} was changed since ({'; '.join(changed)}): {_OWN_FILES}"
    return said if changed else None


def _every(archive: CycleArchive, *, as_json: bool) -> int:
    damage, found = archive.read_witnesses(), Replayed()
    cycles = archive.cycles()
    with progress() as bar:
        for cycle_ms in bar.track(cycles, description="replay"):
            found.add(cycle_ms, replay_cycle(archive.cycle(cycle_ms)))
    if as_json:
        print_json(_summary(archive, found, damage))
    else:
        _show_all(archive, found, damage)
    return int(found.same != found.cycles or bool(damage))


def _show(title: str, checks: Iterable[StageCheck]) -> None:
    listed = list(checks)
    out.print(title, markup=False, soft_wrap=True)
    print_table("", ("stage", "replay"), [(c.stage.value, c.verdict.value) for c in listed])
    for check in listed:
        if check.detail:
            out.print(f"{check.stage.value}: {check.verdict.value}", markup=False)
            out.print(printable(check.detail), markup=False, soft_wrap=True)


def _show_all(archive: CycleArchive, found: Replayed, damage: Sequence[str]) -> None:
    for cycle_ms, checks in found.unequal[:MAX_SHOWN]:
        _show(f"cycle {cycle_text(cycle_ms)}", (c for c in checks if c.verdict is not ReplayVerdict.SAME))
    verdicts = tuple(ReplayVerdict)
    rows = [(stage.value, *(found.counts[stage, verdict] for verdict in verdicts)) for stage in Stage]
    columns = ("stage", *(verdict.value for verdict in verdicts))
    print_table("cycles by stage", columns, rows)
    told = f"{archive.name}: {found.same} of {found.cycles} cycles are the same"
    out.print(told, markup=False, soft_wrap=True)
    for sentence in damage:
        err.print(sentence, markup=False, soft_wrap=True)


def _data(checks: Iterable[StageCheck]) -> list[dict[str, str]]:
    return [{"stage": c.stage.value, "verdict": c.verdict.value, "detail": c.detail} for c in checks]


def _summary(archive: CycleArchive, found: Replayed, damage: Sequence[str]) -> dict[str, Any]:
    counts = {s.value: {v.value: found.counts[s, v] for v in ReplayVerdict} for s in Stage}
    unequal = [{"cycle": cycle_text(ms), "stages": _data(checks)} for ms, checks in found.unequal]
    return {
        "archive": archive.name,
        "cycles": found.cycles,
        "same": found.same,
        "stages": counts,
        "unequal": unequal,
        "damage": list(damage),
    }
