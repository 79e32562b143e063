"""One sandbox for all cases of a process, put back to its first moment before each of them."""

from collections.abc import Iterator

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from sandbox_control import Control, control_of

from edge_cases.parts import official_clients, venue_of
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.sandbox.server import Sandbox


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[tuple[Sandbox, object]]:
    with Sandbox(seed=7) as running:
        control = control_of(running)
        for coin, mid in (("BTC", 80_000), ("ETH", 3_000)):
            control("price", {"coin": coin, "mid": mid, "hold_ms": 86_400_000})
        yield running, control("save", {})


@pytest.fixture
def sandbox(shared_sandbox: tuple[Sandbox, object]) -> Sandbox:
    running, first_moment = shared_sandbox
    control_of(running)("faults", [])
    control_of(running)("restore", first_moment)
    return running


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return control_of(sandbox)


@pytest.fixture
def info(sandbox: Sandbox) -> Info:
    return official_clients(sandbox)[0]


@pytest.fixture
def exchange(sandbox: Sandbox) -> Exchange:
    return official_clients(sandbox)[1]


@pytest.fixture
def venue(sandbox: Sandbox) -> HyperliquidVenue:
    return venue_of(sandbox)
