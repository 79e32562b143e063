"""Telemetry: log, heartbeat and metrics; never a secret, never NaN, never in the way."""

import errno
import io
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cycle_samples import at, fill, position, refused_report, report, stop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget, Usage
from wonttrade_dagster.adapters.redaction import Redactor
from wonttrade_dagster.adapters.telemetry import Telemetry, unprotected_symbols
from wonttrade_dagster.core.model import Leg, Refusal

PRIVATE_KEY = "0x" + "5e" * 32
UNKNOWN_KEY = "0x" + "7f" * 32
API_KEY = "canary-4711-secret"


def telemetry(folder: Path, clock: FixedClock | None = None) -> Telemetry:
    return Telemetry(
        folder / "logs" / "log.ndjson",
        folder / "heartbeat.json",
        folder / "metrics.prom",
        [PRIVATE_KEY, API_KEY],
        mode="TESTNET",
        clock=clock or FixedClock(5_000),
    )


def log(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    lines = (folder / "logs" / "log.ndjson").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def beat(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "heartbeat.json").read_text())
    return found


def metrics(folder: Path) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families((folder / "metrics.prom").read_text())
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, next(iter(s.labels.values()), "")): s.value for s in samples}


# --- the log ---


def test_an_event_is_one_json_line_with_its_category(tmp_path: Path) -> None:
    told = telemetry(tmp_path)
    told.event("market", "snapshot", cycle_ms=7, px=Decimal("1.50"), path=Path("a"), tags=("x", {"y"}))
    told.event("risk", "stop_missing", symbol="BTC")
    first, second = log(tmp_path)
    assert first.pop("timestamp").endswith("Z")
    stamps = {"category": "market", "event": "snapshot", "cycle_ms": 7}
    assert first == stamps | {"px": "1.50", "path": "a", "tags": ["x", ["y"]]}
    assert (second["category"], second["event"]) == ("risk", "stop_missing")


def test_fields_called_like_a_stamp_do_not_replace_it(tmp_path: Path) -> None:
    telemetry(tmp_path).event("health", "odd", event="mine", timestamp="never")
    (line,) = log(tmp_path)
    assert (line["event"], line["field_event"], line["field_timestamp"]) == ("odd", "mine", "never")


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    telemetry(tmp_path).event("market", "odd", a=math.nan, b=[math.inf, 1.5], c={"d": -math.inf})
    (line,) = log(tmp_path)
    assert (line["a"], line["b"], line["c"]) == (None, [None, 1.5], {"d": None})


def _fails_with(message: str) -> None:
    raise ValueError(message)


def _fails_holding(key: str) -> None:
    local_copy = key
    raise ValueError(f"refused {len(local_copy)}")


def test_a_traceback_shows_no_variables(tmp_path: Path) -> None:
    told = telemetry(tmp_path)
    secret = "unknown-to-the-redactor-1234"
    try:
        _fails_holding(secret)
    except ValueError as error:
        told.event("health", "failed", exc_info=error)
    (line,) = log(tmp_path)
    assert line["exception"][0]["exc_value"] == "refused 28"
    assert secret not in (tmp_path / "logs" / "log.ndjson").read_text()


@dataclass
class _Odd:
    key: str


def test_secrets_are_in_no_file_however_they_are_handed_in(tmp_path: Path) -> None:
    told = telemetry(tmp_path)
    text = f"{PRIVATE_KEY} {PRIVATE_KEY[2:].upper()} {API_KEY} {UNKNOWN_KEY} sk-proj-abcdefgh12345"
    told.event("decision", text, a=text, b=[_Odd(text)], c={text: text.encode()}, d=Refusal("x", text))
    try:
        _fails_with(text)
    except ValueError as error:
        told.event("health", "failed", exc_info=error)
    told.heartbeat("degraded", error=text, alerts=[text], unprotected_symbols=[text])
    told.cycle_finished(refused_report(1, alerts=(text,)), [("BTC", 1.0)])
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file()).lower()
    for secret in ("5e5e5e", "canary", "7f7f7f", "abcdefgh12345"):
        assert secret not in written
    assert written.count("[redacted]") > 20


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text(min_size=8, max_size=30),
    before=st.text(max_size=10),
    after=st.text(max_size=10),
    nested=st.booleans(),
)
def test_no_secret_survives_in_any_text(secret: str, before: str, after: str, nested: bool) -> None:
    text = before + secret + after
    cleaned = Redactor([secret]).value({"a": [text], text: 1} if nested else [text])
    whole = "\0".join(cleaned["a"] + list(cleaned)) if nested else cleaned[0]
    assert secret not in whole.replace("[redacted]", "\1")


def test_a_secret_that_begins_with_another_leaves_no_rest(tmp_path: Path) -> None:
    redactor = Redactor(["canary-one", "canary-one-and-more"])
    assert redactor.text("canary-one-and-more canary-one") == "[redacted] [redacted]"


# --- the heartbeat ---


def test_the_heartbeat_says_what_was_last(tmp_path: Path) -> None:
    telemetry(tmp_path, FixedClock(123)).heartbeat("starting")
    first = beat(tmp_path)
    assert (first["status"], first["mode"]) == ("starting", "TESTNET")
    assert (first["beat_at_ms"], first["cycle_ms"]) == (123, None)


def test_a_symbol_is_unprotected_since_the_first_beat_that_said_so(tmp_path: Path) -> None:
    clock = FixedClock(1_000)
    telemetry(tmp_path, clock).heartbeat("degraded", unprotected_symbols=["BTC"])
    clock.set(2_000)
    telemetry(tmp_path, clock).heartbeat("degraded", unprotected_symbols=["BTC", "ETH"])
    assert beat(tmp_path)["unprotected"] == {"BTC": 1_000, "ETH": 2_000}
    clock.set(3_000)
    telemetry(tmp_path, clock).heartbeat("degraded", unprotected_symbols=["ETH"])
    assert beat(tmp_path)["unprotected"] == {"ETH": 2_000}


@pytest.mark.parametrize("content", ["", "[]", '{"unprotected": 3}', '{"unprotected": {"BTC": "x"}}'])
def test_a_damaged_heartbeat_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "heartbeat.json").write_text(content)
    telemetry(tmp_path, FixedClock(9)).heartbeat("ok", unprotected_symbols=["BTC"])
    assert beat(tmp_path)["unprotected"] == {"BTC": 9}


# --- a finished cycle ---


def test_positions_without_a_stop_are_unprotected() -> None:
    both = (position("BTC"), position("ETH"))
    naked = report(1, positions=both, protection=(stop("BTC"), stop("ETH", Leg.TAKE_PROFIT)))
    assert unprotected_symbols(naked) == ("ETH",)
    assert unprotected_symbols(report(1)) == ()


def test_a_finished_cycle_is_in_all_three_files(tmp_path: Path) -> None:
    naked = report(2, "1001.5", positions=(position(),), alerts=("no stop",), fills=(fill(2),))
    telemetry(tmp_path).cycle_finished(naked, [("BTC", 2.5)])
    assert log(tmp_path)[-1]["outcome"] == "applied"
    assert (beat(tmp_path)["status"], beat(tmp_path)["alerts"]) == ("degraded", ["no stop"])
    assert beat(tmp_path)["unprotected"] == {"BTC": 5_000}
    found = metrics(tmp_path)
    assert found["wonttrade_cycles_total", "applied"] == 1
    assert found["wonttrade_unprotected_seconds_total", "BTC"] == 2.5
    assert found["wonttrade_account_value_usd", ""] == 1001.5
    assert found["wonttrade_last_model_latency_seconds", ""] == 0.8
    assert found["wonttrade_last_cycle_timestamp_seconds", ""] == at(2) / 1000
    assert found["wonttrade_fees_usd_total", ""] == 0.02
    assert found["wonttrade_unprotected_positions", ""] == 1


def test_a_quiet_cycle_is_ok_and_a_refused_one_says_why(tmp_path: Path) -> None:
    told = telemetry(tmp_path)
    told.cycle_finished(report(1))
    assert (beat(tmp_path)["status"], beat(tmp_path)["last_error"]) == ("ok", None)
    told.cycle_finished(refused_report(2))
    assert beat(tmp_path)["last_error"] == "violations: two rules"


_reports = st.lists(
    st.tuples(st.sampled_from(["applied", "refused", "failed"]), st.integers(0, 9)), max_size=6
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports=_reports)
def test_counters_go_on_counting_in_every_new_process(
    tmp_path_factory: pytest.TempPathFactory, reports: list[tuple[Any, int]]
) -> None:
    folder = tmp_path_factory.mktemp("m")
    for cycle, (outcome, planned) in enumerate(reports):
        telemetry(folder).cycle_finished(report(cycle, outcome=outcome, actions_planned=planned))
    found = metrics(folder) if reports else {}
    outcomes = [outcome for outcome, _ in reports]
    assert {k[1]: v for k, v in found.items() if k[0] == "wonttrade_cycles_total"} == {
        outcome: outcomes.count(outcome) for outcome in set(outcomes)
    }
    assert found.get(("wonttrade_actions_planned_total", ""), 0) == sum(planned for _, planned in reports)


def test_a_damaged_metrics_file_starts_the_counting_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.prom").write_bytes(b"wonttrade_cycles_total{outcome= \xff\n")
    telemetry(tmp_path).cycle_finished(report(1))
    assert metrics(tmp_path)["wonttrade_cycles_total", "applied"] == 1


def test_a_standard_error_on_the_same_full_disk_stops_no_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnFullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "logs").write_text("a file where the folder should be")
    monkeypatch.setattr("sys.stderr", OnFullDisk())
    telemetry(tmp_path).event("health", "anything")


def test_a_place_that_cannot_be_written_stops_no_cycle_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("")
    (tmp_path / "metrics.prom").mkdir()
    told = telemetry(tmp_path)
    told.cycle_finished(report(1))
    told.event("health", "again")
    lost = beat(tmp_path)["telemetry_lost"]
    assert [line.split(" could")[0] for line in lost] == ["the log", "the metrics"]
    assert capsys.readouterr().err.count("could not be written") == 2


# --- the request budget ---


def test_a_nearly_used_up_address_is_an_alert_until_it_is_not(tmp_path: Path) -> None:
    low, fine = AddressBudget(9_500, 10_000), AddressBudget(9_500, 100_000)
    telemetry(tmp_path).cycle_finished(report(1), usage=Usage(250, 250, 3, low))
    assert beat(tmp_path)["status"] == "degraded"
    assert "500 are left" in beat(tmp_path)["alerts"][0]
    telemetry(tmp_path).cycle_finished(report(2), usage=Usage(250, 250, 0, None))
    assert beat(tmp_path)["status"] == "degraded"
    telemetry(tmp_path).cycle_finished(report(3), usage=Usage(250, 250, 1, fine))
    assert (beat(tmp_path)["status"], beat(tmp_path)["alerts"]) == ("ok", [])
    assert metrics(tmp_path)["wonttrade_address_actions_cap", ""] == 100_000
