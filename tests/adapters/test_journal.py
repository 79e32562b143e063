"""The journal: what is written is found again, whatever happened in between."""

import hashlib
import json
import math
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from itertools import cycle as repeated
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cycle_samples import at, decision, order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters import ndjson
from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.journal import UNREADABLE, Journal
from wonttrade_dagster.adapters.journal_line import compact, head_of, line_of, parsed
from wonttrade_dagster.core.errors import StorageError

PRIVATE_KEY = "0x" + "5e" * 32
API_KEY = 'canary "key" \\ 123'

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_bodies = st.dictionaries(st.text(max_size=8), _json, max_size=4)
_several = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def journal(folder: Path, **options: Any) -> Journal:
    return Journal(folder / "deep" / "journal.ndjson", **options)


def fresh(folder: Path) -> Journal:
    return Journal(folder / f"{secrets.token_hex(8)}.ndjson")


@_several
@given(records=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2**50), _bodies), max_size=6))
def test_any_records_come_back_equal_and_in_order(tmp_path: Path, records: list[Any]) -> None:
    written = fresh(tmp_path)
    for kind, cycle_ms, body in records:
        written.append(kind, cycle_ms, body)
    found = [(r.kind, r.cycle_ms, dict(r.body)) for r in Journal(written.path).records()]
    assert found == records
    assert [r.seq for r in written.records()] == list(range(1, len(records) + 1))


@_several
@given(bodies=st.lists(_bodies, min_size=1, max_size=4), cut=st.integers(1, 400), more=_bodies)
def test_a_file_cut_anywhere_loses_only_its_last_line_and_keeps_that_aside(
    tmp_path: Path, bodies: list[Any], cut: int, more: dict[str, Any]
) -> None:
    written = fresh(tmp_path)
    for body in bodies:
        written.append("a", 1, body)
    whole = written.path.read_bytes()
    last = whole.rstrip(b"\n").rpartition(b"\n")[2] + b"\n"
    cut = min(cut, len(last) - 1)
    written.path.write_bytes(whole[:-cut])
    Journal(written.path).append("b", 2, more)
    lost = 0 if cut == 1 else 1  # only the newline is gone: the record is whole
    found = list(written.records())
    assert [r.body for r in found if r.kind == "a"] == bodies[: len(bodies) - lost]
    assert [r.body for r in found if r.kind == "b"] == [more]
    torn = [r for r in found if r.kind == "torn"]
    assert len(torn) == lost
    if lost:
        aside = written.path.with_name(torn[0].body["moved_to"])
        assert aside.read_bytes() == last[:-cut] + b"\n"
    assert [r.seq for r in found] == sorted({r.seq for r in found})


def test_the_order_of_an_intent_and_the_applied_decision_come_back_as_records(tmp_path: Path) -> None:
    written = journal(tmp_path, clock=FixedClock(at(1)))
    assert written.last_applied() is None
    assert written.intents(at(1)) == ()
    first, second = order("0x01"), order("0x02", trigger_px=None, replaces_oid=4)
    written.intent(at(1), first)
    written.applied(at(1), decision("old"))
    written.intent(at(2), order("0x09"))
    written.applied(at(2), decision("new"))
    written.intent(at(1), second)
    written.append("decision", at(3), {"decision": "a refused one"})
    assert Journal(written.path).last_applied() == (at(2), decision("new"))
    assert Journal(written.path).intents(at(1)) == (first, second)


def test_records_of_another_account_in_the_same_file_are_not_ours(tmp_path: Path) -> None:
    rehearsal, live = journal(tmp_path, account="testnet-0xa"), journal(tmp_path, account="mainnet-0xb")
    rehearsal.applied(at(1), decision())
    rehearsal.intent(at(1), order())
    assert live.last_applied() is None
    assert live.intents(at(1)) == ()
    live.applied(at(0), decision("live"))
    assert live.last_applied() == (at(0), decision("live"))
    assert rehearsal.last_applied() == (at(1), decision())
    assert [r.seq for r in live.records()] == [1, 2, 3]


def test_a_line_says_when_it_was_recorded_and_what_its_body_hashes_to(tmp_path: Path) -> None:
    written = journal(tmp_path, clock=FixedClock(77))
    written.append("execution", 5, {"b": 1, "a": [1.5, None]})
    line = json.loads(written.path.read_text())
    assert (line["kind"], line["cycle_ms"], line["recorded_at_ms"], line["seq"]) == ("execution", 5, 77, 1)
    assert len(line["sha256"]) == 64


def test_an_edited_line_is_reported_as_unreadable_and_not_believed(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.applied(at(1), decision("honest"))
    written.applied(at(2), decision("edited"))
    written.append("note", at(3), {})
    written.path.write_bytes(written.path.read_bytes().replace(b"edited", b"forged"))
    assert [r.kind for r in written.records()] == ["applied", UNREADABLE, "note"]
    assert [r.body["line"] for r in written.records(UNREADABLE)] == [2]
    assert written.last_applied() == (at(1), decision("honest"))


def test_a_hole_in_the_middle_does_not_hide_what_stands_around_it(tmp_path: Path) -> None:
    written = journal(tmp_path)
    for cycle in range(3):
        written.applied(at(cycle), decision(str(cycle)))
    lines = written.path.read_bytes().splitlines(keepends=True)
    written.path.write_bytes(lines[0] + b"\0" * 5000 + b"\n\xff\xfe\n\n" + lines[1] + lines[2])
    assert [r.kind for r in written.records()] == ["applied", *[UNREADABLE] * 3, "applied", "applied"]
    assert written.last_applied() == (at(2), decision("2"))


def test_secrets_are_redacted_wherever_they_stand(tmp_path: Path) -> None:
    written = journal(tmp_path, secrets=[PRIVATE_KEY, API_KEY, ""])
    bare = PRIVATE_KEY[2:].upper()
    written.append("x", 1, {"a": f"key {PRIVATE_KEY}!", API_KEY: [{"b": API_KEY}, bare], "n": 5})
    text = written.path.read_text()
    assert "5e5e5e" not in text.lower()
    assert "canary" not in text
    (record,) = written.records()
    assert record.body == {"a": "key [redacted]!", "[redacted]": [{"b": "[redacted]"}, "[redacted]"], "n": 5}


def test_lone_surrogates_and_line_separators_do_not_break_the_file(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append("x", 1, {"text": "a\u2028b\nc\ud800"})
    written.append("y", 2, {})
    assert [r.kind for r in written.records()] == ["x", "y"]
    assert next(written.records()).body == {"text": "a\u2028b\nc\ud800"}


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": float("inf")}])
def test_what_is_no_json_is_refused_before_anything_is_written(
    tmp_path: Path, body: dict[str, object]
) -> None:
    written = journal(tmp_path)
    with pytest.raises(StorageError, match="'money' is no JSON"):
        written.append("money", 1, body)
    assert not written.path.exists()


def test_the_folder_may_be_deleted_between_two_records(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append("a", 1, {})
    for path in written.path.parent.iterdir():
        path.unlink()
    written.path.parent.rmdir()
    written.append("b", 2, {})
    assert [(r.seq, r.kind) for r in written.records()] == [(1, "b")]


def test_the_last_applied_decision_is_found_fast_in_a_large_file(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.applied(at(1), decision("early"))
    written.applied(at(2), decision("late"))
    with written.path.open("ab") as file:
        for _ in range(100):
            file.write((b'{"seq":3,"kind":"noise","text":"' + b"x" * 40_000 + b'"}\n') * 25)  # 100 MB in all
    written.applied(at(3), decision("last"))
    with written.path.open("ab") as file:
        file.write((b'{"seq":3,"kind":"noise","text":"' + b"x" * 40_000 + b'"}\n') * 25)
    started = time.perf_counter()
    assert sum(1 for _ in ndjson.lines(written.path)) > 2500
    whole_seconds = time.perf_counter() - started
    started = time.perf_counter()
    assert written.last_applied() == (at(3), decision("last"))
    assert time.perf_counter() - started < whole_seconds / 2


def test_a_place_that_cannot_be_written_is_one_sentence_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"did not take a write .*: free the disk or make"):
        Journal(tmp_path / "file" / "journal.ndjson").append("a", 1, {})
    with pytest.raises(StorageError, match="did not take a write"):
        Journal(tmp_path).append("a", 1, {})


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.core.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
journal.append("a", 1, {"n": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    journal.append("b", 2, {"text": "x" * 5000})
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append("c", 3, {"n": 3})
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_disk_that_takes_half_a_record_leaves_no_half_record(tmp_path: Path) -> None:
    path = tmp_path / "j.ndjson"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert "did not take a write" in done.stdout
    assert [(r.seq, r.kind) for r in Journal(path).records()] == [(1, "a"), (2, "gap"), (3, "c")]


_WRITER = """
import sys
from pathlib import Path
from wonttrade_dagster.adapters.journal import Journal
journal = Journal(Path(sys.argv[1]), sync_every=int(sys.argv[3]))
for n in range(int(sys.argv[4])):
    journal.append(sys.argv[2], n, {"text": "x" * (n * 37 % 3000)})
    print(n, flush=True)
"""


def writer(path: Path, kind: str, sync_every: int = 1, count: int = 10**6) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _WRITER, str(path), kind, str(sync_every), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_keep_whole_lines_and_one_count(tmp_path: Path) -> None:
    path = tmp_path / "j.ndjson"
    both = [writer(path, kind, 50, 150) for kind in ("a", "b")]
    assert [process.wait(60) for process in both if process.communicate()] == [0, 0]
    records = list(Journal(path).records())
    assert [r.seq for r in records] == list(range(1, 301))
    for kind in ("a", "b"):
        assert [r.cycle_ms for r in records if r.kind == kind] == list(range(150))


@pytest.mark.parametrize("attempt", range(4))
def test_a_killed_writer_loses_nothing_that_it_had_reported(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "j.ndjson"
    process = writer(path, "a")
    assert process.stdout is not None
    for _ in range(5 + attempt * 7):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    reported = [int(line) for line in process.communicate()[0].splitlines() if line.strip()]
    Journal(path).append("after", 0, {})
    kinds = [r.kind for r in Journal(path).records()]
    cycles = [r.cycle_ms for r in Journal(path).records("a")]
    assert cycles == list(range(len(cycles)))
    assert len(cycles) >= (reported[-1] + 1 if reported else 5 + attempt * 7)
    assert UNREADABLE not in kinds
    assert kinds[-1] == "after"


def test_syncing_seldom_still_writes_every_record_at_once(tmp_path: Path) -> None:
    with journal(tmp_path, sync_every=64) as written:
        for cycle in range(100):
            written.append("a", cycle, {})
        assert len(list(Journal(written.path).records())) == 100


def test_a_line_of_before_whose_seal_is_of_its_sorted_content_is_read(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append("x", 1, {"b": 1e-05, "a": ["ü"]})
    line = json.loads(written.path.read_bytes())
    text = json.dumps(line["body"], separators=(",", ":"), sort_keys=True)
    line["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    written.path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    assert [r.body for r in written.records()] == [{"b": 1e-05, "a": ["ü"]}]
    line["body"]["b"] = 2e-05
    written.path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    assert [r.kind for r in written.records()] == [UNREADABLE]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
def test_more_kinds_of_characters_than_are_remembered_are_escaped(count: int) -> None:
    body = {"many": "".join(chr(0x100 + number) for number in range(count))}
    for _ in range(2):
        assert compact(body) == json.dumps(body, separators=(",", ":")).encode()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
def test_few_and_many_characters_are_escaped_alike(count: int) -> None:
    body = {"é": "".join(f"{character} a\\" for character in islice(repeated("→é🚀中"), count))}
    assert compact(body) == json.dumps(body, separators=(",", ":")).encode()


@given(st.dictionaries(st.text(), st.floats() | st.text() | st.sampled_from([" NaN", ":NaN", "-Infinity"])))
def test_whatever_is_json_stands_in_ascii_and_is_read_again(body: dict[str, object]) -> None:
    try:
        text = compact(body)
    except ValueError:
        assert not all(isinstance(value, str) or math.isfinite(value) for value in body.values())
        return
    record = parsed(line_of(head_of(1, "k", ',"body":', 1, 1), text))
    assert text.isascii()
    assert record is not None
    assert record.body == body
