"""Plain `dagster dev` in a checkout: with a settings file, without one, and with a broken one."""

import shutil
from pathlib import Path

import pytest
from processes import BIN, ROOT, free_port, graphql, is_up, process, sandbox, settings_file, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

ASSETS = "{ assetNodes { assetKey { path } description } }"
SENSORS = """
{ sensorsOrError(repositorySelector: {repositoryLocationName: "wonttrade",
                                      repositoryName: "__repository__"}) {
    ... on Sensors { results { name sensorState { status } } } } }
"""


def start(folder: Path, port: int) -> "process":
    """Just as a user in the checkout: no DAGSTER_HOME, the files of the working directory."""
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, folder / name)
    command = [str(BIN / "dagster"), "dev", "--port", str(port)]
    return process(command, folder, folder / "dev.log", {"DAGSTER_HOME": ""})


def test_dagster_dev_loads_the_graph_and_leaves_the_sensor_stopped(tmp_path: Path) -> None:
    with sandbox(tmp_path) as urls:
        settings_file(tmp_path, urls)
        port = free_port()
        with start(tmp_path, port):
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_up(url), 90, "Dagster")
            keys = {"/".join(node["assetKey"]["path"]) for node in graphql(url, ASSETS)["assetNodes"]}
            assert {"testnet/executions", "backtest/decisions", "history/candles"} <= keys
            (sensor,) = graphql(url, SENSORS)["sensorsOrError"]["results"]
            assert sensor == {"name": "next_cycle", "sensorState": {"status": "STOPPED"}}
    assert (tmp_path / "data" / "dagster").is_dir(), "the instance persists below data/"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "copy wonttrade.toml.example"), ("[runtime]\nmode = 7\n", "runtime.mode")],
    ids=["missing", "broken"],
)
def test_dagster_dev_says_what_to_do_about_the_settings(
    tmp_path: Path, content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "wonttrade.toml").write_text(content)
    port = free_port()
    with start(tmp_path, port):
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: is_up(url), 90, "Dagster")
        (node,) = graphql(url, ASSETS)["assetNodes"]
        assert sentence in node["description"]
        log = (tmp_path / "dev.log").read_text()
        assert sentence in log
        assert "Traceback" not in log
