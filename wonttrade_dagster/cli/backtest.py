"""``wonttrade backtest``: launch the same backfill as the UI and follow it.

Belongs here: choosing between a running Dagster and the foreground, the estimate, the progress bar, the
summary.
Does not belong here: the backtest itself (``defs.backtest_run``).
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.backtest_merge import merge_when_complete
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.adapters.backtest_resume import stored_facts
from wonttrade_dagster.adapters.backtest_shards import (
    PLAN_NAME,
    ShardPlan,
    claim_plan,
    is_finished,
    missing_windows,
    other_settings,
    read_plan,
)
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.adapters.report.writer import REPORT_NAME
from wonttrade_dagster.cli.backtest_shards import run_shards
from wonttrade_dagster.cli.graphql import DagsterError, DagsterGraphQL
from wonttrade_dagster.cli.home import running_instance
from wonttrade_dagster.cli.output import err, out, print_json, print_table, progress
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.estimate import BacktestEstimate
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.shards import DAY_FORMAT, Window, windows_of
from wonttrade_dagster.settings import Settings, load_settings

POLL_SECONDS = 0.5
FIRST_DAY = datetime(2001, 1, 1, tzinfo=UTC)
"""Candles of earlier days are not imported either."""
START_SECONDS = 60.0
"""A `wonttrade up` that was just started answers after half a minute."""


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What was asked for on the command line; days are inclusive."""

    first_day: str
    last_day: str
    model: str | None = None
    prompt: str | None = None
    cycle_minutes: int | None = None
    resumed: ShardPlan | None = None
    """The interrupted one that is to go on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A request that has been checked.

    Attributes:
        settings: of the backtest.
        request: as it was made.
        plan: of the whole backtest; its id is empty before there is one.
        missing: the windows that are not finished.
        estimate: of the whole backtest; None where nothing has to be run.
    """

    settings: Settings
    request: BacktestRequest
    plan: ShardPlan
    missing: tuple[Window, ...]
    estimate: BacktestEstimate | None

    @property
    def days(self) -> tuple[str, ...]:
        """What has to be run."""
        return tuple(day for window in self.missing for day in window.days)

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
    if is_finished(folder):
        raise UsageError(f"backtest {backtest_id} is finished: see wonttrade report {backtest_id}")
    plan = read_plan(folder) or _plan_of_one(backtest_id, stored_facts(folder))
    if plan is None:
        begun = {
            path.parent for name in (RESULTS_NAME, PLAN_NAME) for path in folder.parent.glob(f"*/{name}")
        }
        known = {each.name for each in begun if not is_finished(each)}
        raise UsageError(
            f"no interrupted backtest {backtest_id} in {folder.parent}: known are {sorted(known) or 'none'}"
        )
    if plan.settings_sha256 != settings.choices_sha256:
        raise UsageError(other_settings(backtest_id))
    first_day, last_day = plan.windows[0].first_day, plan.windows[-1].last_day
    return BacktestRequest(first_day, last_day, plan.model, plan.prompt, plan.cycle_minutes, resumed=plan)


def _plan_of_one(backtest_id: str, facts: Mapping[str, Any] | None) -> ShardPlan | None:
    """The plan of a backtest with one window, from the first line of its results."""
    if facts is None or "/" in backtest_id:
        return None
    first, last = (
        datetime.fromtimestamp(ms / 1000, UTC).strftime(DAY_FORMAT)
        for ms in (facts["from_ms"], facts["to_ms"] - 1)
    )
    asked = (facts["model"], facts["prompt"], facts["cycle_minutes"], facts["settings_sha256"])
    return ShardPlan(backtest_id, (Window(first, last),), *asked)


def resume_backtest_command(config: Path, backtest_id: str, *, as_json: bool) -> None:
    """Go on with an interrupted backtest. Raises as :func:`run_backtest_command`."""
    run_backtest_command(config, request_of(load_settings(config), backtest_id), as_json=as_json)


def run_backtest_command(config: Path, request: BacktestRequest, *, as_json: bool) -> None:
    """Check, estimate, launch, follow, sum up.

    Raises:
        ConfigurationError: settings or prompt are wrong.
        UsageError: the days are wrong, or the calls would cost more than the cap.
        HistoryError: the stored history does not cover them.
    """
    launch = check_request(load_settings(config), request)
    if launch.estimate is not None:
        show_estimate(launch.estimate)
    running = running_instance(launch.settings)
    backtest_id = _through_dagster(launch, running.url) if running else in_foreground(launch)
    show_summary(launch.settings, backtest_id, as_json=as_json)


def check_request(settings: Settings, request: BacktestRequest) -> Launch:
    """Everything that can be known to be wrong before anything is launched."""
    from wonttrade_dagster.defs.backtest_estimate import estimated, refuse_above_cap  # noqa: PLC0415 (every part)
    from wonttrade_dagster.defs.backtest_run import replay_of  # noqa: PLC0415 (every part)
    from wonttrade_dagster.defs.compose import market_history, prompt_template  # noqa: PLC0415 (every part)

    plan = request.resumed or _new_plan(settings, request)
    missing = plan.windows
    if plan.is_sharded and request.resumed:
        missing = missing_windows(backtest_folder(settings.data_dir, plan.backtest_id), plan)
    template, history, estimate = prompt_template(settings, request.prompt), market_history(settings), None
    for span in windows_of((day for window in missing for day in window.days), 0):
        replay = replay_of(settings, history, span.from_ms, span.to_ms, template)
        estimate = estimate or estimated(settings, plan, span, replay)
    if estimate is not None and request.resumed is None:
        refuse_above_cap(settings, estimate)
    return Launch(settings, request, plan, missing, estimate)


def _new_plan(settings: Settings, request: BacktestRequest) -> ShardPlan:
    for option, name in (("--model", request.model), ("--prompt", request.prompt)):
        if name == "":
            raise UsageError(f"{option} is empty: leave it out, or give a name")
    first, last = _day(request.first_day, "--from"), _day(request.last_day, "--to")
    if last < first:
        raise UsageError(f"--to {request.last_day} lies before --from {request.first_day}: swap them")
    days = [(first + timedelta(days=n)).strftime(DAY_FORMAT) for n in range((last - first).days + 1)]
    return ShardPlan(
        backtest_id="",
        windows=windows_of(days, settings.backtest.shard_days),
        model=request.model or settings.llm.model,
        prompt=request.prompt or settings.llm.prompt,
        cycle_minutes=request.cycle_minutes or settings.backtest_cycle_minutes,
        settings_sha256=settings.choices_sha256,
    )


def show_estimate(estimate: BacktestEstimate) -> None:
    """Print on standard error what is to be expected."""
    err.print("estimate:", markup=False)
    for name, value in estimate.rows:
        err.print(f"  {name}: {value}", markup=False, soft_wrap=True)


def _day(text: str, option: str) -> datetime:
    try:
        day = datetime.strptime(text, DAY_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day: write it as YYYY-MM-DD (UTC)") from None
    if not FIRST_DAY <= day <= datetime.now(UTC):
        raise UsageError(
            f"{option} {text!r} is no day between {FIRST_DAY:%Y} and today: give one of the past"
        )
    return day


def in_foreground(launch: Launch) -> str:
    """The same job without a daemon; returns the backtest's id. Raises ``WontTradeError``."""
    plan = replace(launch.plan, backtest_id=launch.plan.backtest_id or uuid.uuid4().hex[:8])
    with _following(launch, plan.backtest_id):
        if plan.is_sharded:
            _shards_in_foreground(launch, plan)
        else:
            _here(launch, plan)
    return plan.backtest_id


def _here(launch: Launch, plan: ShardPlan) -> None:
    """One window in this process."""
    from wonttrade_dagster.cli.jobs import run_job  # noqa: PLC0415 (Dagster takes seconds)
    from wonttrade_dagster.defs.backtest import JOB_NAME, range_tags  # noqa: PLC0415 (Dagster takes seconds)

    (window,) = plan.windows
    tags = range_tags(plan.backtest_id, window.first_day, window.last_day)
    run_job(launch.settings, JOB_NAME, run_config=launch.run_config, tags=tags)


def _shards_in_foreground(launch: Launch, plan: ShardPlan) -> None:
    folder = backtest_folder(launch.settings.data_dir, plan.backtest_id)
    claim_plan(folder, plan)
    if launch.missing:
        run_shards(launch.settings, plan, launch.missing, launch.run_config)
    _merge(launch, plan)


def _merge(launch: Launch, plan: ShardPlan) -> None:
    """The shard that ended last has merged them, unless it was killed in between."""
    folder = backtest_folder(launch.settings.data_dir, plan.backtest_id)
    merge_when_complete(folder, plan, launch.settings.llm.knowledge_cutoff(plan.model))


def _through_dagster(launch: Launch, url: str) -> str:
    """A backfill over the running Dagster, by the call the UI makes."""
    from wonttrade_dagster.defs.backtest import BACKTEST_ID_TAG, FAMILY  # noqa: PLC0415 (Dagster takes seconds)

    if not launch.missing:
        _merge(launch, launch.plan)
        return launch.plan.backtest_id
    dagster = DagsterGraphQL(url)
    dagster.wait_until_up(START_SECONDS)
    keys = [(FAMILY, stage.value) for stage in Stage]
    resumed = launch.plan.backtest_id
    tags = {BACKTEST_ID_TAG: resumed} if resumed else {}
    backfill_id = dagster.launch_backfill(keys, launch.days, launch.run_config, tags)
    backtest_id = resumed or backfill_id
    folder = backtest_folder(launch.settings.data_dir, backtest_id)
    err.print(f"wonttrade: backfill {backfill_id}, see {url}/overview/backfills")
    with _following(launch, backtest_id):
        while (state := dagster.backfill(backfill_id))["status"] in {"REQUESTED", "CANCELING"}:
            if is_finished(folder):  # the daemon says so half a minute later
                return backtest_id
            time.sleep(POLL_SECONDS)
    if not is_finished(folder):
        message = (state["error"] or {}).get("message") or f"status {state['status']}"
        raise DagsterError(
            f"backfill {backfill_id} did not succeed ({message}): see {url}/overview/backfills, and go on "
            f"with wonttrade backtest --resume {backtest_id}"
        )
    return backtest_id


@contextmanager
def _following(launch: Launch, backtest_id: str) -> Iterator[None]:
    """A progress bar that counts the lines of the results files, wherever the runs are."""
    plan = replace(launch.plan, backtest_id=backtest_id)
    folders = [backtest_folder(launch.settings.data_dir, plan.id_of(window)) for window in plan.windows]
    files = [(folder / RESULTS_NAME, most) for folder, most in zip(folders, plan.cycles, strict=True)]
    done = threading.Event()
    with progress() as bar:
        task = bar.add_task(f"backtest {backtest_id}", total=sum(plan.cycles))

        def follow() -> None:
            counts = [_line_counter(*each) for each in files]
            while not done.wait(POLL_SECONDS):
                bar.update(task, completed=sum(count() for count in counts))
            bar.update(task, completed=sum(count() for count in counts))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _line_counter(path: Path, most: int) -> Callable[[], int]:
    """Counts cycle lines of a growing file without reading any of it twice; there are ``most`` at most."""
    state = {"offset": 0, "lines": 0}

    def count() -> int:
        if path.exists():
            with path.open("rb") as file:
                file.seek(state["offset"])
                chunk = file.read()
            state["offset"] += len(chunk)
            state["lines"] += chunk.count(b"\n")
        # The first line says what the backtest is, the last one how its account ended.
        return min(max(state["lines"] - 1, 0), most)

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
