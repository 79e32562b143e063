"""Cycles computed again from their records: the same bytes, or the place where they are not."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from desk import Desk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json
from replay_scenes import SCENES, second_cycle, stored

from wonttrade_dagster.adapters.prompts import template_of
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.model import (
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.record_diff import MAX_DIFF_LINES, difference
from wonttrade_dagster.core.replay import (
    BROKEN_SEAL,
    OLDER,
    ReplayVerdict,
    StageCheck,
    StoredCycle,
    replay_cycle,
)

SAME, DIFFERS, NOT_STORED = ReplayVerdict.SAME, ReplayVerdict.DIFFERS, ReplayVerdict.NOT_STORED
COMPUTED = (Stage.INDICATORS, Stage.LLM_CONTEXTS, Stage.DECISIONS, Stage.EXECUTION_PLANS)


def verdicts(cycle: StoredCycle) -> dict[Stage, ReplayVerdict]:
    return {check.stage: check.verdict for check in replay_cycle(cycle)}


def check_of(cycle: StoredCycle, stage: Stage) -> StageCheck:
    return next(check for check in replay_cycle(cycle) if check.stage is stage)


# --- a cycle is the same, however it went ----------------------------------------------------------


def test_the_first_cycle_of_an_account_is_the_same() -> None:
    desk = Desk()
    desk.cycle()
    assert set(verdicts(stored(desk, {})).values()) == {SAME}


@pytest.mark.parametrize("scene", SCENES)
def test_a_cycle_is_the_same_however_it_went(scene: str) -> None:
    checks = replay_cycle(second_cycle(scene))
    assert [(c.stage, c.verdict, c.detail) for c in checks] == [(stage, SAME, "") for stage in Stage]


def test_the_scenes_do_end_in_different_ways() -> None:
    reasons = {second_cycle(scene).record(Stage.CYCLE_REPORTS).reason for scene in SCENES}
    assert {
        "applied", "invalid_json", "violations", "model_unavailable", "model_answer", "stale_decision",
        "venue_unavailable", "account_without_equity", "journal_unavailable", "price_moved_past_stop",
        "prompt_broken", "ledger_unreadable",
    } <= reasons  # fmt: skip


def test_records_from_before_transfers_were_booked_are_the_same() -> None:
    cycle = second_cycle("kept")
    payloads = dict(cycle.payloads)
    for stage in (Stage.LLM_CONTEXTS, Stage.CYCLE_REPORTS):
        document = from_json(payloads[stage])
        for name in ("transfers_usd", "basis", "booking"):
            del document["performance"][name]
        document.pop("transfers", None)
        payloads[stage] = to_json(document)
    checks = replay_cycle(replace(cycle, payloads=payloads))
    assert {c.verdict for c in checks} == {SAME}
    assert {c.stage for c in checks if c.detail == OLDER} == {Stage.LLM_CONTEXTS, Stage.CYCLE_REPORTS}


# --- what was changed is named ---------------------------------------------------------------------


def changed(cycle: StoredCycle, stage: Stage, change: Callable[[dict[str, Any]], None]) -> StoredCycle:
    document = json.loads(cycle.payloads[stage])
    change(document)
    record = decode(STAGE_RECORDS[stage], json.dumps(document))
    return replace(cycle, payloads={**cycle.payloads, stage: encode(record, STAGE_RECORDS[stage])})


def test_another_account_value_shows_in_the_prompt_that_was_made_of_it() -> None:
    cycle = changed(
        second_cycle("kept"), Stage.ACCOUNT_SNAPSHOTS, lambda d: d.update(account_value_usd="31000")
    )
    assert verdicts(cycle)[Stage.LLM_CONTEXTS] is DIFFERS
    assert "31000" in check_of(cycle, Stage.LLM_CONTEXTS).detail


def test_another_candle_shows_in_the_indicators_and_not_in_the_stages_that_read_theirs() -> None:
    def change(document: dict[str, Any]) -> None:
        document["markets"][0]["intraday"]["frame"]["columns"]["close"][-30] += 1.0

    cycle = changed(second_cycle("kept"), Stage.MARKET_SNAPSHOTS, change)
    found = verdicts(cycle)
    assert [stage for stage in Stage if found[stage] is DIFFERS] == [Stage.INDICATORS]
    assert "symbols[0].intraday.columns.ema_20" in check_of(cycle, Stage.INDICATORS).detail


def test_another_reply_shows_in_the_verdict() -> None:
    def change(document: dict[str, Any]) -> None:
        document["reply"]["text"] = document["reply"]["text"].replace("0.5,", "0.6,", 1)

    cycle = changed(second_cycle("moved stop"), Stage.DECISIONS, change)
    assert verdicts(cycle)[Stage.DECISIONS] is DIFFERS
    detail = check_of(cycle, Stage.DECISIONS).detail
    assert "-outcome.targets[0].target_size" in detail
    assert "reply_sha256" in detail


def test_another_verdict_shows_there_and_in_the_plan() -> None:
    def change(document: dict[str, Any]) -> None:
        document["outcome"]["targets"][0]["target_size"] = "0.3"

    found = verdicts(changed(second_cycle("kept"), Stage.DECISIONS, change))
    assert [stage for stage in Stage if found[stage] is DIFFERS] == [Stage.DECISIONS, Stage.EXECUTION_PLANS]


def test_another_order_shows_in_the_plan() -> None:
    def change(document: dict[str, Any]) -> None:
        document["actions"][0]["limit_px"] = "1"

    cycle = changed(second_cycle("closed"), Stage.EXECUTION_PLANS, change)
    lines = check_of(cycle, Stage.EXECUTION_PLANS).detail.splitlines()
    assert '-actions[0].limit_px: "1"' in lines
    assert len([line for line in lines if line.startswith("+") and "limit_px" in line]) == 1
    assert [s for s, v in verdicts(cycle).items() if v is DIFFERS] == [Stage.EXECUTION_PLANS]


def test_a_changed_template_is_named_by_its_hash_and_its_line() -> None:
    cycle = second_cycle("kept")
    files = dict(cycle.record(Stage.LLM_CONTEXTS).prompt_files)
    files["system.md.j2"] = "Trade boldly.\n" + files["system.md.j2"]
    other = replace(cycle, template=template_of("trader/v1", list(files.items())))
    detail = check_of(other, Stage.LLM_CONTEXTS).detail
    assert "+prompt.system: Trade boldly." in detail
    assert "prompt.template_sha256" in detail
    assert [s for s, v in verdicts(other).items() if v is not SAME] == [Stage.LLM_CONTEXTS]


def test_other_limits_in_the_record_show_in_the_prompt() -> None:
    def change(document: dict[str, Any]) -> None:
        document["setting"]["limits"]["max_position_usd"] = "1234"

    cycle = changed(second_cycle("kept"), Stage.LLM_CONTEXTS, change)
    assert verdicts(cycle)[Stage.LLM_CONTEXTS] is DIFFERS


def test_what_came_from_outside_is_held_against_its_seal() -> None:
    cycle = second_cycle("kept")
    seals = {stage: hashlib.sha256(payload).hexdigest() for stage, payload in cycle.payloads.items()}
    assert set(verdicts(replace(cycle, seals=seals)).values()) == {SAME}
    other = changed(cycle, Stage.EXECUTIONS, lambda d: d.update(alerts=["A STOP IS MISSING"]))
    found = verdicts(replace(other, seals=seals))
    assert [stage for stage in Stage if found[stage] is DIFFERS] == [Stage.EXECUTIONS]


@cache
def sealed() -> StoredCycle:
    cycle = second_cycle("moved stop")
    seals = {stage: hashlib.sha256(payload).hexdigest() for stage, payload in cycle.payloads.items()}
    return replace(cycle, seals=seals)


def test_a_lost_basis_that_the_seal_tells_is_a_difference_and_not_something_missing() -> None:
    cycle = sealed()
    flipped = cycle.payloads[Stage.EXECUTION_PLANS].replace(b'"basis":', b'"casis":')
    checks = replay_cycle(replace(cycle, payloads={**cycle.payloads, Stage.EXECUTION_PLANS: flipped}))
    (check,) = [check for check in checks if check.stage is Stage.EXECUTION_PLANS]
    assert (check.verdict, check.detail) == (DIFFERS, BROKEN_SEAL)


@settings(deadline=None)
@given(st.data())
def test_any_flipped_byte_is_found_in_its_stage_and_nothing_raises(data: st.DataObject) -> None:
    cycle = sealed()
    stage = data.draw(st.sampled_from(list(Stage)))
    payload = bytearray(cycle.payloads[stage])
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    checks = replay_cycle(replace(cycle, payloads={**cycle.payloads, stage: bytes(payload)}))
    assert next(check for check in checks if check.stage is stage).verdict is DIFFERS


# --- what is not there -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", list(Stage))
def test_a_stage_that_is_not_stored_is_told_and_the_rest_is_computed(stage: Stage) -> None:
    cycle = second_cycle("kept")
    rest = {known: payload for known, payload in cycle.payloads.items() if known is not stage}
    found = verdicts(replace(cycle, payloads=rest))
    assert found[stage] is NOT_STORED
    assert DIFFERS not in found.values()


def test_records_from_before_the_echo_are_not_stored_and_not_blamed() -> None:
    cycle = second_cycle("kept")
    old = {
        Stage.LLM_CONTEXTS: ("setting", "prompt_files"),
        Stage.EXECUTION_PLANS: ("basis",),
    }
    payloads = dict(cycle.payloads)
    for stage, names in old.items():
        document = json.loads(payloads[stage])
        record = decode(
            STAGE_RECORDS[stage], json.dumps({k: v for k, v in document.items() if k not in names})
        )
        payloads[stage] = encode(record, STAGE_RECORDS[stage])
    before = replace(cycle, payloads=payloads, template=None, prior=None)
    found = verdicts(before)
    assert {stage for stage in Stage if found[stage] is NOT_STORED} == set(COMPUTED) - {Stage.INDICATORS}
    assert DIFFERS not in found.values()
    assert "limits" in check_of(before, Stage.LLM_CONTEXTS).detail


def without(payload: bytes, *names: str) -> bytes:
    document = from_json(payload)
    return to_json({name: value for name, value in document.items() if name not in names})


def test_a_record_of_an_earlier_version_is_the_same_in_fewer_fields() -> None:
    cycle = second_cycle("kept")
    older = {
        Stage.DECISIONS: without(cycle.payloads[Stage.DECISIONS], "fired", "cost_usd", "reply_sha256"),
        Stage.CYCLE_REPORTS: without(cycle.payloads[Stage.CYCLE_REPORTS], "breaker", "spending"),
    }
    checks = {
        check.stage: check for check in replay_cycle(replace(cycle, payloads={**cycle.payloads, **older}))
    }
    assert {check.verdict for check in checks.values()} == {SAME}
    assert {stage for stage, check in checks.items() if check.detail == OLDER} == set(older)


def test_a_field_under_another_name_is_not_taken_for_an_older_one() -> None:
    cycle = second_cycle("kept")
    payload = cycle.payloads[Stage.CYCLE_REPORTS].replace(b'"breaker"', b'"breakes"')
    renamed = replace(cycle, payloads={**cycle.payloads, Stage.CYCLE_REPORTS: payload})
    assert verdicts(renamed)[Stage.CYCLE_REPORTS] is DIFFERS


def test_a_lost_prior_decision_is_told() -> None:
    lost = replace(second_cycle("stop gone, refused"), prior=None, prior_missing=True)
    check = check_of(lost, Stage.EXECUTION_PLANS)
    assert (check.verdict, "decision" in check.detail) == (NOT_STORED, True)


def test_a_crashed_stage_is_taken_as_it_stands() -> None:
    cycle = second_cycle("kept")
    crash = StageFailure(
        Stage.INDICATORS, "stage_crashed", "indicators met a KeyError in x, line 3: see the log"
    )
    kind = STAGE_RECORDS[Stage.INDICATORS]
    after = replace(cycle, payloads={**cycle.payloads, Stage.INDICATORS: encode(crash, kind)})
    assert verdicts(after)[Stage.INDICATORS] is SAME


# --- the difference --------------------------------------------------------------------------------


def test_a_difference_is_short_however_much_differs() -> None:
    before = json.dumps({"series": list(range(500)), "text": "x" * 9_000}).encode()
    after = json.dumps({"series": list(range(500, 1000)), "text": "y" * 9_000}).encode()
    lines = difference(before, after).splitlines()
    assert len(lines) == MAX_DIFF_LINES + 1
    assert lines[-1].endswith("lines more")
    assert max(map(len, lines)) <= 200


def test_the_same_values_in_other_bytes_are_told_as_that() -> None:
    assert difference(b'{"a": 1}', b'{"a":1}') == "the same values, written in other bytes"


def test_a_line_of_a_text_is_named_by_the_place_of_the_text() -> None:
    found = difference(b'{"prompt": {"user": "one\\ntwo"}}', b'{"prompt": {"user": "one\\n2"}}')
    assert "-prompt.user: two" in found
    assert "+prompt.user: 2" in found


def test_a_difference_far_to_the_right_is_shown() -> None:
    before = json.dumps({"data": "x" * 5_000 + "one" + "y" * 5_000}).encode()
    after = json.dumps({"data": "x" * 5_000 + "two" + "y" * 5_000}).encode()
    minus, plus = (line for line in difference(before, after).splitlines()[3:])
    assert (minus[:2], "xone" in minus, plus[:2], "xtwo" in plus) == ("-…", True, "+…", True)
    assert max(len(minus), len(plus)) <= 200
