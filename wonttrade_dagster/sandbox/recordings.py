"""Recorded candles out of files, for a market that replays a real day.

Belongs here: which files make a recording. Does not belong here: reading columns
(``adapters.history_files``), replaying (``replay``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.history_files import CandleFile, read_history_file
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.sandbox.universe import SPOT_LISTINGS, traded


def read_recordings(paths: Sequence[Path]) -> Mapping[str, pl.DataFrame]:
    """Candles by coin from Parquet or CSV files; of several series of a coin the finest, the rest is derived.

    Raises:
        UsageError: a file holds funding, or a coin that is not listed here.
        HistoryError: a file is wrong: the file, the row, the column and the remedy.
    """
    finest: dict[str, tuple[int, pl.DataFrame]] = {}
    for path in paths:
        found = read_history_file(path)
        if not isinstance(found, CandleFile):
            raise UsageError(f"{path} holds funding: the sandbox replays candles and draws funding itself")
        for series in found.series:
            starts = series.frame["open_time_ms"].head(2).to_list()
            step_ms = starts[-1] - starts[0]
            if series.symbol not in finest or step_ms < finest[series.symbol][0]:
                finest[series.symbol] = (step_ms, series.frame)
    listed = {listing.coin for listing in (*traded(), *SPOT_LISTINGS)}
    unknown = sorted(finest.keys() - listed)
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not listed here: {', '.join(sorted(listed))} are")
    return {symbol: frame for symbol, (_, frame) in finest.items()}
