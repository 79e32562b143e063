"""A port that refuses connections for a while, as if the server had died and come back.

Belongs here: closing the listening socket and every connection, listening again.
Does not belong here: when it happens (``faults``).
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn import Server


def reset(transport: asyncio.Transport) -> None:
    """Cut a connection: the other side sees ECONNRESET."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Listener:
    """The listening side of a running server with one port. For use in that server's event loop only.

    Args:
        server: as uvicorn runs it.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._reopening: asyncio.Task[None] | None = None

    def refuse_for(self, seconds: float) -> None:
        """Reset every connection and refuse new ones for that long; nothing when they are refused already."""
        if not self._server.servers:
            return
        listening = self._server.servers.pop()
        address = listening.sockets[0].getsockname()
        listening.close()
        held = _bound(address)
        for connection in list(self._server.server_state.connections):
            if connection.transport is not None:
                reset(connection.transport)
        self._reopening = asyncio.get_running_loop().create_task(self._listen_again(held, seconds))

    async def _listen_again(self, held: socket.socket, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            loop = asyncio.get_running_loop()
            listening = await loop.create_server(self._protocol, sock=held)
        except BaseException:
            held.close()
            raise
        self._server.servers.append(listening)

    def _protocol(self) -> asyncio.Protocol:
        server = self._server
        make: Callable[..., asyncio.Protocol] = server.config.http_protocol_class
        return make(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)


def _bound(address: tuple[str, int]) -> socket.socket:
    # Bound at once and not listening: the port stays ours, and who connects is refused.
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(address)
    return held
