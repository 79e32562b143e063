"""The venue's answers to actions, good and broken, without any network."""

from decimal import Decimal
from typing import Any

import pytest
from answer_samples import order
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.hyperliquid.answers import classify, normalise, parse_order_status
from wonttrade_dagster.core.model import ActionStatus


def answered(*statuses: object) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": list(statuses)}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"resting": {"oid": 7, "cloid": "0x43"}}, ActionStatus.RESTING),
        ({"filled": {"totalSz": "0.01", "avgPx": "2080.2", "oid": 8}}, ActionStatus.FILLED),
        ("waitingForTrigger", ActionStatus.WAITING),
        ("waitingForFill", ActionStatus.WAITING),
        ("success", ActionStatus.DONE),
        ({"error": "Insufficient margin to place order. asset=5"}, ActionStatus.ERROR),
        (
            {"error": "Order was never placed, already canceled, or filled. asset=0"},
            ActionStatus.DONE,
        ),
        ("somethingNew", ActionStatus.UNKNOWN),
        ({"teleported": {"oid": 9}}, ActionStatus.UNKNOWN),
        ({"filled": {"totalSz": "NaN", "avgPx": "1", "oid": 8}}, ActionStatus.UNKNOWN),
        ({"resting": {}}, ActionStatus.UNKNOWN),
        (None, ActionStatus.UNKNOWN),
        (7, ActionStatus.UNKNOWN),
    ],
)
def test_each_item_is_read_on_its_own(status: object, expected: ActionStatus) -> None:
    assert normalise(answered(status), 1)[0].status is expected


def test_a_fill_beside_an_error_is_not_hidden_by_it() -> None:
    filled, failed = normalise(
        answered({"filled": {"totalSz": "1.0", "avgPx": "2.0", "oid": 1}}, {"error": "Invalid TP/SL price."}),
        2,
    )
    assert (filled.status, filled.filled_base, filled.average_px) == (ActionStatus.FILLED, 1, 2)
    assert (failed.status, failed.message) == (ActionStatus.ERROR, "Invalid TP/SL price.")


def test_a_lone_error_stands_for_the_whole_batch() -> None:
    assert [i.status for i in normalise(answered({"error": "bad"}), 3)] == [ActionStatus.ERROR] * 3


def test_fewer_answers_than_orders_leave_the_rest_unknown() -> None:
    statuses = [i.status for i in normalise(answered({"resting": {"oid": 1}}), 3)]
    assert statuses == [ActionStatus.RESTING, ActionStatus.UNKNOWN, ActionStatus.UNKNOWN]


def test_a_refused_request_is_an_error_for_every_item() -> None:
    items = normalise({"status": "err", "response": "User or API Wallet 0x12 does not exist."}, 2)
    assert [i.status for i in items] == [ActionStatus.ERROR] * 2
    assert "does not exist" in items[0].message


def test_the_venues_words_are_cut_to_one_printable_line() -> None:
    words = "no\nline \ud800 " + "x" * 50_000
    status = {"status": "order", "order": {"order": {"oid": 1, "sz": "0", "origSz": "1"}, "status": words}}
    found = parse_order_status(status)
    assert found is not None
    for item in (*normalise({"status": "err", "response": words}, 1), found):
        assert len(item.message) <= 300
        assert item.message.startswith("no line   x")
    (error,) = normalise(answered({"error": words}), 1)
    assert (error.status, len(error.message)) == (ActionStatus.ERROR, 300)


def test_a_default_answer_is_done() -> None:
    answer = {"status": "ok", "response": {"type": "default"}}
    assert normalise(answer, 1)[0].status is ActionStatus.DONE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    st.one_of(json_values, json_values.map(answered), st.lists(json_values).map(lambda row: answered(*row)))
)
def test_no_answer_to_an_action_ever_raises(answer: object) -> None:
    assert len(normalise(answer, 2)) == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("open", ActionStatus.RESTING),
        ("filled", ActionStatus.FILLED),
        ("triggered", ActionStatus.DONE),
        ("canceled", ActionStatus.ERROR),
        ("marginCanceled", ActionStatus.ERROR),
        ("reduceOnlyCanceled", ActionStatus.ERROR),
        ("scheduledCancel", ActionStatus.ERROR),
        ("internalCancel", ActionStatus.ERROR),
        ("outcomeSettledCanceled", ActionStatus.ERROR),
        ("iocCancelRejected", ActionStatus.ERROR),
        ("somethingNobodyKnowsRejected", ActionStatus.ERROR),
        ("somethingNew", ActionStatus.UNKNOWN),
    ],
)
def test_order_statuses_are_told_apart_by_their_ending(status: str, expected: ActionStatus) -> None:
    assert classify(status) is expected


def test_a_cancelled_rest_of_an_ioc_order_counts_as_the_fill_that_it_was() -> None:
    row = order(sz="4.5", origSz="12.5")
    found = parse_order_status({"status": "order", "order": {"order": row, "status": "canceled"}})
    assert found is not None
    assert (found.status, found.filled_base) == (ActionStatus.FILLED, Decimal(8))


def test_a_rejected_order_has_no_fills_whatever_its_sizes_say() -> None:
    row = order(sz="0.0", origSz="12.5")
    found = parse_order_status({"status": "order", "order": {"order": row, "status": "perpMarginRejected"}})
    assert found is not None
    assert (found.status, found.filled_base) == (ActionStatus.ERROR, 0)


def test_a_trigger_order_that_lost_its_trigger_fields_is_still_read() -> None:
    row = {k: v for k, v in order().items() if "rigger" not in k}
    found = parse_order_status({"status": "order", "order": {"order": row, "status": "filled"}})
    assert found is not None
    assert found.status is ActionStatus.FILLED


def test_an_unknown_id_is_none() -> None:
    assert parse_order_status({"status": "unknownOid"}) is None
