"""Bodies of ``/exchange`` answers (protocol §4): all of them HTTP 200.

Belongs here: the envelopes of answers. Does not belong here: when which is given.
"""

from typing import Any

from wonttrade_dagster.core.simulation.events import OrderOutcome
from wonttrade_dagster.sandbox.numbers import text

Json = Any
"""Any JSON value: what a client sent, or what it gets."""

WAITING_FOR_TRIGGER = "waitingForTrigger"
WAITING_FOR_FILL = "waitingForFill"


def done() -> dict[str, Any]:
    """Accepted, nothing to say."""
    return {"status": "ok", "response": {"type": "default"}}


def refused(sentence: str) -> dict[str, Any]:
    """The whole request is refused."""
    return {"status": "err", "response": sentence}


def statuses(kind: str, rows: list[Any]) -> dict[str, Any]:
    """One entry per item of the batch."""
    return {"status": "ok", "response": {"type": kind, "data": {"statuses": rows}}}


def orders(rows: list[Any]) -> dict[str, Any]:
    """The answer to placed and to modified orders."""
    return statuses("order", rows)


def order_status(outcome: OrderOutcome, asset_id: int, cloid: str | None) -> dict[str, Any]:
    """One order: filled, resting (a lone trigger too), or an error with its asset."""
    if outcome.error is not None:
        return {"error": f"{outcome.error} asset={asset_id}" if outcome.has_suffix else outcome.error}
    named: dict[str, Any] = {"oid": outcome.oid} | ({} if cloid is None else {"cloid": cloid})
    if outcome.filled_base and outcome.average_px is not None:
        return {"filled": {"totalSz": text(outcome.filled_base), "avgPx": text(outcome.average_px), **named}}
    return {"resting": named}
