"""What every test stands on: no network but loopback, and a checkout's folders."""

import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage  # not exported by dagster

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
LOOPBACK = ("127.", "::1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take longest begins first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: -_timeout_seconds(item))


def _timeout_seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Dagster keeps the storage of the last instance of this process, which may be gone by now."""
    with set_defs_state_storage(None):
        return (yield)


@pytest.fixture(autouse=True)
def no_network_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        is_ip = self.family in (socket.AF_INET, socket.AF_INET6)
        if is_ip and not str(address[0]).startswith(LOOPBACK):
            pytest.fail(f"a test reached for {address}: tests talk to loopback only")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def checkout() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def market_data() -> Path:
    folder = SHARED / "market-data"
    if not folder.is_dir():
        pytest.skip("../shared/market-data is not beside this checkout")
    return folder
