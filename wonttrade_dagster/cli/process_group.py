"""A group of processes, ended as Ctrl-C would.

Belongs here: whether a group lives, and ending it. Does not belong here: which processes are in it.
"""

import os
import signal
import time
from contextlib import suppress

STOP_SECONDS = 20.0
POLL_SECONDS = 0.1


def end_group(group: int) -> None:
    """Interrupt the whole group; what has not ended after ``STOP_SECONDS`` is terminated, then killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not is_alive(group):
            return
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        until = time.monotonic() + STOP_SECONDS
        while is_alive(group) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)


def is_alive(group: int) -> bool:
    """Whether a process of the group has not ended."""
    with suppress(ChildProcessError):  # a container's first process inherits orphans
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
