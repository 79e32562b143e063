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
_STOP_SECONDS = 10


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder: on the disk that ``TMPDIR`` names, which is the one whose fsync is measured."""
    with TemporaryDirectory(prefix="wonttrade-bench-") as name:
        yield Path(name)


@contextmanager
def servers(seed: int, model_latency_ms: int = 0) -> Iterator[Mapping[str, str]]:
    """The loopback venue and model in another process, so that their CPU is not counted as ours; the URLs."""
    command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--seed", str(seed)]
    command += ["--model-latency-ms", str(model_latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own module)
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

    def post(self, name: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 (JSON)
        """One control request."""
        answer = self._session.post(f"{self._url}/sandbox/{name}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def mids(self) -> dict[str, float]:
        """Mid by coin."""
        answer = self._session.get(f"{self._url}/sandbox/state", timeout=30)
        answer.raise_for_status()
        return {coin: float(px) for coin, px in answer.json()["mids"].items()}
