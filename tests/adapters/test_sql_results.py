"""The lines of a backtest's results as ``sql`` reads them: all of them, or none."""

from pathlib import Path

import pytest

from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.sql_session import Copies, ask
from wonttrade_dagster.core.errors import StorageError


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "backtest-results.ndjson"
    with Journal(path, sync_every=9) as journal:
        journal.append("backtest", 0, {"symbols": ["BTC"]})
        for number in range(1, 7):
            report = {"outcome": "applied", "reason": "", "account_value_usd": str(10_000 + number)}
            journal.append("cycle", number * 60_000, report)
    return path


def equity(results: Path) -> list[tuple[object, ...]]:
    copies = Copies(results.with_name("market.read.duckdb"), results=results)
    with ask(copies, "SELECT account_value_usd FROM equity ORDER BY time") as answer:
        return list(answer.rows)


def test_every_cycle_is_there(results: Path) -> None:
    assert equity(results) == [(10_001.0,), (10_002.0,), (10_003.0,), (10_004.0,), (10_005.0,), (10_006.0,)]


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"seq":4,"kind":"cyc\x00', b"null"])
def test_a_damaged_line_in_the_middle_refuses_the_query(results: Path, damaged: bytes) -> None:
    lines = results.read_bytes().split(b"\n")
    lines[3] = damaged
    results.write_bytes(b"\n".join(lines))
    with pytest.raises(StorageError, match=r"1 of the lines of .* cannot be read, the first is line 4"):
        equity(results)


def test_a_last_line_that_is_still_written_is_left_out(results: Path) -> None:
    results.write_bytes(results.read_bytes()[:-40])
    assert len(equity(results)) == 5
