"""The plan of a cycle: the account read again, the decision checked once more, and written down as applied.

Belongs here: what must be known before the reconciler may plan, what makes a good decision unusable now,
and putting missing protection back before the model is asked.
Does not belong here: which orders lead to a target (``core.reconcile``), sending them (``core.execution``).
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import StorageError, VenueError
from wonttrade_dagster.core.freshness import on_same_holdings
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    Decision,
    ExecutionPlan,
    PlanBasis,
    Refusal,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.quick_init import quick_init
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.core.second_machine import alone_only, strangers, with_alert
from wonttrade_dagster.core.state import without_equity


@dataclass(frozen=True, slots=True)
class Planning:
    """Makes the plans of one cycle.

    Attributes:
        parts: the parts of the cycle.
        cycle_ms: the decision time.
    """

    parts: CycleParts
    cycle_ms: int

    def plan(
        self,
        outcome: Decision | Refusal,
        snapshot_px: Mapping[str, Decimal],
        judged_on: AccountSnapshot | None = None,
    ) -> ExecutionPlan:
        """The plan for a decision, or protection alone for a refusal. Raises nothing the venue did.

        The account and the marks are read again: the model thought for seconds, a stop may have fired.

        Args:
            outcome: the judged decision.
            snapshot_px: prices of the cycle's snapshot; marks read with the account win over them.
            judged_on: the account that the decision was judged on; None for a refusal.
        """
        state = self.parts.state
        account = state.holdings()
        if isinstance(account, StageFailure):
            return self._none(account)
        try:
            assets = state.assets()
        except VenueError as error:
            return self._none(StageFailure(Stage.EXECUTION_PLANS, "venue_unavailable", str(error)))
        listed = tuple([assets[symbol] for symbol in self.parts.symbols if symbol in assets])
        solvent = _solvent_only(account, self._listed_only(assets, outcome))
        if judged_on is not None:
            solvent = on_same_holdings(solvent, listed, judged_on, account)
        others = strangers(self.parts.audit, account, self.parts.rules.cloid_tag)
        prices = dict(snapshot_px) | dict(account.marks)
        scene = _Scene(self._reconciler(assets), account, prices, self._now_ms())
        made, prior_cycle_ms = self._take_on(scene, alone_only(others, solvent))
        oids = tuple([order.oid for order in others])
        basis = PlanBasis(scene.now_ms, listed, prior_cycle_ms, oids, self.parts.setting)
        return with_alert(others, replace(made, basis=basis))

    def put_back(self, account: AccountSnapshot) -> bool:
        """Place missing protection now; whether orders went out.

        What cannot be asked or read now is tried again by :meth:`plan`. The order ids are those of the
        moment before the cycle: the decision's own protection keeps its own.
        """
        before_ms = self.cycle_ms - 1
        outcome = Refusal("protection_first", "protection is put back before the model is asked")
        try:
            reconciler = self._reconciler(self.parts.state.assets())
            scene = _Scene(reconciler, account, dict(account.marks), self._now_ms())
            plan = scene.plan(before_ms, outcome, self._last_decision()[1])
        except (VenueError, StorageError):
            return False
        if not plan.actions:
            return False
        report = self.parts.executor.execute(plan)
        with suppress(StorageError):  # each intent is in the journal, or its order raised an alert
            self.parts.audit.append("protection", before_ms, json.loads(encode(report)))
        return True

    def _reconciler(self, assets: Mapping[str, AssetSpec]) -> PositionReconciler:
        """A symbol that the venue does not list must not keep the others from their protection."""
        listed = [symbol for symbol in self.parts.symbols if symbol in assets]
        return PositionReconciler(assets, listed, self.parts.limits, self.parts.rules)

    def _listed_only(
        self, assets: Mapping[str, AssetSpec], outcome: Decision | Refusal
    ) -> Decision | Refusal:
        unlisted = [symbol for symbol in self.parts.symbols if symbol not in assets]
        if not unlisted or isinstance(outcome, Refusal):
            return outcome
        detail = f"the venue does not list {', '.join(unlisted)}: take it out of symbols.tracked"
        return Refusal("symbol_not_listed", detail)

    def _take_on(self, scene: "_Scene", outcome: Decision | Refusal) -> tuple[ExecutionPlan, int | None]:
        """Plan, and write down that it is applied before its first order; no journal, no exposure.

        Returns:
            The plan, and the cycle of the decision that missing protection was put back from.
        """
        prior: Decision | None = None
        prior_cycle_ms: int | None = None
        try:
            prior_cycle_ms, prior = self._last_decision()
            made = scene.plan(self.cycle_ms, outcome, prior)
            if made.refusal is None and isinstance(outcome, Decision):
                self.parts.audit.applied(self.cycle_ms, outcome)
        except StorageError as error:
            refusal = Refusal("journal_unavailable", str(error))
            made = scene.plan(self.cycle_ms, refusal, prior)
        return made, prior_cycle_ms

    def _last_decision(self) -> tuple[int | None, Decision | None]:
        """What missing protection is put back from, and its cycle: the journal's word, else the ledger's."""
        journalled = self.parts.audit.last_applied()
        if journalled:
            return journalled
        prior = self.parts.ledger.prior(self.cycle_ms)
        return prior.decided_cycle_ms, prior.decision

    def _now_ms(self) -> int:
        return self.parts.clock.now_ms()

    def _none(self, failure: StageFailure) -> ExecutionPlan:
        alert = f"PROTECTION WAS NOT CHECKED: {failure.detail}"
        refusal = Refusal(failure.reason, failure.detail)
        basis = PlanBasis(self._now_ms(), (), None, (), self.parts.setting)
        return ExecutionPlan(self.cycle_ms, (), refusal=refusal, alerts=(alert,), basis=basis)


def _solvent_only(account: AccountSnapshot, outcome: Decision | Refusal) -> Decision | Refusal:
    """An account without equity opens nothing; what it still holds keeps its protection."""
    failure = without_equity(account, Stage.EXECUTION_PLANS)
    if failure is None or isinstance(outcome, Refusal):
        return outcome
    return Refusal(failure.reason, failure.detail)


@quick_init
@dataclass(frozen=True, slots=True)
class _Scene:
    """What one planning sees of the world: read once, whatever the outcome turns into."""

    reconciler: PositionReconciler
    account: AccountSnapshot
    prices: Mapping[str, Decimal]
    now_ms: int

    def plan(self, cycle_ms: int, outcome: Decision | Refusal, prior: Decision | None) -> ExecutionPlan:
        return self.reconciler.plan(
            cycle_ms=cycle_ms,
            outcome=outcome,
            account=self.account,
            reference_px=self.prices,
            prior=prior,
            now_ms=self.now_ms,
        )
