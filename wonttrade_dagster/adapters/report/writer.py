"""The folder of a report.

Belongs here: which files there are, and that each is whole or not there.
Does not belong here: their content.

``summary.json`` is written last: where it stands, the rest is complete.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.files import replace_atomically, storage_error
from wonttrade_dagster.adapters.report.data import ReportData
from wonttrade_dagster.adapters.report.page import render_page
from wonttrade_dagster.adapters.report.summary import curve, summarise
from wonttrade_dagster.core.performance import drawdown_series

REPORT_NAME = "report.html"


def write_report(folder: Path, data: ReportData) -> Path:
    """Write every file of a report into ``folder`` and return the path of ``report.html``.

    ``equity.parquet``, ``drawdown.parquet``, ``latency.parquet``, ``fills.parquet``, ``report.html`` and
    ``summary.json``; existing ones are replaced.

    Raises:
        StorageError: the disk did not take a file.
    """
    equity, summary = curve(data), summarise(data)
    frames = {
        "equity": equity,
        "drawdown": drawdown_series(equity),
        "latency": data.latency,
        "fills": data.fills,
    }
    return write_files(folder, frames, summary, render_page(data, summary))


def write_files(
    folder: Path, frames: Mapping[str, pl.DataFrame], summary: Mapping[str, Any], page: str
) -> Path:
    """Write series, page and summary, each whole or not at all, and return the path of the page.

    Args:
        folder: where they go.
        frames: by name; each becomes ``name.parquet``.
        summary: becomes ``summary.json``, the last of them.
        page: becomes ``report.html``.

    Raises:
        StorageError: the disk did not take a file.
    """
    contents = {f"{name}.parquet": _parquet(frame) for name, frame in frames.items()}
    contents[REPORT_NAME] = page.encode()
    contents["summary.json"] = json.dumps(summary, indent=2, allow_nan=False).encode()
    for name, content in contents.items():
        _write(folder / name, content)
    return folder / REPORT_NAME


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        replace_atomically(path, content)
    except OSError as error:
        raise storage_error(path, error) from error
