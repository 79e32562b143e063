"""``wonttrade up``: Dagster's processes on the persistent home, and the stream, until a signal or a failure.

Belongs here: the order of starting and stopping, the stream's thread. Does not belong here: Dagster's
processes (``services``), what the stream does.

The stream is a thread of this process: it dies with it however that ends, and Dagster's processes know it
only by the files that it publishes.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.cli.home import prepare_home, sole_instance
from wonttrade_dagster.cli.live_runs import let_cycle_end
from wonttrade_dagster.cli.output import err
from wonttrade_dagster.cli.services import DagsterServices
from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.defs.compose import journal, telemetry
from wonttrade_dagster.defs.compose_stream import market_stream
from wonttrade_dagster.defs.live_cycle import settings_change
from wonttrade_dagster.settings import Settings, load_settings

WATCH_SECONDS = 0.5
STREAM_STOP_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0


def run_up(config: Path, port: int) -> int:
    """Run until interrupted, or until Dagster ends.

    Raises:
        ConfigurationError: the settings are missing or wrong.
        UsageError: another ``wonttrade up`` runs on this data directory.
        WontTradeError: Dagster did not start.
    """
    settings = load_settings(config)
    url = f"http://127.0.0.1:{port}"
    stopping = _stop_requests()
    dagster = DagsterServices(settings, port, autostart=True, stopping=stopping)
    with sole_instance(settings, url), streaming(settings), dagster:
        if change := settings_change(journal(settings), settings.sha256):
            err.print(f"wonttrade: {change}")
        err.print(f"wonttrade: {settings.runtime.mode.value} on {settings.hyperliquid.network}, UI at {url}")
        failure = _supervise(dagster, stopping)
        if failure:
            dagster.end_requests()
            let_cycle_end(prepare_home(settings), settings.max_cycle_seconds, stopping)
    if failure:
        err.print(f"wonttrade: {failure}", style="red")
    return 1 if failure else 0


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


def _stop_requests() -> threading.Event:
    """Set from now on when SIGINT or SIGTERM asks to stop."""
    stopping = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    return stopping


def _supervise(dagster: DagsterServices, stopping: threading.Event) -> str | None:
    while not stopping.wait(WATCH_SECONDS):
        if failure := dagster.failure():
            return failure
    return None
