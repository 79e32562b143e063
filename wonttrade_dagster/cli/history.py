"""``wonttrade history``: candles, funding and open interest into and out of ``market.duckdb``.

Belongs here: the commands' reading and showing, the event that tells Dagster what came in.
Does not belong here: file formats (``adapters.history_files``), what is missing (``history_survey``), the
venue (``history_sync``), the tables (``history``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.history import DAY_MS, ImportCounts, MarketHistory
from wonttrade_dagster.adapters.history_columns import StatedTimes, files_of
from wonttrade_dagster.adapters.history_export import export_history
from wonttrade_dagster.adapters.history_files import FileImport, import_files
from wonttrade_dagster.adapters.history_gaps import Gap
from wonttrade_dagster.adapters.history_survey import Survey, survey, wanted_series
from wonttrade_dagster.adapters.history_sync import HistorySync, SeriesSync
from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.cli.output import err, out, print_json, print_table, progress
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.utc import utc_minute
from wonttrade_dagster.settings import Settings, load_settings

MOST_ROWS = 40
"""Of gaps and halts in a table for a person; ``--json`` has all of them."""

_ASSETS = {"funding": "funding_rates", "open_interest": "open_interest"}


@dataclass(frozen=True, slots=True)
class Range:
    """What part of the history a command means: symbols (none: every one), and UTC days, both included."""

    symbols: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None

    @classmethod
    def of(cls, symbols: str | None, first_day: str | None, last_day: str | None) -> "Range":
        """From the options. Raises ``UsageError`` for what is no day, and for an empty range."""
        from_ms = None if first_day is None else _day_ms(first_day)
        to_ms = None if last_day is None else _day_ms(last_day) + DAY_MS
        if from_ms is not None and to_ms is not None and from_ms >= to_ms:
            raise UsageError(f"--from {first_day} is later than --to {last_day}: give the first day first")
        named = tuple(part.strip() for part in (symbols or "").split(",") if part.strip())
        return cls(named, from_ms, to_ms)


def _day_ms(text: str) -> int:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{text!r} is no day: write it like 2025-06-02 (UTC)") from None
    return (day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- import ----------------------------------------------------------------------------------------


def run_import(
    config: Path, paths: Sequence[Path], *, replace: bool, stated: StatedTimes, as_json: bool
) -> None:
    """Import every file, also those directly in a folder that is named, or none when one is broken.

    Raises:
        HistoryError: a file is wrong; names file, row, column and remedy.
        StorageError: the history's file is locked or the disk is full.
    """
    settings = load_settings(config)
    history = MarketHistory.of(settings.data_dir)
    files = files_of(paths)
    with progress() as bar:
        task = bar.add_task("reading", total=len(files))
        done = import_files(
            history, files, replace=replace, stated=stated, on_file=lambda _: bar.advance(task)
        )
    _tell_dagster(settings, "imported from files", [fact for item in done for fact in _imported(item)])
    if as_json:
        print_json([{"file": str(item.path), "series": _imported(item)} for item in done])
        return
    _show("imported", [fact for item in done for fact in _imported(item)], replace=replace)


def _imported(item: FileImport) -> list[dict[str, object]]:
    return [
        {"file": item.path.name}
        | _facts(series.symbol, series.series, series.first_ms, series.last_ms, series.counts)
        for series in item.series
    ]


# --- sync ------------------------------------------------------------------------------------------


def run_sync(config: Path, wanted: Range, *, replace: bool, as_json: bool) -> None:
    """Fetch from the venue what is missing, or with a first day everything since then.

    Raises:
        VenueError: the venue could not be asked; what was fetched before is in.
        HistoryError: the venue no longer has the range.
        StorageError: the history's file is locked or the disk is full.
    """
    from wonttrade_dagster.defs.compose import venue_history  # noqa: PLC0415 (every part, a second of imports)

    settings = load_settings(config)
    sync = HistorySync(venue_history(settings), MarketHistory.of(settings.data_dir), replace)
    symbols = wanted.symbols or settings.symbols.tracked
    done = list[SeriesSync]()
    with progress() as bar:
        task = bar.add_task("syncing", total=4 * len(symbols))
        try:
            for series in _synced(settings, sync, symbols, wanted):
                done.append(series)
                bar.advance(task)
        finally:
            rows = [_facts(s.symbol, s.series, s.first_ms, s.last_ms, s.counts) for s in done]
            _tell_dagster(settings, "fetched from the venue", rows)
    if as_json:
        print_json(rows)
        return
    _show("fetched", rows, replace=replace)


def _synced(
    settings: Settings, sync: HistorySync, symbols: Sequence[str], wanted: Range
) -> Iterator[SeriesSync]:
    now_ms = sync.venue.now_ms()
    to_ms = now_ms if wanted.to_ms is None else wanted.to_ms
    yield from sync.candles(symbols, _intervals(settings), wanted.from_ms, to_ms)
    yield from sync.funding(symbols, wanted.from_ms, min(to_ms, now_ms))
    if wanted.to_ms is None or wanted.to_ms > now_ms:
        yield from sync.open_interest(symbols, now_ms, sync.venue.now_ms() + DAY_MS)


def _intervals(settings: Settings) -> tuple[str, str]:
    return settings.symbols.intraday_interval, settings.symbols.long_interval


# --- gaps ------------------------------------------------------------------------------------------


def run_gaps(config: Path, wanted: Range, *, as_json: bool) -> None:
    """List every series, what is missing of it, and where the market stood still.

    Raises:
        StorageError: the history's file is locked or broken.
    """
    settings = load_settings(config)
    symbols = wanted.symbols or settings.symbols.tracked
    keys = wanted_series(symbols, _intervals(settings))
    now_ms = SystemClock().now_ms()
    found = survey(
        MarketHistory.of(settings.data_dir), keys, now_ms, wanted.from_ms, wanted.to_ms, only=wanted.symbols
    )
    if as_json:
        print_json({"series": _series(found), "gaps": _gaps(found), "halts": _halts(found)})
        return
    columns = ("symbol", "series", "rows", "first", "last", "missing", "behind")
    print_table("stored", columns, [list(row.values()) for row in _series(found)])
    _show_runs("missing", _gaps(found))
    _show_runs("halts: nothing was traded, nothing is missing", _halts(found))


def _series(found: Survey) -> list[dict[str, object]]:
    return [
        {
            "symbol": s.symbol,
            "series": s.series,
            "rows": s.rows,
            "first": _minute(s.first_ms),
            "last": _minute(s.last_ms),
            "missing": s.missing,
            "behind": s.behind,
        }
        for s in found.series
    ]


def _gaps(found: Survey) -> list[dict[str, object]]:
    return [_run(g.symbol, g.series, g.gap) | {"at_venue": g.at_venue} for g in found.gaps]


def _halts(found: Survey) -> list[dict[str, object]]:
    return [_run(h.symbol, h.series, h.run) for h in found.halts]


def _run(symbol: str, series: str, run: Gap) -> dict[str, object]:
    return {
        "symbol": symbol,
        "series": series,
        "first": utc_minute(run.first_ms),
        "last": utc_minute(run.last_ms),
        "count": run.count,
    }


def _show_runs(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        out.print(f"{title}: none", markup=False)
        return
    columns = [name.replace("_", " ") for name in rows[0]]
    print_table(title, columns, [list(row.values()) for row in rows[:MOST_ROWS]])
    if len(rows) > MOST_ROWS:
        out.print(f"and {len(rows) - MOST_ROWS} more: --json lists all", markup=False)


# --- export ----------------------------------------------------------------------------------------


def run_export(config: Path, folder: Path, wanted: Range, *, as_json: bool) -> None:
    """Write the stored series as Parquet files.

    Raises:
        UsageError: nothing is stored of what was asked for.
        StorageError: the folder or the history cannot be used.
    """
    settings = load_settings(config)
    done = list(
        export_history(
            MarketHistory.of(settings.data_dir), folder, wanted.symbols, wanted.from_ms, wanted.to_ms
        )
    )
    if not done:
        raise UsageError("nothing is stored of that: wonttrade history gaps lists what is")
    if as_json:
        print_json([{"file": str(f.path), "rows": f.rows} for f in done])
        return
    rows = [(f.path.name, f.symbol, f.series, f.rows) for f in done]
    print_table("exported", ("file", "symbol", "series", "rows"), rows)


# --- what came in ----------------------------------------------------------------------------------


def _minute(time_ms: int | None) -> str | None:
    return None if time_ms is None else utc_minute(time_ms)


def _facts(
    symbol: str, series: str, first_ms: int | None, last_ms: int | None, counts: ImportCounts
) -> dict[str, object]:
    return {
        "symbol": symbol,
        "series": series,
        "first": _minute(first_ms),
        "last": _minute(last_ms),
        "new": counts.new,
        "unchanged": counts.unchanged,
        "changed": counts.changed,
        "first_changed": _minute(counts.first_changed_ms),
    }


def _show(title: str, facts: Sequence[Mapping[str, object]], *, replace: bool) -> None:
    columns = [name.replace("_", " ") for name in facts[0]] if facts else ["series"]
    print_table(title, columns, [["" if v is None else v for v in fact.values()] for fact in facts])
    if changed := sum(int(str(fact["changed"])) for fact in facts):
        verb = "were overwritten" if replace else "were left as they are: --replace overwrites them"
        err.print(f"{changed} stored values differ and {verb}", markup=False, soft_wrap=True)


def _tell_dagster(settings: Settings, what: str, facts: Sequence[Mapping[str, Any]]) -> None:
    """One event per asset that got rows, not one a day: an event costs 30 ms."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for fact in facts:
        if fact["new"] or fact["changed"]:
            rows.setdefault(_ASSETS.get(str(fact["series"]), "candles"), []).append(fact)
    if not rows:
        return
    import dagster as dg  # noqa: PLC0415 (Dagster takes seconds)

    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        for asset, of_asset in rows.items():
            totals = {f"{name}_rows": sum(f[name] for f in of_asset) for name in ("new", "changed")}
            event = dg.AssetMaterialization(
                asset_key=["history", asset], description=what, metadata=totals | {"series": len(of_asset)}
            )
            instance.report_runless_asset_event(event)
