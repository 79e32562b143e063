"""Sequences of cycles on a disk that fails: no order of ours is ever proved to be another machine's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cycle_samples import order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_journal_strangers import cloid, standing

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import OpenOrder

MINUTES = 5
STEP_MS = MINUTES * 60_000
FIRST_MS = 1_790_000_100_000
FOREIGN = 1_000
WRITES = ("begun", "reply", "intent", "decision", "intent", "execution", "cycle_report")
"""What a cycle writes, in short; an order goes out after each intent, whether it was taken or not."""

OK, READ_ONLY, FULL, KILLED = "ok", "read-only", "full", "killed"


@dataclass
class Machine:
    """A program that trades through failures of its disk; each cycle is a process of its own."""

    folder: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(FIRST_MS))
    orders: list[OpenOrder] = field(default_factory=list)
    proved: list[OpenOrder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = self.folder / "journal.ndjson"
        self.process = self._journal()

    def _journal(self) -> Journal:
        return Journal(self.path, account="ours", clock=self.clock)

    def cycle(self, number: int, disk: tuple[str, ...] = (OK,) * len(WRITES), minutes: int = MINUTES) -> None:
        """One cycle, whose n-th write meets the n-th state of the disk."""
        cycle_ms = FIRST_MS + number * STEP_MS
        self.clock.set(cycle_ms)
        self.process = self._journal()
        for kind, state in zip(WRITES, disk, strict=True):
            self.clock.set(self.clock.now_ms() + 700)
            if state == KILLED:
                return
            with failing(self.path, state):
                self._write(kind, cycle_ms, minutes)
                self.proved += self.process.strangers(self.orders)

    def _write(self, kind: str, cycle_ms: int, minutes: int) -> None:
        number = len(self.orders)
        try:
            if kind == "intent":
                self.process.intent(cycle_ms, order(cloid(number)))
            else:
                self.process.append(kind, cycle_ms, {"cycle_minutes": minutes} if kind == "begun" else {})
        except StorageError:
            pass  # protection goes out all the same
        if kind == "intent":
            self.clock.set(self.clock.now_ms() + 200)
            self.orders.append(standing(number, self.clock.now_ms()))

    def strangers(self, *orders: OpenOrder) -> list[int]:
        return [found.oid for found in self.process.strangers(orders)]


@contextmanager
def failing(path: Path, state: str) -> Iterator[None]:
    """Reading goes on; no write is taken, and on a read-only disk no file beside the journal either."""
    blocks = {OK: (), FULL: (".lock",), READ_ONLY: (".lock", ".gap")}[state]
    folders = [path.with_name(path.name + suffix) for suffix in blocks]
    folders = [folder for folder in folders if not (folder.suffix == ".gap" and folder.exists())]
    for folder in folders:
        folder.unlink(missing_ok=True)
        folder.mkdir()
    try:
        yield
    finally:
        for folder in folders:
            folder.rmdir()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def bad(*states: str, at: int) -> tuple[str, ...]:
    """A cycle's disk: fine, then these from the n-th write on, then fine."""
    return (*(OK,) * at, *states, *(OK,) * (len(WRITES) - at - len(states)))


@pytest.mark.parametrize(
    "disk",
    [
        (READ_ONLY,) * len(WRITES),
        bad(READ_ONLY, at=2),
        bad(READ_ONLY, KILLED, at=2),
        bad(*[READ_ONLY] * 5, at=2),
        bad(READ_ONLY, READ_ONLY, READ_ONLY, at=0),
        bad(FULL, at=4),
        bad(FULL, KILLED, at=4),
    ],
)
def test_what_was_sent_through_a_failing_disk_is_ours_for_ever(
    machine: Machine, disk: tuple[str, ...]
) -> None:
    machine.cycle(0)
    machine.cycle(1, disk)
    for number in (2, 3):
        machine.cycle(number)
    assert machine.proved == []
    assert machine.strangers(*machine.orders) == []


def test_an_hour_of_a_read_only_mount_ends_without_a_second_machine(machine: Machine) -> None:
    for number in range(14):
        machine.cycle(number, ((READ_ONLY if 1 <= number <= 12 else OK),) * len(WRITES))
    assert machine.proved == []


def test_cycles_of_another_cadence_that_left_no_trace_prove_nothing(machine: Machine) -> None:
    machine.cycle(0, minutes=1)
    sent = standing(7, FIRST_MS + 3 * 60_000)  # by a cycle of one minute that the disk took nothing of
    machine.cycle(1, minutes=5)
    machine.cycle(2, minutes=5)
    assert machine.strangers(sent) == []


@pytest.mark.parametrize("after_ms", [70_000, STEP_MS - 1, STEP_MS + 1_000, 2 * STEP_MS, 2 * STEP_MS + 2_000])
def test_a_foreign_order_is_found_between_the_cycles_and_within_them(machine: Machine, after_ms: int) -> None:
    for number in range(3):
        machine.cycle(number)
    assert machine.strangers(standing(FOREIGN, FIRST_MS + after_ms), *machine.orders) == [FOREIGN]


def test_a_foreign_order_is_found_in_the_cycle_in_which_it_was_placed(machine: Machine) -> None:
    machine.cycle(0)
    machine.clock.set(FIRST_MS + STEP_MS)
    process = machine.process = Journal(machine.path, account="ours", clock=machine.clock)
    process.append("begun", FIRST_MS + STEP_MS, {"cycle_minutes": MINUTES})
    assert machine.strangers(standing(FOREIGN, FIRST_MS + STEP_MS + 900)) == [FOREIGN]


def test_a_machine_that_goes_on_is_found_once_the_disk_is_well_again(machine: Machine) -> None:
    machine.cycle(0)
    machine.cycle(1, (READ_ONLY,) * len(WRITES))
    for number in (2, 3, 4):
        machine.cycle(number)
    lost, found = standing(FOREIGN, FIRST_MS + STEP_MS), standing(FOREIGN + 1, FIRST_MS + 3 * STEP_MS)
    assert machine.strangers(lost, found) == [FOREIGN + 1]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    disks=st.lists(
        st.tuples(*[st.sampled_from([OK, OK, READ_ONLY, FULL, KILLED])] * len(WRITES)), min_size=1, max_size=6
    )
)
def test_no_sequence_of_failures_proves_an_order_of_ours_foreign(
    tmp_path_factory: pytest.TempPathFactory, disks: list[tuple[str, ...]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("journal"))
    machine.cycle(0)
    for number, disk in enumerate(disks, start=1):
        machine.cycle(number, disk)
    last = len(disks) + 1
    for number in (last, last + 1, last + 2):
        machine.cycle(number)
    assert machine.proved == []
    foreign = standing(FOREIGN, FIRST_MS + (last + 1) * STEP_MS + STEP_MS // 2)
    assert machine.strangers(*machine.orders, foreign) == [FOREIGN]
