"""``kill -9`` to ``wonttrade up`` alone: Dagster must not go on trading unwatched."""

import os
import signal
from pathlib import Path

import dagster as dg
import pytest
from processes import BIN, child, free_port, process, sandbox, settings_file, wait_for

from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.defs.live import JOB_NAME
from wonttrade_dagster.settings import load_settings

pytestmark = pytest.mark.e2e


def alive_in(group: int) -> list[str]:
    """The processes of a group that have not ended, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(pgid) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def socket_folder(server: int) -> Path:
    words = Path(f"/proc/{server}/cmdline").read_text().split("\0")
    return Path(words[words.index("--socket") + 1]).parent


def test_no_cycle_begins_any_more_the_one_under_way_ends_and_then_dagster_does(tmp_path: Path) -> None:
    with sandbox(tmp_path) as urls:
        settings = load_settings(settings_file(tmp_path, urls, cycle_minutes="1"))
        command = [str(BIN / "wonttrade"), "up", "--port", str(free_port())]
        log = tmp_path / "up.log"
        with (
            dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance,
            process(command, tmp_path, log) as up,
        ):

            def under_way() -> list[dg.DagsterRun]:
                started = dg.RunsFilter(job_name=JOB_NAME, statuses=[dg.DagsterRunStatus.STARTED])
                return list(instance.get_runs(started))

            (cycle,) = wait_for(under_way, 150, "a live cycle")
            server = child(up.pid, "code-server")
            group, folder = os.getpgid(server), socket_folder(server)
            assert folder.is_dir()
            assert len(alive_in(group)) >= 4, "code server, webserver, daemon and the run"
            up.send_signal(signal.SIGKILL)
            up.wait()
            wait_for(lambda: not alive_in(group), 120, "the end of Dagster's processes")
            wait_for(lambda: not folder.exists(), 10, "the end of the socket's folder")
            runs = instance.get_runs(dg.RunsFilter(job_name=JOB_NAME))
            assert runs[0].run_id == cycle.run_id, "no cycle was begun after it"
            assert runs[0].status is dg.DagsterRunStatus.SUCCESS, "it was let end"
        assert "wonttrade was killed: no further cycle begins" in " ".join(log.read_text().split())
