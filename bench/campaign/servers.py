"""``python -m bench.campaign.servers``: the loopback venue and a model that decides at random.

Belongs here: the process that outlives every trading process. Does not belong here: what it is told.

``POST /sandbox/script`` of the model (``{"style", "seed"}``) says how it answers from then on.
"""

import argparse
import json
import socket
import sys
from dataclasses import dataclass

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.campaign.answers import reply_text
from wonttrade_dagster.sandbox.faults import AbortableProtocol
from wonttrade_dagster.sandbox.model_server import ModelServer
from wonttrade_dagster.sandbox.server import HOST, Sandbox


@dataclass(slots=True)
class Script:
    """How the model answers now."""

    style: str = "valid"
    seed: str = "0"

    def answer(self, prompt: str) -> str:
        """The reply to a prompt; the same for the same prompt, however often it is asked."""
        return reply_text(prompt, self.style, self.seed)

    async def endpoint(self, request: Request) -> Response:
        """Take another style and seed."""
        body = await request.json()
        self.style, self.seed = str(body["style"]), str(body["seed"])
        return JSONResponse(body)


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    script = Script()
    app = ModelServer(script.answer).app()
    app.router.routes.append(Route("/sandbox/script", script.endpoint, methods=["POST"]))
    config = uvicorn.Config(app, http=AbortableProtocol, access_log=False, log_level="error")
    with socket.socket() as bound, Sandbox(parser.parse_args().seed) as sandbox:
        bound.bind((HOST, 0))
        urls = {"venue": sandbox.venue_url, "model": f"http://{HOST}:{bound.getsockname()[1]}/v1"}
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[bound])
    return 0


if __name__ == "__main__":
    sys.exit(main())
