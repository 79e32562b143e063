"""Real processes for the end-to-end tests: the sandbox, Dagster, the command line.

Every process gets a group of its own and is killed with it, whatever the test does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: list[str], cwd: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            yield started
        finally:
            stop(started)


def stop(started: "subprocess.Popen[bytes]") -> int:
    """SIGTERM to the process, as an init system does; SIGKILL to what is left of the group."""
    started.terminate()
    try:
        code = started.wait(timeout=60)
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait(timeout=10)
    return code


def child(parent: int, words: str) -> int:
    """The process id of the one child whose command line holds ``words``; Linux."""
    (found,) = [
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/status")
        if f"PPid:\t{parent}\n" in _text(status)
        and words in _text(status.with_name("cmdline")).replace("\0", " ")
    ]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


@contextmanager
def sandbox(folder: Path) -> Iterator[dict[str, str]]:
    """The loopback venue and model as their own process; yields their URLs."""
    log = folder / "sandbox.log"
    ports = ["--port", str(free_port()), "--model-port", str(free_port()), "--seed", "5"]
    with process([str(BIN / "wonttrade"), "sandbox", *ports], folder, log):
        wait_for(lambda: log.read_text().strip().endswith("}"), 60, "the sandbox's line")
        yield json.loads(log.read_text().strip().splitlines()[-1])


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


def settings_file(folder: Path, urls: Mapping[str, str], **changes: str) -> Path:
    """``wonttrade.toml.example`` against a sandbox, with lines replaced."""
    text = (ROOT / "wonttrade.toml.example").read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:8601/v1", urls["model"])
    text = text.replace("http://127.0.0.1:8600", urls["venue"])
    text = text.replace('prompts_dir = "prompts"', f'prompts_dir = "{ROOT / "prompts"}"')
    for old, new in changes.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{old} ="))
        text = text.replace(line, f"{old} = {new}")
    text = text.replace("# cycle_minutes = 15", "cycle_minutes = 15")
    path = folder / "wonttrade.toml"
    path.write_text(text, encoding="utf-8")
    return path


def wonttrade(
    *arguments: str, cwd: Path, timeout: float = 180, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BIN / "wonttrade"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def graphql(url: str, query: str, variables: Mapping[str, Any] | None = None) -> Any:
    answer = requests.post(f"{url}/graphql", json={"query": query, "variables": variables or {}}, timeout=60)
    body = answer.json()
    assert "errors" not in body, body
    return body["data"]


def is_up(url: str) -> bool:
    """Whether the webserver answers and has loaded the code location."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    try:
        return bool(graphql(url, query)["repositoriesOrError"].get("nodes"))
    except requests.RequestException:
        return False
