"""The daemon of ``wonttrade up``: when it looks for backfills, and what runs where Dagster differs."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from wonttrade_dagster.cli.backfill_daemon import (
    PromptBackfillDaemon,
    WakingEvent,
    daemons_of,
)
from wonttrade_dagster.cli.home import instance_yaml

LOOK_SECONDS, SOON, NEVER = 0.1, 0.5, 60.0
WITHOUT_A_NAME = """
import sys
import dagster._daemon.controller as later_version
del later_version.create_daemon_of_type
from wonttrade_dagster.cli.daemon import main
main(sys.argv[1:])
"""


@dg.job
def some_job() -> None:
    pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(instance_yaml(tmp_path, 2))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def add_backfill(instance: dg.DagsterInstance) -> PartitionBackfill:
    backfill = PartitionBackfill(
        backfill_id="abc",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
    )
    instance.add_backfill(backfill)
    return backfill


def seconds_of_wait(event: threading.Event, timeout: float) -> float:
    began = time.monotonic()
    assert not event.wait(timeout)
    return time.monotonic() - began


def test_a_wait_ends_when_a_backfill_came_or_its_runs_ended_and_for_nothing_else(
    instance: dg.DagsterInstance,
) -> None:
    event = WakingEvent(threading.Event(), instance, LOOK_SECONDS)
    assert seconds_of_wait(event, SOON) >= SOON
    backfill = add_backfill(instance)
    assert seconds_of_wait(event, NEVER) < SOON, "it came"
    assert seconds_of_wait(event, SOON) >= SOON, "one look is enough"
    run = instance.create_run_for_job(some_job, tags={"dagster/backfill": "abc"})
    assert seconds_of_wait(event, NEVER) < SOON, "its run was made"
    assert seconds_of_wait(event, SOON) >= SOON, "its run goes on"
    instance.report_run_canceled(run)
    assert seconds_of_wait(event, NEVER) < SOON, "its run ended"
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert seconds_of_wait(event, SOON) >= SOON, "nothing is left to do"


def test_a_wait_ends_at_once_when_the_daemon_ends(instance: dg.DagsterInstance) -> None:
    ends = threading.Event()
    event = WakingEvent(ends, instance, NEVER)
    threading.Timer(0.2, ends.set).start()
    began = time.monotonic()
    assert event.wait(NEVER)
    assert time.monotonic() - began < NEVER / 10
    assert event.is_set()


def test_a_storage_that_cannot_be_asked_leaves_the_wait_as_it_was(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    add_backfill(instance)
    next(tmp_path.rglob("runs.db")).write_bytes(b"no database")
    assert seconds_of_wait(WakingEvent(threading.Event(), instance, LOOK_SECONDS), SOON) >= SOON


def test_every_daemon_of_the_instance_is_there_and_one_is_exchanged(instance: dg.DagsterInstance) -> None:
    daemons = daemons_of(instance)
    assert [daemon.daemon_type() for daemon in daemons] == list(instance.get_required_daemon_types())
    (ours,) = [daemon for daemon in daemons if type(daemon).__module__.startswith("wonttrade")]
    assert isinstance(ours, PromptBackfillDaemon)


@pytest.mark.e2e
def test_where_dagster_lacks_a_name_its_own_daemon_runs(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "daemon.log"
    home.mkdir()
    (home / "dagster.yaml").write_text(instance_yaml(home, 2))
    (home / "workspace.yaml").write_text("load_from: []\n")
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_A_NAME, str(home / "workspace.yaml")],
            env=os.environ | {"DAGSTER_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 60
        while "'BackfillDaemon'" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.2)
        assert "backfills start and end up to 30 s later" in log.read_text()
        started.terminate()
        assert started.wait(60) == 0
    finally:
        started.kill()
