"""What a benchmark stands on: a folder with settings, the loopback servers in a process of their own.

Belongs here: starting and ending them. Does not belong here: what is measured.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from wonttrade_dagster.cli import demo
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.settings import Settings

PROMPTS = demo.PROMPTS_DIR
_ROOT = Path(__file__).parents[1]
_STOP_SECONDS = 10


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder: on the disk that ``TMPDIR`` names, which is the one whose fsync is measured."""
    with TemporaryDirectory(prefix="wonttrade-bench-") as name:
        yield Path(name)


@contextmanager
def servers(seed: int, model_latency_ms: int = 0) -> Iterator[Mapping[str, str]]:
    """The loopback venue and model in another process, so that their CPU is not counted as ours; the URLs."""
    latency = ["--model-latency-ms", str(model_latency_ms)]
    with served_by("wonttrade_dagster.sandbox", "--seed", str(seed), *latency) as urls:
        yield urls


@contextmanager
def served_by(module: str, *arguments: str) -> Iterator[Mapping[str, str]]:
    """A module that serves until it is stopped, in a process of its own; its first line: URLs as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(  # noqa: S603 (the own interpreter and a module that the callers name)
        command, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise UsageError("the loopback servers did not start: see their message above")
            yield json.loads(line)
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def write_settings(folder: Path, urls: Mapping[str, str]) -> Settings:
    """The demo's ``wonttrade.toml`` for these servers, loaded: what is measured is what the demo runs."""
    return demo.write_settings(folder, urls["venue"], urls["model"])


class Control:
    """``/sandbox/…`` of the loopback venue."""

    def __init__(self, venue_url: str) -> None:
        self._url = venue_url
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, name: str, body: Mapping[str, object]) -> dict[str, Any]:
        """One control request."""
        response = self._session.post(f"{self._url}/sandbox/{name}", json=body, timeout=30)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def mids(self) -> dict[str, float]:
        """Mid by coin."""
        answer = self._session.get(f"{self._url}/sandbox/state", timeout=30)
        answer.raise_for_status()
        return {coin: float(px) for coin, px in answer.json()["mids"].items()}
