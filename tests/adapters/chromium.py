"""A page in a real browser: Chromium without a window, spoken to over its own debugging socket.

Everything the page says on its console, every exception and every request it makes is kept.
"""

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_SECONDS = 60.0
PAGE_SECONDS = 60.0


@dataclass(slots=True)
class Page:
    """One open page.

    Attributes:
        complaints: errors and warnings of its console, exceptions, what the browser logged.
        requests: every address that it asked for, its own included.
    """

    socket: ClientConnection
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1_000))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer; events in between are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params, "sessionId": self.session}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=PAGE_SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, (expression, result)
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until an expression is true in the page."""
        deadline = time.monotonic() + PAGE_SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, (expression, self.complaints)
            time.sleep(0.05)

    def _keep(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            thrown = params["exceptionDetails"]
            self.complaints.append(thrown.get("exception", {}).get("description") or thrown["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"][:500])


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """Start Chromium with a fresh profile; gives the address of its debugging socket, and ends it."""
    command = [
        CHROMIUM or "",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
        "about:blank",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _debugging_address(profile / "DevToolsActivePort", process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _debugging_address(file: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "chromium ended at once"
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("chromium opened no debugging port")


@contextmanager
def opened(address: str, url: str, width: int, *, is_dark: bool = False) -> Iterator[Page]:
    """Open ``url`` in a window of ``width`` pixels."""
    with connect(address, max_size=None, proxy=None) as socket:
        browser_page = Page(socket, "")
        socket.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
        target = _answer(socket, 1)["targetId"]
        params = {"targetId": target, "flatten": True}
        socket.send(json.dumps({"id": 2, "method": "Target.attachToTarget", "params": params}))
        browser_page.session = _answer(socket, 2)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser_page.call(f"{domain}.enable")
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        browser_page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        browser_page.call("Emulation.setEmulatedMedia", features=[scheme])
        browser_page.call("Page.navigate", url=url)
        yield browser_page


def _answer(socket: ClientConnection, number: int) -> dict[str, Any]:
    while True:
        answer = json.loads(socket.recv(timeout=PAGE_SECONDS))
        if answer.get("id") == number:
            result: dict[str, Any] = answer["result"]
            return result
