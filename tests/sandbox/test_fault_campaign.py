"""The fault campaign: a short one, and that its judgement can fail."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.campaign.audit import Audit, Cycle
from bench.campaign.books import Books
from bench.campaign.draws import CyclePlan, Mischief, plans
from bench.campaign.journal_log import JournalLog
from bench.campaign.trader import Ending
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.client_order_id import cloid

ROOT = Path(__file__).parents[2]
TAG = "0a1b2c3d"
CYCLE_MS = 1_700_000_000_000


def campaign(cycles: int, seed: int) -> tuple[int, dict[str, Any], str]:
    """One campaign in a process of its own: it forks, which a test runner must not."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "faults",
        "--cycles",
        str(cycles),
        "--seed",
        str(seed),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1_500, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_money_is_safe_through_a_short_campaign() -> None:
    code, result, errors = campaign(cycles=7, seed=1)

    assert code == 0, (result.get("violations"), errors)
    facts = result["facts"]
    assert facts["cycles"] == 7
    assert facts["violations"] == 0
    assert facts["processes_killed"] > 0
    assert facts["faults"] > 0
    assert facts["fills"] > 0


@pytest.mark.e2e
@pytest.mark.timeout(1_600)
def test_money_is_safe_through_a_longer_campaign() -> None:
    code, result, errors = campaign(cycles=120, seed=2)

    assert code == 0, (result.get("violations"), errors)
    assert result["facts"]["cycles_resumed"] > 0


# --- the draws -------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_cycles_however_many_follow() -> None:
    few, many = list(plans(5, 40)), list(plans(5, 200))

    assert few[:-1] == many[:39]
    assert few[-1].is_clean
    assert few != list(plans(6, 40))


def test_no_more_than_five_cycles_pass_between_two_clean_ones() -> None:
    clean = [plan.number for plan in plans(7, 500) if plan.is_clean]

    assert all(after - before <= 6 for before, after in zip([0, *clean], clean, strict=False))


def test_every_mischief_is_drawn_sooner_or_later() -> None:
    drawn = {event.what for plan in plans(8, 600) for event in plan.events}

    assert drawn == set(Mischief)


# --- the journal, as an outsider reads it ----------------------------------------------------------


def journal_with(tmp_path: Path, *kinds: str) -> JournalLog:
    journal = Journal(tmp_path / "journal.ndjson")
    for kind in kinds:
        journal.append(kind, CYCLE_MS, {"text": kind})
    return JournalLog(journal.path)


def test_an_intact_journal_has_nothing_against_it(tmp_path: Path) -> None:
    log = journal_with(tmp_path, "begun", "decision")

    log.read()

    assert (log.faults, log.records) == ([], 2)
    assert not list(log.missing(Counter({("begun", CYCLE_MS): 1})))


def test_a_lost_record_is_missed(tmp_path: Path) -> None:
    log = journal_with(tmp_path, "begun")

    log.read()

    assert list(log.missing(Counter({("plan", CYCLE_MS): 1}))) == [("plan", CYCLE_MS, 1)]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda lines: [lines[0], lines[2]], "from record 1 to 3"),
        (lambda lines: [lines[0].replace(b'"text":"a"', b'"text":"b"'), *lines[1:]], "checksum"),
        (lambda lines: [lines[0], lines[1][:30] + b"\n", lines[2]], "no record"),
    ],
)
def test_a_damaged_journal_is_noticed(
    tmp_path: Path, spoil: Callable[[list[bytes]], list[bytes]], sentence: str
) -> None:
    log = journal_with(tmp_path, "a", "b", "c")
    log.path.write_bytes(b"".join(spoil(log.path.read_bytes().splitlines(keepends=True))))

    log.read()

    assert sentence in " ".join(log.faults)


# --- the judgement ---------------------------------------------------------------------------------


class OneAnswer:
    """The reading half of the SDK with fixed answers."""

    def __init__(self, orders: list[dict[str, Any]], fills: list[dict[str, Any]]) -> None:
        self._orders, self._fills = orders, fills

    def historical_orders(self, _address: str) -> list[dict[str, Any]]:
        return self._orders

    def user_fills_by_time(self, _address: str, _since_ms: int) -> list[dict[str, Any]]:
        return self._fills


def order(
    oid: int, purpose: str, status: str = "filled", late_ms: int = 0, attempt: int = 0
) -> dict[str, Any]:
    name = cloid(TAG, CYCLE_MS, "BTC", purpose, attempt)
    row = {"oid": oid, "cloid": name, "coin": "BTC", "timestamp": CYCLE_MS + late_ms}
    return {"order": row, "status": status}


def judged(
    tmp_path: Path,
    orders: list[dict[str, Any]],
    told: list[dict[str, Any]],
    fills: list[dict[str, Any]] | None = None,
) -> str:
    world: Any = SimpleNamespace(limits=[9], triggers=[], taken_back=set())
    info: Any = OneAnswer(orders, fills or [])
    audit = Audit(world, Books(info), JournalLog(tmp_path / "none.ndjson"), TAG)
    audit.begin(Cycle(CyclePlan(1, is_clean=False), CYCLE_MS, max_age_ms=1_000))
    audit.ended(Ending([*told, {"ended": "applied", "reason": "applied"}]))
    audit.check_all()
    return " ".join(audit.violations)


def intent(purpose: str, attempt: int = 0) -> dict[str, Any]:
    return {"kept": "intent", "cycle_ms": CYCLE_MS, "cloid": cloid(TAG, CYCLE_MS, "BTC", purpose, attempt)}


def test_one_order_with_its_intent_is_in_order(tmp_path: Path) -> None:
    assert "sent" not in judged(tmp_path, [order(1, "open")], [intent("open")])


def test_an_id_that_was_accepted_twice_is_a_violation(tmp_path: Path) -> None:
    assert "accepted 2 times" in judged(tmp_path, [order(1, "open"), order(2, "open")], [intent("open")])


def test_two_entries_of_one_cycle_are_a_violation(tmp_path: Path) -> None:
    told = [intent("open"), intent("increase")]
    assert "2 entries of BTC" in judged(tmp_path, [order(1, "open"), order(2, "increase")], told)


def test_an_order_without_an_intent_is_a_violation(tmp_path: Path) -> None:
    assert "without an intent" in judged(tmp_path, [order(1, "open")], [])


def test_an_entry_of_a_stale_cycle_is_a_violation(tmp_path: Path) -> None:
    assert "increased exposure" in judged(tmp_path, [order(1, "open", late_ms=5_000)], [intent("open")])


def test_protection_of_a_stale_cycle_is_none(tmp_path: Path) -> None:
    orders = [order(1, "stop_loss", status="open", late_ms=5_000)]
    assert "exposure" not in judged(tmp_path, orders, [intent("stop_loss")])


def test_a_cancelled_order_of_a_person_is_a_violation(tmp_path: Path) -> None:
    row = {"oid": 9, "cloid": None, "coin": "BTC", "timestamp": CYCLE_MS}
    assert "a person's order 9" in judged(tmp_path, [{"order": row, "status": "canceled"}], [])


@pytest.mark.parametrize(("tids", "sentence"), [([], "booked by no report"), ([5], "")])
def test_a_fill_that_no_report_books_is_a_violation(tmp_path: Path, tids: list[int], sentence: str) -> None:
    told = [{"reported": CYCLE_MS, "copies": 1, "tids": tids, "until_ms": CYCLE_MS + 1_000}]
    fills = [{"tid": 5, "time": CYCLE_MS + 10, "sz": "0.01"}]

    found = judged(tmp_path, [], told, fills)

    assert (sentence in found) if sentence else ("booked" not in found)
