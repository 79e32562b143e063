"""The end of a backtest's account as a line of its results, and back.

Belongs here: the line that follows the last cycle's, and finding it.
Does not belong here: living to the end (``backtest_walk``), its rows (``backtest_results``).

The line is written once the account has lived to the end of the range. Results of an interrupted backtest
have none, nor have those from before accounts lived on after their last decision.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.journal_line import is_of_kind, parsed
from wonttrade_dagster.adapters.ndjson import lines_backwards
from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.codec import decode, jsonable
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.simulation import ExchangeState

END = "end"
"""The kind of the line; its ``cycle_ms`` is the end of the range, at which nobody decides."""


def end_line(end: AccountEnd, exchange: ExchangeState) -> dict[str, Any]:
    """The body of the line: the end, and the simulated account with everything in it."""
    document: dict[str, Any] = jsonable(end)
    return document | {"exchange": jsonable(exchange)}


def stored_end(results: Path) -> AccountEnd | None:
    """The end that stands in a results file; None where the account has not lived so far, or was cut there.

    Raises:
        StorageError: the line is whole and says something else than an end.
    """
    for line in lines_backwards(results):
        if is_of_kind(line, "cycle"):
            return None
        record = parsed(line)
        if record is not None and record.kind == END:
            return _end_of(record.body, results)
    return None


def _end_of(body: Mapping[str, Any], results: Path) -> AccountEnd:
    told = {name: value for name, value in body.items() if name in AccountEnd.__slots__}
    try:
        end: AccountEnd = decode(AccountEnd, json.dumps(told))
    except ValueError as error:
        raise StorageError(
            f"the end in {results} cannot be read: run the backtest from its beginning"
        ) from error
    return end
