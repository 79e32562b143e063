"""Asset checks of the history on broken and on real data, and the schedule that fills it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from loopback import DAY_MS, MINUTE_MS, Loopback, SetBackClock, instance_of, wave

from wonttrade_dagster.adapters.history import HOUR_MS, MarketHistory
from wonttrade_dagster.adapters.history_audit import disagreeing_bars, old_series
from wonttrade_dagster.adapters.history_files import import_files
from wonttrade_dagster.core.candles import aggregate_candles
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.history import JOB_NAME, SCHEDULE_NAME, SCHEDULED_DAYS
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000  # 2025-06-01
STEP_MS = 5 * MINUTE_MS
CLEAN = {
    "candles_complete",
    "no_future_candle",
    "prices_in_order",
    "symbols_present",
    "funding_complete",
    "funding_in_range",
}


def run_checks(config: Path) -> Mapping[str, tuple[bool, list[dict[str, str]]]]:
    """Name → whether it passed, and its rows, as a run of the real definitions says."""
    definitions = build_defs(config)
    keys = [
        key
        for key in definitions.resolve_asset_graph().asset_check_keys
        if key.asset_key.path[0] == "history"
    ]
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*keys))
    whole = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    result = whole.resolve_job_def("checks").execute_in_process(raise_on_error=True)
    found: dict[str, Any] = {}
    for one in result.get_asset_check_evaluations():
        rows = one.metadata["rows"].value
        found[one.check_name] = (one.passed, [dict(record.data) for record in rows.records])
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    from loopback import write_config

    return write_config(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9/v1")


def history_of(config: Path) -> MarketHistory:
    return MarketHistory.of(load_settings(config).data_dir)


def test_the_real_data_offends_in_the_two_known_hours_and_in_its_age_only(
    config: Path, market_data: Path
) -> None:
    import_files(history_of(config), sorted(market_data.glob("*.parquet")))
    found = run_checks(config)
    assert {name for name, (passed, _) in found.items() if passed} == CLEAN
    _, rows = found["longer_candles_agree"]
    assert {row["open time"] for row in rows} == {"2025-04-20 10:00", "2025-06-08 10:00"}
    assert {row["symbol"] for row in found["candles_recent"][1]} == {"BTC", "ETH"}


def test_every_kind_of_damage_is_found_by_its_check_with_the_row(config: Path) -> None:
    history = history_of(config)
    candles = wave(100.0, FIRST_MS, FIRST_MS + DAY_MS, STEP_MS)
    row = pl.int_range(pl.len())
    odd = candles.with_columns(
        open=pl.when(row == 40).then(1.0).otherwise(pl.col("open")),
    ).filter(~row.is_in([7, 8]))
    history.add_candles("BTC", "5m", odd, "test")
    hours = aggregate_candles(candles, "1h", "5m")
    louder = pl.when(row == 5).then(1.0).otherwise(0.0)
    history.add_candles("BTC", "1h", hours.with_columns(volume=pl.col("volume") + louder), "test")
    future_ms = int(datetime.now(UTC).timestamp() * 1000) // STEP_MS * STEP_MS
    history.add_candles("SOL", "5m", wave(9.0, future_ms, future_ms + STEP_MS, STEP_MS), "test")
    rates = pl.DataFrame({"time_ms": [FIRST_MS, FIRST_MS + 3 * 60 * MINUTE_MS], "rate_hourly": [0.5, 0.0]})
    history.add_funding("BTC", rates, "test")
    found = run_checks(config)
    assert not any(passed for passed, _ in found.values())
    (gap,) = found["candles_complete"][1]
    assert (gap["first missing"], gap["count"]) == ("2025-06-01 00:35", "2")
    assert found["prices_in_order"][1][0]["open time"] == "2025-06-01 03:20"
    assert [(r["symbol"], r["interval"]) for r in found["no_future_candle"][1]] == [("SOL", "5m")]
    assert {r["open time"] for r in found["longer_candles_agree"][1]} == {"2025-06-01 05:00"}
    assert [(r["symbol"], r["interval"]) for r in found["symbols_present"][1]] == [
        ("ETH", "5m"),
        ("ETH", "4h"),
    ]
    assert found["funding_complete"][1][0]["count"] == "2"
    assert found["funding_in_range"][1][0]["rate"] == "0.5"
    assert [(r["symbol"], r["interval"]) for r in found["candles_recent"][1]] == [
        ("BTC", "5m"),
        ("BTC", "4h"),
    ]


def test_each_interval_is_as_old_as_its_own_candles(tmp_path: Path) -> None:
    """Fresh 4h candles hid 5m ones of a month ago, and the newest daily one counted as old."""
    history, now_ms = MarketHistory.of(tmp_path), FIRST_MS + 13 * HOUR_MS
    newest_4h_ms = FIRST_MS + 8 * HOUR_MS
    history.add_candles("BTC", "4h", wave(9.0, FIRST_MS, newest_4h_ms + 1, 4 * HOUR_MS), "test")
    old_ms = FIRST_MS - 30 * DAY_MS
    history.add_candles("BTC", "5m", wave(9.0, old_ms, old_ms + DAY_MS, STEP_MS), "test")
    history.add_candles("ETH", "1d", wave(9.0, FIRST_MS - 9 * DAY_MS, FIRST_MS, DAY_MS), "test")
    assert old_series(history, ["BTC"], ["5m", "4h"], now_ms) == [("BTC", "5m", "2025-05-03 00:00")]
    assert old_series(history, ["ETH"], ["1d"], now_ms) == []
    assert old_series(history, ["ETH"], ["1d"], now_ms + 2 * DAY_MS) == [("ETH", "1d", "2025-06-01 00:00")]


def test_a_longer_candle_is_judged_by_the_finest_ones_that_make_it_up(tmp_path: Path) -> None:
    """A single 5m candle elsewhere kept 15m and 1h ones from being compared at all."""
    history = MarketHistory.of(tmp_path)
    history.add_candles("BTC", "5m", wave(9.0, FIRST_MS, FIRST_MS + HOUR_MS, STEP_MS), "test")
    quarters = wave(9.0, FIRST_MS, FIRST_MS + 2 * HOUR_MS, 15 * MINUTE_MS)
    five = history.candles("BTC", "5m")
    sound = pl.concat([aggregate_candles(five, "15m", "5m"), quarters[4:]])
    history.add_candles("BTC", "15m", sound, "test")
    hours = aggregate_candles(sound, "1h", "15m")
    wrong = pl.when(pl.int_range(pl.len()) == 1).then(5.0).otherwise(0.0)
    history.add_candles("BTC", "1h", hours.with_columns(volume=pl.col("volume") + wrong), "test")
    assert [row[:5] for row in disagreeing_bars(history)] == [
        ("BTC", "1h", "2025-06-01 01:00", "15m", "volume")
    ]


def test_candles_without_any_funding_fail_the_funding_check(config: Path) -> None:
    history_of(config).add_candles("BTC", "5m", wave(9.0, FIRST_MS, FIRST_MS + DAY_MS, STEP_MS), "test")
    passed, rows = run_checks(config)["funding_complete"]
    assert not passed
    assert [(row["symbol"], row["first missing"], row["count"]) for row in rows] == [
        ("BTC", "2025-06-01 00:00", "24")
    ]


def test_an_empty_history_lacks_its_symbols_and_nothing_else(config: Path) -> None:
    found = run_checks(config)
    assert {name for name, (passed, _) in found.items() if not passed} == {"symbols_present"}
    assert len(found["symbols_present"][1]) == 4


# --- the schedule ----------------------------------------------------------------------------------


def test_the_schedule_fills_what_the_last_days_lack_in_one_run(clock: SetBackClock, tmp_path: Path) -> None:
    """The request as Dagster would get it, and the run it asks for, against the loopback venue."""
    with Loopback.serving(clock) as loopback:
        config = loopback.config(tmp_path)
        definitions, now = build_defs(config), datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        schedule = definitions.get_repository_def().get_schedule_def(SCHEDULE_NAME)
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED

        def request() -> dg.RunRequest:
            with instance_of(load_settings(config)) as instance:
                made = definitions.get_repository_def().get_top_level_resources()
                read = {name: made[name] for name in ("settings", "history")}
                context = dg.build_schedule_context(instance, now, resources=read)
                (asked,) = schedule.evaluate_tick(context).run_requests
                return asked

        asked = request()
        first = asked.tags["dagster/asset_partition_range_start"]
        assert first == (now - timedelta(days=SCHEDULED_DAYS - 1)).strftime("%Y-%m-%d")
        with instance_of(load_settings(config)) as instance:
            result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
                instance=instance, tags=dict(asked.tags)
            )
        assert result.success
        history = history_of(config)
        assert history.candles("BTC", "5m").height >= (SCHEDULED_DAYS - 1) * 288  # today may have none yet
        assert history.open_interest("ETH").height == 1
        assert request().tags["dagster/asset_partition_range_start"] == now.strftime("%Y-%m-%d")
