"""The venue's HTTP face: ``/info``, ``/exchange``, ``/ws`` and ``/sandbox/…`` on one port (protocol §13).

Belongs here: status codes, content types, faults on requests. Does not belong here: any answer's content.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox import actions, info_market, info_user, mishaps, script, snapshots
from wonttrade_dagster.sandbox.about import About, AnyCoin
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.control import (
    Endpoint,
    bad_request,
    control_body,
    faults_endpoint,
    read_decimal,
)
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_address
from wonttrade_dagster.sandbox.faults import TRANSPORT_KINDS, Fault, FaultList, act_out, needs_answer
from wonttrade_dagster.sandbox.info_market import InternalVenueError
from wonttrade_dagster.sandbox.limits import IpMeter, answer_weight, request_weight
from wonttrade_dagster.sandbox.market import DEFAULT_HOLD_MS
from wonttrade_dagster.sandbox.order_groups import ORDER_KINDS
from wonttrade_dagster.sandbox.state_file import StateFile
from wonttrade_dagster.sandbox.stream import WS_KINDS, Connection
from wonttrade_dagster.sandbox.venue import LoopbackVenue

NOT_JSON = "Failed to parse the request body as JSON"
BAD_SCHEMA = "Failed to deserialize the JSON body into the target type"
BAD_TYPE = "Expected request with `Content-Type: application/json`"


class VenueApp:
    """The ASGI application of one loopback venue.

    Args:
        venue: the venue.
        state: where it is kept; nowhere by default.
    """

    def __init__(self, venue: LoopbackVenue, state: StateFile | None = None) -> None:
        self.venue = venue
        self.faults = FaultList(
            TRANSPORT_KINDS | ORDER_KINDS | WS_KINDS | mishaps.ANSWER_KINDS | mishaps.MARKET_KINDS
        )
        self.meter = IpMeter(venue.options)
        self.state = state or StateFile(venue, None)

    def app(self) -> Starlette:
        """All routes."""
        controls: dict[str, Callable[[Any], Any]] = {
            "fund": self._fund,
            "price": self._price,
            "script": self._script,
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
        return await self._serve(request, "info")

    async def _exchange(self, request: Request) -> Response:
        return await self._serve(request, "exchange")

    async def _stream(self, websocket: WebSocket) -> None:
        await Connection(self.venue, self.faults, self.respond, websocket).serve()

    async def _serve(self, request: Request, path: str) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return PlainTextResponse(BAD_TYPE, status_code=415)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse(NOT_JSON, status_code=400)
        address = request.client.host if request.client else ""
        now_ms = self.venue.clock.host_ms()
        if not self.meter.admits(address, request_weight(path, body), now_ms):
            return JSONResponse(None, status_code=429)
        fault = await run_in_threadpool(self._transport_fault, path, body) if self.faults.waiting() else None
        if fault is not None and not needs_answer(fault):
            return await act_out(fault, request.scope, Response())
        answer = await run_in_threadpool(self.respond, path, body)
        self.meter.add(address, answer_weight(body, answer.content), now_ms)
        response = answer.response()
        return response if fault is None else await act_out(fault, request.scope, response)

    def _transport_fault(self, path: str, body: Json) -> Fault | None:
        return self.faults.take(path, _type_of(path, body), TRANSPORT_KINDS, About(self.venue, body))

    def respond(self, path: str, body: Json) -> "Answer":
        """What the venue says to a request, and what befalls answer and market by the way."""
        kind, about = _type_of(path, body), About(self.venue, body)
        try:
            content = self._answer_info(body) if path == "info" else self._answer_exchange(body)
        except SchemaError:
            return Answer(BAD_SCHEMA, 422)
        except InternalVenueError:
            return Answer(None, 500)
        finally:
            if path == "exchange":
                self.venue.revision += 1
                self.state.write()
        if path == "info":
            fault = self.faults.take(path, kind, mishaps.answer_kinds(kind), about)
            if fault is not None:
                content = mishaps.distort(fault, content, self.venue.market.now_ms())
        self._let_happen(path, kind, about)
        return Answer(content)

    def _let_happen(self, path: str, kind: str, about: About) -> None:
        fault = self.faults.take(
            path,
            kind,
            mishaps.MARKET_KINDS,
            AnyCoin(about),
            accept=lambda fault: mishaps.can_happen(self.venue, fault),
        )
        if fault is not None:
            mishaps.happen(self.venue, fault)
            self.state.write()

    def _answer_info(self, body: Json) -> Json:
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise SchemaError("type is missing")
        if body.get("dex") and body["type"] in info_market.OF_ONE_DEX:
            raise InternalVenueError(f"there is no dex {body['dex']!r}")
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
                answer = await run_in_threadpool(act, body)
                self.venue.revision += 1
                await run_in_threadpool(self.state.write)
                return JSONResponse(answer)
            except KeyError as error:
                return bad_request(f"{error.args[0]} is missing or not listed here")
            except (ValueError, TypeError, ArithmeticError, UsageError, OSError) as error:
                return bad_request(str(error))

        return endpoint

    def _fund(self, body: Json) -> Json:
        account = self.venue.fund(read_address(body["user"]), read_decimal(body["usdc"]))
        return {"user": account.address, "deposited": str(account.state.deposits_usd)}

    def _price(self, body: Json) -> Json:
        coin = str(body["coin"])
        self.venue.set_price(coin, read_decimal(body["mid"]), int(body.get("hold_ms", DEFAULT_HOLD_MS)))
        return {"coin": coin, "mid": str(self.venue.market.mid_px(coin))}

    def _script(self, body: Json) -> Json:
        return {"moves": script.play(self.venue, body.get("moves"))}

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


async def keep_settling(venue: LoopbackVenue, state: StateFile, every_seconds: float = 1.0) -> None:
    """Let the venue live while nobody asks: triggers fire and funding is paid on their own."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every_seconds)
            await run_in_threadpool(venue.settle)
            await run_in_threadpool(state.write)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and what it says: JSON, or the venue's plain text for what is no request."""

    content: Json
    status: int = 200

    def response(self) -> Response:
        """As HTTP."""
        if self.status == 422:
            return PlainTextResponse(self.content, status_code=self.status)
        return JSONResponse(self.content, status_code=self.status)


def _type_of(path: str, body: Json) -> str:
    inner = body.get("action") if path == "exchange" and isinstance(body, dict) else body
    return str(inner.get("type")) if isinstance(inner, dict) else ""
