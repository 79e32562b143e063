"""The official SDK's writing half, wrapped once: one agent key, one line of nonces, one write at a time.

Belongs here: how an action is signed and sent so that two never share a nonce and none acts late.
Does not belong here: which action (``exchange``) and what its answer means (``answers``).
"""

import inspect
import re
from collections.abc import Callable
from threading import Lock
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from wonttrade_dagster.adapters.hyperliquid.connection import (
    NO_PERPETUALS,
    NO_SPOT,
    SdkConnection,
    travel_once,
)
from wonttrade_dagster.adapters.hyperliquid.session import BoundedSession
from wonttrade_dagster.adapters.hyperliquid.venue_clock import VenueClock
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.ports import Clock

if TYPE_CHECKING:
    from hyperliquid.exchange import Exchange

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_NONCE_SOURCE = "get_timestamp_ms"


class Nonces:
    """Milliseconds that never repeat and never fall, whatever the wall clock does."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._last = 0
        self._lock = Lock()

    def __call__(self) -> int:
        """max(now, last + 1)."""
        with self._lock:
            self._last = max(self._now_ms(), self._last + 1)
            return self._last


class Signer:
    """Sends signed actions of one account.

    Args:
        connection: the reading half; knows address, time limit and asset ids.
        account_address: the account that is traded: the master, not the agent.
        agent_private_key: 32 bytes in hex; never shown.
        clock: nonces and expiry come from it.
        expires_after_seconds: an action that reaches the venue later than this is dropped by it.

    Raises:
        ConfigurationError: for a key of another form; the message does not hold it.
    """

    def __init__(
        self,
        connection: SdkConnection,
        *,
        account_address: str,
        agent_private_key: SecretStr,
        clock: Clock,
        expires_after_seconds: float,
    ) -> None:
        if not _KEY.fullmatch(agent_private_key.get_secret_value()):
            raise ConfigurationError("the agent's private key must be 64 hex digits, with or without 0x")
        self._connection = connection
        self._account_address = account_address
        self._key = agent_private_key
        self._clock = clock
        self._expires_after_ms = int(expires_after_seconds * 1000)
        self._lock = Lock()
        self._exchange: Exchange | None = None
        self.venue_clock = VenueClock()
        """The venue judges an expiry by its own clock."""

    def __repr__(self) -> str:
        return f"Signer({self._account_address!r}, key not shown)"

    @property
    def address(self) -> str:
        """The address that signs."""
        with self._lock:
            return str(self._exchange_ready().wallet.address)

    def write(
        self,
        what: str,
        send: Callable[["Exchange"], Any],
        *,
        good_until_ms: int | None = None,
        must_arrive: bool,
    ) -> Any:  # noqa: ANN401 (JSON)
        """Send one action, once, after ``connection.assets`` is known. See ``travel_once`` for errors.

        Args:
            what: the action in words, for an error.
            send: makes the request.
            good_until_ms: it expires then, by our clock, where that is earlier than the configured time.
            must_arrive: for everything but new exposure. What is not certain of the venue's clock makes such
                an action live longer, and an action that may not be late die earlier.
        """
        with self._lock:
            exchange = self._exchange_ready()
            expires_ms = self._clock.now_ms() + self._expires_after_ms
            if good_until_ms is not None:
                expires_ms = min(expires_ms, good_until_ms)
            lead_ms = self.venue_clock.possible_lead_ms if must_arrive else self.venue_clock.certain_lead_ms
            exchange.set_expires_after(expires_ms + lead_ms)
            return travel_once(what, lambda: send(exchange))

    def _exchange_ready(self) -> "Exchange":
        if self._exchange is None:
            self._exchange = self._make_exchange()
        return self._exchange

    def _make_exchange(self) -> "Exchange":
        from eth_account import Account  # noqa: PLC0415 (0.5 s that only signing needs)

        exchange = _with_nonces(Nonces(self._clock.now_ms))(
            Account.from_key(self._key.get_secret_value()),
            self._connection.base_url,
            meta=NO_PERPETUALS,
            spot_meta=NO_SPOT,
            account_address=self._account_address,
            timeout=self._connection.timeout_seconds,
        )
        exchange.session = BoundedSession(self._connection.timeout_seconds, self._connection.budget)
        exchange.info = self._connection.info
        return exchange


def _with_nonces(nonces: Nonces) -> "Callable[..., Exchange]":
    """The SDK's ``Exchange`` with another source of nonces.

    The SDK takes its nonce from a function of its module, the bare wall clock, which repeats within a
    millisecond. Its methods are bound again, unchanged, to globals in which that one name is ours; the
    SDK's own module stays as it is.
    """
    from hyperliquid.exchange import Exchange  # noqa: PLC0415 (about 1 s that only signing needs)

    rebound = {
        name: FunctionType(
            method.__code__,
            {**method.__globals__, _NONCE_SOURCE: nonces},
            name,
            method.__defaults__,
            method.__closure__,
        )
        for name, method in inspect.getmembers(Exchange, inspect.isfunction)
        if _NONCE_SOURCE in method.__code__.co_names
    }
    if "bulk_orders" not in rebound:
        raise ConfigurationError(
            "this version of hyperliquid-python-sdk takes its nonces from elsewhere: install 0.24"
        )
    made: Callable[..., Exchange] = type("MonotonicExchange", (Exchange,), rebound)
    return made
