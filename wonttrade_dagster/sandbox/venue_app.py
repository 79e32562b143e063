"""The venue's HTTP face: ``/info``, ``/exchange``, ``/ws`` and ``/sandbox/…`` on one port (protocol §13).

Belongs here: status codes, content types, faults on requests. Does not belong here: any answer's content.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox import actions, info_market, info_user, snapshots
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.control import Endpoint, bad_request, control_body, faults_endpoint
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_address
from wonttrade_dagster.sandbox.faults import TRANSPORT_KINDS, FaultList, act_out, needs_answer
from wonttrade_dagster.sandbox.info_market import InternalVenueError
from wonttrade_dagster.sandbox.market import DEFAULT_HOLD_MS
from wonttrade_dagster.sandbox.order_groups import ORDER_KINDS
from wonttrade_dagster.sandbox.stream import Connection
from wonttrade_dagster.sandbox.venue import LoopbackVenue

NOT_JSON = "Failed to parse the request body as JSON"
BAD_SCHEMA = "Failed to deserialize the JSON body into the target type"
BAD_TYPE = "Expected request with `Content-Type: application/json`"
WS_KINDS = frozenset({"ws_drop"})

Answerer = Callable[[Any], Any]


class VenueApp:
    """The ASGI application of one loopback venue."""

    def __init__(self, venue: LoopbackVenue) -> None:
        self.venue = venue
        self.faults = FaultList(TRANSPORT_KINDS | ORDER_KINDS | WS_KINDS)

    def app(self) -> Starlette:
        """All routes."""
        controls: dict[str, Callable[[Any], Any]] = {
            "fund": self._fund,
            "price": self._price,
            "time": self._time,
            "agent": self._agent,
            "save": self._save,
            "restore": self._restore,
        }
        routes = [
            Route("/info", self._info, methods=["POST"]),
            Route("/exchange", self._exchange, methods=["POST"]),
            WebSocketRoute("/ws", self._stream),
            Route("/sandbox/faults", faults_endpoint(self.faults), methods=["POST", "DELETE", "GET"]),
            Route("/sandbox/state", self._state),
            *(
                Route(f"/sandbox/{name}", self._control(act), methods=["POST"])
                for name, act in controls.items()
            ),
        ]
        return Starlette(routes=routes)

    async def _info(self, request: Request) -> Response:
        return await self._serve(request, "info", self._answer_info, lambda body: body.get("type"))

    async def _exchange(self, request: Request) -> Response:
        def action_type(body: dict[str, Any]) -> object:
            action = body.get("action")
            return action.get("type") if isinstance(action, dict) else None

        return await self._serve(request, "exchange", self._answer_exchange, action_type)

    async def _stream(self, websocket: WebSocket) -> None:
        await Connection(self.venue, self.faults, websocket).serve()

    async def _serve(
        self, request: Request, path: str, answer: Answerer, type_of: Callable[[dict[str, Any]], object]
    ) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return PlainTextResponse(BAD_TYPE, status_code=415)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse(NOT_JSON, status_code=400)
        kind = str(type_of(body)) if isinstance(body, dict) else ""
        fault = self.faults.take(path, kind, TRANSPORT_KINDS)
        if fault is None:
            return await run_in_threadpool(_response, answer, body)
        honest = await run_in_threadpool(_response, answer, body) if needs_answer(fault) else Response()
        return await act_out(fault, request.scope, honest)

    def _answer_info(self, body: Json) -> Json:
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise SchemaError("type is missing")
        with self.venue.lock:
            if body["type"] in info_market.types():
                return info_market.answer(self.venue.market, body)
            if body["type"] in info_user.types():
                return info_user.answer(self.venue, body)
        raise SchemaError(f"no type {body['type']!r}")

    def _answer_exchange(self, body: Json) -> Json:
        return actions.carry_out(self.venue, self.faults, body)

    async def _state(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._describe))

    def _describe(self) -> dict[str, Any]:
        with self.venue.lock:
            self.venue.settle()
            accounts = {
                user: {
                    **info_user.clearinghouse_state(self.venue, account),
                    "openOrders": len(account.state.orders),
                    "fills": len(account.executions),
                }
                for user, account in self.venue.accounts.items()
            }
            return {
                "time": self.venue.settled_ms,
                "seed": self.venue.market.seed,
                "mids": info_market.mids(self.venue.market),
                "accounts": accounts,
                "agents": [asdict(agent) for agent in self.venue.agents.all()],
                "faults": self.faults.waiting(),
            }

    def _control(self, act: Callable[[Any], Any]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            try:
                body = await control_body(request)
                if not isinstance(body, dict):
                    return bad_request("the body must be a JSON object")
                return JSONResponse(await run_in_threadpool(act, body))
            except KeyError as error:
                return bad_request(f"{error.args[0]} is missing or not listed here")
            except (ValueError, TypeError, ArithmeticError, UsageError, OSError) as error:
                return bad_request(str(error))

        return endpoint

    def _fund(self, body: Json) -> Json:
        account = self.venue.fund(read_address(body["user"]), _decimal(body["usdc"]))
        return {"user": account.address, "deposited": str(account.state.deposits_usd)}

    def _price(self, body: Json) -> Json:
        coin = str(body["coin"])
        self.venue.set_price(coin, _decimal(body["mid"]), int(body.get("hold_ms", DEFAULT_HOLD_MS)))
        return {"coin": coin, "mid": str(self.venue.market.mid_px(coin))}

    def _time(self, body: Json) -> Json:
        return {"time": self.venue.advance(int(body["advance_ms"]))}

    def _agent(self, body: Json) -> Json:
        user, agent = read_address(body["user"]), read_address(body["agent"])
        with self.venue.lock:
            now_ms = self.venue.clock.host_ms()
            approved = self.venue.agents.approve(user, agent, str(body.get("name", "")), now_ms)
        return {"agent": approved.address, "user": user, "validUntil": approved.valid_until_ms}

    def _save(self, body: Json) -> Json:
        saved = snapshots.save(self.venue)
        if "path" not in body:
            return json.loads(saved)
        path = Path(str(body["path"]))
        path.write_bytes(saved)
        return {"path": str(path), "bytes": len(saved)}

    def _restore(self, body: Json) -> Json:
        data = Path(str(body["path"])).read_bytes() if "path" in body else json.dumps(body).encode()
        snapshots.restore(self.venue, data)
        return {"accounts": len(self.venue.accounts), "time": self.venue.settled_ms}


async def keep_settling(venue: LoopbackVenue, every_seconds: float = 1.0) -> None:
    """Let the venue live while nobody asks: triggers fire and funding is paid on their own."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every_seconds)
            await run_in_threadpool(venue.settle)


def _response(answer: Answerer, body: object) -> Response:
    try:
        return JSONResponse(answer(body))
    except SchemaError:
        return PlainTextResponse(BAD_SCHEMA, status_code=422)
    except InternalVenueError:
        return JSONResponse(None, status_code=500)


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a number") from error
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number
