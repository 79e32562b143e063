"""The canary secrets of the settings are in no file below the data directory and the Dagster home."""

import base64
from pathlib import Path

import pytest
from loopback import (
    CANARIES,
    CANARY_API_KEY,
    CANARY_KEY,
    Loopback,
    SetBackClock,
    generated_history,
    leaks,
    spellings,
    trade,
)

from wonttrade_dagster.cli.app import run
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000
ECHO = f"your key is {CANARY_API_KEY} and you sign with {CANARY_KEY} ({CANARY_KEY[2:].upper()})"


def test_every_spelling_of_a_canary_is_looked_for() -> None:
    raw = bytes.fromhex(CANARY_KEY[2:])
    assert {CANARY_KEY.encode(), CANARY_KEY[2:].encode(), raw, base64.b64encode(raw)} <= spellings(CANARY_KEY)
    assert base64.b64encode(CANARY_API_KEY.encode()).rstrip(b"=") in spellings(CANARY_API_KEY)


def test_a_leak_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "runs.db").write_bytes(b"\0\1" + CANARY_API_KEY.encode() + b"\2")
    assert leaks(tmp_path) == ["deep/runs.db"]


@pytest.mark.e2e
def test_no_secret_is_written_by_cycles_and_backtests_that_succeed_or_fail(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = loopback.config(tmp_path)
    generated_history(load_settings(config), FIRST_MS, 1)
    assert trade(config, clock.next_minute()).success
    loopback.model("faults", [{"kind": "reply", "text": ECHO}])
    assert trade(config, clock.next_minute()).success, "a server that repeats the key is refused, not obeyed"
    loopback.model("faults", [{"kind": "500", "times": 50}])
    assert trade(config, clock.next_minute()).success
    loopback.model("faults", [])
    loopback.refuse_requests()
    assert trade(config, clock.next_minute()).success
    loopback.venue("faults", [])
    assert not trade(config, clock.cycle_ms).success, "the same cycle again"
    assert not trade(config, clock.next_minute(), {"wonttrade/settings_sha256": "0" * 64}).success

    loopback.model("faults", [{"kind": "reply", "text": ECHO, "times": 2}])
    day = ["--from", "2025-06-01", "--to", "2025-06-01", "--config", str(config)]
    assert run(["backtest", *day, "--cycle-minutes", "240"]) == 0
    assert run(["backtest", *day, "--prompt", "trader/v99"]) == 2
    assert run(["check", "--config", str(config)]) == 0
    assert run(["status", "--config", str(config)]) == 0

    output = "".join(capfd.readouterr()).encode()
    assert not [needle for canary in CANARIES for needle in spellings(canary) if needle in output]
    assert leaks(tmp_path) == []
    written = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert {".db", ".duckdb", ".ndjson", ".html", ".json", ".prom"} <= written, (
        "there was something to search"
    )
