"""The ``wonttrade`` command.

Belongs here: one module a command, reading arguments and showing results; every other layer may be used.
Does not belong here: anything that another command or the graph would need.
"""

import sys


def main() -> None:
    """Entry point: errors a user can cause end in one sentence and exit code 1 or 2, no traceback."""
    from wonttrade_dagster.cli.app import run  # noqa: PLC0415 (typer and rich take 0.3 s: not at import)

    sys.exit(run(sys.argv[1:]))
