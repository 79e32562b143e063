"""One judgement with everything that is asked of it: no crash, nothing broken applied, a record of it.

Belongs here: what counts as failed. Does not belong here: where the text comes from.
"""

import time
from collections import Counter
from dataclasses import dataclass, replace

from bench.corpus.cases import Case
from bench.corpus.referee import complaints
from bench.corpus.scenes import CYCLE_MS, SCENES
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.model import Decision, DecisionRecord, Refusal

APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one reply.

    Attributes:
        outcome: of the judgement; None when it crashed.
        judge_ms: wall time of the judgement.
        crash: the exception's kind and words, or "".
        broken: the referee's complaints about an applied decision.
    """

    outcome: Decision | Refusal | None
    judge_ms: float
    crash: str = ""
    broken: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """``applied``, the refusal's reason, or ``crashed``."""
        if self.outcome is None:
            return "crashed"
        return self.outcome.reason if isinstance(self.outcome, Refusal) else APPLIED

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the violations, sorted."""
        found = self.outcome.violations if isinstance(self.outcome, Refusal) else ()
        return tuple(sorted(violation.rule for violation in found))


def attempt(text: str, inputs: JudgementInputs) -> Trial:
    """Judge ``text``, write the record down as the journal does, and let the referee look at it."""
    started = time.perf_counter()
    try:
        outcome = judge(text, inputs)
        judge_ms = (time.perf_counter() - started) * 1000
        encode(DecisionRecord(CYCLE_MS, outcome, None, None, CYCLE_MS))
    except Exception as error:  # noqa: BLE001 (whatever it is: that is what is looked for)
        return Trial(None, (time.perf_counter() - started) * 1000, f"{type(error).__name__}: {error}"[:300])
    if isinstance(outcome, Refusal):
        return Trial(outcome, judge_ms)
    return Trial(outcome, judge_ms, broken=tuple(complaints(text, outcome, inputs)))


def misjudged(case: Case) -> str:
    """What is wrong with the judgement of a case of the corpus; "" when nothing is."""
    trial = attempt(case.text, SCENES[case.scene])
    if trial.crash or trial.broken:
        return trial.crash or "; ".join(trial.broken)
    if case.decision is not None:
        found = _without_answered(trial.outcome)
        return "" if found == case.decision else f"expected {case.decision}, got {trial.outcome}"
    if trial.reason != case.reason:
        return f"expected {case.reason} {case.rules}, got {trial.reason}: {trial.outcome}"
    missing = Counter(case.rules) - Counter(trial.rules)
    if missing or (len(trial.rules) > len(case.rules) and not case.allows_others):
        return f"expected {case.rules}, got {trial.rules}"
    return ""


def _without_answered(outcome: Decision | Refusal | None) -> Decision | Refusal | None:
    """A case names what is applied; what the model wrote beside it is the reply itself."""
    if not isinstance(outcome, Decision):
        return outcome
    return replace(outcome, targets=tuple(replace(target, answered=None) for target in outcome.targets))
