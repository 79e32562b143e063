"""Which orders a journal proves to be another machine's, and when it proves nothing."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from cycle_samples import order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import OpenOrder

BEGAN_MS = 1_790_000_000_000
LATER_MS = BEGAN_MS + 600_000


def cloid(number: int) -> str:
    return f"0x0badc0de{number:024x}"


def standing(number: int, placed_at_ms: int = LATER_MS) -> OpenOrder:
    return OpenOrder("BTC", number, cloid(number), False, Decimal(1), Decimal(90_000), True, placed_at_ms)


STEP_MS = LATER_MS - BEGAN_MS


class Diary:
    """A journal whose clock a test moves on: a whole cycle at ``BEGAN_MS``, then ``LATER_MS`` has begun."""

    def __init__(self, folder: Path, account: str = "ours") -> None:
        self.clock = FixedClock(BEGAN_MS)
        self.journal = Journal(folder / "journal.ndjson", account=account, clock=self.clock)
        self.journal.append("begun", BEGAN_MS, {"cycle_minutes": 10})
        self.journal.append("cycle_report", BEGAN_MS, {})
        self.clock.set(LATER_MS)
        self.journal.append("begun", LATER_MS, {"cycle_minutes": 10})

    def intent(self, number: int) -> None:
        self.journal.intent(LATER_MS, order(cloid(number)))

    def strangers(self, *orders: OpenOrder) -> tuple[OpenOrder, ...]:
        return self.journal.strangers(orders)


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path)


def test_an_order_without_an_intent_is_a_strangers_and_one_with_is_not(diary: Diary) -> None:
    diary.intent(1)
    diary.journal.append("reply", LATER_MS, {})
    assert diary.strangers(standing(1), standing(2)) == (standing(2),)
    assert diary.strangers() == ()


def test_an_id_in_capitals_is_the_same_id(diary: Diary) -> None:
    diary.intent(10)
    shouted = OpenOrder("BTC", 1, cloid(10).upper(), False, Decimal(1), Decimal(9), True, LATER_MS)
    assert diary.strangers(shouted) == ()


@pytest.mark.parametrize("placed_at_ms", [BEGAN_MS - 1, BEGAN_MS, BEGAN_MS + 60_000])
def test_a_journal_that_began_after_the_order_proves_nothing(diary: Diary, placed_at_ms: int) -> None:
    assert diary.strangers(standing(2, placed_at_ms)) == ()
    assert diary.strangers(standing(2, BEGAN_MS + 60_001)) != ()


def test_a_deleted_journal_proves_nothing(diary: Diary) -> None:
    diary.journal.path.unlink()
    assert diary.strangers(standing(2)) == ()
    diary.clock.set(LATER_MS + 1)
    diary.journal.append("begun", LATER_MS, {})
    assert diary.strangers(standing(2)) == ()


def test_records_of_another_account_are_no_beginning_and_no_intent(tmp_path: Path) -> None:
    other = Diary(tmp_path, account="theirs")
    other.intent(2)
    ours = Journal(other.journal.path, account="ours", clock=other.clock)
    assert ours.strangers([standing(2)]) == ()  # nothing of ours is in it
    other.clock.set(LATER_MS - 300_000)
    ours.append("begun", LATER_MS - 300_000, {})
    assert ours.strangers([standing(2)]) == (standing(2),)


def damaged(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1][:-9] + b"x" + lines[1][-8:-1] + b'"', *lines[2:]]


def overwritten(lines: list[bytes]) -> list[bytes]:
    return [lines[0], b"\0" * len(lines[1]), *lines[2:]]


def without_one(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[2:]]


@pytest.mark.parametrize("harm", [damaged, overwritten, without_one])
def test_a_damaged_journal_proves_nothing(diary: Diary, harm: Callable[[list[bytes]], list[bytes]]) -> None:
    diary.intent(1)
    diary.intent(3)
    assert diary.strangers(standing(2)) == (standing(2),)
    lines = diary.journal.path.read_bytes().splitlines()
    diary.journal.path.write_bytes(b"\n".join(harm(lines)) + b"\n")
    assert diary.strangers(standing(2)) == ()


def test_an_order_that_the_execution_record_names_is_ours_and_one_that_only_stood_is_not(
    diary: Diary,
) -> None:
    sent = {"action": {"kind": "place", "cloid": cloid(1)}}
    gone = {"action": {"kind": "cancel", "cloid": cloid(2)}}
    account = {"open_orders": [{"cloid": cloid(2)}, {"cloid": cloid(3)}]}
    diary.journal.append("execution", LATER_MS, {"results": [sent, gone], "account": account})
    assert diary.strangers(standing(1), standing(2), standing(3)) == (standing(2), standing(3))


def test_what_was_sent_while_the_disk_took_nothing_is_not_held_against_anybody(diary: Diary) -> None:
    path = diary.journal.path
    path.rename(path.with_name("kept"))
    path.mkdir()
    with pytest.raises(StorageError):
        diary.intent(1)
    path.rmdir()
    path.with_name("kept").rename(path)
    diary.clock.set(LATER_MS + 300_000)
    next_run = Journal(path, account="ours", clock=diary.clock)
    next_run.append("begun", LATER_MS, {})
    gap = next(diary.journal.records("gap"))
    assert gap.body == {"since_ms": LATER_MS, "until_ms": LATER_MS + 300_000}
    assert next_run.strangers([standing(1), standing(2, LATER_MS + 200_000)]) == ()
    after = standing(3, LATER_MS + 360_001)
    assert next_run.strangers([after]) == (after,)
    assert diary.strangers(after) == (), "a process that did not write the newest line knows nothing of now"
    assert not path.with_name("journal.ndjson.gap").exists()


def test_a_journal_that_cannot_be_read_is_a_storage_error(diary: Diary) -> None:
    diary.journal.path.unlink()
    diary.journal.path.mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        diary.strangers(standing(1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.sets(st.integers(0, 30), max_size=12), open_now=st.sets(st.integers(0, 30), max_size=12))
def test_strangers_are_exactly_the_orders_that_were_never_written_down(
    tmp_path_factory: pytest.TempPathFactory, sent: set[int], open_now: set[int]
) -> None:
    diary = Diary(tmp_path_factory.mktemp("journal"))
    for number in sent:
        diary.intent(number)
    found = diary.strangers(*map(standing, sorted(open_now)))
    assert [stranger.oid for stranger in found] == sorted(open_now - sent)
