"""The venue's JSON, good and broken, without any network."""

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.hyperliquid.answers import classify, normalise, parse_order_status
from wonttrade_dagster.adapters.hyperliquid.parse import (
    parse_account,
    parse_assets,
    parse_context,
    parse_contexts,
    parse_fills,
    parse_funding,
)
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import ActionStatus, Leg

RECORDED = Path(__file__).parents[3] / "shared" / "venue" / "recorded_info_answers.json"

META = {
    "universe": [
        {"szDecimals": 2, "name": "SOL", "maxLeverage": 20, "marginTableId": 20},
        {"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "marginTableId": 20, "isDelisted": True},
        {"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56},
        {"szDecimals": 0, "name": "HYPER", "maxLeverage": 3, "onlyIsolated": True},
    ],
    "marginTables": [
        [
            56,
            {
                "description": "tiered 40x",
                "marginTiers": [
                    {"lowerBound": "0.0", "maxLeverage": 40},
                    {"lowerBound": "150000000.0", "maxLeverage": 20},
                ],
            },
        ]
    ],
    "collateralToken": 0,
}
CONTEXT = {
    "funding": "0.0000125",
    "openInterest": "39338.76246",
    "prevDayPx": "84086.0",
    "dayNtlVlm": "3096053627.56",
    "premium": "-0.0001348801",
    "oraclePx": "83778.1",
    "markPx": "83757.0",
    "midPx": "83757.5",
    "impactPxs": ["83757.0", "83766.8"],
}
STATE = {
    "marginSummary": {
        "accountValue": "38252.7",
        "totalNtlPos": "377667.0",
        "totalRawUsd": "-339414.3",
        "totalMarginUsed": "37766.7",
    },
    "crossMarginSummary": {},
    "crossMaintenanceMarginUsed": "4720.8375",
    "withdrawable": "486.0",
    "assetPositions": [
        {
            "type": "oneWay",
            "position": {
                "coin": "BTC",
                "szi": "-4.5",
                "leverage": {"type": "isolated", "value": 10, "rawUsd": "-68.1"},
                "entryPx": "81285.0",
                "positionValue": "377667.0",
                "unrealizedPnl": "11884.306507",
                "returnOnEquity": "0.3249007326",
                "liquidationPx": None,
                "marginUsed": "37766.7",
                "maxLeverage": 40,
                "cumFunding": {"allTime": "982.4", "sinceOpen": "982.43637", "sinceChange": "0.0"},
            },
        }
    ],
    "time": 1790360864964,
}


def order(**changes: object) -> dict[str, Any]:
    row = {
        "coin": "BTC",
        "side": "A",
        "limitPx": "9.2037",
        "sz": "12.5",
        "oid": 3184595907,
        "timestamp": 1700126022555,
        "triggerCondition": "Price above 10.004",
        "isTrigger": True,
        "triggerPx": "10.004",
        "children": [],
        "isPositionTpsl": False,
        "reduceOnly": True,
        "orderType": "Take Profit Market",
        "origSz": "12.5",
        "tif": None,
        "cloid": None,
    }
    return row | changes


def answered(*statuses: object) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": list(statuses)}}}


# --- answers to actions --------------------------------------------------------------------------


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


# --- answers to questions ------------------------------------------------------------------------


def test_asset_ids_are_places_in_the_universe_delisted_ones_included() -> None:
    assets = parse_assets(META)
    assert [(a.symbol, a.asset_id) for a in assets.values()] == [
        ("SOL", 0),
        ("MATIC", 1),
        ("BTC", 2),
        ("HYPER", 3),
    ]
    assert (assets["MATIC"].is_delisted, assets["HYPER"].only_isolated) == (True, True)
    assert [t.max_leverage for t in assets["BTC"].margin_tiers] == [40, 20]
    assert [t.max_leverage for t in assets["SOL"].margin_tiers] == [20]


def test_equity_is_the_account_value_and_a_raw_balance_below_zero_does_not_matter() -> None:
    account = parse_account(STATE, [], [("BTC", Decimal(83_926))], 5)
    assert (account.account_value_usd, account.free_margin_usd) == (Decimal("38252.7"), Decimal("486.0"))
    held = account.positions[0]
    assert (held.size_base, held.is_cross, held.liquidation_px) == (Decimal("-4.5"), False, None)
    assert held.funding_since_open_usd == Decimal("982.43637")
    assert account.mark_px("BTC") == 83_926


@pytest.mark.parametrize(
    ("changes", "leg"),
    [
        ({}, Leg.TAKE_PROFIT),
        ({"orderType": "Stop Market"}, Leg.STOP_LOSS),
        ({"orderType": "Stop Limit"}, Leg.STOP_LOSS),
        ({"orderType": "Take Profit Limit"}, Leg.TAKE_PROFIT),
        ({"orderType": "Something New"}, None),
        ({"orderType": "Stop Market", "reduceOnly": False}, None),
        ({"orderType": "Limit", "isTrigger": False, "triggerPx": "0.0"}, None),
    ],
)
def test_the_protection_leg_comes_from_the_order_type(changes: dict[str, Any], leg: Leg | None) -> None:
    (standing,) = parse_account(STATE, [order(**changes)], [], 0).open_orders
    assert standing.leg is leg
    assert (standing.trigger_px is None) == (changes.get("isTrigger") is False)


def test_a_position_tpsl_of_size_zero_follows_the_position_and_one_with_a_size_does_not() -> None:
    whole = order(isPositionTpsl=True, sz="0.0", origSz="0.0")
    sized = order(isPositionTpsl=True)
    orders = parse_account(STATE, [whole, sized], [], 0).open_orders
    assert [o.is_whole_position for o in orders] == [True, False]


def test_fills_are_signed_sorted_and_keep_directions_that_nobody_knows() -> None:
    row = {
        "coin": "ETH",
        "px": "2067.2",
        "sz": "0.01",
        "side": "A",
        "time": 20,
        "startPosition": "0.01",
        "dir": "Long > Short",
        "closedPnl": "-0.13",
        "hash": "0x5b",
        "oid": 3,
        "crossed": True,
        "fee": "0.00893",
        "tid": 4,
        "feeToken": "USDC",
    }
    later = row | {"time": 30, "side": "B", "cloid": "0x" + "0" * 32, "dir": "Auto-Deleveraging"}
    first, second = parse_fills([later, row])
    assert (first.size_base, first.direction, first.cloid) == (Decimal("-0.01"), "Long > Short", None)
    assert (second.size_base, second.direction) == (Decimal("0.01"), "Auto-Deleveraging")


def test_funding_paid_is_the_negative_of_the_cash_flow() -> None:
    rows = [
        {"time": 1, "hash": "0x", "delta": {"type": "funding", "coin": "ETH", "usdc": "-3.41", "szi": "5"}}
    ]
    assert parse_funding(rows) == ((1, "ETH", Decimal("3.41")),)


@pytest.mark.parametrize("px", ["0.0", "-1.0", "NaN", "Infinity", "1e5", "", None, 83757.0, True])
def test_a_mark_that_is_no_price_is_refused_by_name(px: object) -> None:
    meta = {"universe": [META["universe"][2]]}
    _, contexts = parse_contexts([meta, [CONTEXT | {"markPx": px}]])
    with pytest.raises(VenueAnswerError, match=r"BTC.*markPx"):
        parse_context(contexts["BTC"])


def test_an_asset_without_a_book_has_no_mid() -> None:
    meta = {"universe": [META["universe"][2]]}
    empty = CONTEXT | {"midPx": None, "premium": None, "impactPxs": None}
    _, contexts = parse_contexts([meta, [empty]])
    assert parse_context(contexts["BTC"]).mid_px is None


def test_contexts_that_do_not_match_the_universe_are_refused() -> None:
    with pytest.raises(VenueAnswerError, match="4 assets but 1 contexts"):
        parse_contexts([META, [CONTEXT]])


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [p for key, item in inner for p in places(item, (*path, key))]


def poisoned(value: dict[str, Any], path: tuple[Any, ...], poison: object) -> dict[str, Any]:
    made = copy.deepcopy(value)
    at: Any = made
    for key in path[:-1]:
        at = at[key]
    if poison is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = poison
    return made


WHOLE = {"meta": META, "context": CONTEXT, "state": STATE, "orders": [order()]}
poisons = st.sampled_from([..., None, True, -1, 1.5, "NaN", "", "x", [], {}, [None], {"a": 1}, "9" * 500])


def read_everything(answers: dict[str, Any]) -> None:
    parse_assets(answers["meta"])
    _, contexts = parse_contexts([{"universe": [{"name": "BTC"}]}, [answers["context"]]])
    parse_context(contexts["BTC"])
    parse_account(answers["state"], answers["orders"], [], 0)


@settings(max_examples=150)
@given(st.sampled_from([p for p in places(WHOLE) if len(p) > 1]), poisons)
def test_a_poisoned_answer_is_read_or_refused_by_name_and_never_crashes(
    path: tuple[Any, ...], poison: object
) -> None:
    error = None
    try:
        read_everything(poisoned(WHOLE, path, poison))
    except VenueAnswerError as caught:
        error = str(caught)
    assert error is None or ("Hyperliquid" in error and len(error) < 500)


@pytest.mark.skipif(not RECORDED.exists(), reason="the venue's recordings are not on this machine")
def test_the_venues_own_recordings_are_read() -> None:
    read = {
        "meta": parse_assets,
        "userFills": parse_fills,
        "userFillsByTime": parse_fills,
        "userFunding": parse_funding,
        "frontendOpenOrders": lambda answer: parse_account(STATE, answer, [], 0),
        "historicalOrders": lambda answer: [
            parse_order_status({"status": "order", "order": row}) for row in answer
        ],
    }
    seen = set()
    for record in json.loads(RECORDED.read_text(encoding="utf-8")):
        kind = record["request"]["type"]
        if kind in read:
            assert read[kind](record["response"])
            seen.add(kind)
    assert seen == set(read)
