"""The cycles of one backtest, read back from its results file and the stored history.

Belongs here: finding a cycle's line, checking it, and rebuilding the market that it saw.
Does not belong here: the shape of a line (``backtest_line``), computing a cycle again (``core.replay``).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.archive import CycleArchive, cycle_text, stored_template
from wonttrade_dagster.adapters.backtest_end import stored_end
from wonttrade_dagster.adapters.backtest_line import SEALED
from wonttrade_dagster.adapters.backtest_payloads import is_whole, payloads_of, prior_cycle_ms, seals_of
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SHARDS
from wonttrade_dagster.adapters.backtest_shards import shards_hint
from wonttrade_dagster.adapters.journal_line import is_of_kind, opened
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.errors import HistoryError, StorageError, StorageLockedError, UsageError
from wonttrade_dagster.core.model import AssetSpec, Decision, ExecutionPlan, LlmContext, Stage
from wonttrade_dagster.core.replay import StoredCycle
from wonttrade_dagster.core.seals import market_seal

_HEAD_BYTES = 300
_OTHER_KINDS = ("torn", "gap", "end")
"""Of lines that tell no cycle: the journal's own, after a kill or a full disk, and the end of the account."""

_CYCLE = re.compile(rb'"kind":"cycle",.*?"cycle_ms":(\d+)')

HISTORY_CHANGED = "the stored history was changed since this backtest: the market cannot be rebuilt from it"
NOT_KEPT = "this backtest is older than the records that it takes"

Rebuild = Callable[[Mapping[str, Any], Mapping[str, AssetSpec]], BacktestReplayProvider]
"""The history of a backtest, from the first line of its results and the assets named there."""


@dataclass(frozen=True, slots=True)
class _Line:
    offset: int
    length: int
    number: int


class BacktestArchive(CycleArchive):
    """One backtest's folder.

    Args:
        folder: of the backtest.
        rebuild: loads the history that it was run on; may raise ``HistoryError``.

    Raises:
        UsageError: there are no results in it.
    """

    def __init__(self, folder: Path, rebuild: Rebuild) -> None:
        self._path = folder / RESULTS_NAME
        if not self._path.is_file():
            if hint := shards_hint(folder):
                raise UsageError(hint)
            known = sorted(path.parent.name for path in folder.parent.glob(f"*/{RESULTS_NAME}"))
            raise UsageError(f"no backtest {folder.name} in {folder.parent}: known are {known or 'none'}")
        self._rebuild = rebuild
        self._lines, self._lost = self._index()
        self._header = self._first()
        self._market = _Market.of(self._header, rebuild)

    @property
    def name(self) -> str:
        """The backtest's id."""
        folder = self._path.parent
        is_shard = folder.parent.name == SHARDS
        return (
            f"backtest {folder.parent.parent.name}/{folder.name}" if is_shard else f"backtest {folder.name}"
        )

    def cycles(self) -> Sequence[int]:
        """Of the results file."""
        return sorted(self._lines)

    def read_witnesses(self) -> Sequence[str]:
        """Lines whose cycle cannot be told any more."""
        return [f"line {number} of {self._path} is damaged" for number in self._lost]

    def cycle(self, cycle_ms: int) -> StoredCycle:
        """Its line, and the market of the stored history."""
        body, is_intact = self._body(cycle_ms)
        if body is None:
            return StoredCycle(cycle_ms, {Stage.DECISIONS: b"damaged"})
        try:
            return self._stored(cycle_ms, body, is_intact=is_intact)
        except (ValueError, KeyError, TypeError, AttributeError):
            return StoredCycle(cycle_ms, {Stage.DECISIONS: b"damaged"})

    def payloads(self, cycle_ms: int, stages: Collection[Stage]) -> Mapping[Stage, bytes]:
        """From its line; nothing from a damaged one."""
        body, _ = self._body(cycle_ms)
        try:
            prior = self._decision_json(prior_cycle_ms(body or {}))
            found = payloads_of(body or {}, self._header, cycle_ms, prior)
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {stage: payload for stage, payload in found.items() if stage in stages}

    def account_end(self) -> AccountEnd | None:
        """Of its last line."""
        return stored_end(self._path)

    def _stored(self, cycle_ms: int, body: Mapping[str, Any], *, is_intact: bool) -> StoredCycle:
        shared = self._header
        payloads = payloads_of(body, shared, cycle_ms, self._decision_json(prior_cycle_ms(body)))
        whole = is_whole(body)
        seals = seals_of(body)
        market, problem = self._market.of_cycle(cycle_ms, seals.pop(Stage.MARKET_SNAPSHOTS, None))
        if Stage.MARKET_SNAPSHOTS not in payloads and market is not None:
            payloads[Stage.MARKET_SNAPSHOTS] = market
        bare = StoredCycle(cycle_ms, payloads)
        context = bare.record(Stage.LLM_CONTEXTS)
        prior, is_missing = self._prior(bare)
        damaged = "the line's checksum is not that of its content: something in it was changed"
        return StoredCycle(
            cycle_ms,
            payloads,
            seals=seals,
            contradictions=problem | ({} if is_intact else {Stage.CYCLE_REPORTS: damaged}),
            missing=dict.fromkeys(SEALED if whole else Stage, NOT_KEPT)
            | (self._market.missing if whole else {}),
            suspect=HISTORY_CHANGED if self._market.is_changed else "",
            template=stored_template(context) if isinstance(context, LlmContext) else None,
            prior=prior,
            prior_missing=is_missing,
            pieced=frozenset() if whole else frozenset(Stage),
            indicators=self._market.indicators,
        )

    def _prior(self, stored: StoredCycle) -> tuple[Decision | None, bool]:
        plan = stored.record(Stage.EXECUTION_PLANS)
        at_ms = plan.basis.prior_cycle_ms if isinstance(plan, ExecutionPlan) and plan.basis else None
        if at_ms is None:
            return None, False
        told = self._decision_json(at_ms)
        decision = None if told is None else decode(Decision, json.dumps(told))
        return decision, decision is None

    # --- the file ---

    def _index(self) -> tuple[dict[int, _Line], list[int]]:
        """Where each cycle's line stands, and the numbers of lines that name none."""
        found, lost = dict[int, _Line](), list[int]()
        offset = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                match = _CYCLE.search(line[:_HEAD_BYTES])
                if match:
                    found[int(match[1])] = _Line(offset, len(line), number)
                elif number > 1 and not _tells_no_cycle(line):
                    lost.append(number)
                offset += len(line)
        return found, lost

    def _first(self) -> Mapping[str, Any]:
        with self._path.open("rb") as file:
            line = file.readline()
        body, is_intact = _parsed(line)
        if body is None or not is_intact:
            raise StorageError(f"the first line of {self._path} is damaged: it says what the backtest was")
        return body

    def _body(self, cycle_ms: int) -> tuple[Mapping[str, Any] | None, bool]:
        at = self._lines[cycle_ms]
        with self._path.open("rb") as file:
            file.seek(at.offset)
            return _parsed(file.read(at.length))

    def _decision_json(self, cycle_ms: int | None) -> dict[str, Any] | None:
        if cycle_ms is None or cycle_ms not in self._lines:
            return None
        body, _ = self._body(cycle_ms)
        decision: dict[str, Any] | None = body.get("decision") if body else None
        return decision


@dataclass(frozen=True, slots=True, eq=False)
class _Market:
    """The market that a backtest saw, as far as the stored history still has it."""

    replay: BacktestReplayProvider | None
    is_changed: bool
    missing: dict[Stage, str]

    @classmethod
    def of(cls, header: Mapping[str, Any], rebuild: Rebuild) -> "_Market":
        if "history_sha256" not in header:
            return cls(None, is_changed=False, missing=dict.fromkeys(SEALED, NOT_KEPT))
        assets = {a["symbol"]: decode(AssetSpec, json.dumps(a)) for a in header["assets"]}
        try:
            replay = rebuild(header, assets)
        except StorageLockedError:
            raise
        except (HistoryError, StorageError) as error:
            return cls(None, is_changed=False, missing=dict.fromkeys(SEALED, f"the history: {error}"))
        return cls(replay, replay.history_sha256 != header["history_sha256"], {})

    @property
    def indicators(self) -> Any:  # noqa: ANN401 (core.replay.IndicatorsAt)
        replay = self.replay
        if replay is None:
            return None
        return lambda market, points: replay.indicators(market.cycle_ms, points)

    def of_cycle(self, cycle_ms: int, seal: str | None) -> tuple[bytes | None, dict[Stage, str]]:
        """JSON of the rebuilt snapshot, and what is wrong with it."""
        if self.replay is None or seal is None:
            return None, {}
        market = self.replay.snapshot(cycle_ms)
        payload = encode(market, STAGE_RECORDS[Stage.MARKET_SNAPSHOTS])
        if market_seal(market) == seal:
            return payload, {}
        if self.is_changed:
            return payload, {Stage.MARKET_SNAPSHOTS: HISTORY_CHANGED}
        what = (
            f"the market of {cycle_text(cycle_ms)} is not rebuilt as it was, though the history is the same"
        )
        return payload, {Stage.MARKET_SNAPSHOTS: what}


def _tells_no_cycle(line: bytes) -> bool:
    """Whether it is whole, and of a kind that tells none."""
    return is_of_kind(line, *_OTHER_KINDS) and _parsed(line)[1]


def _parsed(line: bytes) -> tuple[Mapping[str, Any] | None, bool]:
    """The body of a line, and whether its checksum holds."""
    record, is_intact = opened(line)
    body = record.get("body")
    return (body, is_intact) if isinstance(body, dict) else (None, False)
