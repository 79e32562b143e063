"""The official SDK's client with every option explicit.

Belongs here: building the client so that nothing of the environment reaches a request.
Does not belong here: what is asked, retries, replies.

The SDK fills every option that is None from the environment (``OPENAI_ORG_ID``, ``OPENAI_CUSTOM_HEADERS``,
``OPENAI_ADMIN_KEY``, …) and new ones appear with each release. So besides explicit options there is a gate
at the wire: headers that are not listed here are removed, credentials are written last.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wonttrade_dagster.core.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2
    import openai

_KEPT_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_KEPT_PREFIX = "x-stainless-"


@dataclass(frozen=True, slots=True)
class OpenAIEndpoint:
    """OpenAI itself or any compatible server.

    Attributes:
        base_url: including ``/v1``.
        api_key: sent as a bearer token.
        organization: sent when given.
        project: sent when given.
    """

    base_url: str
    api_key: str = field(repr=False)
    organization: str | None = None
    project: str | None = None

    def headers(self) -> dict[str, str]:
        """Credentials and routing, the only ones that go out."""
        optional = {"openai-organization": self.organization, "openai-project": self.project}
        return {"authorization": f"Bearer {self.api_key}"} | {k: v for k, v in optional.items() if v}

    def client(self, http_client: "httpx2.Client") -> "openai.OpenAI":
        """The SDK's client; empty strings keep it from asking the environment."""
        import openai  # noqa: PLC0415 (takes more than a second: only where a model is called)

        return openai.OpenAI(
            api_key=self.api_key,
            admin_api_key="",
            organization=self.organization or "",
            project=self.project or "",
            webhook_secret="",
            base_url=self.base_url,
            max_retries=0,
            http_client=http_client,
        )


@dataclass(frozen=True, slots=True)
class AzureEndpoint:
    """A deployment on Azure OpenAI.

    Attributes:
        endpoint: e.g. ``https://my-resource.openai.azure.com``.
        deployment: its name.
        api_version: e.g. ``2025-04-01-preview``.
        api_key: sent as ``api-key``.
    """

    endpoint: str
    deployment: str
    api_version: str
    api_key: str = field(repr=False)

    @property
    def base_url(self) -> str:
        """Where requests go, for messages."""
        return self.endpoint

    def headers(self) -> dict[str, str]:
        """Credentials, the only ones that go out."""
        return {"api-key": self.api_key}

    def client(self, http_client: "httpx2.Client") -> "openai.OpenAI":
        """The SDK's Azure client."""
        import openai  # noqa: PLC0415 (takes more than a second: only where a model is called)

        return openai.AzureOpenAI(
            azure_endpoint=self.endpoint,
            azure_deployment=self.deployment,
            api_version=self.api_version,
            api_key=self.api_key,
            admin_api_key="",
            organization="",
            webhook_secret="",
            max_retries=0,
            http_client=http_client,
        )


def endpoint_of(
    provider: str,
    api_key: str,
    base_url: str | None,
    azure: Mapping[str, str | None],
) -> OpenAIEndpoint | AzureEndpoint:
    """The endpoint that a configuration names; raises ``ConfigurationError`` for a part that is missing."""
    if not re.fullmatch(
        r"[!-~]+", api_key
    ):  # anything else breaks the header, and would show up in the error
        raise ConfigurationError(
            f"the API key of llm.provider = {provider!r} must be printable ASCII, no spaces"
        )
    if provider == "azure":
        missing = [name for name, value in azure.items() if not value]
        if missing:
            raise ConfigurationError(f'llm.provider = "azure" needs llm.azure.{", llm.azure.".join(missing)}')
        _require_url("llm.azure.endpoint", str(azure["endpoint"]))
        return AzureEndpoint(**{name: str(value) for name, value in azure.items()}, api_key=api_key)
    if provider != "openai":
        raise ConfigurationError(f"llm.provider = {provider!r}: it is openai or azure")
    if not base_url:
        raise ConfigurationError('llm.provider = "openai" needs llm.base_url')
    _require_url("llm.base_url", base_url)
    return OpenAIEndpoint(base_url, api_key)


def _require_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigurationError(f"{key} must be an http or https URL with a host, e.g. https://host/v1")


class Connection:
    """One client, made when it is first needed and made anew after it was cut off.

    Args:
        endpoint: where and as whom.
        transport: for tests; the network when None.
    """

    def __init__(
        self, endpoint: OpenAIEndpoint | AzureEndpoint, transport: "httpx2.BaseTransport | None" = None
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._lock = threading.Lock()
        self._client: openai.OpenAI | None = None

    def client(self) -> "openai.OpenAI":
        """The client, ready to use."""
        with self._lock:
            if self._client is None:
                self._client = self._endpoint.client(self._http_client())
            return self._client

    def cut_off(self) -> None:
        """Close the sockets under a call that was given up, so that its thread comes to an end."""
        if not self._lock.acquire(blocking=False):
            return  # the client is still being made (a slow import): nothing is on the wire yet
        client, self._client = self._client, None
        self._lock.release()
        if client is not None:
            client.close()

    def _http_client(self) -> "httpx2.Client":
        import httpx2  # noqa: PLC0415 (comes with openai, which is heavy)

        return httpx2.Client(
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
            event_hooks={"request": [self._gate()], "response": []},
        )

    def _gate(self) -> Callable[["httpx2.Request"], None]:
        credentials = self._endpoint.headers()

        def gate(request: "httpx2.Request") -> None:
            for name in list(request.headers):
                if name.lower() not in _KEPT_HEADERS and not name.lower().startswith(_KEPT_PREFIX):
                    del request.headers[name]
            request.headers.update(credentials)

        return gate
