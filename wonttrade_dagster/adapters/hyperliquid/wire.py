"""The connection under a session, and how a request on it is cut off in mid-air.

Belongs here: the hold on a socket that ``requests`` gives nobody.
Does not belong here: what travels on it (``session``).

The time limit of ``requests`` is one per read. A server that sends a byte of its answer's head now and then
outlives it for ever, inside a call that nothing but the end of the connection ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from threading import Lock
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError

from wonttrade_dagster.adapters.deadline import cutting_off


class Wire:
    """A second handle on the newest connection of a session, for a thread that is not the one waiting on it.

    It is a duplicate of the socket: the socket itself changes hands in a TLS handshake, which may hang, too.
    One request at a time.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._handle: socket | None = None
        self._is_cut = False

    @contextmanager
    def limited_to(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the block has not ended after ``seconds``.

        Raises:
            requests.ReadTimeout: it was cut, whatever the block made of that (half a head passes for one).
            requests.ConnectTimeout: no connection came about: nothing was sent, and nothing will be.
        """
        self._is_cut = False
        cut_error = requests.ReadTimeout(f"the answer was not complete after {seconds} s")
        try:
            with cutting_off(seconds, self._cut):
                yield
        except requests.ConnectTimeout:
            raise
        except Exception as error:
            if self._is_cut:
                raise cut_error from error
            raise
        if self._is_cut:
            raise cut_error

    def connected(self, connection: HTTPConnection, sock: socket) -> None:
        """Take hold of a new connection, on which nothing was sent yet.

        Raises:
            ConnectTimeoutError: the time is over: a request that was given up must not go out after all.
        """
        with self._lock:
            if self._is_cut:
                sock.close()
                raise ConnectTimeoutError(connection, "connected too late")
            self._let_go()
            self._handle = sock.dup()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._handle is not None:
                with suppress(OSError):  # the other side was faster
                    self._handle.shutdown(SHUT_RDWR)


class WiredAdapter(HTTPAdapter):
    """Connections as ``requests`` makes them, each of which is known to ``wire``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as requests has it)
        """The pool of connections to a host."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = type(pool).ConnectionCls
        if pool.ConnectionCls is kind:
            pool.ConnectionCls = _wired(kind, self._wire)
        return pool


def _wired(kind: type[HTTPConnection], wire: Wire) -> type[HTTPConnection]:
    """The same kind of connection, plain or TLS; ``wire`` gets its socket before anything is sent on it."""

    def new_conn(connection: HTTPConnection) -> socket:
        sock = kind._new_conn(connection)  # noqa: SLF001 (there is no other place between connecting and sending)
        wire.connected(connection, sock)
        return sock

    return type(f"Wired{kind.__name__}", (kind,), {"_new_conn": new_conn})
