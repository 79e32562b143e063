"""Both loopback servers: in the foreground of a process, or in threads of this one.

Belongs here: ports, threads, start and stop. Does not belong here: what the servers answer.

uvicorn and starlette are imported where they are used: importing this module costs next to nothing.
"""

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.outage import Listener

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Server

    from wonttrade_dagster.sandbox.replay import Recording
    from wonttrade_dagster.sandbox.venue import LoopbackVenue

HOST = "127.0.0.1"
START_SECONDS = 10.0
STOP_SECONDS = 5.0
DEFAULT_SEED = 1


class Sandbox:
    """A loopback venue and a loopback model server in background threads of this process.

    Use it as a context manager, or call :meth:`close`.

    Args:
        seed: makes market and model reproducible.
        port: of the venue, 0 for a free one.
        model_port: of the model server, 0 for a free one.
        model_latency_ms: how long the model pretends to think.
        clock_ms: the clients' clock (milliseconds of UTC epoch), the host's by default.
        replay: recordings by coin that the market replays instead of the seeded walk.
        rate_limits: enforce the venue's limits on requests and actions.
        options: every setting of the venue; ``rate_limits`` is one of them and then not looked at.
        state_path: a file that the venue's state is kept in, and taken from when it is there.

    Attributes:
        venue_url: base URL for the Hyperliquid SDK.
        model_url: base URL for the OpenAI SDK, ending in ``/v1``.
        venue: the venue itself, for tests in the same process.

    Raises:
        UsageError: a port is taken, or the state file is none of this seed.
    """

    def __init__(  # noqa: PLR0913 (a settings object in all but name: every argument has a default)
        self,
        seed: int = DEFAULT_SEED,
        port: int = 0,
        model_port: int = 0,
        *,
        model_latency_ms: int = 0,
        clock_ms: Callable[[], int] | None = None,
        replay: "Mapping[str, Recording] | None" = None,
        rate_limits: bool = False,
        options: VenueOptions | None = None,
        state_path: Path | None = None,
    ) -> None:
        from wonttrade_dagster.sandbox import assembly  # noqa: PLC0415 (a second of imports)

        options = options or VenueOptions(rate_limits=rate_limits)
        self.venue: LoopbackVenue = assembly.make_venue(seed, clock_ms, replay, options)
        app = assembly.venue_app(self.venue, state_path)
        self._stack = ExitStack()
        venue_socket = self._stack.enter_context(_bound(port))
        model_socket = self._stack.enter_context(_bound(model_port))
        self.venue_url = f"http://{HOST}:{venue_socket.getsockname()[1]}"
        self.model_url = f"http://{HOST}:{model_socket.getsockname()[1]}/v1"
        apps = ((app, venue_socket), (assembly.model_app(model_latency_ms), model_socket))
        self._servers = [self._stack.enter_context(_serving(each, bound)) for each, bound in apps]

    def urls(self) -> dict[str, str]:
        """What ``wonttrade sandbox`` prints."""
        return {"venue": self.venue_url, "model": self.model_url}

    def close(self) -> None:
        """Stop both servers at once; open connections are dropped."""
        for server in self._servers:
            server.should_exit = True
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What ``wonttrade sandbox`` can be told.

    Attributes:
        port: of the venue, 0 for a free one.
        model_port: of the model server, 0 for a free one.
        seed: makes market and model reproducible.
        model_latency_ms: how long the model pretends to think.
        rate_limits: enforce the venue's limits on requests and actions.
        candles: recorded candles and funding (Parquet or CSV) that the market replays; the last whole day is
            today.
        script: a JSON file of price moves, played from the start on.
        state_path: a file that the venue's state is kept in, and taken from when it is there.
    """

    port: int = 0
    model_port: int = 0
    seed: int = DEFAULT_SEED
    model_latency_ms: int = 0
    rate_limits: bool = False
    candles: Sequence[Path] = ()
    script: Path | None = None
    state_path: Path | None = None


def run_sandbox(options: SandboxOptions) -> None:
    """Serve both until SIGTERM or SIGINT; prints one JSON line with both URLs when ready.

    Raises:
        UsageError: a port is taken, or one of the files is not what it should be.
        HistoryError: a candle file is wrong.
    """
    stop = _stop_signal()
    with Sandbox(
        options.seed,
        options.port,
        options.model_port,
        model_latency_ms=options.model_latency_ms,
        replay=_recordings(options.candles),
        rate_limits=options.rate_limits,
        state_path=options.state_path,
    ) as sandbox:
        if options.script is not None:
            _play(sandbox.venue, options.script)
        _print_line(json.dumps(sandbox.urls()))
        while not stop.wait(0.5):
            pass


def _stop_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set; for the main thread only."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


def _recordings(paths: Sequence[Path]) -> "Mapping[str, Recording] | None":
    if not paths:
        return None
    from wonttrade_dagster.sandbox.recordings import read_recordings  # noqa: PLC0415 (imports duckdb)

    return read_recordings(paths)


def _play(venue: "LoopbackVenue", path: Path) -> None:
    from wonttrade_dagster.sandbox.script import play, read_script  # noqa: PLC0415 (imports starlette)

    try:
        play(venue, read_script(path))
    except KeyError as error:
        raise UsageError(f"the script {path} has a move without {error.args[0]}") from error
    except ValueError as error:
        raise UsageError(f"the script {path} cannot be played: {error}") from error


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((HOST, port))
        yield server
    except OSError as error:
        raise UsageError(
            f"port {port} of {HOST} cannot be used ({error.strerror}): choose another"
        ) from error
    finally:
        server.close()


@contextmanager
def _serving(app: "Starlette", bound: socket.socket) -> Iterator["Server"]:
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    _wait_until_started(server, thread)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)


def _server(app: "Starlette") -> "Server":
    import uvicorn  # noqa: PLC0415 (0.2 s)

    from wonttrade_dagster.sandbox.faults import AbortableProtocol  # noqa: PLC0415 (imports uvicorn)

    config = uvicorn.Config(
        app,
        http=AbortableProtocol,
        ws="websockets-sansio",
        lifespan="on",
        access_log=False,
        log_level="error",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    app.state.listener = Listener(server)
    return server


def _wait_until_started(server: "Server", thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.01)):
        if server.started:
            return
        if not thread.is_alive():
            break
        pause.wait(0.01)
    raise UsageError("a loopback server did not start: see its message above")
