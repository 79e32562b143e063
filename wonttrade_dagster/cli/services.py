"""Dagster's three processes under ``wonttrade up``: the code server, the webserver and the daemon.

Belongs here: starting, watching and ending them. Does not belong here: what they do, the instance they run on
(``home``), the daemon (``daemon``).

``dagster dev`` starts the same three, but its daemon cannot be exchanged. As there, webserver and daemon
share one code server behind a Unix socket, which starts the process of each run, and a code server that dies
is started again on the same socket: its runs go on, and the others find the new one by themselves.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from wonttrade_dagster.cli.home import WORKSPACE_NAME, prepare_home, workspace_yaml
from wonttrade_dagster.cli.output import err
from wonttrade_dagster.cli.process_group import POLL_SECONDS, STOP_SECONDS, end_group
from wonttrade_dagster.core.errors import UsageError, WontTradeError
from wonttrade_dagster.defs.build import AUTOSTART_VARIABLE, CONFIG_VARIABLE
from wonttrade_dagster.settings import Settings

CODE_SERVER, WEBSERVER, DAEMON = "code server", "webserver", "daemon"
START_SECONDS = 180.0
RESTART_PAUSE_SECONDS = 5.0


class DagsterServices:
    """The three processes, in a process group of their own; the block in which they run ends them.

    When this process is killed, its heir (``last_will``) does.

    Args:
        port: of the UI, on 127.0.0.1.
        autostart: run the sensor without its being switched on by hand.
        stopping: set when the start is not to be waited for any more.

    Raises:
        UsageError: on entering: nothing can listen on the port.
        WontTradeError: on entering: the code server ended, or did not answer in time.
    """

    def __init__(
        self, settings: Settings, port: int, *, autostart: bool, stopping: threading.Event | None = None
    ) -> None:
        self._settings = settings
        self._autostart = autostart
        self._stopping = stopping or threading.Event()
        self._port = port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._group = 0
        self._heir: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _refuse_taken(self._port)
        self._home = prepare_home(self._settings)
        self._folder = Path(tempfile.mkdtemp(prefix="wonttrade-"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def failure(self) -> str | None:
        """Why this cannot go on, in one sentence; ask again and again: it also restarts the code server."""
        for name in (WEBSERVER, DAEMON):
            if (code := self._processes[name].poll()) is not None:
                return f"Dagster's {name} ended by itself with code {code}"
        self._keep_code_server()
        return None

    def end_requests(self) -> None:
        """End webserver and daemon, so that no run begins any more; those in progress go on."""
        for name in (WEBSERVER, DAEMON):
            self._processes[name].send_signal(signal.SIGINT)
        until = time.monotonic() + STOP_SECONDS
        for name in (WEBSERVER, DAEMON):
            with suppress(subprocess.TimeoutExpired):
                self._processes[name].wait(max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        (self._home / WORKSPACE_NAME).write_text(workspace_yaml(self._socket), encoding="utf-8")
        self._spawn(CODE_SERVER)
        self._make_will()
        until = time.monotonic() + START_SECONDS
        while not _answers(self._socket):
            if (code := self._processes[CODE_SERVER].poll()) is not None:
                raise WontTradeError(f"Dagster's code server ended with code {code} before it answered")
            if time.monotonic() > until:
                raise WontTradeError(f"Dagster's code server did not answer within {START_SECONDS:.0f} s")
            if self._stopping.wait(POLL_SECONDS):
                return
        for name in (WEBSERVER, DAEMON):
            self._spawn(name)
            self._bequeath(self._processes[name].pid)

    def _make_will(self) -> None:
        """The heir ends the group when this process cannot: killed, it has no last moment of its own."""
        told = (self._home, self._folder, self._settings.max_cycle_seconds, self._group)
        self._heir = subprocess.Popen(  # noqa: S603 (own interpreter, fixed arguments)
            [sys.executable, "-m", "wonttrade_dagster.cli.last_will", *map(str, told)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _bequeath(self, process: int) -> None:
        """Tell the heir of a process that begins runs."""
        if self._heir is None or self._heir.stdin is None:
            return
        with suppress(BrokenPipeError):  # killed before us: then everything is as without a will
            self._heir.stdin.write(b"%d\n" % process)
            self._heir.stdin.flush()

    def _keep_code_server(self) -> None:
        code = self._processes[CODE_SERVER].poll()
        if code is None or time.monotonic() - self._code_server_began < RESTART_PAUSE_SECONDS:
            return
        err.print(f"wonttrade: Dagster's code server ended with code {code}: started again", style="yellow")
        self._spawn(CODE_SERVER)

    def _spawn(self, name: str) -> None:
        if name == CODE_SERVER:
            self._code_server_began = time.monotonic()
        with _interrupts_heard():
            self._processes[name] = subprocess.Popen(  # noqa: S603 (own interpreter, fixed arguments)
                [sys.executable, *self._arguments(name)],
                env=self._environment(),
                cwd=self._settings.path.parent,
                stdin=subprocess.DEVNULL,
                process_group=self._group,
            )
        self._group = self._group or self._processes[name].pid

    def _arguments(self, name: str) -> list[str]:
        workspace = str(self._home / WORKSPACE_NAME)
        if name == CODE_SERVER:
            location = ["--module-name", "wonttrade_dagster.definitions", "--location-name", "wonttrade"]
            served = ["--socket", str(self._socket), "--inject-env-vars-from-instance", *location]
            return ["-m", "dagster", "code-server", "start", "--log-level", "warning", *served]
        if name == WEBSERVER:
            address = ["--host", "127.0.0.1", "--port", str(self._port)]
            return ["-m", "dagster_webserver", *address, "--workspace", workspace]
        return ["-m", "wonttrade_dagster.cli.daemon", workspace]

    def _environment(self) -> Mapping[str, str]:
        ours = {"DAGSTER_HOME": str(self._home), CONFIG_VARIABLE: str(self._settings.path)}
        return os.environ | ours | ({AUTOSTART_VARIABLE: "1"} if self._autostart else {})

    @property
    def _socket(self) -> Path:
        return self._folder / "code"

    def _end(self) -> None:
        """Interrupt the whole group, runs in progress with it, as Ctrl-C would; then harder and harder."""
        if self._group:
            end_group(self._group)
        if self._heir is not None and self._heir.stdin is not None:
            self._heir.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._heir.wait(STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


def _refuse_taken(port: int) -> None:
    """The webserver binds it last, when the first cycle may be under way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the webserver does
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"127.0.0.1:{port} cannot be listened on ({why}): give another --port") from None


def _answers(path: Path) -> bool:
    """Whether somebody listens; the code server does as soon as it has loaded the graph."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """A shell's background job inherits an ignored SIGINT, and Dagster would then ignore SIGTERM too."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
