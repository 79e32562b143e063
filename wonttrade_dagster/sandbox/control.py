"""``/sandbox/…``: what a script does to the loopback servers, as JSON over HTTP.

Belongs here: the control endpoints. Does not belong here: what the venue does then.
"""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.faults import FaultList

Endpoint = Callable[[Request], Awaitable[Response]]


def read_decimal(value: object) -> Decimal:
    """A finite number, given as a JSON number or as text. Raises ``ValueError``."""
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a number") from error
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


def bad_request(message: str) -> JSONResponse:
    """HTTP 400 with one sentence."""
    return JSONResponse({"error": message}, status_code=400)


async def control_body(request: Request) -> Json:
    """The request's JSON, an empty object without a body. Raises ``ValueError``."""
    raw = await request.body()
    return json.loads(raw) if raw else {}


def faults_endpoint(faults: FaultList) -> Endpoint:
    """``POST`` queues faults (an empty list clears), ``DELETE`` clears, ``GET`` shows what waits."""

    async def endpoint(request: Request) -> Response:
        try:
            rows = await control_body(request) if request.method == "POST" else None
            if request.method == "DELETE" or rows == []:
                faults.clear()
            elif rows is not None:
                faults.add(rows)
        except ValueError as error:
            return bad_request(str(error))
        return JSONResponse({"faults": faults.waiting()})

    return endpoint
