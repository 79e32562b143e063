"""Hand-written doubles of the ports that more than one test file needs; each is scripted by a list."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.errors import StorageError, WontTradeError
from wonttrade_dagster.core.model import (
    AssetSpec,
    Decision,
    MarketSnapshot,
    ModelReply,
    Prompt,
    TokenUsage,
)
from wonttrade_dagster.core.ports import AuditSink, LanguageModel, MarketData


class ScriptedMarket(MarketData):
    """The same market in every cycle, or the scripted failure."""

    def __init__(self, snapshot: MarketSnapshot) -> None:
        self.template = snapshot
        self.failure: WontTradeError | None = None
        self.assets_failure: WontTradeError | None = None
        self.age_ms = 100
        self.asked_for_assets = 0

    def assets(self) -> Mapping[str, AssetSpec]:
        self.asked_for_assets += 1
        if self.assets_failure:
            raise self.assets_failure
        return {market.symbol: market.asset for market in self.template.markets}

    def snapshot(self, cycle_ms: int) -> MarketSnapshot:
        if self.failure:
            raise self.failure
        return replace(self.template, cycle_ms=cycle_ms, taken_at_ms=cycle_ms + self.age_ms)


_COUNTED = TokenUsage(300, 100)


class ScriptedModel(LanguageModel):
    """Answers with its texts in turn, the last one for ever; an exception in the list is raised."""

    def __init__(self, *script: str | WontTradeError, usage: TokenUsage = _COUNTED) -> None:
        self.script: Sequence[str | WontTradeError] = script
        self.usage = usage
        self.prompts: list[Prompt] = []

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        answer = self.script[min(len(self.prompts), len(self.script) - 1)]
        self.prompts.append(prompt)
        if isinstance(answer, WontTradeError):
            raise answer
        return ModelReply(answer, "scripted", "r-1", "stop", self.usage, 1_000, 3_500)


class HastyClock(SystemClock):
    """Real time; pauses are cut short."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.02))


class BreakableAudit(MemoryAudit):
    """A journal in memory whose disk can fail, for writing, for reading, or both."""

    def __init__(self) -> None:
        super().__init__()
        self.takes_writes = True
        self.can_be_read = True
        self.kinds: list[str] = []

    def append(self, kind: str, cycle_ms: int, body: Mapping[str, Any]) -> None:
        self._require(self.takes_writes)
        self.kinds.append(kind)

    def reply(self, cycle_ms: int, reply: ModelReply) -> None:
        AuditSink.reply(self, cycle_ms, reply)

    def intent(self, cycle_ms: int, order: object) -> None:
        self._require(self.takes_writes)

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        self._require(self.takes_writes)
        super().applied(cycle_ms, decision)

    def last_applied(self) -> tuple[int, Decision] | None:
        self._require(self.can_be_read)
        return super().last_applied()

    def _require(self, works: bool) -> None:
        if not works:
            raise StorageError("decision-log.ndjson did not take a write: free the disk")
