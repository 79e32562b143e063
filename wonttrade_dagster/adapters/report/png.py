"""The equity curve as a picture, for the metadata of an asset.

Belongs here: one PNG, drawn without a browser and without a display.
Does not belong here: the interactive charts (``charts``).
"""

from datetime import UTC, datetime
from io import BytesIO

import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from wonttrade_dagster.adapters.report.charts import LOSS, QUIET, STRATEGY, thin


def equity_png(equity: pl.DataFrame, drawdown: pl.DataFrame) -> bytes:
    """Account value above, drawdown below.

    Args:
        equity: ``core.performance.EQUITY_SCHEMA``.
        drawdown: ``time_ms``, ``drawdown_fraction``.

    Returns:
        A PNG of 1,200 × 675 pixels.
    """
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    value, fall = thin(equity, "account_value_usd"), thin(drawdown, "drawdown_fraction")
    upper.plot(_times(value), value["account_value_usd"].to_list(), color=STRATEGY, linewidth=1.6)
    upper.set_ylabel("Account value, USD")
    percent = (fall["drawdown_fraction"] * -100.0).to_list()
    lower.fill_between(_times(fall), percent, 0, color=LOSS, alpha=0.3, linewidth=0)
    lower.set_ylabel("Drawdown, %")
    for axes in (upper, lower):
        axes.grid(color=QUIET, alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call] # matplotlib leaves it unannotated
    lower.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call] # as above
    lower.xaxis.set_major_formatter(formatter)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _times(frame: pl.DataFrame) -> list[datetime]:
    return [datetime.fromtimestamp(ms / 1000, UTC) for ms in frame["time_ms"].to_list()]
