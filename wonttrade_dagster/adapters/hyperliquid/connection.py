"""The official SDK's reading half, wrapped once: time limits, retries, and errors that have names.

Belongs here: how a request travels and what its failure is called.
Does not belong here: what is asked (``info``, ``exchange``) and what the answer means (``parse``).
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from hyperliquid.utils.constants import MAINNET_API_URL
from hyperliquid.utils.error import ClientError, ServerError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)
from urllib3.exceptions import NewConnectionError

from wonttrade_dagster.adapters.hyperliquid.budget import RequestBudget
from wonttrade_dagster.adapters.hyperliquid.fields import shown
from wonttrade_dagster.adapters.hyperliquid.parse import parse_assets
from wonttrade_dagster.adapters.hyperliquid.session import SessionPerThread
from wonttrade_dagster.core.errors import (
    ConfigurationError,
    UnknownOutcomeError,
    VenueAnswerError,
    VenueError,
    VenueRefusedError,
    VenueUnavailableError,
)
from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.ports import Clock

if TYPE_CHECKING:
    from hyperliquid.info import Info

Ask = Callable[["Info"], Any]

NO_SPOT: Mapping[str, Any] = {"universe": [], "tokens": []}
"""Handed to the SDK's constructors so that they ask the venue nothing; spot is not traded here."""
NO_PERPETUALS: Mapping[str, Any] = {"universe": []}
RETRY_PAUSE_SECONDS = 0.25
RETRY_PAUSE_MAX_SECONDS = 5.0
_UNPARSED = "Could not parse JSON"
_RATE_LIMITED = 429


def check_base_url(base_url: str) -> None:
    """Refuse addresses with which the SDK would sign for the wrong network or ask a wrong path.

    The SDK signs for mainnet only when the address equals its constant letter by letter.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or base_url.endswith("/"):
        raise ConfigurationError(
            f"the venue's address must be http(s)://host[:port] without a slash at the end, not {base_url!r}"
        )
    if parts.hostname == urlsplit(MAINNET_API_URL).hostname and base_url != MAINNET_API_URL:
        raise ConfigurationError(
            f"{base_url!r} is Hyperliquid's mainnet in another spelling, with which the SDK would sign "
            f"for testnet: write {MAINNET_API_URL!r}"
        )


class SdkConnection:
    """Reads of one venue through the official SDK.

    Args:
        base_url: ``http(s)://host[:port]``, no trailing slash; mainnet in the SDK's own spelling only.
        timeout_seconds: for connecting and for each read.
        read_attempts: how often a read is tried; writes are never repeated.
        clock: waits between attempts.
        read_deadline_seconds: no new attempt begins later than this after the first.

    Raises:
        ConfigurationError: for an address that must not be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout_seconds: float,
        read_attempts: int,
        clock: Clock,
        read_deadline_seconds: float = 30.0,
    ) -> None:
        check_base_url(base_url)
        self.base_url = base_url
        self.timeout_seconds = timeout_seconds
        self.budget = RequestBudget(clock.now_ms)
        self._clock = clock
        self._attempts = max(read_attempts, 1)
        self._deadline_seconds = read_deadline_seconds
        self._lock = Lock()
        self._info: Info | None = None
        self._assets: Mapping[str, AssetSpec] | None = None

    def __repr__(self) -> str:
        return f"SdkConnection({self.base_url!r})"

    @property
    def info(self) -> "Info":
        """The SDK's ``Info``, made at first use without asking the venue anything."""
        with self._lock:
            if self._info is None:
                self._info = self._make_info()
            return self._info

    def assets(self) -> Mapping[str, AssetSpec]:
        """Every perpetual by symbol, asked once. Raises ``VenueError``."""
        known = self._assets
        return self.learn_assets(self.read("meta", lambda info: info.meta())) if known is None else known

    def learn_assets(self, meta: object) -> Mapping[str, AssetSpec]:
        """Take asset ids and decimals from a ``meta`` that came with another answer."""
        assets = parse_assets(meta)
        with self._lock:
            self._assets = assets
        self.info.set_perp_meta(meta, 0)
        return assets

    def forget_assets(self) -> None:
        """Ask for ``meta`` again at the next use."""
        with self._lock:
            self._assets = None

    def read(self, what: str, ask: Ask) -> Any:  # noqa: ANN401 (JSON)
        """Ask until an answer comes, with growing jittered pauses.

        Raises:
            VenueUnavailableError: nothing came back in the attempts and the time allowed.
            VenueRefusedError: the venue will not answer this question.
            VenueAnswerError: what came back is not JSON.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts) | stop_after_delay(self._deadline_seconds),
            wait=wait_exponential_jitter(
                multiplier=RETRY_PAUSE_SECONDS, max=RETRY_PAUSE_MAX_SECONDS, jitter=RETRY_PAUSE_SECONDS
            ),
            retry=retry_if_exception_type((VenueUnavailableError, VenueAnswerError)),
            sleep=self._clock.sleep,
            reraise=True,
        )
        info = self.info
        return retrying(lambda: travel(what, lambda: ask(info)))

    def _make_info(self) -> "Info":
        from hyperliquid.info import Info  # noqa: PLC0415 (0.3 s that not every command needs)

        info = Info(
            self.base_url,
            skip_ws=True,
            meta=NO_PERPETUALS,
            spot_meta=NO_SPOT,
            timeout=self.timeout_seconds,
        )
        info.session = SessionPerThread(self.timeout_seconds, self.budget)
        return info


def travel(what: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 (JSON)
    """One request through the SDK; every failure becomes one of ``core.errors``.

    Raises:
        VenueUnavailableError: refused, reset, timed out, rate limited or a 5xx.
        VenueRefusedError: a 4xx: the venue did not act on it.
        VenueAnswerError: an answer that is not JSON, or an error whose form the SDK cannot read.
    """
    try:
        answer = call()
    except ClientError as error:
        raise _client_error(what, error.status_code, error.error_message) from error
    except ServerError as error:
        raise VenueUnavailableError(
            f"Hyperliquid failed on {what} (HTTP {error.status_code}): try again later"
        ) from error
    except requests.RequestException as error:
        raise VenueUnavailableError(
            f"Hyperliquid could not be asked for {what} ({type(error).__name__}): check network and address"
        ) from error
    except (KeyError, AttributeError, TypeError, RecursionError) as error:
        # The SDK raises these bare when a 4xx carries JSON that is not {"code", "msg"}.
        raise VenueAnswerError(
            f"Hyperliquid's answer to {what} has a form that the SDK cannot read ({type(error).__name__})"
        ) from error
    if isinstance(answer, dict) and str(answer.get("error", "")).startswith(_UNPARSED):
        raise VenueAnswerError(f"Hyperliquid's answer to {what} is not JSON: {shown(answer['error'])}")
    return answer


def travel_once(what: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 (JSON)
    """One write. Whatever leaves open whether the venue acted on it is an ``UnknownOutcomeError``.

    Raises:
        VenueUnavailableError: no connection came about, or the rate limit stopped it: nothing was done.
        VenueRefusedError: a 4xx: nothing was done.
        UnknownOutcomeError: it may have been done: ask by client order id.
    """
    try:
        return travel(what, call)
    except VenueRefusedError:
        raise
    except VenueError as error:
        if _never_arrived(error.__cause__):
            raise
        raise UnknownOutcomeError(f"the outcome of {what} is not known: {error}") from error


def _client_error(what: str, status: int, message: object) -> VenueError:
    if status == _RATE_LIMITED:
        return VenueUnavailableError(f"Hyperliquid's rate limit stopped {what} (HTTP 429): ask less often")
    return VenueRefusedError(f"Hyperliquid refused {what} (HTTP {status}): {shown(message)}")


def _never_arrived(cause: BaseException | None) -> bool:
    if getattr(cause, "status_code", None) == _RATE_LIMITED or isinstance(cause, requests.ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return isinstance(reason, NewConnectionError)
