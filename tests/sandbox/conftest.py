"""What the tests of the sandbox share: a sandbox and the official clients."""

from collections.abc import Iterator

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control, control_of

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox


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
    return control_of(sandbox)
