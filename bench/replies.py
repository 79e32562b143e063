"""Hostile replies at scale: random damage to the corpus, and whether anything broken was applied.

Belongs here: the order of a run, its counts and times.
Does not belong here: cases, damage, the referee (``bench.corpus``); a good reply's time (``bench.core``).
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.corpus.cases import corpus
from bench.corpus.mutations import mutated
from bench.corpus.scenes import SCENES
from bench.corpus.trial import APPLIED, Trial, attempt, misjudged
from bench.measure import Figure, Result

MOST_CHARACTERS = 20_000
"""Longer cases are judged as they are, but not damaged: copying them is all that would be measured."""

MOST_VIOLATIONS = 10
"""Told of the corpus, and again of the damaged ones; all are counted."""

_PROGRESS_EVERY = 20_000
_SHOWN_CHARACTERS = 300


def run(count: int, seed: int) -> Result:
    """Every case as it stands, then ``count`` damaged ones."""
    cases = corpus()
    misjudgements = [f"{case.family}: {case.name}: {found}" for case in cases if (found := misjudged(case))]
    tally = _Tally(misjudgements[:MOST_VIOLATIONS])
    short = [case for case in cases if len(case.text) <= MOST_CHARACTERS]
    applied = [case for case in short if case.decision is not None]
    texts = [case.text for case in short]
    for number in range(count):
        # A generator of its own, so that one draw can be looked at without the ones before it.
        draws = random.Random(f"{seed}:{number}")
        case = draws.choice(applied if draws.random() < 0.7 else short)
        scene = case.scene if draws.random() < 0.8 else draws.choice(list(SCENES))
        text = mutated(case.text, draws, texts)
        where = f"draw {number} of --seed {seed}, {case.family}: {case.name}, scene {scene}"
        tally.add(attempt(text, SCENES[scene]), where, text)
        if (number + 1) % _PROGRESS_EVERY == 0:
            print(
                f"{number + 1} of {count} replies, {len(tally.wrong)} violations", file=sys.stderr, flush=True
            )
    facts = {"corpus_cases": len(cases), "corpus_misjudged": len(misjudgements)} | tally.facts(count)
    return Result(tally.figures(), {}, facts, tally.wrong)


@dataclass(slots=True)
class _Tally:
    """What became of the damaged replies; ``wrong`` are the sentences that make the command fail."""

    wrong: list[str]
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    broken_applied: int = 0

    def add(self, trial: Trial, where: str, text: str) -> None:
        self.times_ms.setdefault(trial.reason, []).append(trial.judge_ms)
        self.rules.update(set(trial.rules))
        self.crashes += bool(trial.crash)
        self.broken_applied += bool(trial.broken)
        failure = trial.crash or "; ".join(trial.broken)
        if failure and len(self.wrong) < 2 * MOST_VIOLATIONS:
            self.wrong.append(f"{where}: {failure}: {ascii(text)[:_SHOWN_CHARACTERS]}")

    def figures(self) -> list[Figure]:
        return [Figure(f"judge.{reason}", "ms", times) for reason, times in sorted(self.times_ms.items())]

    def facts(self, count: int) -> dict[str, Any]:
        return {
            "outcomes": {reason: len(times) for reason, times in sorted(self.times_ms.items())},
            "applied_share": round(len(self.times_ms.get(APPLIED, ())) / count, 3),
            "crashes": self.crashes,
            "broken_applied": self.broken_applied,
            "rules": dict(self.rules.most_common()),
        }
