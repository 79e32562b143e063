"""Generated days and settings over them, for benchmarks that run whole backtests.

Belongs here: the folder such a backtest needs, and when its calls were made.
Does not belong here: what is measured.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.candles import fill_history
from bench.ground import write_settings
from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.core.shards import DAY_FORMAT, DAY_MS
from wonttrade_dagster.settings import Settings, load_settings

FIRST_DAY = datetime(2025, 6, 1, tzinfo=UTC)
WARM_UP_DAYS = 170
"""1,000 candles of four hours before the first decision."""


def days_of(count: int) -> tuple[str, ...]:
    """The days of the history that are decided on."""
    return tuple((FIRST_DAY + timedelta(days=n)).strftime(DAY_FORMAT) for n in range(count))


def fill_days(settings: Settings, count: int, seed: int) -> None:
    """Candles and funding of these days and of what comes before them."""
    from_ms = int(FIRST_DAY.timestamp()) * 1000
    history = MarketHistory.of(settings.data_dir)
    fill_history(history, from_ms - WARM_UP_DAYS * DAY_MS, from_ms + count * DAY_MS, seed)


def settings_of(folder: Path, urls: Mapping[str, str], **backtest: int) -> Settings:
    """The demo's settings in mode BACKTEST, with other values in ``[backtest]``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = write_settings(folder, urls).path
    text = path.read_text(encoding="utf-8").replace('mode = "TESTNET"', 'mode = "BACKTEST"')
    head, _, _ = text.partition("[backtest]\n")
    lines = [f"{key} = {value}" for key, value in backtest.items()]
    path.write_text("\n".join([f"{head}[backtest]", *lines, ""]), encoding="utf-8")
    return load_settings(path)


def calls_of(folders: Sequence[Path]) -> tuple[int, float]:
    """Calls in the results of these folders, and seconds from the first one sent to the last one answered."""
    sent, received = list[int](), list[int]()
    for folder in folders:
        for line in (folder / RESULTS_NAME).read_text(encoding="utf-8").splitlines():
            reply = json.loads(line)["body"].get("reply")
            if reply is not None:
                sent.append(reply["sent_at_ms"])
                received.append(reply["received_at_ms"])
    return len(sent), (max(received) - min(sent)) / 1000
