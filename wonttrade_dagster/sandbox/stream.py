"""``GET /ws``: subscriptions and pushes (protocol §7), good for the SDK's ``WebsocketManager``.

Belongs here: one connection, what it subscribed to, what it has been sent. Does not belong here: the content
of frames about orders and fills (``rows``) and about the market (``info_market``).

Pushes are read from the accounts' logs by position, so that nothing is lost and nothing sent twice however
slow the client is.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from wonttrade_dagster.sandbox.channels import Channel, UnknownCoinError, open_channel
from wonttrade_dagster.sandbox.faults import FaultList
from wonttrade_dagster.sandbox.venue import LoopbackVenue

GREETING = "Websocket connection established."
PUSH_SECONDS = 0.1


class Connection:
    """One client's WebSocket."""

    def __init__(self, venue: LoopbackVenue, faults: FaultList, websocket: WebSocket) -> None:
        self._venue = venue
        self._faults = faults
        self._websocket = websocket
        self._channels: dict[str, Channel] = {}

    async def serve(self) -> None:
        """Until the client goes away."""
        await self._websocket.accept()
        await self._websocket.send_text(GREETING)
        pushing = asyncio.create_task(self._push())
        try:
            while True:
                await self._receive(await self._websocket.receive_text())
        except (WebSocketDisconnect, UnknownCoinError):
            pass
        finally:
            pushing.cancel()
        if self._websocket.client_state.name == "CONNECTED":
            await self._websocket.close()

    async def _receive(self, raw: str) -> None:
        try:
            message = json.loads(raw)
            method = message["method"]
        except (ValueError, TypeError, KeyError):
            await self._error(raw)
            return
        if method == "ping":
            await self._send({"channel": "pong"})
        elif method in {"subscribe", "unsubscribe"}:
            await self._subscribe(raw, method, message.get("subscription"))
        else:
            await self._error(raw)

    async def _subscribe(self, raw: str, method: str, subscription: object) -> None:
        channel = open_channel(self._venue, subscription) if isinstance(subscription, dict) else None
        if channel is None:
            await self._error(raw)
            return
        if self._faults.take("ws", str(channel.subscription["type"])) is not None:
            raise WebSocketDisconnect(1006)
        confirmed = {"method": method, "subscription": channel.subscription}
        await self._send({"channel": "subscriptionResponse", "data": confirmed})
        if method == "unsubscribe":
            self._channels.pop(channel.key, None)
            return
        for frame in await run_in_threadpool(self._first, channel):
            await self._send(frame)
        self._channels.setdefault(channel.key, channel)

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(PUSH_SECONDS)
            if not self._channels:
                continue
            for frame in await run_in_threadpool(self._due):
                await self._send(frame)

    def _first(self, channel: Channel) -> list[Mapping[str, Any]]:
        with self._venue.lock:
            return channel.snapshot()

    def _due(self) -> list[Mapping[str, Any]]:
        with self._venue.lock:
            self._venue.settle()
            return [frame for channel in list(self._channels.values()) for frame in channel.due()]

    async def _error(self, raw: str) -> None:
        sentence = f"Error parsing JSON into valid websocket request: {raw}"
        await self._send({"channel": "error", "data": sentence})

    async def _send(self, frame: Mapping[str, Any]) -> None:
        await self._websocket.send_text(json.dumps(frame, separators=(",", ":")))
