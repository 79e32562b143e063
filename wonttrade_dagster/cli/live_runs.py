"""The live cycles of an instance, from outside of it.

Belongs here: waiting for one. Does not belong here: what a cycle does.
"""

import threading
import time
from pathlib import Path

import dagster as dg

from wonttrade_dagster.defs.live import JOB_NAME

_WATCH_SECONDS = 0.5


def let_cycle_end(home: Path, at_most_seconds: float, stopping: threading.Event) -> None:
    """Wait for a live cycle that is under way: nobody asked to stop, and its protection may yet come.

    Args:
        home: the Dagster home.
        at_most_seconds: how long a cycle may take.
        stopping: set when somebody asks to stop after all.
    """
    under_way = dg.RunsFilter(
        job_name=JOB_NAME, statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    )
    until = time.monotonic() + at_most_seconds
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while instance.get_runs(under_way, limit=1) and time.monotonic() < until:
            if stopping.wait(_WATCH_SECONDS):
                return
