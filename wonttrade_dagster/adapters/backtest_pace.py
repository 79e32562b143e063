"""How fast and how long a model answered before, from what is recorded.

Belongs here: looking for calls of a model in the live ledger's published copy and in finished backtests.
Does not belong here: what follows from it (``core.estimate``), asking a model anything.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.backtest_results import SUMMARY_NAME
from wonttrade_dagster.adapters.sql_session import Copies, ask
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.estimate import Pace

LIVE_CALLS = 500
"""The newest ones: a model's speed of last month says little."""

_LIVE = """
SELECT count(latency_ms), median(latency_ms), median(completion_tokens) FROM (
    SELECT latency_ms, nullif(completion_tokens, 0) AS completion_tokens FROM decisions
    WHERE latency_ms IS NOT NULL AND (model = {model} OR starts_with(model, {dated}))
    ORDER BY cycle DESC LIMIT {calls})
"""
"""A server may answer with the dated name of a model, like ``gpt-5-2025-08-07``."""


def measured_pace(model: str, ledger_copy: Path | None, backtests: Path) -> Pace:
    """The median of the model's live calls, else that of its newest backtest, else nothing.

    Args:
        model: its name, as it is asked.
        ledger_copy: the published copy of an account's ledger; None without one.
        backtests: the folder of all backtests.
    """
    return _live(model, ledger_copy) or _of_backtests(model, backtests) or Pace()


def _live(model: str, ledger_copy: Path | None) -> Pace | None:
    if ledger_copy is None or not ledger_copy.exists():
        return None
    query = _LIVE.format(model=_quoted(model), dated=_quoted(f"{model}-20"), calls=LIVE_CALLS)
    try:
        with ask(Copies(ledger_copy.with_name("none"), ledger_copy), query) as answer:
            calls, latency_ms, tokens = next(answer.rows)
    except WontTradeError:  # an estimate is not worth a failure: it says that nothing was measured
        return None
    return Pace(latency_ms, tokens, f"median of {calls} live calls") if calls else None


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _of_backtests(model: str, backtests: Path) -> Pace | None:
    found = sorted(backtests.glob(f"*/{SUMMARY_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        summary = _summary(path)
        latency = summary.get("latency", {})
        if summary.get("model") == model and latency.get("p50_ms") is not None:
            calls, tokens = latency["model_calls"], latency["completion_tokens"]
            return Pace(
                latency["p50_ms"], tokens / calls if tokens else None, f"of backtest {path.parent.name}"
            )
    return None


def _summary(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
