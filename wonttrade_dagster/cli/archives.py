"""Which stored cycles a command means: those of the live ledger, or those of a backtest.

Belongs here: opening an archive from the settings. Does not belong here: what is read from it.
"""

from collections.abc import Mapping
from typing import Any

from wonttrade_dagster.adapters.archive import CycleArchive, LiveArchive
from wonttrade_dagster.adapters.backtest_archive import BacktestArchive
from wonttrade_dagster.adapters.backtest_results import backtest_folder
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import AssetSpec, RuntimeMode
from wonttrade_dagster.settings import Settings


def open_archive(settings: Settings, backtest_id: str | None) -> CycleArchive:
    """The live ledger's cycles, or those of a backtest.

    Raises:
        UsageError: there is no such backtest, or these settings trade nothing.
    """
    from wonttrade_dagster.defs.backtest_run import replay_again  # noqa: PLC0415 (every part, a second of imports)
    from wonttrade_dagster.defs.compose import journal, ledger, market_history  # noqa: PLC0415 (every part)

    if backtest_id is not None:

        def rebuild(facts: Mapping[str, Any], assets: Mapping[str, AssetSpec]) -> BacktestReplayProvider:
            return replay_again(market_history(settings), facts, assets)

        return BacktestArchive(backtest_folder(settings.data_dir, backtest_id), rebuild)
    if settings.runtime.mode is RuntimeMode.BACKTEST:
        raise UsageError(
            "these settings trade nothing (runtime.mode is BACKTEST): name a backtest by --backtest"
        )
    audit = journal(settings)
    store = ledger(settings, audit)
    return LiveArchive(store.path, store.spool.folder, audit, settings.resilience.ledger_lock_seconds)
