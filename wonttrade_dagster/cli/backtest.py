"""``wonttrade backtest``: launch the same backfill as the UI and follow it.

Belongs here: choosing between a running Dagster and the foreground, the progress bar, the summary.
Does not belong here: the backtest itself (``defs.backtest_run``).
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_resume import stored_facts
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.cli.graphql import DagsterError, DagsterGraphQL
from wonttrade_dagster.cli.home import running_instance
from wonttrade_dagster.cli.output import err, out, print_json, print_table, progress
from wonttrade_dagster.core.backtest import decision_times
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.settings import Settings, load_settings

POLL_SECONDS = 0.5
START_SECONDS = 60.0
"""A `wonttrade up` that was just started answers after half a minute."""
REPORT_NAME = "report.html"


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What was asked for on the command line; days are inclusive."""

    first_day: str
    last_day: str
    model: str | None = None
    prompt: str | None = None
    cycle_minutes: int | None = None
    backtest_id: str | None = None
    """Of an interrupted one that is to go on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A request that has been checked."""

    settings: Settings
    request: BacktestRequest
    days: tuple[str, ...]
    cycles: int

    @property
    def run_config(self) -> dict[str, Any]:
        """Run config for the loop's op."""
        from wonttrade_dagster.defs.backtest import run_config  # noqa: PLC0415 (Dagster takes seconds)

        request = self.request
        return run_config(request.model or "", request.prompt or "", request.cycle_minutes or 0)


def request_of(settings: Settings, backtest_id: str) -> BacktestRequest:
    """What an interrupted backtest was asked for.

    Raises:
        UsageError: there is none of that id, or it is finished.
    """
    folder = backtest_folder(settings.data_dir, backtest_id)
    if (folder / SUMMARY_NAME).exists():
        raise UsageError(f"backtest {backtest_id} is finished: see wonttrade report {backtest_id}")
    facts = stored_facts(folder)
    if facts is None:
        known = sorted(path.parent.name for path in folder.parent.glob(f"*/{RESULTS_NAME}"))
        raise UsageError(
            f"no interrupted backtest {backtest_id} in {folder.parent}: known are {known or 'none'}"
        )
    if facts["settings_sha256"] != settings.sha256:
        raise UsageError(
            f"backtest {backtest_id} was begun with another content of {settings.path}: bring that back, or "
            "start a new backtest"
        )
    first, last = (
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
        for ms in (facts["from_ms"], facts["to_ms"] - 1)
    )
    return BacktestRequest(
        first, last, facts["model"], facts["prompt"], facts["cycle_minutes"], backtest_id=backtest_id
    )


def resume_backtest_command(config: Path, backtest_id: str, *, as_json: bool) -> None:
    """Go on with an interrupted backtest. Raises as :func:`run_backtest_command`."""
    run_backtest_command(config, request_of(load_settings(config), backtest_id), as_json=as_json)


def run_backtest_command(config: Path, request: BacktestRequest, *, as_json: bool) -> None:
    """Check, launch, follow, sum up.

    Raises:
        ConfigurationError: settings or prompt are wrong.
        UsageError: the days are wrong.
        HistoryError: the stored history does not cover them.
    """
    launch = check_request(load_settings(config), request)
    running = running_instance(launch.settings)
    backtest_id = _through_dagster(launch, running.url) if running else in_foreground(launch)
    show_summary(launch.settings, backtest_id, as_json=as_json)


def check_request(settings: Settings, request: BacktestRequest) -> Launch:
    """Everything that can be known to be wrong before anything is launched."""
    from wonttrade_dagster.defs.backtest_run import replay_of  # noqa: PLC0415
    from wonttrade_dagster.defs.compose import market_history, prompt_template  # noqa: PLC0415

    first, last = _day(request.first_day, "--from"), _day(request.last_day, "--to")
    if last < first:
        raise UsageError(f"--to {request.last_day} lies before --from {request.first_day}: swap them")
    days = tuple(f"{first + timedelta(days=n):%Y-%m-%d}" for n in range((last - first).days + 1))
    from_ms, to_ms = _ms(first), _ms(last + timedelta(days=1))
    prompt_template(settings, request.prompt)
    replay_of(settings, market_history(settings), from_ms, to_ms)
    cycle_minutes = request.cycle_minutes or settings.backtest_cycle_minutes
    return Launch(settings, request, days, len(decision_times(from_ms, to_ms, cycle_minutes)))


def _day(text: str, option: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day: write it as YYYY-MM-DD (UTC)") from None


def _ms(day: datetime) -> int:
    return int(day.timestamp()) * 1000


def in_foreground(launch: Launch) -> str:
    """The same job, in this process; returns the backtest's id. Raises ``WontTradeError``."""
    from wonttrade_dagster.cli.jobs import run_job  # noqa: PLC0415 (Dagster takes seconds)
    from wonttrade_dagster.defs.backtest import BACKTEST_ID_TAG, JOB_NAME  # noqa: PLC0415

    backtest_id = launch.request.backtest_id or uuid.uuid4().hex[:8]
    tags = {
        "dagster/asset_partition_range_start": launch.days[0],
        "dagster/asset_partition_range_end": launch.days[-1],
        BACKTEST_ID_TAG: backtest_id,
    }
    with _following(launch, backtest_id):
        run_job(launch.settings, JOB_NAME, run_config=launch.run_config, tags=tags)
    return backtest_id


def _through_dagster(launch: Launch, url: str) -> str:
    """A backfill over the running Dagster, by the call the UI makes."""
    from wonttrade_dagster.defs.backtest import BACKTEST_ID_TAG, FAMILY  # noqa: PLC0415

    dagster = DagsterGraphQL(url)
    dagster.wait_until_up(START_SECONDS)
    keys = [(FAMILY, stage.value) for stage in Stage]
    resumed = launch.request.backtest_id
    tags = {BACKTEST_ID_TAG: resumed} if resumed else {}
    backfill_id = dagster.launch_backfill(keys, launch.days, launch.run_config, tags)
    err.print(f"wonttrade: backfill {backfill_id}, see {url}/overview/backfills")
    with _following(launch, resumed or backfill_id):
        while (state := dagster.backfill(backfill_id))["status"] in {"REQUESTED", "CANCELING"}:
            time.sleep(POLL_SECONDS)
    if any(run["status"] != "SUCCESS" for run in state["runs"]) or not state["runs"]:
        message = (state["error"] or {}).get("message") or f"status {state['status']}"
        raise DagsterError(
            f"backfill {backfill_id} did not succeed ({message}): see {url}/overview/backfills"
        )
    return resumed or backfill_id


@contextmanager
def _following(launch: Launch, backtest_id: str) -> Iterator[None]:
    """A progress bar that counts the lines of the results file, wherever the run is."""
    results = backtest_folder(launch.settings.data_dir, backtest_id) / RESULTS_NAME
    done = threading.Event()
    with progress() as bar:
        task = bar.add_task(f"backtest {backtest_id}", total=launch.cycles)

        def follow() -> None:
            count = _line_counter(results)
            while not done.wait(POLL_SECONDS):
                bar.update(task, completed=count())
            bar.update(task, completed=count())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _line_counter(path: Path) -> Callable[[], int]:
    """Counts cycle lines of a growing file without reading any of it twice."""
    state = {"offset": 0, "lines": 0}

    def count() -> int:
        if path.exists():
            with path.open("rb") as file:
                file.seek(state["offset"])
                chunk = file.read()
            state["offset"] += len(chunk)
            state["lines"] += chunk.count(b"\n")
        return max(state["lines"] - 1, 0)  # the first line says what the backtest is

    return count


def read_summary(settings: Settings, backtest_id: str) -> Mapping[str, Any]:
    """The summary of a finished backtest.

    Raises:
        UsageError: there is no such backtest, or it is not finished.
    """
    path = backtest_folder(settings.data_dir, backtest_id) / SUMMARY_NAME
    if not path.is_file():
        known = sorted(p.parent.name for p in path.parent.parent.glob(f"*/{SUMMARY_NAME}"))
        raise UsageError(
            f"no finished backtest {backtest_id} in {path.parent.parent}: known are {known or 'none'}"
        )
    summary: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def show_summary(settings: Settings, backtest_id: str, *, as_json: bool) -> None:
    """Print the summary and where the report is."""
    summary = read_summary(settings, backtest_id)
    report = backtest_folder(settings.data_dir, backtest_id) / REPORT_NAME
    if as_json:
        print_json({"backtest_id": backtest_id, "report": str(report), "summary": summary})
        return
    print_table(f"backtest {backtest_id}", ("figure", "value"), headline(summary))
    out.print(f"report: {report}", markup=False, soft_wrap=True)
