"""``wonttrade report``: the summary of a finished backtest, and where its report is.

Belongs here: the command. Does not belong here: the figures (``core.performance``), the drawing.
"""

from pathlib import Path

from wonttrade_dagster.cli.backtest import show_summary
from wonttrade_dagster.settings import load_settings


def show_report(config: Path, backtest_id: str, *, as_json: bool) -> None:
    """Print one backtest. Raises ``UsageError`` for an unknown id, naming the known ones."""
    show_summary(load_settings(config), backtest_id, as_json=as_json)
