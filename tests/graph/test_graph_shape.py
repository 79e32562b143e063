"""The graph as a newcomer sees it: what exists, what reads what, and that it says nothing secret."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from loopback import CANARIES, spellings, write_config

from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.stages import stage_key

VENUE, MODEL = "http://127.0.0.1:8600", "http://127.0.0.1:8601/v1"
STAGES = {
    "account_snapshots",
    "cycle_reports",
    "decisions",
    "execution_plans",
    "executions",
    "indicators",
    "llm_contexts",
    "market_snapshots",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("graph"), VENUE, MODEL)


@pytest.fixture(scope="module")
def repository(config: Path) -> dg.RepositoryDefinition:
    return build_defs(config).get_repository_def()


def repository_of(folder: Path, mode: str) -> dg.RepositoryDefinition:
    changes = {"runtime.mode": mode}
    return build_defs(write_config(folder, VENUE, MODEL, changes)).get_repository_def()


def names(keys: object) -> set[str]:
    return {key.to_user_string() for key in keys}


# --- edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", Stage)
def test_the_live_family_has_the_edges_of_the_cycle(
    repository: dg.RepositoryDefinition, stage: Stage
) -> None:
    node = repository.asset_graph.get(stage_key("testnet", stage))
    cycle_before = {node.key} if stage is Stage.DECISIONS else set()
    assert node.parent_keys == {stage_key("testnet", s) for s in EDGES[stage]} | cycle_before


@pytest.mark.parametrize("stage", Stage)
def test_the_backtest_family_has_the_edges_of_the_cycle_and_rests_on_history(
    repository: dg.RepositoryDefinition, stage: Stage
) -> None:
    node = repository.asset_graph.get(stage_key("backtest", stage))
    past = {dg.AssetKey(["history", name]) for name in ("candles", "funding_rates")}
    fed = past if stage is Stage.MARKET_SNAPSHOTS else set()
    assert node.parent_keys == {stage_key("backtest", s) for s in EDGES[stage]} | fed


def test_the_families_share_no_edge_so_a_backtest_never_touches_a_live_record(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        families = {parent.path[0] for parent in graph.get(key).parent_keys}
        allowed = {"testnet": {"testnet"}, "backtest": {"backtest", "history"}, "history": set()}
        assert families <= allowed[key.path[0]], key


# --- the snapshot ----------------------------------------------------------------------------------


def test_the_assets_are_two_families_and_their_history(repository: dg.RepositoryDefinition) -> None:
    history = {"history/candles", "history/funding_rates", "history/open_interest"}
    families = {f"{family}/{stage}" for family in ("testnet", "backtest") for stage in STAGES}
    assert names(repository.asset_graph.get_all_asset_keys()) == families | history


def test_every_asset_stands_in_the_group_of_its_family_with_owner_kind_and_description(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name == key.path[0]
        assert node.owners == ["team:wonttrade"]
        assert node.kinds, key
        assert node.description, key


def test_checks_jobs_and_the_sensor_are_these(repository: dg.RepositoryDefinition) -> None:
    assert names(repository.asset_graph.asset_check_keys) == {
        "history/candles:candles_complete",
        "history/candles:candles_recent",
        "history/candles:longer_candles_agree",
        "history/candles:no_future_candle",
        "history/candles:prices_in_order",
        "history/candles:symbols_present",
        "history/funding_rates:funding_complete",
        "history/funding_rates:funding_in_range",
        "testnet/cycle_reports:market_plausible",
        "testnet/cycle_reports:positions_protected",
    }
    assert set(repository.job_names) == {"__ASSET_JOB", "trade_cycle", "backtest_days", "sync_history"}
    assert [sensor.name for sensor in repository.sensor_defs] == ["next_cycle"]
    assert [schedule.name for schedule in repository.schedule_defs] == ["sync_history_hourly"]


@pytest.mark.parametrize("autostart", [True, False])
def test_the_schedule_of_the_history_runs_by_itself_only_where_the_sensor_does(
    config: Path, autostart: bool
) -> None:
    made = build_defs(config, autostart=autostart).get_repository_def()
    (schedule,), (sensor,) = made.schedule_defs, made.sensor_defs
    assert (schedule.default_status.value, sensor.default_status.value) == (
        ("RUNNING", "RUNNING") if autostart else ("STOPPED", "STOPPED")
    )


def test_a_range_of_a_backtest_or_of_history_is_one_run(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        if key.path[0] != "testnet":
            assert graph.get(key).backfill_policy == dg.BackfillPolicy.single_run(), key


def test_the_looped_stages_can_be_named_one_by_one_as_the_ui_does(
    repository: dg.RepositoryDefinition,
) -> None:
    loop = repository.assets_defs_by_key[stage_key("backtest", Stage.DECISIONS)]
    assert loop.can_subset
    assert {key.path[-1] for key in loop.keys} == STAGES - {"market_snapshots", "indicators"}


def test_days_and_cycles_are_the_partitions(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    cycles = graph.get(stage_key("testnet", Stage.DECISIONS)).partitions_def
    days = graph.get(stage_key("backtest", Stage.DECISIONS)).partitions_def
    assert isinstance(cycles, dg.TimeWindowPartitionsDefinition)
    assert isinstance(days, dg.DailyPartitionsDefinition)
    assert (cycles.cron_schedule, cycles.fmt, cycles.end_offset, cycles.timezone) == (
        "*/1 * * * *",
        "%Y-%m-%d-%H:%M",
        2,
        "UTC",
    )
    assert (days.fmt, days.timezone) == ("%Y-%m-%d", "UTC")
    assert graph.get(dg.AssetKey(["history", "candles"])).partitions_def == days


def test_the_live_job_gives_up_before_the_next_cycle_and_is_not_retried(
    repository: dg.RepositoryDefinition,
) -> None:
    tags = repository.get_job("trade_cycle").tags
    assert int(tags["dagster/max_runtime"]) <= 60 + 22
    assert tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize(
    ("mode", "families", "sensors"),
    [("TESTNET", {"testnet", "backtest", "history"}, 1), ("BACKTEST", {"backtest", "history"}, 0)],
)
def test_the_mode_decides_which_families_exist(
    tmp_path: Path, mode: str, families: set[str], sensors: int
) -> None:
    repository = repository_of(tmp_path, mode)
    keys = repository.asset_graph.get_all_asset_keys()
    assert {key.path[0] for key in keys} == families
    assert len(repository.sensor_defs) == sensors


# --- secrets ---------------------------------------------------------------------------------------


def test_no_secret_stands_in_what_the_ui_is_shown(repository: dg.RepositoryDefinition) -> None:
    shown = serialize_value(RepositorySnap.from_def(repository)).encode()
    assert b"next_cycle" in shown, "this is the snapshot"
    assert not [needle for canary in CANARIES for needle in spellings(canary) if needle in shown]


def test_the_only_resource_field_is_the_path_of_the_settings(
    repository: dg.RepositoryDefinition, config: Path
) -> None:
    resources = repository.get_top_level_resources()
    assert set(resources) == {"settings", "executor", "live_cycle", "history", "venue_history"}
    for name, resource in resources.items():
        fields = set(resource.config_schema.config_type.fields)
        assert fields <= {"config_path"}, name
