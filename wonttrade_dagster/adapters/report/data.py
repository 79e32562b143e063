"""What a report is made of: plain values and frames, nothing that must be looked up.

Belongs here: the record and the columns of its frames.
Does not belong here: anything computed from them (``summary``, ``charts``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from wonttrade_dagster.core.performance import Unprotected

LATENCY_SCHEMA: Mapping[str, pl.DataType] = {
    "cycle_ms": pl.Int64(),
    "latency_ms": pl.Int64(),
    "prompt_tokens": pl.Int64(),
    "completion_tokens": pl.Int64(),
}

DECISION_SCHEMA: Mapping[str, pl.DataType] = {
    "cycle_ms": pl.Int64(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "prior_plan": pl.String(),
    "repaired": pl.Boolean(),
    "fired": pl.Int64(),
    "obeyed": pl.Boolean(),
    "cost_usd": pl.Float64(),
    "explanation": pl.String(),
}

TARGET_SCHEMA: Mapping[str, pl.DataType] = {
    "cycle_ms": pl.Int64(),
    "symbol": pl.String(),
    "target_size_base": pl.Float64(),
    "stop_loss_px": pl.Float64(),
    "take_profit_px": pl.Float64(),
    "confidence": pl.Float64(),
    "rationale": pl.String(),
}

PROTECTION_SCHEMA: Mapping[str, pl.DataType] = {
    "cycle_ms": pl.Int64(),
    "symbol": pl.String(),
    "stop_loss_px": pl.Float64(),
    "take_profit_px": pl.Float64(),
}


def _no_protection() -> pl.DataFrame:
    return pl.DataFrame(schema=PROTECTION_SCHEMA)


def _no_targets() -> pl.DataFrame:
    return pl.DataFrame(schema=TARGET_SCHEMA)


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """Everything a report shows of one backtest.

    Attributes:
        backtest_id: names the run.
        from_ms: first decision time.
        to_ms: end of the range, excluded.
        cycle_minutes: minutes between decisions.
        model: the model's name as it was asked for.
        prompt_name: the prompt template.
        prompt_sha256: hash of the template.
        settings_sha256: hash of ``wonttrade.toml``.
        initial_equity_usd: account value before the first decision.
        equity: ``core.performance.EQUITY_SCHEMA``, one row a cycle, and one at ``to_ms``, where nobody
            decides; that of an account that did not live on so far ends with its last cycle.
        fills: ``core.performance.FILL_SCHEMA``; ``purpose`` tells entries, exits, stops and take-profits.
        latency: ``LATENCY_SCHEMA``, one row a model call.
        decisions: ``DECISION_SCHEMA``, one row a cycle: ``outcome`` applied, refused or failed; ``reason``
            of a refusal; ``prior_plan`` kept, replaced or none; ``repaired``: a second reply was asked for;
            ``fired``: conditions of the prior plan that held, ``obeyed``: whether it was given up then;
            ``cost_usd`` of the cycle's calls, null when nobody knows; ``explanation`` is untrusted text.
        prices: symbol → ``CANDLE_SCHEMA`` over the range.
        assumptions: what the simulator assumes, a sentence each.
        caveats: what limits this very run, a sentence each; printed at the top.
        protection: ``PROTECTION_SCHEMA``, stops and take-profits standing after each cycle and at the end;
            null = none.
        funding_usd: funding paid (+) or received (−).
        funding_by_symbol_usd: the same by symbol; a symbol that paid nothing may be left out.
        unprotected: how long positions stood without a stop.
        targets: ``TARGET_SCHEMA``, one row for each target of a decision; ``rationale`` is untrusted.
        slippage_bps: that every fill was made with.
        taker_fee_bps: that every fill paid.
        knowledge_cutoff: the last day that the model may know; None where nobody said.
    """

    backtest_id: str
    from_ms: int
    to_ms: int
    cycle_minutes: int
    model: str
    prompt_name: str
    prompt_sha256: str
    settings_sha256: str
    initial_equity_usd: float
    equity: pl.DataFrame
    fills: pl.DataFrame
    latency: pl.DataFrame
    decisions: pl.DataFrame
    prices: Mapping[str, pl.DataFrame]
    assumptions: tuple[str, ...]
    caveats: tuple[str, ...] = ()
    protection: pl.DataFrame = field(default_factory=_no_protection)
    funding_usd: float = 0.0
    funding_by_symbol_usd: Mapping[str, float] = field(default_factory=dict)
    unprotected: Unprotected = field(default_factory=Unprotected)
    targets: pl.DataFrame = field(default_factory=_no_targets)
    slippage_bps: float = 0.0
    taker_fee_bps: float = 0.0
    knowledge_cutoff: date | None = None
