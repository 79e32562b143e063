"""What a cycle acts on, its stages, and a stage that failed.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class RuntimeMode(StrEnum):
    """What a cycle acts on; the value is the word used in ``wonttrade.toml``."""

    LIVE = "LIVE"
    TESTNET = "TESTNET"
    PAPER = "PAPER"
    BACKTEST = "BACKTEST"


class Stage(StrEnum):
    """The stages of a cycle; the value is the asset's name in the graph."""

    MARKET_SNAPSHOTS = "market_snapshots"
    ACCOUNT_SNAPSHOTS = "account_snapshots"
    INDICATORS = "indicators"
    LLM_CONTEXTS = "llm_contexts"
    DECISIONS = "decisions"
    EXECUTION_PLANS = "execution_plans"
    EXECUTIONS = "executions"
    CYCLE_REPORTS = "cycle_reports"


@dataclass(frozen=True, slots=True)
class StageFailure:
    """A stage that could not do its work; travels on as a value so that what follows still runs.

    Attributes:
        stage: where it happened.
        reason: a stable snake_case name, e.g. ``venue_unavailable``, ``market_stale``.
        detail: one sentence for a person; holds no secret.
    """

    stage: Stage
    reason: str
    detail: str
    kind: Literal["failure"] = "failure"
