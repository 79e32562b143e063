"""The venue's stream from settings: the part that hears it, and the part that reads what was heard.

Belongs here: constructor calls. Does not belong here: Dagster, decisions, loops; the other parts
(``defs.compose``).
"""

import random
from pathlib import Path

from wonttrade_dagster.adapters.hyperliquid.stream import MarketStream, StreamPlan
from wonttrade_dagster.adapters.hyperliquid.stream_files import StreamIdentity
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamWindows
from wonttrade_dagster.core.ports import Clock
from wonttrade_dagster.settings import Settings


def stream_plan(settings: Settings) -> StreamPlan:
    """What the stream hears."""
    symbols = settings.symbols
    identity = StreamIdentity(
        base_url=settings.venue_url,
        symbols=symbols.tracked,
        intervals=(symbols.intraday_interval, symbols.long_interval),
        history_bars=symbols.history_bars,
    )
    return StreamPlan(identity, settings.credentials.account_address, settings.hyperliquid.timeout_seconds)


def market_stream(settings: Settings, clock: Clock) -> MarketStream:
    """The stream that ``wonttrade up`` runs. Raises ``OSError`` for a record that cannot be read."""
    return MarketStream(stream_plan(settings), _stream_dir(settings), clock, random.random)


def stream_windows(settings: Settings, clock: Clock) -> StreamWindows:
    """What that stream has published."""
    return StreamWindows(_stream_dir(settings), stream_plan(settings).identity, clock)


def _stream_dir(settings: Settings) -> Path:
    return settings.data_dir / "stream" / settings.hyperliquid.network
