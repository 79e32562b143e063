"""``wonttrade replay`` on a folder in which was traded or backtested, and what it tells."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wonttrade_dagster.cli.app import run
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.settings import Settings, load_settings

Replay = Callable[..., tuple[int, dict[str, Any]]]


def asking(capsys: pytest.CaptureFixture[str]) -> Replay:
    """Runs ``wonttrade replay --json`` and gives its exit code and its answer."""

    def asked(config: Path, *words: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = run(["replay", *words, "--json", "--config", str(config)])
        return code, json.loads(capsys.readouterr().out)

    return asked


@dataclass
class Kept:
    """A folder with a settings file, and what was stored below it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "wonttrade.toml"

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)


def found(told: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["verdict"] for stage in told["stages"]}


def differing(told: dict[str, Any]) -> list[str]:
    return [stage for stage, verdict in found(told).items() if verdict == "differs"]


def detail(told: dict[str, Any], stage: Stage) -> str:
    (text,) = [s["detail"] for s in told["stages"] if s["stage"] == stage.value]
    return str(text)
