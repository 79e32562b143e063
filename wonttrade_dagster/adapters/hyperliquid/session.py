"""The HTTP session that the SDK is given: deaf to the environment, and bounded in time and size.

Belongs here: what ``requests`` does not do by itself.
Does not belong here: what is asked, and what a failure is called (``connection``).
"""

import json
from collections.abc import Mapping
from io import BytesIO
from threading import local
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from wonttrade_dagster.adapters.hyperliquid.budget import RequestBudget
from wonttrade_dagster.adapters.hyperliquid.wire import Wire, WiredAdapter
from wonttrade_dagster.core.request_weight import weighs_by_items

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest answer in use (5,000 candles) has about 1 MB."""
_CHUNK_BYTES = 65_536


class BoundedSession(requests.Session):
    """A session without proxies, ``.netrc`` or redirects, whose requests end within ``seconds``.

    The time limit of ``requests`` is one per read: a server that sends a byte now and then outlives it.
    Here the last byte of the answer must be there ``seconds`` after the request began, or the connection is
    cut. What is sent is counted in ``budget``. For one thread at a time.
    """

    def __init__(self, seconds: float, budget: RequestBudget) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = 0
        self.headers.update({"Content-Type": "application/json"})
        self._seconds = seconds
        self._budget = budget
        self._wire = Wire()
        for scheme in ("https://", "http://"):
            self.mount(scheme, WiredAdapter(self._wire))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 (as requests has it)
        """As ``requests`` does, the body being read before it returns.

        Raises:
            requests.ConnectTimeout: no connection came about in time: nothing was sent.
            requests.ReadTimeout: the answer was not complete in time.
            requests.RequestException: it was cut off, broken, or larger than anything the venue sends.
        """
        asked = _json_object(request.body)
        self._budget.request(request.path_url, asked)
        with self._wire.limited_to(self._seconds):
            response = super().send(request, **{**kwargs, "stream": True})
            try:
                with response:
                    body = _body(response)
            except ReadTimeoutError as error:  # below requests, which would have translated these two
                raise requests.ReadTimeout(error) from error
            except HTTPError as error:
                raise requests.ConnectionError(error) from error
        response.raw = BytesIO(body)
        self._count_items(str(asked.get("type")), body)
        return response

    def close(self) -> None:
        """As ``requests`` does."""
        super().close()
        self._wire.close()

    def _count_items(self, kind: str, body: bytes) -> None:
        if not weighs_by_items(kind):
            return
        try:
            rows = json.loads(body)
        except (ValueError, RecursionError):
            return  # whoever reads the answer says so
        if isinstance(rows, list):
            self._budget.answer(kind, len(rows))


def _body(response: requests.Response) -> bytes:
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise requests.RequestException(f"an answer of more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


class SessionPerThread:
    """What the SDK posts through: ``requests`` promises nothing for a session that several threads use.

    Every thread gets a :class:`BoundedSession` of its own; all of them count into one budget.
    """

    def __init__(self, seconds: float, budget: RequestBudget) -> None:
        self._seconds = seconds
        self._budget = budget
        self._local = local()

    def post(self, url: str, **kwargs: Any) -> requests.Response:  # noqa: ANN401 (as requests has it)
        """As ``requests.Session.post``, in the calling thread's session."""
        if not hasattr(self._local, "session"):
            self._local.session = BoundedSession(self._seconds, self._budget)
        session: BoundedSession = self._local.session
        return session.post(url, **kwargs)


def _json_object(body: bytes | str | None) -> Mapping[str, Any]:
    """What was asked; nothing for a request that is no JSON object."""
    try:
        value = json.loads(body or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
