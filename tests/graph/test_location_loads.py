"""The code location in a fresh interpreter, from an empty directory, whatever ``wonttrade.toml`` says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import write_config

from wonttrade_dagster.defs.build import defs_or_instruction

PROGRAM = """
import importlib, json, os, sys
from wonttrade_dagster import definitions

def show():
    repository = definitions.defs.get_repository_def()
    graph = repository.asset_graph
    assets = {key.to_user_string(): graph.get(key).description for key in graph.get_all_asset_keys()}
    status = [sensor.default_status.value for sensor in repository.sensor_defs]
    print(json.dumps({"assets": assets, "sensors": status}))

show()
if len(sys.argv) > 1:
    os.environ |= {"WONTTRADE_CONFIG": sys.argv[1], "WONTTRADE_AUTOSTART": "1"}
    importlib.reload(definitions)
    show()
"""


def load(folder: Path, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """What another process saw of the code location, and its standard error."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WONTTRADE_", "DAGSTER_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_it_loads_in_an_empty_directory_and_says_what_to_do_and_from_a_file_elsewhere(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    elsewhere = write_config(tmp_path / "there", "http://127.0.0.1:1", "http://127.0.0.1:2/v1")
    (empty, started), log = load(here, str(elsewhere))
    sentence = f"No wonttrade.toml at {here / 'wonttrade.toml'}: copy wonttrade.toml.example"
    assert empty == {"assets": {"wonttrade_toml": sentence}, "sensors": []}
    assert sentence in log
    assert "Traceback" not in log
    assert len(started["assets"]) == 19
    assert started["sensors"] == ["RUNNING"], "as wonttrade up wants it"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[runtime]\nmode = LIVE\n", "is not TOML"),
        ("[runtime]\nmode = 'TESTNET'\ncycle_minuts = 5\n", "cycle_minutes (did you mean that?)"),
        ("[credentials]\nagent_private_key = '0x12'\n", "credentials.agent_private_key"),
    ],
    ids=["broken", "unknown key", "wrong and incomplete"],
)
def test_with_unusable_settings_it_loads_too_and_says_what_to_do(
    tmp_path: Path, content: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wonttrade.toml"
    path.write_text(content)
    graph = defs_or_instruction(path).resolve_asset_graph()
    (key,) = graph.get_all_asset_keys()
    assert key.to_user_string() == "wonttrade_toml"
    assert sentence in str(graph.get(key).description)
    assert sentence in caplog.text
    assert "Traceback" not in caplog.text
