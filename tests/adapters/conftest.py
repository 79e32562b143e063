"""What the tests of the venue's adapters start and end."""

from collections.abc import Iterator

import pytest
from venue_stub import Stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()
