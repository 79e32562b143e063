"""The shards of a backtest in the foreground: one process each, so many side by side as are configured.

Belongs here: starting, watching and ending them. Does not belong here: what a shard does (the job of the
graph, as in the daemon's runs), the merge (done by the shard that ends last).

``python -m wonttrade_dagster.cli.backtest_shards`` is the process of one shard. It takes what to do as a line
of JSON on standard input, which its parent holds open: when the parent is gone, however that ended, the shard
stops, because nobody would see what it spends.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wonttrade_dagster.adapters.backtest_shards import ShardPlan
from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.shards import Window
from wonttrade_dagster.settings import Settings, load_settings

POLL_SECONDS = 0.1
STOP_SECONDS = 10.0
_SAYS = "wonttrade shard: "
"""Before the sentence of a failed shard: libraries write to standard error, too."""


@dataclass(frozen=True, slots=True)
class _Shard:
    process: "subprocess.Popen[bytes]"
    window: Window
    told: IO[bytes]

    def sentence(self) -> str:
        """Why it failed, in its own words; else the last line of whatever it wrote to standard error."""
        self.told.seek(0)
        lines = self.told.read().decode(errors="replace").strip().splitlines() or [""]
        said = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
        return said[-1] if said else f"ended with code {self.process.returncode} {lines[-1]}".strip()


def run_shards(
    settings: Settings, plan: ShardPlan, windows: Sequence[Window], run_config: Mapping[str, Any]
) -> None:
    """Run windows of a backtest to their end, ``backtest.max_concurrent_runs`` at a time.

    After a shard has failed no further one is begun; those that run go on to their end.

    Args:
        settings: of the backtest.
        plan: of the whole backtest; stands in its folder.
        windows: those that are missing.
        run_config: of the loop's op.

    Raises:
        WontTradeError: shards failed: the sentence of each.
    """
    _make_home(settings)
    waiting, running, failed = list(windows), list[_Shard](), list[str]()
    try:
        while running or (waiting and not failed):
            while waiting and not failed and len(running) < settings.backtest.max_concurrent_runs:
                running.append(_start(settings, plan, waiting.pop(0), run_config))
            time.sleep(POLL_SECONDS)
            ended = [shard for shard in running if shard.process.poll() is not None]
            running = [shard for shard in running if shard not in ended]
            failed += [f"{s.window.first_day}: {s.sentence()}" for s in ended if s.process.returncode]
    finally:
        _stop(running)
    if failed:
        raise WontTradeError(
            f"{'; '.join(failed)} (go on with wonttrade backtest --resume {plan.backtest_id})"
        )


def _make_home(settings: Settings) -> None:
    """Dagster's tables, made once: processes that made them at the same time would disturb each other."""
    import dagster as dg  # noqa: PLC0415 (takes seconds)

    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        instance.get_runs_count()


def _start(settings: Settings, plan: ShardPlan, window: Window, run_config: Mapping[str, Any]) -> _Shard:
    from wonttrade_dagster.defs.backtest import range_tags  # noqa: PLC0415 (Dagster takes seconds)

    told = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody empties would stop the shard)
    process = subprocess.Popen(
        [sys.executable, "-m", "wonttrade_dagster.cli.backtest_shards"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=told,
    )
    tags = range_tags(plan.backtest_id, window.first_day, window.last_day)
    request = {"config": str(settings.path), "run_config": run_config, "tags": tags}
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it ended at once: its sentence says why
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
    return _Shard(process, window, told)


def _stop(running: Sequence[_Shard]) -> None:
    """Ask what still runs to end, then end it; what it finished stays."""
    for shard in running:
        with suppress(BrokenPipeError):
            shard.process.stdin and shard.process.stdin.close()
    deadline = time.monotonic() + STOP_SECONDS
    for shard in running:
        try:
            shard.process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            shard.process.kill()
            shard.process.wait()


def main() -> int:
    """One shard; the exit code."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from wonttrade_dagster.cli.jobs import run_job  # noqa: PLC0415 (takes seconds: the watch stands before)
    from wonttrade_dagster.defs.backtest import JOB_NAME  # noqa: PLC0415 (as above)

    try:
        settings = load_settings(Path(request["config"]))
        run_job(settings, JOB_NAME, run_config=request["run_config"], tags=request["tags"])
    except WontTradeError as error:
        sys.stderr.write(f"\n{_SAYS}{' '.join(str(error).split())}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{_SAYS}interrupted\n")
        return 130
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOP_SECONDS / 2)
    os._exit(130)  # a call that waits for the model cannot be interrupted


if __name__ == "__main__":
    sys.exit(main())
