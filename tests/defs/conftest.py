"""One loopback venue and model for every test of the graph, on a clock that tests can move."""

from collections.abc import Iterator

import pytest
from loopback import Loopback, SetBackClock, set_back


@pytest.fixture(scope="module")
def clock() -> Iterator[SetBackClock]:
    with set_back() as clock:
        yield clock


@pytest.fixture(scope="module")
def loopback(clock: SetBackClock) -> Iterator[Loopback]:
    with Loopback.serving(clock) as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def no_faults_are_left_over(loopback: Loopback) -> Iterator[None]:
    yield
    loopback.venue("faults", [])
    loopback.model("faults", [])
