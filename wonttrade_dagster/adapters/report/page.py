"""The report as one HTML page that needs nothing but a browser.

Belongs here: what the page says and in which words; the markup is in ``report.html.j2``.
Does not belong here: figures (``summary``), series (``charts``).

Every text is escaped by the template; chart data travels as JSON in which ``<`` cannot occur. A content
security policy forbids the page to load or send anything.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from wonttrade_dagster.adapters.report.charts import all_charts
from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.adapters.report.page_luck import (
    confidence_rows,
    cost_table,
    luck_answers,
    notable_rows,
)
from wonttrade_dagster.adapters.report.wording import (
    duration_text,
    fraction_text,
    number_text,
    shortened,
    time_text,
    usd_text,
)
from wonttrade_dagster.core.round_trips import RoundTrip, round_trips

MAX_TRADES = 400
MAX_DECISIONS = 200
_EXPLANATION_CHARACTERS = 600


class Figure(NamedTuple):
    """One figure: its name, its value, what it means, and whether it is good, bad or neither."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


def page_environment() -> Environment:
    """The templates beside this module; every text in them is escaped, a missing name is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(data: ReportData, summary: Mapping[str, Any]) -> str:
    """The whole page, script included (about 5 MB)."""
    environment = page_environment()
    charts = all_charts(data, summary["pnl"])
    trades = round_trips(data.fills)
    return environment.get_template(
        "report.html.j2"
    ).render(
        data=data,
        range_text=f"{time_text(data.from_ms)} – {time_text(data.to_ms)} UTC",
        tiles=_tiles(summary),
        figures=_figures(summary),
        charts=charts,
        charts_json=Markup(script_json(charts)),  # noqa: S704 (our own JSON, "<" and "&" are escaped in it)
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 (the installed package's script)
        trades=[_trade_row(trade) for trade in trades[-MAX_TRADES:]],
        trade_count=len(trades),
        splits=split_rows(summary["pnl_by_symbol"]),
        decisions=_decision_figures(summary["decisions"]),
        reasons=summary["decisions"]["by_reason"],
        explanations=_explanations(data.decisions),
        warnings=[*summary["luck"]["warnings"], *data.caveats],
        answers=luck_answers(summary["luck"], summary["costs"]),
        cost_table=cost_table(summary["costs"]),
        confidences=confidence_rows(summary["confidence"]),
        notable=notable_rows(data, summary["notable_cycles"]),
    )


def script_json(value: object) -> str:
    """JSON that cannot end its script element, whatever text it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def split_rows(splits: Mapping[str, Mapping[str, float]]) -> list[dict[str, str]]:
    """Where the result came from, a row a symbol; costs are shown as what they took."""
    return [
        {
            "symbol": symbol,
            "prices": usd_text(split["price_usd"]),
            "slippage": usd_text(0.0 - split["slippage_usd"]),
            "fees": usd_text(0.0 - split["fees_usd"]),
            "funding": usd_text(0.0 - split["funding_usd"]),
            "result": usd_text(split["result_usd"]),
            "tone": tone_of(split["result_usd"]),
        }
        for symbol, split in splits.items()
    ]


def tone_of(value: float | None) -> str:
    """The class of a figure that is good, bad or neither."""
    if value is None or value == 0:
        return ""
    return "gain" if value > 0 else "loss"


def _tiles(summary: Mapping[str, Any]) -> list[Figure]:
    performance, decisions = summary["performance"], summary["decisions"]
    total = performance["total_return_fraction"]
    held = [
        Figure(f"Holding {s}", fraction_text(v, sign=True))
        for s, v in summary["buy_and_hold_fraction"].items()
    ]
    applied = decisions["by_outcome"].get("applied", 0)
    return [
        Figure(
            "Return",
            fraction_text(total, sign=True),
            usd_text(performance["final_equity_usd"]),
            tone_of(total),
        ),
        *held[:2],
        Figure("Max drawdown", fraction_text(performance["max_drawdown"]["fraction"])),
        Figure("Sharpe", number_text(performance["sharpe"]), "annualised"),
        Figure("Decisions applied", f"{applied} of {decisions['cycles']}"),
    ]


def _figures(summary: Mapping[str, Any]) -> list[Figure]:
    return [
        *_result_figures(summary["performance"], summary["pnl"]),
        *_trade_figures(summary["performance"], summary["holding"]),
        *_exposure_figures(summary["exposure"]),
        *_model_figures(summary),
    ]


def _result_figures(performance: Mapping[str, Any], pnl: Mapping[str, Any]) -> list[Figure]:
    drawdown = performance["max_drawdown"]
    lasted = duration_text(drawdown["length_ms"])
    state = "recovered" if drawdown["recovered_ms"] is not None else "not recovered by the end"
    return [
        Figure("Opening account value", usd_text(performance["opening_equity_usd"])),
        Figure("Final account value", usd_text(performance["final_equity_usd"])),
        Figure(
            "Sharpe ratio",
            number_text(performance["sharpe"]),
            "annualised by the actual sampling, risk-free 0",
        ),
        Figure("Deepest drawdown", fraction_text(drawdown["fraction"]), f"from its peak {lasted}, {state}"),
        Figure("Gained by prices", usd_text(pnl["price_usd"]), "as if filled at the market's price"),
        Figure("Slippage", usd_text(pnl["slippage_usd"]), "lost by filling worse than that"),
        Figure("Fees paid", usd_text(performance["fees_usd"])),
        Figure("Funding", usd_text(performance["funding_usd"]), "positive: paid, negative: received"),
    ]


def _exposure_figures(exposure: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    return [
        Figure(
            f"Mean exposure {symbol}",
            fraction_text(figures["mean_fraction"]),
            f"of the account value, at most {fraction_text(figures['max_fraction'])}; "
            f"{figures['cycles_long']:,} cycles long, {figures['cycles_short']:,} short",
        )
        for symbol, figures in exposure.items()
    ]


def _trade_figures(performance: Mapping[str, Any], holding: Mapping[str, Any]) -> list[Figure]:
    unprotected = performance["unprotected"]
    worst = f"worst {number_text(unprotected['max_seconds'])} s, over {unprotected['entries']} entries"
    return [
        Figure(
            "Round trips", str(performance["round_trips"]), f"{performance['open_round_trips']} still open"
        ),
        Figure("Won after fees", fraction_text(performance["win_fraction"]), "share of closed round trips"),
        Figure("Ended at the stop-loss", fraction_text(performance["stop_fraction"])),
        Figure("Ended at the take-profit", fraction_text(performance["take_profit_fraction"])),
        Figure(
            "Liquidations",
            str(performance["liquidations"]),
            "",
            "loss" if performance["liquidations"] else "",
        ),
        Figure(
            "Mean holding time",
            duration_text(performance["mean_holding_ms"]),
            f"median {duration_text(holding['median_ms'])}, longest {duration_text(holding['longest_ms'])}",
        ),
        Figure("Time in the market", fraction_text(performance["exposure_fraction"])),
        Figure(
            "Turnover",
            f"{number_text(performance['turnover_fraction'])} ×",
            "traded value over mean account value",
        ),
        Figure("Unprotected seconds", number_text(unprotected["total_seconds"]), worst),
    ]


def _model_figures(summary: Mapping[str, Any]) -> list[Figure]:
    latency = summary["latency"]
    calls = f"{latency['model_calls']:,}"
    return [
        Figure("Model calls", calls, f"in {summary['decisions']['cycles']:,} cycles"),
        Figure(
            "Latency, median", duration_text(latency["p50_ms"]), f"95 %: {duration_text(latency['p95_ms'])}"
        ),
        Figure("Tokens in", f"{latency['prompt_tokens']:,}"),
        Figure("Tokens out", f"{latency['completion_tokens']:,}"),
        Figure("Cost of the calls", usd_text(latency["cost_usd"]), _unpriced(latency)),
    ]


def _unpriced(latency: Mapping[str, Any]) -> str:
    """What the cost leaves out."""
    unknown = latency["cycles_of_unknown_cost"]
    return f"unknown for {unknown:,} cycles (llm.prices)" if unknown else "by llm.prices"


def _decision_figures(decisions: Mapping[str, Any]) -> list[Figure]:
    outcomes, plans = decisions["by_outcome"], decisions["by_prior_plan"]
    repaired, conditions = decisions["repaired"], decisions["conditions"]
    held = f"given up in {conditions['obeyed']:,}, kept against it in {conditions['not_obeyed']:,}"
    return [
        Figure("Applied", f"{outcomes.get('applied', 0):,}", "targets taken on as given"),
        Figure("Refused", f"{outcomes.get('refused', 0):,}", "nothing changed, protection stayed"),
        Figure("Failed", f"{outcomes.get('failed', 0):,}", "an order did not go through"),
        Figure("Prior plan kept", f"{plans.get('kept', 0):,}", "as the model says"),
        Figure("Prior plan replaced", f"{plans.get('replaced', 0):,}", "as the model says"),
        Figure("Asked to repair", f"{repaired['asked']:,}", f"{repaired['taken']:,} of them taken then"),
        Figure("Invalidated by its own condition", f"{conditions['held']:,}", held),
    ]


def _trade_row(trade: RoundTrip) -> dict[str, str]:
    return {
        "opened": time_text(trade.opened_ms),
        "symbol": trade.symbol,
        "side": "long" if trade.is_long else "short",
        "size": f"{trade.max_size_base:g}",
        "entry": number_text(trade.entry_px),
        "exit": number_text(trade.exit_px),
        "held": duration_text(trade.holding_ms),
        "ended": (trade.closed_by or "open").replace("_", " "),
        "fees": usd_text(trade.fees_usd),
        "net": usd_text(trade.net_pnl_usd),
        "tone": tone_of(trade.net_pnl_usd),
    }


def _explanations(decisions: pl.DataFrame) -> Sequence[dict[str, str]]:
    """The last decisions, newest first; the model's text cut to a readable length."""
    rows = decisions.tail(MAX_DECISIONS).reverse().iter_rows(named=True)
    return [
        {
            "time": time_text(row["cycle_ms"]),
            "outcome": row["outcome"] or "",
            "reason": row["reason"] or "",
            "prior_plan": row["prior_plan"] or "",
            "explanation": shortened(row["explanation"] or "", _EXPLANATION_CHARACTERS),
        }
        for row in rows
    ]
