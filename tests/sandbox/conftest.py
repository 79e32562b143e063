"""What the tests of the sandbox share: a sandbox, the official clients, the venue's recordings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox

RECORDINGS = Path(__file__).parents[3] / "shared" / "venue"

Json = Any
"""Whatever JSON holds: a test reads it by its keys."""

Control = Callable[[str, Json], Json]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7) as running:
        yield running


@pytest.fixture
def info(sandbox: Sandbox) -> Info:
    return Info(sandbox.venue_url, skip_ws=True, timeout=5)


@pytest.fixture
def exchange(sandbox: Sandbox) -> Exchange:
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    return Exchange(wallet, sandbox.venue_url, account_address=SANDBOX_ACCOUNT_ADDRESS, timeout=5)


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    def post(name: str, body: Json) -> Json:
        answer = requests.post(f"{sandbox.venue_url}/sandbox/{name}", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


def recording(name: str) -> Json:
    """A file of the shared recordings; skips the test where they are not at hand."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"the venue's recordings are not beside the checkout ({name})")
    return json.loads(path.read_text(encoding="utf-8"))
