"""The parts of a cycle, put together once by whoever starts it.

Belongs here: the table of parts. Does not belong here: their order (``core.cycle``), how they are made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from wonttrade_dagster.core.context import ContextBuilder
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import (
    BreakerRules,
    CycleSetting,
    ExecutionRules,
    IndicatorSnapshot,
    MarketSnapshot,
    RiskLimits,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Executor, Ledger
from wonttrade_dagster.core.state import StateLoader


@dataclass(frozen=True)  # without slots: a cached property lives in the instance's dict
class CycleParts:
    """The seven parts of a cycle, and the ports they share."""

    state: StateLoader
    indicators: Callable[[MarketSnapshot], IndicatorSnapshot]
    context_builder: ContextBuilder
    decision_engine: LLMDecisionEngine
    executor: Executor
    audit: AuditSink
    ledger: Ledger
    clock: Clock
    symbols: tuple[str, ...]
    limits: RiskLimits
    rules: ExecutionRules
    series_points: int = 10
    settings_sha256: str = ""
    breaker: BreakerRules | None = None
    """None never pauses the model's calls."""

    @cached_property
    def setting(self) -> CycleSetting:
        """What of the configuration the cycle is computed with, for its records."""
        return CycleSetting(
            symbols=self.symbols,
            limits=self.limits,
            rules=self.rules,
            entry_cost_bps=self.decision_engine.entry_cost_bps,
            series_points=self.series_points,
            cycle_minutes=self.context_builder.cycle_minutes,
            settings_sha256=self.settings_sha256,
            price=self.decision_engine.price,
            caps=self.decision_engine.caps,
            indicators=self.context_builder.indicators,
        )
