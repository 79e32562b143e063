"""The plan of a backtest with several windows, as a file in its folder, and who may write where.

Belongs here: ``shards.json``, which shards are finished, the locks between processes.
Does not belong here: how a range is cut (``core.shards``), what the shards' results are merged into
(``backtest_merge``).

The plan is written once, by whoever comes first; every run of the backtest, whenever and in whichever
process, works by it and by no other.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, shard_folder
from wonttrade_dagster.adapters.files import create_exclusively, storage_error
from wonttrade_dagster.core.errors import StorageError, UsageError
from wonttrade_dagster.core.shards import Window

PLAN_NAME = "shards.json"
_WRITER_LOCK = ".running.lock"
_MERGE_LOCK = ".merge.lock"


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What a whole backtest is.

    Attributes:
        backtest_id: names its folder.
        windows: ascending; one account each.
        model: the model asked.
        prompt: the prompt directory used.
        cycle_minutes: the cadence.
        settings_sha256: of ``wonttrade.toml``.
    """

    backtest_id: str
    windows: tuple[Window, ...]
    model: str
    prompt: str
    cycle_minutes: int
    settings_sha256: str

    @property
    def is_sharded(self) -> bool:
        """Whether it has shards; a single window is written into the backtest's own folder."""
        return len(self.windows) > 1

    @property
    def cycles(self) -> tuple[int, ...]:
        """Decision times of each window."""
        return tuple(window.cycles(self.cycle_minutes) for window in self.windows)

    def id_of(self, window: Window) -> str:
        """The id under which a window's folder is found."""
        return f"{self.backtest_id}/{window.first_day}" if self.is_sharded else self.backtest_id

    def within(self, from_ms: int, to_ms: int) -> tuple[Window, ...]:
        """The windows of a run over a range.

        Raises:
            UsageError: the range begins or ends inside of a window, or holds none.
        """
        touched = [w for w in self.windows if w.from_ms < to_ms and from_ms < w.to_ms]
        if not touched or touched[0].from_ms < from_ms or touched[-1].to_ms > to_ms:
            first_days = ", ".join(window.first_day for window in self.windows)
            raise UsageError(
                f"backtest {self.backtest_id} has windows that begin on {first_days}, and this run is over "
                "other days: reload the code location, or start a new backtest"
            )
        return tuple(touched)


def read_plan(folder: Path) -> ShardPlan | None:
    """The plan of a backtest; None of one without shards. Raises ``StorageError`` for a damaged one."""
    path = folder / PLAN_NAME
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        windows = tuple(Window(**window) for window in document.pop("windows"))
        plan = ShardPlan(windows=windows, **document)
        if not plan.is_sharded or not all(window.days for window in windows):
            raise ValueError("no windows")  # noqa: TRY301 (one sentence for everything that is wrong with it)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read: start a new backtest") from error
    return plan


def shards_hint(folder: Path) -> str | None:
    """What to ask for instead of a backtest that has its cycles in shards; None of one that has not."""
    plan = read_plan(folder)
    if plan is None:
        return None
    first = plan.id_of(plan.windows[0])
    return f"backtest {plan.backtest_id} has {len(plan.windows)} shards: name one of them, like {first}"


def claim_plan(folder: Path, plan: ShardPlan) -> None:
    """Write the plan, or find that the same one stands there.

    Raises:
        UsageError: the id belongs to another backtest, or to this one under other settings.
        StorageError: the disk did not take it, or the stored one is damaged.
    """
    if read_plan(folder) is None:
        if (folder / RESULTS_NAME).exists():
            raise UsageError(f"backtest {folder.name} is one window and has results: start a new backtest")
        try:
            create_exclusively(folder / PLAN_NAME, json.dumps(asdict(plan), indent=2).encode())
        except FileExistsError:
            pass  # another run of this backtest was quicker: see what it wrote
        except OSError as error:
            raise storage_error(folder / PLAN_NAME, error) from error
    if (stored := read_plan(folder)) != plan:
        raise UsageError(_difference(stored, plan))


def other_settings(backtest_id: str) -> str:
    """The sentence that refuses to go on under changed settings, see ``Settings.choices_sha256``."""
    return (
        f"backtest {backtest_id} was begun with other settings (besides credentials, the model's address and "
        "telemetry): bring those back, or start a new backtest"
    )


def _difference(stored: ShardPlan | None, plan: ShardPlan) -> str:
    if stored is not None and stored.settings_sha256 != plan.settings_sha256:
        return other_settings(plan.backtest_id)
    return f"backtest {plan.backtest_id} was begun with other days, model, prompt or cadence: start a new one"


def missing_windows(folder: Path, plan: ShardPlan) -> tuple[Window, ...]:
    """The shards that are not finished."""
    return tuple(w for w in plan.windows if not is_finished(shard_folder(folder, w.first_day)))


def is_finished(folder: Path) -> bool:
    """Whether a backtest or shard is complete: its summary is written last."""
    return (folder / SUMMARY_NAME).exists()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Be the one process that runs in ``folder``; the system lets go of it whatever ends the process.

    Raises:
        UsageError: another process runs there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _WRITER_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another process is running the backtest in {folder}: wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def sole_merger(folder: Path) -> Iterator[None]:
    """Be the one process that merges the shards below ``folder``; waits for another one that does."""
    with FileLock(folder / _MERGE_LOCK):
        yield
