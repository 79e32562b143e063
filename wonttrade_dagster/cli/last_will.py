"""``python -m wonttrade_dagster.cli.last_will HOME FOLDER SECONDS GROUP``: ends Dagster when ``up`` cannot.

Belongs here: noticing that ``up`` is gone, and ending in order what it began. Does not belong here: beginning
it (``services``).

Its standard input is a pipe that only ``up`` holds: it closes however ``up`` ends, kill -9 and a machine out
of memory included. Without this process the daemon would go on requesting cycles that nobody watches.
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wonttrade_dagster.cli.process_group import POLL_SECONDS, STOP_SECONDS, end_group, is_alive


def main(arguments: Sequence[str]) -> None:
    """Wait for the end of ``up``; where its processes still live then, end them.

    Args:
        arguments: the Dagster home, the folder of the code server's socket, how many seconds a live cycle may
            take, and the group of the processes. Standard input tells, a line each, which of them begin runs.
    """
    home, folder, cycle_seconds, group = arguments
    requesting = [int(line) for line in sys.stdin]
    if is_alive(int(group)):
        _execute(Path(home), float(cycle_seconds), int(group), requesting)
    shutil.rmtree(folder, ignore_errors=True)


def _execute(home: Path, cycle_seconds: float, group: int, requesting: Sequence[int]) -> None:
    _end(requesting, group)
    try:
        from wonttrade_dagster.cli.live_runs import let_cycle_end  # noqa: PLC0415 (imports dagster)
        from wonttrade_dagster.cli.output import err  # noqa: PLC0415 (imports rich)

        said = "wonttrade was killed: no further cycle begins, the one under way ends, then Dagster does"
        with suppress(OSError):  # whoever read it may be gone, too
            err.print(said, style="red", soft_wrap=True)
        let_cycle_end(home, cycle_seconds, threading.Event())
    finally:
        end_group(group)


def _end(processes: Sequence[int], group: int) -> None:
    for process in processes:
        _signal(process, group, signal.SIGINT)
    until = time.monotonic() + STOP_SECONDS
    while time.monotonic() < until and any(_signal(process, group, 0) for process in processes):
        time.sleep(POLL_SECONDS)


def _signal(process: int, group: int, number: int) -> bool:
    """Whether there was somebody to hear it; a number that another process has by now is nobody."""
    try:
        if os.getpgid(process) != group:
            return False
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
