"""``wonttrade history import``: candles and funding from files into ``market.duckdb``.

Belongs here: the command's reading and showing, the one event that tells Dagster of an import.
Does not belong here: file formats (``adapters.history_files``), the tables (``adapters.history``).
"""

from collections.abc import Sequence
from pathlib import Path

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.history_files import FileImport, import_files
from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.cli.output import print_json, print_table, progress
from wonttrade_dagster.core.utc import utc_minute
from wonttrade_dagster.defs.compose import market_history
from wonttrade_dagster.settings import Settings, load_settings


def run_import(config: Path, files: Sequence[Path], *, replace: bool, as_json: bool) -> None:
    """Import every file, or none that is broken.

    Raises:
        HistoryError: a file is wrong; names file, row, column and remedy.
        StorageError: the history's file is locked or the disk is full.
    """
    settings = load_settings(config)
    done = import_with_progress(market_history(settings), files, replace=replace)
    _tell_dagster(settings, done)
    if as_json:
        print_json([_facts(item) for item in done])
        return
    columns = ("file", "symbol", "series", "first", "last", "new", "unchanged", "changed")
    rows = [tuple(fact.values()) for item in done for fact in _rows(item)]
    print_table("imported", columns, rows)
    if changed := sum(item.counts.changed for item in done):
        verb = "were overwritten" if replace else "were left as they are: --replace overwrites them"
        print_table("differences", ("rows", "what happened"), [(changed, verb)])


def import_with_progress(
    history: MarketHistory, files: Sequence[Path], *, replace: bool
) -> tuple[FileImport, ...]:
    """Import with a bar that counts files."""
    with progress() as bar:
        task = bar.add_task("importing", total=len(files))
        return import_files(history, files, replace=replace, on_file=lambda _: bar.advance(task))


def _rows(item: FileImport) -> list[dict[str, object]]:
    return [
        {
            "file": item.path.name,
            "symbol": series.symbol,
            "series": series.series,
            "first": utc_minute(series.first_ms),
            "last": utc_minute(series.last_ms),
            "new": series.counts.new,
            "unchanged": series.counts.unchanged,
            "changed": series.counts.changed,
        }
        for series in item.series
    ]


def _facts(item: FileImport) -> dict[str, object]:
    return {"file": str(item.path), "series": _rows(item)}


def _tell_dagster(settings: Settings, done: Sequence[FileImport]) -> None:
    """One event for an import, not one a day: an event costs 30 ms."""
    import dagster as dg  # noqa: PLC0415 (Dagster takes seconds)

    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        for name in ("candles", "funding_rates"):
            rows = [
                r for item in done for r in _rows(item) if (r["series"] == "funding") == (name != "candles")
            ]
            if not rows:
                continue
            metadata = {
                "files": len({r["file"] for r in rows}),
                "new_rows": sum(int(str(r["new"])) for r in rows),
            }
            event = dg.AssetMaterialization(
                asset_key=["history", name], description="imported from files", metadata=metadata
            )
            instance.report_runless_asset_event(event)
