"""The page of a backtest with several shards: how its results are spread, and a way to each shard's report.

Belongs here: words, charts and rows of that page; the markup is in ``shards.html.j2``.
Does not belong here: the figures (``shards``), the page of one account (``page``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from wonttrade_dagster.adapters.report.charts import GAIN, LOSS, QUIET, chart_of, line_of
from wonttrade_dagster.adapters.report.page import Figure, page_environment, script_json, split_rows, tone_of
from wonttrade_dagster.adapters.report.wording import fraction_text, number_text, time_text, usd_text

Json = Mapping[str, Any]

_POINTS = 100_000
"""Drawn in all: a browser on a phone takes so many lines of a few points well."""

_DISTRIBUTED = (
    ("total_return_fraction", "Return", fraction_text),
    ("sharpe", "Sharpe (annualised)", number_text),
    ("max_drawdown_fraction", "Max drawdown", fraction_text),
    ("win_fraction", "Round trips won", fraction_text),
)


def render_shards_page(summary: Json, equity: pl.DataFrame) -> str:
    """The whole page, script included.

    Args:
        summary: see ``shards.summarise_shards``.
        equity: ``shard``, ``time_ms``, ``account_value_usd``.
    """
    charts = [return_chart(summary["shards"]), curves_chart(summary["shards"], equity)]
    return (
        page_environment()
        .get_template("shards.html.j2")
        .render(
            summary=summary,
            range_text=f"{time_text(summary['from_ms'])} – {time_text(summary['to_ms'])} UTC",
            warnings=[*summary["luck"]["warnings"], *summary["caveats"]],
            tiles=_tiles(summary),
            distributions=distribution_rows(summary["distribution"]),
            shards=[_shard_row(row, summary["symbols"]) for row in summary["shards"]],
            splits=split_rows(summary["pnl_by_symbol"]),
            figures=_sum_figures(summary),
            charts=charts,
            charts_json=Markup(script_json(charts)),  # noqa: S704 (our own JSON, "<" and "&" are escaped in it)
            plotly_js=Markup(get_plotlyjs()),  # noqa: S704 (the installed package's script)
        )
    )


def distribution_rows(distributions: Json) -> list[dict[str, str]]:
    """One row a figure: median, quartiles, worst, best, and in how many shards it is defined."""
    rows = []
    for name, label, text in _DISTRIBUTED:
        spread = distributions[name]
        if spread is not None:
            words = {
                key: text(spread[key])
                for key in ("median", "lower_quartile", "upper_quartile", "worst", "best")
            }
            rows.append(words | {"figure": label, "shards": str(spread["shards"])})
    return rows


def return_chart(rows: Sequence[Json]) -> dict[str, Any]:
    """The return of each shard as a bar."""
    percent = [None if r["total_return_fraction"] is None else 100 * r["total_return_fraction"] for r in rows]
    trace = {
        "type": "bar",
        "x": [row["first_day"] for row in rows],
        "y": percent,
        "hovertemplate": "%{x}: %{y:+.2f} %<extra></extra>",
        "marker": {"color": [GAIN if (value or 0) > 0 else LOSS for value in percent]},
        "showlegend": False,
    }
    note = "Return of each shard after all costs, by its first day."
    chart = chart_of("returns", "Return by shard", note, [trace], "%", height=300)
    chart["layout"]["xaxis"] = {"type": "category"}
    return chart


def curves_chart(rows: Sequence[Json], equity: pl.DataFrame) -> dict[str, Any]:
    """Each account against its own deposit; no line goes on where another one ended."""
    most = max(_POINTS // len(rows), 50)
    traces = []
    for row in rows:
        mine = equity.filter(pl.col("shard") == row["first_day"])
        change = (100.0 * (pl.col("account_value_usd") / row["opening_equity_usd"] - 1.0)).alias("percent")
        colour = GAIN if (row["total_return_fraction"] or 0.0) > 0 else LOSS
        trace = line_of(row["first_day"], mine.with_columns(change), "time_ms", "percent", colour, 1.4, most)
        traces.append(trace | {"showlegend": False})
    traces.append(_zero(equity))
    note = "Percent of each account's own deposit. Every shard begins at 0: the lines are not one account."
    return chart_of("curves", "Account value by shard", note, traces, "%", height=380)


def _zero(equity: pl.DataFrame) -> dict[str, Any]:
    ends = equity.select(pl.concat([pl.col("time_ms").min(), pl.col("time_ms").max()]))
    trace = line_of(
        "Deposit", ends.with_columns(pl.lit(0.0).alias("percent")), "time_ms", "percent", QUIET, 1.0
    )
    trace["line"]["dash"] = "dot"
    return trace


def _tiles(summary: Json) -> list[Figure]:
    spread, gained = summary["distribution"]["total_return_fraction"], summary["gained"]
    tiles = [Figure("Shards above their deposit", f"{gained['above_deposit']} of {gained['shards']}")]
    if spread is not None:
        tiles += [
            Figure(
                "Median return",
                fraction_text(spread["median"], sign=True),
                "of a shard",
                tone_of(spread["median"]),
            ),
            Figure("Worst shard", fraction_text(spread["worst"], sign=True), "", tone_of(spread["worst"])),
            Figure("Best shard", fraction_text(spread["best"], sign=True), "", tone_of(spread["best"])),
        ]
    held = gained["above_holding"]
    return (
        tiles
        + [Figure(f"Better than holding {s}", f"{n} of {gained['shards']}") for s, n in held.items()][:2]
    )


def _shard_row(row: Json, symbols: Sequence[str]) -> dict[str, Any]:
    applied = row["by_outcome"].get("applied", 0)
    return {
        "first_day": row["first_day"],
        "last_day": row["last_day"],
        "href": f"shards/{row['first_day']}/report.html",
        "gained": fraction_text(row["total_return_fraction"], sign=True),
        "tone": tone_of(row["total_return_fraction"]),
        "held": [fraction_text(row["buy_and_hold_fraction"].get(s), sign=True) for s in symbols],
        "drawdown": fraction_text(row["max_drawdown_fraction"]),
        "sharpe": number_text(row["sharpe"]),
        "trades": f"{row['round_trips']:,}",
        "won": fraction_text(row["win_fraction"]),
        "applied": f"{applied:,} of {row['cycles']:,}",
    }


def _sum_figures(summary: Json) -> list[Figure]:
    sums, latency = summary["sums"], summary["latency"]
    unknown = latency["cycles_of_unknown_cost"]
    return [
        Figure("Results, added", usd_text(sums["result_usd"]), "of all accounts: a sum, not a return"),
        Figure("Fees paid", usd_text(sums["fees_usd"])),
        Figure("Funding", usd_text(sums["funding_usd"]), "positive: paid, negative: received"),
        Figure("Slippage", usd_text(sums["slippage_usd"])),
        Figure("Traded", usd_text(sums["traded_usd"]), f"{sums['fills']:,} fills"),
        Figure(
            "Round trips",
            f"{sums['round_trips']:,}",
            f"{sums['open_round_trips']:,} open at the end of a shard",
        ),
        Figure("Liquidations", f"{sums['liquidations']:,}"),
        Figure("Model calls", f"{latency['model_calls']:,}", f"in {summary['decisions']['cycles']:,} cycles"),
        Figure("Latency, median", f"{number_text(latency['p50_ms'])} ms"),
        Figure("Tokens", f"{latency['prompt_tokens']:,} in", f"{latency['completion_tokens']:,} out"),
        Figure(
            "Cost of the calls",
            usd_text(latency["cost_usd"]),
            f"unknown for {unknown:,} cycles (llm.prices)" if unknown else "by llm.prices",
        ),
    ]
