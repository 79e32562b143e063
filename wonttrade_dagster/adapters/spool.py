"""The spool: one small file per stage, written before DuckDB is asked for anything.

Belongs here: naming, writing once, reading and removing those files.
Does not belong here: DuckDB, what a payload means.

A file is ``<cycle_ms>-<stage>.json``, whole or not there. Its modification time is when it was recorded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json

from wonttrade_dagster.adapters.files import create_exclusively, storage_error
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import Stage

_NAME = re.compile(r"(?P<cycle_ms>-?\d+)-(?P<stage>[a-z_]+)\.json")
_STAGES = {stage.value: stage for stage in Stage}


@dataclass(frozen=True, slots=True)
class SpooledStage:
    """One stage record that DuckDB does not have yet."""

    cycle_ms: int
    stage: Stage
    recorded_at_ms: int
    payload: bytes


class Spool:
    """A folder of stage records that wait for DuckDB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, cycle_ms: int, stage: Stage, payload: bytes) -> None:
        """Write one record. Raises ``StorageError`` when there is one already, or the disk refuses."""
        path = self.path(cycle_ms, stage)
        try:
            create_exclusively(path, payload)
        except FileExistsError:
            raise stored_already(cycle_ms, stage) from None
        except OSError as error:
            raise storage_error(path, error) from error

    def get(self, cycle_ms: int, stage: Stage) -> bytes | None:
        """One record's payload, or None."""
        spooled = self._read(self.path(cycle_ms, stage), cycle_ms, stage)
        return spooled.payload if spooled else None

    def waiting(self) -> Sequence[tuple[int, Stage]]:
        """Cycle and stage of everything that waits, oldest first, stages in their order."""
        order = {stage: position for position, stage in enumerate(Stage)}
        found = [key for path in self._files() if (key := _key(path.name)) is not None]
        return sorted(found, key=lambda key: (key[0], order[key[1]]))

    def read(self, keys: Sequence[tuple[int, Stage]]) -> Sequence[SpooledStage]:
        """The records of ``keys`` that are still there."""
        found = (self._read(self.path(*key), *key) for key in keys)
        return [spooled for spooled in found if spooled is not None]

    def remove(self, cycle_ms: int, stage: Stage) -> None:
        """Forget a record that is safe elsewhere. Raises ``OSError``."""
        self.path(cycle_ms, stage).unlink(missing_ok=True)

    def set_aside(self, cycle_ms: int, stage: Stage) -> Path:
        """Keep a record that DuckDB will not take under another name. Raises ``OSError``."""
        path = self.path(cycle_ms, stage)
        target = path.with_name(f"{path.stem}.refused-{path.stat().st_mtime_ns}")
        return path.replace(target)

    def path(self, cycle_ms: int, stage: Stage) -> Path:
        """Where a record stands."""
        return self.folder / f"{cycle_ms}-{stage.value}.json"

    def _files(self) -> list[Path]:
        try:
            return list(self.folder.iterdir()) if self.folder.is_dir() else []
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be read ({error.strerror}): make it readable"
            ) from error

    def _read(self, path: Path, cycle_ms: int, stage: Stage) -> SpooledStage | None:
        try:
            recorded_at_ms = path.stat().st_mtime_ns // 1_000_000
            return SpooledStage(cycle_ms, stage, recorded_at_ms, path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{path} cannot be read ({error.strerror}): make it readable") from error


def stored_already(cycle_ms: int, stage: Stage) -> StorageError:
    """The sentence for a second record of one stage."""
    return StorageError(
        f"stage {stage.value} of cycle {cycle_ms} is stored already: stored stages are never overwritten"
    )


def require_json(cycle_ms: int, stage: Stage, payload: bytes) -> None:
    """Refuse what DuckDB would refuse later: then it would stop everything behind it."""
    try:
        from_json(payload, allow_inf_nan=False)
    except ValueError as error:
        raise StorageError(
            f"stage {stage.value} of cycle {cycle_ms} is no JSON and was not stored: {error}"
        ) from error


def _key(name: str) -> tuple[int, Stage] | None:
    match = _NAME.fullmatch(name)
    if match is None or match["stage"] not in _STAGES:
        return None
    return int(match["cycle_ms"]), _STAGES[match["stage"]]
