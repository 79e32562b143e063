"""What a person reads of a materialization in the UI.

Belongs here: records as markdown, tables and pictures.
Does not belong here: anything that decides or computes.

Text of the model and of the venue is data: it is fenced or escaped, so that neither HTML nor markdown in
it does anything. See https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from wonttrade_dagster.adapters.hyperliquid.stream_reader import MEAN_PIECE
from wonttrade_dagster.core.cycle import Record
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    Action,
    CancelOrder,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    IndicatorSnapshot,
    LlmContext,
    MarketSnapshot,
    PlaceOrder,
    Refusal,
    SetLeverage,
    StageFailure,
)
from wonttrade_dagster.core.precision import wire

Metadata = Mapping[str, Any]

MAX_TEXT = 20_000
"""Characters of a prompt or reply shown in the UI; the journal holds all of it."""


def describe(record: Record) -> Metadata:
    """Metadata of one stage's record."""
    return _DESCRIBERS[type(record)](record)


def fenced(text: str, language: str = "") -> dg.MarkdownMetadataValue:
    """Untrusted text in a code fence longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n… {len(text) - MAX_TEXT} characters more"
    return dg.MetadataValue.md(f"{fence}{language}\n{shown}\n{fence}")


def escaped(text: str) -> str:
    """Untrusted text within a line of markdown: no HTML, no markdown, no table cell boundary."""
    flat = " ".join(text.split())
    inline = re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(flat, quote=False))
    # At its beginning also what would start a list or draw a line: "1." and "-".
    return re.sub(r"^(\d*)([-.])", r"\1\\\2", inline)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.TableMetadataValue:
    """A table; every cell becomes text."""
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns])
    records = [
        dg.TableRecord({name: str(cell) for name, cell in zip(columns, row, strict=True)}) for row in rows
    ]
    return dg.MetadataValue.table(records=records, schema=schema)


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows in place."""
    return dg.MetadataValue.md(f"![{escaped(title)}](data:image/png;base64,{base64.b64encode(png).decode()})")


def _failure(record: StageFailure) -> Metadata:
    return {
        "outcome": "failure",
        "reason": record.reason,
        "detail": dg.MetadataValue.md(escaped(record.detail)),
    }


def _market(record: MarketSnapshot) -> Metadata:
    columns = (
        "symbol",
        "mid",
        "mark",
        "oracle",
        "funding per hour",
        "open interest",
        "intraday",
        "long term",
    )
    rows = [
        (
            m.symbol,
            _absent(m.mid_px),
            _absent(m.mark_px),
            _absent(m.oracle_px),
            _absent(m.funding_rate_hourly),
            _absent(m.open_interest_base),
            f"{m.intraday.frame.height} × {m.intraday.interval}",
            f"{m.long_term.frame.height} × {m.long_term.interval}",
        )
        for m in record.markets
    ]
    pieces = [(piece, _source(record, piece), f"{ms} ms") for piece, ms in record.ages_ms.items()]
    metadata = {
        "markets": table(columns, rows),
        "source": record.source,
        "age_ms": record.taken_at_ms - record.cycle_ms,
        "spread_ms": record.spread_ms,
        "pieces": table(("piece", "source", "age"), pieces),
    }
    missed = {"stream_miss": dg.MetadataValue.md(escaped(record.stream_miss))} if record.stream_miss else {}
    return metadata | missed


def _source(record: MarketSnapshot, piece: str) -> str:
    """A mean of open interest is recorded by the stream alone, whatever brought the other pieces."""
    return "stream" if piece.endswith(MEAN_PIECE) else record.source


def _absent(value: object) -> object:
    return "absent" if value is None else value


def _account(record: AccountSnapshot) -> Metadata:
    positions = [
        (
            p.symbol,
            wire(p.size_base),
            wire(p.entry_px),
            _absent(p.liquidation_px),
            p.leverage,
            p.unrealized_pnl_usd,
        )
        for p in record.positions
    ]
    orders = [
        (
            o.symbol,
            o.leg or "order",
            "buy" if o.is_buy else "sell",
            wire(o.size_base),
            _absent(o.trigger_px),
            o.oid,
        )
        for o in record.open_orders
    ]
    return {
        "account_value_usd": float(record.account_value_usd),
        "free_margin_usd": float(record.free_margin_usd),
        "positions": table(
            ("symbol", "size", "entry", "liquidation", "leverage", "unrealised PnL"), positions
        ),
        "open_orders": table(("symbol", "leg", "side", "size", "trigger", "oid"), orders),
    }


def _indicators(record: IndicatorSnapshot) -> Metadata:
    columns = record.symbols[0].main_columns if record.symbols else ()
    rows = []
    for symbol in record.symbols:
        for name, window in (("intraday", symbol.intraday), ("long term", symbol.long_term)):
            newest = (_rounded(window.newest(column)) for column in columns)
            rows.append((symbol.symbol, name, *newest))
    return {"latest": table(("symbol", "window", *columns), rows)}


def _rounded(value: float | None) -> str:
    return "absent" if value is None else f"{value:.6g}"


def _context(record: LlmContext) -> Metadata:
    prompt = record.prompt
    return {
        "prompt": fenced(prompt.user),
        "system_prompt": fenced(prompt.system),
        "template": prompt.template,
        "template_sha256": prompt.template_sha256,
        "prompt_sha256": prompt.prompt_sha256,
        "prompt_characters": len(prompt.system) + len(prompt.user),
        "invocation": record.performance.invocations,
    }


def _decision(record: DecisionRecord) -> Metadata:
    metadata: dict[str, Any] = {"outcome": record.outcome.kind}
    if isinstance(record.outcome, Decision):
        metadata |= _targets(record.outcome)
    else:
        metadata |= _refusal(record.outcome)
    if record.reply is not None:
        usage = record.reply.usage
        metadata |= {
            "reply": fenced(record.reply.text, "json"),
            "model": record.reply.model,
            "latency_ms": record.reply.latency_ms,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_usd": _absent(record.cost_usd),
            "repaired": record.first_reply is not None,
        }
    if record.fired:
        numbers = ", ".join(map(str, record.fired))
        obeyed = {True: "given up", False: "KEPT", None: "undecided"}[record.obeyed]
        metadata["invalidated"] = f"condition {numbers} of the prior plan held; the plan was {obeyed}"
    return metadata


def _targets(decision: Decision) -> Metadata:
    columns = ("symbol", "target size", "stop-loss", "take-profit", "confidence", "rationale")
    rows = [
        (
            t.symbol,
            wire(t.target_size),
            _absent(t.stop_loss),
            _absent(t.take_profit),
            t.confidence,
            escaped(t.rationale),
        )
        for t in decision.targets
    ]
    return {
        "targets": table(columns, rows),
        "prior_plan": decision.prior_plan.value,
        "explanation": dg.MetadataValue.md(escaped(decision.explanation)),
        "invalidation": dg.MetadataValue.md(escaped(decision.invalidation_condition)),
    }


def _refusal(refusal: Refusal) -> Metadata:
    rows = [(v.rule, v.path, escaped(v.detail)) for v in refusal.violations]
    return {
        "reason": refusal.reason,
        "detail": dg.MetadataValue.md(escaped(refusal.detail)),
        "violations": table(("rule", "path", "detail"), rows),
    }


def _action(action: Action) -> tuple[object, ...]:
    if isinstance(action, PlaceOrder):
        side = "buy" if action.is_buy else "sell"
        price = action.trigger_px or action.limit_px
        return action.symbol, action.purpose.value, side, wire(action.size_base), wire(price), action.reason
    if isinstance(action, CancelOrder):
        return action.symbol, "cancel", "", "", f"oid {action.oid}", action.reason
    return _leverage(action)


def _leverage(action: SetLeverage) -> tuple[object, ...]:
    mode = "cross" if action.is_cross else "isolated"
    return action.symbol, "leverage", "", f"{action.leverage}x", mode, action.reason


_ACTION_COLUMNS = ("symbol", "action", "side", "size", "price", "reason")


def _plan(record: ExecutionPlan) -> Metadata:
    skipped = [(s.symbol, wire(s.delta_base), s.reason) for s in record.skipped]
    metadata: dict[str, Any] = {
        "plan": table(_ACTION_COLUMNS, [_action(action) for action in record.actions]),
        "actions": len(record.actions),
        "skipped": table(("symbol", "delta", "reason"), skipped),
        "alerts": dg.MetadataValue.md(_bullets(record.alerts)),
    }
    return metadata | (dict(_refusal(record.refusal)) if record.refusal else {})


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines) or "none"


def _execution(record: ExecutionReport) -> Metadata:
    columns = (*_ACTION_COLUMNS, "status", "filled", "average price", "answer")
    rows = [
        (*_action(r.action), r.status.value, wire(r.filled_base), _absent(r.average_px), escaped(r.message))
        for r in record.results
    ]
    unprotected = [(symbol, f"{seconds:.3f}") for symbol, seconds in record.unprotected_seconds]
    return {
        "results": table(columns, rows),
        "unprotected_seconds": table(("symbol", "seconds"), unprotected),
        "alerts": dg.MetadataValue.md(_bullets(record.alerts)),
    }


def _report(record: CycleReport) -> Metadata:
    metadata: dict[str, Any] = {
        "outcome": record.outcome,
        "reason": record.reason,
        "detail": dg.MetadataValue.md(escaped(record.detail)),
        "actions_planned": record.actions_planned,
        "actions_failed": record.actions_failed,
        "alerts": dg.MetadataValue.md(_bullets(record.alerts)),
        "positions": table(
            ("symbol", "size", "entry"),
            [(p.symbol, wire(p.size_base), wire(p.entry_px)) for p in record.positions],
        ),
    }
    if record.account_value_usd is not None:
        metadata["account_value_usd"] = float(record.account_value_usd)
    if record.performance is not None:
        metadata |= {
            "return_fraction": record.performance.return_fraction,
            "fees_usd": float(record.performance.fees_usd),
            "funding_usd": float(record.performance.funding_usd),
            "transfers_usd": float(record.performance.transfers_usd),
        }
    return metadata


_DESCRIBERS: Mapping[type, Callable[[Any], Metadata]] = {
    StageFailure: _failure,
    MarketSnapshot: _market,
    AccountSnapshot: _account,
    IndicatorSnapshot: _indicators,
    LlmContext: _context,
    DecisionRecord: _decision,
    ExecutionPlan: _plan,
    ExecutionReport: _execution,
    CycleReport: _report,
}
