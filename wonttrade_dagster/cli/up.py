"""``wonttrade up``: supervise Dagster's webserver and daemon on the persistent home, and the stream.

Belongs here: starting, watching and stopping them. Does not belong here: what they do.

The stream is a thread of this process: it dies with it however that ends, and Dagster's processes know it
only by the files that it publishes.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.cli.home import WORKSPACE_NAME, prepare_home, sole_instance
from wonttrade_dagster.cli.output import err
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.definitions import AUTOSTART_VARIABLE, CONFIG_VARIABLE
from wonttrade_dagster.defs.compose import journal, telemetry
from wonttrade_dagster.defs.compose_stream import market_stream
from wonttrade_dagster.defs.live_cycle import settings_change
from wonttrade_dagster.settings import Settings, load_settings

STOP_SECONDS = 20.0
STREAM_STOP_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0


def run_up(config: Path, port: int) -> int:
    """Run until interrupted, or until Dagster ends.

    Raises:
        ConfigurationError: the settings are missing or wrong.
        UsageError: another ``wonttrade up`` runs on this data directory.
    """
    settings = load_settings(config)
    url = f"http://127.0.0.1:{port}"
    with sole_instance(settings, url):
        process = start_dagster(settings, port, autostart=True)
        if change := settings_change(journal(settings), settings.sha256):
            err.print(f"wonttrade: {change}")
        err.print(f"wonttrade: {settings.runtime.mode.value} on {settings.hyperliquid.network}, UI at {url}")
        with streaming(settings):
            return _supervise(process)


@contextmanager
def streaming(settings: Settings) -> Iterator[None]:
    """The stream beside whatever runs in the block; not in mode BACKTEST, and not when it is switched off."""
    if not settings.hyperliquid.stream or settings.runtime.mode is RuntimeMode.BACKTEST:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=keep_streaming, args=(settings, stop), name="stream", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STREAM_STOP_SECONDS)


def keep_streaming(settings: Settings, stop: threading.Event) -> None:
    """Run the stream until ``stop``; one that failed is made anew, after a minute at most."""
    clock, log = SystemClock(), telemetry(settings)
    pause_seconds = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        began_ms = clock.now_ms()
        try:
            market_stream(settings, clock).run(stop)
        except Exception as error:  # noqa: BLE001 (a thread that ends silently leaves every cycle to REST)
            log.event("health", "stream_failed", exc_info=error)
        if clock.now_ms() - began_ms > MAX_PAUSE_SECONDS * 1000:
            pause_seconds = FIRST_PAUSE_SECONDS
        stop.wait(pause_seconds)
        pause_seconds = min(pause_seconds * 2, MAX_PAUSE_SECONDS)


def start_dagster(settings: Settings, port: int, *, autostart: bool) -> "subprocess.Popen[bytes]":
    """``dagster dev`` in a process group of its own, with SIGINT working again."""
    home = prepare_home(settings)
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        CONFIG_VARIABLE: str(settings.path),
    }
    if autostart:
        environment[AUTOSTART_VARIABLE] = "1"
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(home / WORKSPACE_NAME)]
    return subprocess.Popen(  # noqa: S603 (own interpreter, fixed arguments)
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        cwd=settings.path.parent,
        start_new_session=True,
        preexec_fn=_restore_interrupt,  # noqa: PLW1509 (before threads; see _restore_interrupt)
    )


def _restore_interrupt() -> None:
    """A shell's background job inherits an ignored SIGINT, and dagster dev then ignores SIGTERM too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop_dagster(process: "subprocess.Popen[bytes]") -> None:
    """Ask the whole group to end, then end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


def _supervise(process: "subprocess.Popen[bytes]") -> int:
    stopping = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    while process.poll() is None and not stopping.wait(0.5):
        pass
    if not stopping.is_set():
        err.print(f"wonttrade: dagster ended by itself with code {process.returncode}", style="red")
        return 1
    stop_dagster(process)
    return 0
