"""The rows that the tables of a backtest are made of, from the records of a cycle.

Belongs here: one function a table; the schemas stand in ``adapters.report.data``.
Does not belong here: keeping them (``backtest_results``), figures of them (``adapters.report``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.model import CycleReport, Decision, DecisionRecord, Leg, OpenOrder, Position
from wonttrade_dagster.core.simulation import Execution, FundingPayment

Row = tuple[Any, ...]


def latency_rows(decision: DecisionRecord) -> list[Row]:
    """``LATENCY_SCHEMA``: a row for each model call of the cycle that was answered."""
    return [
        (decision.cycle_ms, reply.latency_ms, reply.usage.prompt_tokens, reply.usage.completion_tokens)
        for reply in decision.replies
    ]


def decision_row(decision: DecisionRecord, report: CycleReport) -> Row:
    """``DECISION_SCHEMA``: what was decided and what became of it."""
    outcome = decision.outcome
    prior_plan, told = (
        (outcome.prior_plan.value, outcome.explanation)
        if isinstance(outcome, Decision)
        else ("", outcome.detail)
    )
    return (
        report.cycle_ms,
        report.outcome,
        report.reason,
        prior_plan,
        decision.first_reply is not None,
        len(decision.fired),
        decision.obeyed,
        _float(decision.cost_usd),
        told,
    )


def target_rows(decision: DecisionRecord) -> list[Row]:
    """``TARGET_SCHEMA``: a row for each target; none of a refused reply."""
    if not isinstance(decision.outcome, Decision):
        return []
    return [
        (
            decision.cycle_ms,
            target.symbol,
            float(target.target_size),
            _float(target.stop_loss),
            _float(target.take_profit),
            target.confidence,
            target.rationale,
        )
        for target in decision.outcome.targets
    ]


def protection_rows(
    time_ms: int, positions: Iterable[Position], protection: Sequence[OpenOrder]
) -> list[Row]:
    """``PROTECTION_SCHEMA``: stop and take-profit standing for each position, after a cycle or at the end."""
    rows: list[Row] = []
    for position in positions:
        standing = {o.leg: o.trigger_px for o in protection if o.symbol == position.symbol}
        stop, take = standing.get(Leg.STOP_LOSS), standing.get(Leg.TAKE_PROFIT)
        rows.append((time_ms, position.symbol, _float(stop), _float(take)))
    return rows


def funding_paid(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Decimal]]:
    """Symbol and USD of every funding payment among the events of a line; positive: the account paid."""
    for event in events:
        if event["event"] == FundingPayment.__name__:
            yield event["symbol"], Decimal(event["paid_usd"])


def liquidating(events: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Numbers of the orders by which the venue liquidated, among the events of a line."""
    for event in events:
        if event["event"] == Execution.__name__ and event["liquidation_mark_px"] is not None:
            yield event["oid"]


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
