"""What requests cost: the arithmetic by table, the count against the loopback venue's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, SetBackClock, set_back

from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget, RequestBudget, RoomLeft, total
from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.model import Stage
from wonttrade_dagster.core.request_weight import (
    RequestRoom,
    actions_in,
    exchange_weight,
    info_weight,
    items_weight,
)
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.settings import Settings, load_settings

MAX_WARM_WEIGHT = 240
"""Of 1,200 a minute; 120 bars a series, two symbols."""


@pytest.mark.parametrize(
    ("kind", "weight"),
    [
        ("l2Book", 2),
        ("allMids", 2),
        ("clearinghouseState", 2),
        ("orderStatus", 2),
        ("spotClearinghouseState", 2),
        ("exchangeStatus", 2),
        ("userRole", 60),
        ("meta", 20),
        ("metaAndAssetCtxs", 20),
        ("frontendOpenOrders", 20),
        ("userRateLimit", 20),
        ("a request of next year", 20),
    ],
)
def test_a_question_weighs_what_the_venue_says(kind: str, weight: int) -> None:
    assert info_weight(kind) == weight


@pytest.mark.parametrize(
    ("kind", "items", "weight"),
    [
        ("candleSnapshot", 59, 0),
        ("candleSnapshot", 60, 1),
        ("candleSnapshot", 500, 8),
        ("userFillsByTime", 19, 0),
        ("userFillsByTime", 2_000, 100),
        ("userFunding", 41, 2),
        ("historicalOrders", 20, 1),
        ("frontendOpenOrders", 1_000, 0),
    ],
)
def test_the_rows_of_an_answer_weigh_on_top(kind: str, items: int, weight: int) -> None:
    assert items_weight(kind, items) == weight


@pytest.mark.parametrize(("actions", "weight"), [(1, 1), (39, 1), (40, 2), (79, 2), (80, 3)])
def test_a_batch_weighs_one_and_one_for_every_forty(actions: int, weight: int) -> None:
    assert exchange_weight(actions) == weight


@pytest.mark.parametrize(
    ("action", "count"),
    [
        ({"type": "order", "orders": [{}, {}, {}]}, 3),
        ({"type": "cancel", "cancels": [{}]}, 1),
        ({"type": "batchModify", "modifies": [{}] * 40}, 40),
        ({"type": "updateLeverage"}, 1),
        ({"type": "order", "orders": []}, 1),
    ],
)
def test_a_batch_of_n_counts_n_actions(action: dict[str, Any], count: int) -> None:
    assert actions_in(action) == count


@pytest.mark.parametrize(
    ("used", "cap", "left", "is_low"),
    [
        (0, 10_000, 10_000, False),
        (9_000, 10_000, 1_000, False),
        (9_001, 10_000, 999, True),
        (12, 10, 0, True),
    ],
)
def test_less_than_a_tenth_of_the_address_budget_is_low(used: int, cap: int, left: int, is_low: bool) -> None:
    budget = AddressBudget(used, cap)
    assert (budget.left, budget.is_low) == (left, is_low)


def test_the_room_left_is_what_the_venue_told_without_what_was_sent_since() -> None:
    account, market = RequestBudget(lambda: 0), RequestBudget(lambda: 0)
    asked: list[AddressBudget] = []

    def ask() -> AddressBudget:
        asked.append(AddressBudget(9_000, 10_000))
        return asked[-1]

    room = RoomLeft(account, (market,), ask)
    assert room() == RequestRoom(1_000, 1_200)
    account.request("/exchange", {"action": {"type": "order", "orders": [{}, {}]}})
    market.request("/info", {"type": "meta"})
    assert room() == RequestRoom(998, 1_179)
    assert len(asked) == 1, "the address is asked for once"


def test_an_address_that_the_venue_does_not_tell_hinders_nothing() -> None:
    def ask() -> AddressBudget:
        raise VenueUnavailableError("no answer")

    room = RoomLeft(RequestBudget(lambda: 0), (), ask)
    assert room() == RequestRoom(None, 1_200)
    assert room().hindrance(6) == ""


def test_no_more_is_left_than_nothing() -> None:
    account = RequestBudget(lambda: 0)
    account.learn(AddressBudget(10_000, 10_000))
    account.request("/exchange", {"action": {"type": "order", "orders": [{}]}})
    for _ in range(70):
        account.request("/info", {"type": "meta"})
    room = RoomLeft(account, (), lambda: AddressBudget(0, 1))
    assert room() == RequestRoom(0, 0)


def test_weight_counts_for_a_minute_and_actions_for_ever() -> None:
    now = [1_000]
    budget = RequestBudget(lambda: now[0])
    budget.request("/info", {"type": "meta"})
    now[0] += 30_000
    budget.request("/exchange", {"action": {"type": "order", "orders": [{}] * 40}})
    budget.answer("candleSnapshot", 120)
    assert budget.spent().weight_last_minute == 20 + 2 + 2
    now[0] += 30_000
    assert budget.spent().weight_last_minute == 2 + 2
    now[0] += 30_000
    spent = total([budget, RequestBudget(lambda: now[0])])
    assert (spent.weight_last_minute, spent.weight, spent.actions) == (0, 24, 40)


# --- against the loopback venue --------------------------------------------------------------------


@pytest.fixture(scope="module")
def clock() -> Iterator[SetBackClock]:
    with set_back() as clock:
        yield clock


@pytest.fixture(scope="module")
def told(clock: SetBackClock, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three cycles: the first opens two positions, the others are warm and have nothing to do."""
    with Loopback.serving(clock) as loopback:
        settings = load_settings(loopback.config(tmp_path_factory.mktemp("budget")))
        live = compose_live_cycle(settings, Executors())
        for _ in range(3):
            cycle_ms = clock.next_minute()
            for stage in Stage:
                live.run(stage, cycle_ms, None)
        live.lease.release()
        venue = loopback.info().user_rate_limit(SANDBOX_ACCOUNT_ADDRESS)
    lines = [json.loads(line) for line in settings.log_path.read_text().splitlines()]
    cycles = [line for line in lines if line["event"] == "cycle_finished"]
    return {"settings": settings, "cycles": cycles, "venue": venue}


def test_a_warm_cycle_for_two_symbols_leaves_the_minute_mostly_free(told: dict[str, Any]) -> None:
    warm = [cycle["request_weight"] for cycle in told["cycles"][1:]]
    print(f"weight of a warm cycle for 2 symbols, 120 bars a series: {warm}")
    # 20 + 4 x 22 market, 2 x 42 account, 20 fills, 20 funding
    assert all(100 < weight <= MAX_WARM_WEIGHT for weight in warm)
    assert [cycle["actions_sent"] for cycle in told["cycles"][1:]] == [0, 0]


def test_the_actions_of_a_cycle_are_those_that_the_venue_counted(told: dict[str, Any]) -> None:
    first = told["cycles"][0]
    assert first["actions_sent"] == told["venue"]["nRequestsUsed"] > 0
    assert first["address_used"] == told["venue"]["nRequestsUsed"]
    assert first["address_cap"] >= 10_000


def test_heartbeat_and_metrics_keep_the_address_figures_of_an_earlier_cycle(told: dict[str, Any]) -> None:
    settings: Settings = told["settings"]
    requests = json.loads(Path(settings.heartbeat_path).read_text())["requests"]
    assert requests["actions_sent"] == 0
    assert requests["address_used"] == told["venue"]["nRequestsUsed"]
    metrics = dict(
        line.split(" ") for line in settings.metrics_path.read_text().splitlines() if line[0] != "#"
    )
    assert float(metrics["wonttrade_address_actions_used"]) == told["venue"]["nRequestsUsed"]
    assert float(metrics["wonttrade_actions_sent_total"]) == told["venue"]["nRequestsUsed"]
    weights = [cycle["request_weight"] for cycle in told["cycles"]]
    assert float(metrics["wonttrade_request_weight_total"]) == sum(weights)
