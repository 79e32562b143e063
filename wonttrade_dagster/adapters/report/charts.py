"""Plotly figures as plain dictionaries: ``{"id", "title", "note", "data", "layout"}``.

Belongs here: which series a chart shows and how they are thinned.
Does not belong here: HTML and colours of the page (``page``), arithmetic of performance.

Times are ISO texts without a zone: the browser prints them as they stand, which is UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.adapters.report.summary import curve, exposure_series, lived
from wonttrade_dagster.core.performance import drawdown_series

MAX_POINTS = 5_000
"""Per trace: beyond that a browser on a phone stutters."""

STRATEGY, GAIN, LOSS, QUIET = "#3b6ef5", "#12936a", "#d1453b", "#8a94a6"
_BENCHMARKS = ("#e08a00", "#7b5cd6", "#0f9bb3", "#b0568f", "#6b8e23")

_MARKERS = (
    # name, purposes, bought (None = either), symbol, colour
    ("Buy to open", ("open", "increase", "trade", "flip"), True, "triangle-up", GAIN),
    ("Sell to open", ("open", "increase", "trade", "flip"), False, "triangle-down", LOSS),
    ("Reduce or close", ("reduce", "close"), None, "circle", STRATEGY),
    ("Stop-loss", ("stop_loss",), None, "x", LOSS),
    ("Take-profit", ("take_profit",), None, "star", GAIN),
    ("Liquidation", ("liquidation",), None, "hexagram", "#7a0c0c"),
)


def thin(frame: pl.DataFrame, value: str, limit: int = MAX_POINTS) -> pl.DataFrame:
    """At most ``limit`` rows that draw the same line.

    Buckets of equal length keep their first, lowest, highest and last row (Jugel et al., "M4", 2014), so no
    spike is lost; shorter frames pass unchanged.
    """
    if frame.height <= limit:
        return frame
    buckets = limit // 4
    rows = frame.with_row_index("_row").with_columns(
        (pl.col("_row").cast(pl.Int64) * buckets // frame.height).alias("_bucket")
    )
    by = pl.col(value)
    kept = rows.group_by("_bucket").agg(
        pl.concat_list(
            pl.col("_row").first(),
            pl.col("_row").get(by.arg_min()),
            pl.col("_row").get(by.arg_max()),
            pl.col("_row").last(),
        ).alias("keep")
    )
    chosen = kept["keep"].explode().unique()
    return rows.filter(pl.col("_row").is_in(chosen.implode())).drop("_row", "_bucket")


def iso_times(times_ms: pl.Series) -> list[str]:
    """UTC as ISO texts to the second."""
    return (
        pl.select(pl.from_epoch(times_ms, time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S"))
        .to_series()
        .to_list()
    )


def all_charts(data: ReportData, pnl: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every chart of a report, in its order, those over time all over the same axis.

    Args:
        data: of the run.
        pnl: the split of its result, as in the summary.
    """
    prices = [price_chart(data, symbol) for symbol in data.prices]
    timed = [equity_chart(data), drawdown_chart(data), *prices, exposure_chart(data), latency_chart(data)]
    span = iso_times(pl.Series([data.from_ms, data.to_ms], dtype=pl.Int64))
    for chart in timed:
        chart["layout"]["xaxis"]["range"] = span
    return [*timed[:-1], pnl_chart(pnl), timed[-1]]


def equity_chart(data: ReportData) -> dict[str, Any]:
    """Account value against buying each symbol at the start with the whole account."""
    equity = curve(data)
    traces = [line_of("Strategy", equity, "time_ms", "account_value_usd", STRATEGY, width=2.4)]
    for (symbol, candles), colour in zip(lived(data).items(), _cycled(_BENCHMARKS), strict=False):
        if not candles.is_empty():
            held = candles.select(
                "open_time_ms",
                (pl.col("close") / candles["open"][0] * data.initial_equity_usd).alias("value"),
            )
            traces.append(line_of(f"Hold {symbol}", held, "open_time_ms", "value", colour, width=1.2))
    traces.append(_flat(data))
    note = (
        "Account value after fees and funding; thin lines: one coin bought at the start, without costs; "
        "dotted: nothing done at all."
    )
    return chart_of("equity", "Account value", note, traces, "USD")


def _flat(data: ReportData) -> dict[str, Any]:
    ends = pl.DataFrame({"time_ms": [data.from_ms, data.to_ms], "usd": [data.initial_equity_usd] * 2})
    trace = line_of("Flat", ends, "time_ms", "usd", QUIET, width=1.2)
    trace["line"]["dash"] = "dot"
    return trace


def drawdown_chart(data: ReportData) -> dict[str, Any]:
    """How far below its peak the account stood, in percent."""
    series = drawdown_series(curve(data)).with_columns(
        (-100.0 * pl.col("drawdown_fraction")).alias("percent")
    )
    trace = line_of("Drawdown", series, "time_ms", "percent", LOSS, width=1.2)
    trace |= {"fill": "tozeroy", "fillcolor": "rgba(209,69,59,0.18)", "showlegend": False}
    note = "Percent below the highest account value so far."
    return chart_of("drawdown", "Drawdown", note, [trace], "%", height=240)


def price_chart(data: ReportData, symbol: str) -> dict[str, Any]:
    """The coin's price with entries, exits and standing protection."""
    traces = [line_of(symbol, data.prices[symbol], "open_time_ms", "close", QUIET, width=1.2)]
    traces += _protection(data.protection.filter(pl.col("symbol") == symbol))
    traces += _fill_markers(data.fills.filter(pl.col("symbol") == symbol))
    note = "Close of each candle. Dotted: the stop-loss and take-profit that stood after each decision."
    return chart_of(f"price-{symbol}", f"{symbol}: price and trades", note, traces, "USD", height=420)


def exposure_chart(data: ReportData) -> dict[str, Any]:
    """What was held of each coin after each cycle and at the end, over the account value, signed."""
    series = exposure_series(data).with_columns((100.0 * pl.col("exposure_fraction")).alias("percent"))
    traces = []
    for symbol, colour in zip(data.prices, _cycled(_BENCHMARKS), strict=False):
        mine = series.filter(pl.col("symbol") == symbol)
        trace = line_of(symbol, mine, "time_ms", "percent", colour, width=1.4)
        trace["line"]["shape"] = "hv"
        traces.append(trace | {"showlegend": True})
    note = (
        "Percent of the account value held in each coin, after each decision and at the end; short: below 0."
    )
    return chart_of("exposure", "Exposure", note, traces, "%", height=280)


def pnl_chart(pnl: Mapping[str, float]) -> dict[str, Any]:
    """What the result is made of: prices, what trading cost, and what was left."""
    bars = (
        ("Prices", pnl["price_usd"]),
        ("Slippage", -pnl["slippage_usd"]),
        ("Fees", -pnl["fees_usd"]),
        ("Funding", -pnl["funding_usd"]),
        ("Result", pnl["result_usd"]),
    )
    trace = {
        "type": "bar",
        "x": [name for name, _ in bars],
        "y": [round(value, 2) + 0.0 for _, value in bars],
        "text": [f"{value:+,.2f}" for _, value in bars],
        "hovertemplate": "%{x}: %{y:+,.2f} USD<extra></extra>",
        "marker": {"color": [GAIN if value > 0 else LOSS for _, value in bars]},
        "showlegend": False,
    }
    note = "What prices did to what was held, less what trading cost, is the result."
    chart = chart_of("pnl", "Where the result came from", note, [trace], "USD", height=280)
    chart["layout"]["xaxis"] = {"type": "category"}
    return chart


def latency_chart(data: ReportData) -> dict[str, Any]:
    """How long each model call took."""
    seconds = data.latency.with_columns((pl.col("latency_ms") / 1000).alias("seconds")).drop_nulls("seconds")
    trace = line_of("Model call", seconds, "cycle_ms", "seconds", STRATEGY, width=1)
    trace |= {
        "mode": "markers",
        "marker": {"size": 4, "color": STRATEGY, "opacity": 0.6},
        "showlegend": False,
    }
    note = "Seconds from sending the prompt to the last byte of the reply."
    return chart_of("latency", "Model latency", note, [trace], "seconds", height=240)


def _protection(levels: pl.DataFrame) -> list[dict[str, Any]]:
    traces = []
    for name, column, colour in (
        ("Stop-loss level", "stop_loss_px", LOSS),
        ("Take-profit level", "take_profit_px", GAIN),
    ):
        if levels[column].is_not_null().any():
            trace = line_of(name, levels, "cycle_ms", column, colour, width=1)
            trace["line"] |= {"dash": "dot", "shape": "hv"}
            traces.append(trace | {"connectgaps": False, "opacity": 0.7})
    return traces


def _fill_markers(fills: pl.DataFrame) -> list[dict[str, Any]]:
    traces = []
    for name, purposes, bought, shape, colour in _MARKERS:
        chosen = fills.filter(pl.col("purpose").is_in(purposes))
        if bought is not None:
            chosen = chosen.filter((pl.col("size_base") > 0) == bought)
        if not chosen.is_empty():
            traces.append(_markers(name, chosen.tail(MAX_POINTS), shape, colour))
    return traces


def _markers(name: str, fills: pl.DataFrame, shape: str, colour: str) -> dict[str, Any]:
    sizes = fills["size_base"].to_list()
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": iso_times(fills["time_ms"]),
        "y": _rounded(fills["px"]),
        "text": [f"{size:+g}" for size in sizes],
        "hovertemplate": "%{text} at %{y}<br>%{x}",
        "marker": {"symbol": shape, "size": 10, "color": colour, "line": {"width": 1, "color": "#ffffff"}},
    }


def line_of(
    name: str, frame: pl.DataFrame, x: str, y: str, colour: str, width: float, most: int = MAX_POINTS
) -> dict[str, Any]:
    """A line through ``y`` over the epoch milliseconds of ``x``, thinned to ``most`` points."""
    drawn = thin(frame.select(x, y), y, most)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": iso_times(drawn[x]),
        "y": _rounded(drawn[y]),
        "line": {"color": colour, "width": width},
    }


def _rounded(values: pl.Series) -> list[float | None]:
    return values.cast(pl.Float64).round_sig_figs(8).to_list()


def _cycled(colours: Sequence[str]) -> Iterable[str]:
    return (colours[i % len(colours)] for i in range(1_000))


def chart_of(
    identity: str, title: str, note: str, traces: list[dict[str, Any]], unit: str, height: int = 380
) -> dict[str, Any]:
    """A chart over time with a legend below it."""
    layout = {
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 36},
        "hovermode": "closest",
        "xaxis": {"type": "date"},
        "yaxis": {"title": {"text": unit, "standoff": 4}, "automargin": True},
        "legend": {"orientation": "h", "y": -0.14, "x": 0},
    }
    return {"id": identity, "title": title, "note": note, "data": traces, "layout": layout}
