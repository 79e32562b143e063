"""``GET /ws``: subscriptions and pushes (protocol §7), good for the SDK's ``WebsocketManager``.

Belongs here: one connection, what it subscribed to, what it has been sent. Does not belong here: the content
of frames about orders and fills (``rows``) and about the market (``info_market``).

Pushes are read from the accounts' logs by position, so that nothing is lost and nothing sent twice however
slow the client is.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.channels import Channel, UnknownCoinError, open_channel
from wonttrade_dagster.sandbox.faults import DEFAULT_HANG_MS, FaultList
from wonttrade_dagster.sandbox.venue import LoopbackVenue

GREETING = "Websocket connection established."
PUSH_SECONDS = 0.1
WS_KINDS = frozenset({"ws_drop", "ws_half_open", "ws_silent"})
"""``ws_drop`` closes the connection; ``ws_half_open`` leaves it standing and deaf: nothing is answered and
nothing comes; ``ws_silent`` answers pings and subscriptions, but pushes nothing. The last two end after
``duration_ms``, or with the connection."""

Respond = Callable[[str, Json], "SupportsAnswer"]


class SupportsAnswer(Protocol):
    """An answer of ``/info`` or ``/exchange``."""

    @property
    def content(self) -> Json:
        """What it says."""

    @property
    def status(self) -> int:
        """Its HTTP status."""


class DroppedError(Exception):
    """The connection ends without a word."""


class Connection:
    """One client's WebSocket.

    Args:
        venue: whose news it carries.
        faults: what is to go wrong.
        respond: answers a request that came over the stream (``post``).
        websocket: the connection, not yet accepted.
    """

    def __init__(
        self, venue: LoopbackVenue, faults: FaultList, respond: Respond, websocket: WebSocket
    ) -> None:
        self._venue = venue
        self._faults = faults
        self._respond = respond
        self._websocket = websocket
        self._channels: dict[str, Channel] = {}
        self._sent_at = time.monotonic()
        self._deaf_until = self._silent_until = 0.0

    async def serve(self) -> None:
        """Until the client goes away, or a fault or a long silence ends it."""
        await self._websocket.accept()
        await self._websocket.send_text(GREETING)
        tasks = [asyncio.create_task(self._receive_all()), asyncio.create_task(self._push())]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, _ENDINGS):
                raise error
        if self._websocket.client_state.name == "CONNECTED":
            with suppress(RuntimeError):  # the client was faster
                await self._websocket.close()

    async def _receive_all(self) -> None:
        while True:
            await self._receive(await self._websocket.receive_text())

    async def _receive(self, raw: str) -> None:
        if time.monotonic() < self._deaf_until:
            return
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
        elif method == "post":
            await self._post(raw, message)
        else:
            await self._error(raw)

    async def _subscribe(self, raw: str, method: str, subscription: object) -> None:
        channel = open_channel(self._venue, subscription) if isinstance(subscription, dict) else None
        if channel is None:
            await self._error(raw)
            return
        self._suffer(channel)
        confirmed = {"method": method, "subscription": channel.subscription}
        await self._send({"channel": "subscriptionResponse", "data": confirmed})
        if method == "unsubscribe":
            self._channels.pop(channel.key, None)
            return
        for frame in await run_in_threadpool(self._first, channel):
            await self._send(frame)
        self._channels.setdefault(channel.key, channel)

    async def _post(self, raw: str, message: Mapping[str, Any]) -> None:
        """A request over the stream: ``{"method":"post","id":…,"request":{"type","payload"}}``."""
        request, number = message.get("request"), message.get("id")
        path = _POSTED.get(str(request.get("type"))) if isinstance(request, dict) else None
        if path is None or not isinstance(request, dict) or not isinstance(number, int):
            await self._error(raw)
            return
        answer = await run_in_threadpool(self._respond, path, request.get("payload"))
        payload = answer.content
        if path == "info" and answer.status == OK:
            payload = {"type": str(request["payload"]["type"]), "data": payload}
        is_answered = answer.status == OK
        response = {"type": request["type"] if is_answered else "error", "payload": payload}
        await self._send({"channel": "post", "data": {"id": number, "response": response}})

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(PUSH_SECONDS)
            for channel in list(self._channels.values()):
                self._suffer(channel)
            if time.monotonic() < max(self._deaf_until, self._silent_until):
                continue
            if time.monotonic() - self._sent_at > self._venue.options.stream_idle_ms / 1000:
                return
            frames = await run_in_threadpool(self._due) if self._channels else []
            for frame in frames:
                await self._send(frame)

    def _suffer(self, channel: Channel) -> None:
        """Let a waiting fault befall the connection. Raises ``DroppedError``."""
        fault = self._faults.take("ws", str(channel.subscription["type"]), WS_KINDS, channel)
        if fault is None:
            return
        if fault.kind == "ws_drop":
            raise DroppedError
        until = time.monotonic() + float(fault.options.get("duration_ms", DEFAULT_HANG_MS)) / 1000
        if fault.kind == "ws_half_open":
            self._deaf_until = until
        else:
            self._silent_until = until

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
        if time.monotonic() < self._deaf_until:
            return
        self._sent_at = time.monotonic()
        try:
            await self._websocket.send_text(json.dumps(frame, separators=(",", ":")))
        except RuntimeError as error:  # starlette's word for a connection that has just been closed
            raise DroppedError from error


_POSTED = {"info": "info", "action": "exchange"}
_ENDINGS = (WebSocketDisconnect, UnknownCoinError, DroppedError)
OK = 200
