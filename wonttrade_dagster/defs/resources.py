"""Resources: each returns a plain domain object, made in the process that uses it.

Belongs here: thin shells over ``defs.compose``. Does not belong here: logic. The only field is the path of
the settings file: a literal in a resource field is stored in the definitions snapshot and shown in the UI.
See https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.defs.compose import (
    Executors,
    compose_live_cycle,
    market_history,
    venue_history,
)
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.settings import Settings, load_settings


class SettingsResource(dg.ConfigurableResource[Settings]):
    """The settings, read again by each run: a run compares their digest with the sensor's."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> Settings:
        """Read the file."""
        del context
        return load_settings(Path(self.config_path))


class ExecutorResource(dg.ConfigurableResource[Executors]):
    """Who carries out a plan: the ``ExecutionService`` live, the ``SimulatedExecutor`` in a backtest."""

    def create_resource(self, context: dg.InitResourceContext) -> Executors:
        """The factory of both; each family asks for its own."""
        del context
        return Executors()


class LiveCycleResource(dg.ConfigurableResource[LiveCycle]):
    """The parts of the cycle, alive for one run and holding the account's lease until it ends."""

    config_path: str
    executor: dg.ResourceDependency[Executors]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[LiveCycle]:
        """Made before the cycle's minute: connecting and importing costs seconds."""
        del context
        cycle = compose_live_cycle(load_settings(Path(self.config_path)), self.executor)
        try:
            yield cycle
        finally:
            cycle.lease.release()


class HistoryResource(dg.ConfigurableResource[MarketHistory]):
    """Stored candles and funding."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> MarketHistory:
        """Nothing is opened until a method is called."""
        del context
        return market_history(load_settings(Path(self.config_path)))


class VenueHistoryResource(dg.ConfigurableResource[VenueHistory]):
    """The venue's stored candles and funding."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> VenueHistory:
        """Nothing is asked until a method is called."""
        del context
        return venue_history(load_settings(Path(self.config_path)))
