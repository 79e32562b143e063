"""The sensor: the next cycle and only that one, within its lead, under a run key that makes it final."""

from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import Loopback

from wonttrade_dagster.defs.automation import cycle_sensor
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.live import SETTINGS_TAG, live_job
from wonttrade_dagster.defs.partitions import cycle_key, cycle_ms_of, next_cycle_ms
from wonttrade_dagster.settings import load_settings

NOON_MS = 1_795_435_200_000
LEAD_SECONDS = 22.0


def tick(now_ms: int, cycle_minutes: int = 5) -> dg.SensorResult:
    job = live_job("testnet", 300)
    sensor = cycle_sensor(job, cycle_minutes, LEAD_SECONDS, "d" * 64, False, lambda: now_ms)
    result = sensor(dg.build_sensor_context())
    assert isinstance(result, dg.SensorResult)
    return result


@given(offset_ms=st.integers(0, 3_600_000), minutes=st.sampled_from([1, 5, 15, 60]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_the_next_cycle_is_requested_and_only_within_the_lead(offset_ms: int, minutes: int) -> None:
    now_ms = NOON_MS + offset_ms
    result = tick(now_ms, minutes)
    away_ms = next_cycle_ms(now_ms, minutes) - now_ms
    assert 0 < away_ms <= minutes * 60_000
    assert len(result.run_requests or []) == (1 if away_ms <= LEAD_SECONDS * 1000 else 0)
    for request in result.run_requests or []:
        assert request.partition_key == request.run_key == cycle_key(now_ms + away_ms)
        assert request.tags == {SETTINGS_TAG: "d" * 64}


def test_every_tick_of_one_lead_asks_for_the_same_run_key() -> None:
    keys = {
        request.run_key
        for second in range(280, 300)
        for request in tick(NOON_MS + second * 1_000).run_requests or []
    }
    assert keys == {cycle_key(NOON_MS + 300_000)}


def test_at_the_boundary_itself_the_cycle_after_it_is_next_and_far_away() -> None:
    result = tick(NOON_MS)
    assert not result.run_requests
    assert result.skip_reason is not None
    assert "300 s away" in str(result.skip_reason.skip_message)


def test_a_tick_that_was_missed_is_not_made_up_for() -> None:
    """The machine slept over 12:05 and wakes at 12:07: nobody trades on the past."""
    assert not tick(NOON_MS + 7 * 60_000).run_requests


def test_cycle_keys_and_times_are_each_others_inverse() -> None:
    assert cycle_key(NOON_MS) == "2026-11-23-12:00"
    assert cycle_ms_of(cycle_key(NOON_MS + 180_000)) == NOON_MS + 180_000


@pytest.mark.parametrize(
    ("in_file", "by_command", "expected"),
    [
        (False, False, dg.DefaultSensorStatus.STOPPED),
        (True, False, dg.DefaultSensorStatus.RUNNING),
        (False, True, dg.DefaultSensorStatus.RUNNING),
    ],
)
def test_the_sensor_runs_by_itself_only_where_somebody_said_so(
    loopback: Loopback, tmp_path: Path, in_file: bool, by_command: bool, expected: dg.DefaultSensorStatus
) -> None:
    config = loopback.config(tmp_path, runtime__autostart=in_file)
    (sensor,) = build_defs(config, autostart=by_command).get_repository_def().sensor_defs
    assert sensor.default_status is expected


def test_the_tag_is_the_digest_of_the_settings_file(loopback: Loopback, tmp_path: Path) -> None:
    config = loopback.config(tmp_path, resilience__start_lead_seconds=59.999)
    (sensor,) = build_defs(config).get_repository_def().sensor_defs
    with dg.DagsterInstance.ephemeral() as instance:
        result = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SensorResult)
    for request in result.run_requests or []:
        assert request.tags[SETTINGS_TAG] == load_settings(config).sha256
    assert result.run_requests
