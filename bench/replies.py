"""Hostile replies at scale: random damage to the corpus, and whether anything broken was applied.

Belongs here: the order of a run, its counts and times.
Does not belong here: cases, damage, the referee (``bench.corpus``); a good reply's time (``bench.core``).
"""

import random
import sys
from collections import Counter

from bench.corpus.cases import corpus
from bench.corpus.mutations import mutated
from bench.corpus.scenes import SCENES
from bench.corpus.trial import APPLIED, Trial, attempt, misjudged
from bench.measure import Figure, Result

MOST_CHARACTERS = 20_000
"""Longer cases are judged as they are, but not damaged: copying them is all that would be measured."""

MOST_VIOLATIONS = 10
_PROGRESS_EVERY = 20_000
_SHOWN_CHARACTERS = 300


def run(count: int, seed: int) -> Result:
    """Every case as it stands, then ``count`` damaged ones."""
    cases = corpus()
    wrong = [f"{case.family}: {case.name}: {found}" for case in cases if (found := misjudged(case))]
    short = [case for case in cases if len(case.text) <= MOST_CHARACTERS]
    accepted = [case for case in short if case.decision is not None]
    texts, scenes = [case.text for case in short], list(SCENES)
    times_ms: dict[str, list[float]] = {}
    rules: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for number in range(count):
        draws = random.Random(f"{seed}:{number}")
        case = draws.choice(accepted if draws.random() < 0.7 else short)
        scene = case.scene if draws.random() < 0.8 else draws.choice(scenes)
        text = mutated(case.text, draws, texts)
        trial = attempt(text, SCENES[scene])
        times_ms.setdefault(trial.reason, []).append(trial.judge_ms)
        rules.update(set(trial.rules))
        failure = _failure(trial)
        failed[failure.partition(":")[0]] += bool(failure)
        if failure and len(wrong) < MOST_VIOLATIONS:
            wrong.append(
                f"draw {number} of --seed {seed}, {scene}: {failure} {ascii(text)[:_SHOWN_CHARACTERS]}"
            )
        if (number + 1) % _PROGRESS_EVERY == 0:
            print(f"{number + 1} of {count} replies, {len(wrong)} violations", file=sys.stderr, flush=True)
    figures = [Figure(f"judge.{reason}", "ms", times) for reason, times in sorted(times_ms.items())]
    facts = {
        "corpus_cases": len(cases),
        "outcomes": {reason: len(times) for reason, times in sorted(times_ms.items())},
        "applied_share": round(len(times_ms.get(APPLIED, ())) / count, 3),
        "slowest_ms": round(max(map(max, times_ms.values())), 2),
        "crashes": failed["crash"],
        "broken_applied": failed["broken"],
        "rules": dict(rules.most_common()),
    }
    return Result(figures, {}, facts, wrong)


def _failure(trial: Trial) -> str:
    if trial.crash:
        return f"crash: {trial.crash}"
    return f"broken: applied although {'; '.join(trial.broken)}" if trial.broken else ""
