"""``python -m wonttrade_dagster.cli.daemon WORKSPACE``: the daemon process of ``wonttrade up``.

Belongs here: running ``backfill_daemon`` until a signal ends it, and Dagster's own daemon where that cannot
be put together. Does not belong here: any name that is private to Dagster.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from wonttrade_dagster.cli.output import err


def stock_daemon(workspace: Path) -> list[str]:
    """The command of Dagster's own daemon."""
    return [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(workspace)]


def main(arguments: Sequence[str]) -> None:
    """Run until SIGINT or SIGTERM, on the instance of ``DAGSTER_HOME``."""
    (workspace,) = map(Path, arguments)
    try:
        with ExitStack() as stack:
            try:
                from wonttrade_dagster.cli.backfill_daemon import running_daemons  # noqa: PLC0415 (it may fail)

                check_daemon_loop = stack.enter_context(running_daemons(workspace)).check_daemon_loop
            except Exception as error:  # noqa: BLE001 (whatever a later Dagster answers: the cycles need a daemon)
                _give_way(stack, workspace, error)
            else:
                check_daemon_loop()
    except KeyboardInterrupt:
        return


def _give_way(stack: ExitStack, workspace: Path, error: Exception) -> None:
    """End what was begun and become Dagster's own daemon."""
    stack.close()
    err.print(
        f"wonttrade: this Dagster takes no daemon of ours ({type(error).__name__}: {error}), so its own runs:"
        " backfills start and end up to 30 s later",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
    command = stock_daemon(workspace)
    os.execv(command[0], command)  # noqa: S606 (own interpreter, fixed arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
