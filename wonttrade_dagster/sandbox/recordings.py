"""Recorded candles and funding out of files, for a market that replays a real day.

Belongs here: which files make a recording. Does not belong here: reading columns
(``adapters.history_files``), replaying (``replay``).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.history_files import CandleFile, read_history_file
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.replay import Recording
from wonttrade_dagster.sandbox.universe import SPOT_LISTINGS, traded


def read_recordings(paths: Sequence[Path]) -> Mapping[str, Recording]:
    """Candles and funding by coin from Parquet or CSV files.

    Raises:
        UsageError: a file holds something else, or a coin that is not listed here or has no candles.
        HistoryError: a file is wrong: the file, the row, the column and the remedy.
    """
    candles: dict[str, list[pl.DataFrame]] = {}
    funding: dict[str, pl.DataFrame] = {}
    for path in paths:
        found = read_history_file(path)
        if isinstance(found, CandleFile):
            for series in found.series:
                candles.setdefault(series.symbol, []).append(series.frame)
        elif found.kind == "funding":
            funding |= {series.symbol: series.frame for series in found.series}
        else:
            raise UsageError(f"{path} holds open interest: the sandbox replays candles and funding")
    _refuse_strangers(candles.keys() | funding.keys())
    bare = sorted(funding.keys() - candles.keys())
    if bare:
        raise UsageError(f"there is funding of {', '.join(bare)} and no candles: give both")
    return {
        symbol: Recording(tuple(sorted(frames, key=_step_ms)), funding.get(symbol))
        for symbol, frames in candles.items()
    }


def _refuse_strangers(symbols: Iterable[str]) -> None:
    listed = {listing.coin for listing in (*traded(), *SPOT_LISTINGS)}
    unknown = sorted(set(symbols) - listed)
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not listed here: {', '.join(sorted(listed))} are")


def _step_ms(frame: pl.DataFrame) -> int:
    starts = frame["open_time_ms"].head(2).to_list()
    return int(starts[-1] - starts[0])
