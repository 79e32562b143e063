"""The venue's answers to questions, good and broken, without any network."""

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from answer_samples import CONTEXT, META, STATE, order
from hypothesis import given, settings
from hypothesis import strategies as st

from wonttrade_dagster.adapters.hyperliquid.answers import parse_order_status
from wonttrade_dagster.adapters.hyperliquid.parse import (
    parse_account,
    parse_assets,
    parse_context,
    parse_contexts,
    parse_fills,
    parse_funding,
)
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import Leg

RECORDED = Path(__file__).parents[3] / "shared" / "venue" / "recorded_info_answers.json"


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
