"""The report of a backtest: one self-contained page, the figures as JSON, the series as Parquet.

Belongs here: what a finished run is turned into for a person or a notebook.
Does not belong here: the figures themselves (``core.performance``), running anything.

- ``data``: what a report is made of, ``summary``: the figures as one JSON document,
- ``charts``: plotly figures as plain dictionaries, ``page``: the HTML, ``png``: the picture for the UI,
- ``shards``, ``page_shards``: the same of a backtest with several accounts,
- ``writer``: the folder.
"""

from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.adapters.report.png import equity_png
from wonttrade_dagster.adapters.report.writer import write_report

__all__ = ["ReportData", "equity_png", "write_report"]
