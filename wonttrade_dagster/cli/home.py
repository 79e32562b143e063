"""The persistent Dagster home below the data directory, and the one instance that may run on it.

Belongs here: ``dagster.yaml`` of that home, the record of a running ``wonttrade up``.
Does not belong here: starting or stopping anything.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from wonttrade_dagster.adapters.files import storage_error
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.settings import Settings

INSTANCE_YAML = """\
# Written by `wonttrade`; the dagster.yaml of the checkout, which explains each line, says the same.
storage:
  sqlite:
    base_dir: {home}
compute_logs:
  module: dagster.core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: {home}/compute_logs
local_artifact_storage:
  module: dagster.core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {home}/artifacts
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
    tag_concurrency_limits:
      - key: dagster/backfill
        limit: {max_backtests}
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
telemetry:
  enabled: false
nux:
  enabled: false
"""

WORKSPACE_NAME = "workspace.yaml"

WORKSPACE_YAML = """\
# Written by `wonttrade up`, for as long as it runs.
load_from:
  - grpc_server:
      socket: {socket}
      location_name: wonttrade
"""


def instance_yaml(home: Path | str, max_backtests: int) -> str:
    """The ``dagster.yaml`` of a home."""
    return INSTANCE_YAML.format(home=home, max_backtests=max_backtests)


def workspace_yaml(socket: Path) -> str:
    """The workspace of a code server that listens on ``socket``."""
    return WORKSPACE_YAML.format(socket=json.dumps(str(socket)))


def prepare_home(settings: Settings) -> Path:
    """Create the Dagster home of these settings and return it. Raises ``StorageError``."""
    home = settings.data_dir / "dagster"
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_if_changed(home / "dagster.yaml", instance_yaml(home, settings.backtest.max_concurrent_runs))
    except OSError as error:
        raise storage_error(home, error) from error
    return home


def _write_if_changed(path: Path, content: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """A ``wonttrade up`` that runs on this data directory."""

    url: str
    pid: int


def running_instance(settings: Settings) -> RunningInstance | None:
    """The running ``wonttrade up``, or None; a record left by a killed one does not count."""
    lock = FileLock(_lock_path(settings))
    try:
        with lock.acquire(timeout=0):
            return None
    except Timeout:
        record = json.loads(_record_path(settings).read_text(encoding="utf-8"))
        return RunningInstance(record["url"], record["pid"])
    except OSError:
        return None


@contextmanager
def sole_instance(settings: Settings, url: str) -> Iterator[None]:
    """Be the one instance on this data directory.

    Raises:
        UsageError: another ``wonttrade up`` runs on it.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_path(settings))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another wonttrade up runs on {settings.data_dir}: stop it, or use another runtime.data_dir"
        ) from None
    try:
        record = asdict(RunningInstance(url, os.getpid()))
        _record_path(settings).write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        _record_path(settings).unlink(missing_ok=True)
        lock.release()


def _lock_path(settings: Settings) -> Path:
    return settings.data_dir / "up.lock"


def _record_path(settings: Settings) -> Path:
    return settings.data_dir / "up.json"
