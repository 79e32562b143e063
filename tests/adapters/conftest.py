"""What the tests of the venue's adapters start and end."""

from collections.abc import Iterator

import pytest
from venue_samples import make_venue
from venue_stub import Stub

from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.sandbox.server import Sandbox


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7) as running:
        yield running


@pytest.fixture
def venue(sandbox: Sandbox) -> HyperliquidVenue:
    return make_venue(sandbox)
