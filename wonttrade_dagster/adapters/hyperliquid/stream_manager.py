"""The SDK's ``WebsocketManager``, deaf to the environment and without threads that outlive the program.

Belongs here: what differs from the SDK's class. Does not belong here: when a connection is made or given up.
"""

import json
import logging
from contextlib import suppress
from threading import Event
from typing import Any, Protocol

MAX_REFUSED = 20


class LineManager(Protocol):
    """What a line needs of the manager."""

    stop_event: Event
    ws: Any
    refused: list[str]

    def start(self) -> None:
        """Begin to connect."""

    def is_alive(self) -> bool:
        """Whether the thread runs."""


def make_manager(base_url: str) -> LineManager:
    """A manager that has not been started."""
    from hyperliquid.websocket_manager import WebsocketManager  # noqa: PLC0415 (imports the SDK)
    from requests.certs import where  # type: ignore[attr-defined] # noqa: PLC0415 (what requests trusts)

    class Manager(WebsocketManager):  # type: ignore[misc] # (the SDK is untyped)
        def __init__(self) -> None:
            super().__init__(base_url)
            # The SDK's own logging sets up the root logger, which would print every end of a connection.
            logging.getLogger("websocket").propagate = False
            self.daemon = self.ping_sender.daemon = True
            self.refused: list[str] = []

        def run(self) -> None:
            """As the SDK, without proxies or certificates out of environment variables."""
            self.ping_sender.start()
            self.ws.run_forever(http_no_proxy=["*"], sslopt={"ca_certs": where()})

        def send_ping(self) -> None:
            """As the SDK; a connection that ends meanwhile is the supervisor's business."""
            with suppress(Exception):
                super().send_ping()

        def on_open(self, ws: Any) -> None:  # noqa: ANN401 (untyped)
            """A line that was given up while it connected must not subscribe."""
            if self.stop_event.is_set():
                ws.close()
            else:
                super().on_open(ws)

        def on_message(self, ws: Any, message: str) -> None:  # noqa: ANN401 (untyped)
            """The SDK drops a refused subscription silently: it is kept to be told."""
            is_error = '"channel":"error"' in message[:60].replace(" ", "")
            if is_error and len(self.refused) < MAX_REFUSED:
                self.refused.append(str(json.loads(message).get("data"))[:300])
            elif not is_error:
                super().on_message(ws, message)

    manager: LineManager = Manager()
    return manager
