"""The composition root of the sandbox: market, venue and applications from plain arguments.

Belongs here: which parts are put together, and the account that exists from the start.
Does not belong here: ports and threads (``server``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_ADDRESS,
    SANDBOX_USDC,
)
from wonttrade_dagster.sandbox.clock import VenueClock, host_ms
from wonttrade_dagster.sandbox.market import Market
from wonttrade_dagster.sandbox.model_server import ModelServer
from wonttrade_dagster.sandbox.options import VenueOptions
from wonttrade_dagster.sandbox.replay import CandleReplay, Recording
from wonttrade_dagster.sandbox.signatures import warm_up
from wonttrade_dagster.sandbox.state_file import StateFile
from wonttrade_dagster.sandbox.universe import SPOT_LISTINGS, traded
from wonttrade_dagster.sandbox.venue import LoopbackVenue
from wonttrade_dagster.sandbox.venue_app import VenueApp, keep_settling
from wonttrade_dagster.sandbox.walk import BarSource, RandomWalk


def make_venue(
    seed: int,
    clock_ms: Callable[[], int] | None = None,
    replay: Mapping[str, Recording] | None = None,
    options: VenueOptions | None = None,
) -> LoopbackVenue:
    """A venue with the sandbox's own account, funded, and its agent, approved."""
    clock = VenueClock(clock_ms or host_ms)
    source: BarSource = RandomWalk(seed, (*traded(), *SPOT_LISTINGS))
    if replay:
        source = CandleReplay(replay, clock.now_ms(), source)
    venue = LoopbackVenue(Market(source, seed, clock.now_ms), clock, options=options)
    venue.fund(SANDBOX_ACCOUNT_ADDRESS, SANDBOX_USDC)
    venue.agents.approve(SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_ADDRESS, "", clock.host_ms())
    return venue


def venue_app(venue: LoopbackVenue, state_path: Path | None = None) -> Starlette:
    """The venue's application; the venue lives on while nobody asks.

    Raises ``UsageError`` when there is a state file that is none of this venue.
    """
    state = StateFile(venue, state_path)
    app = VenueApp(venue, state).app()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        background = [
            asyncio.create_task(keep_settling(venue, state)),
            asyncio.create_task(run_in_threadpool(warm_up)),
        ]
        yield
        for task in background:
            task.cancel()
        state.write()

    app.router.lifespan_context = lifespan
    return app


def model_app(latency_ms: int = 0) -> Starlette:
    """The model server's application, answering by the fixed rule."""
    return ModelServer(latency_ms=latency_ms).app()
