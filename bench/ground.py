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

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.settings import Settings, load_settings

PROMPTS = Path(__file__).parents[1] / "prompts"
_STOP_SECONDS = 10

_SETTINGS = """\
[runtime]
mode = "TESTNET"
cycle_minutes = 1
prompts_dir = "{prompts}"

[credentials]
account_address = "{account}"
agent_private_key = "{key}"
openai_api_key = "loopback-needs-no-key"

[hyperliquid]
network = "local"
base_url = "{venue}"

[symbols]
tracked = ["BTC", "ETH"]

[llm]
provider = "openai"
model = "loopback-rule"
base_url = "{model}"
deadline_seconds = 20

[risk]
max_position_usd = 3000
max_gross_exposure_usd = 6000
max_leverage = 3

[execution]
max_decision_age_seconds = 60

[resilience]
max_market_age_seconds = 55

[telemetry]
log_path = "data/logs/wonttrade.ndjson"
decision_log_path = "data/decision-log.ndjson"
heartbeat_path = "data/heartbeat.json"
metrics_path = "data/metrics/live.prom"

[backtest]
cycle_minutes = 5
"""


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder: on the disk that ``TMPDIR`` names, which is the one whose fsync is measured."""
    with TemporaryDirectory(prefix="wonttrade-bench-") as name:
        yield Path(name)


@contextmanager
def servers(seed: int) -> Iterator[Mapping[str, str]]:
    """The loopback venue and model in another process, so that their CPU is not counted as ours; the URLs."""
    command = [sys.executable, "-m", "wonttrade_dagster.sandbox", "--seed", str(seed)]
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
    """A ``wonttrade.toml`` for these servers, loaded."""
    path = folder / "wonttrade.toml"
    content = _SETTINGS.format(
        prompts=PROMPTS.as_posix(),
        account=SANDBOX_ACCOUNT_ADDRESS,
        key=SANDBOX_AGENT_PRIVATE_KEY,
        venue=urls["venue"],
        model=urls["model"],
    )
    path.write_text(content, encoding="utf-8")
    return load_settings(path)


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
