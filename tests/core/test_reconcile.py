from dataclasses import replace
from decimal import Decimal

import pytest
from paper_venue import (
    ASSETS,
    CYCLE_MS,
    LIMITS,
    MARKS,
    RULES,
    TAG,
    PaperVenue,
    decision,
    target,
)

from wonttrade_dagster.core.client_order_id import is_ours
from wonttrade_dagster.core.model import (
    CancelOrder,
    Decision,
    ExecutionPlan,
    Leg,
    OpenOrder,
    OrderPurpose,
    PlaceOrder,
    Refusal,
    SetLeverage,
)
from wonttrade_dagster.core.precision import is_valid_price, wire
from wonttrade_dagster.core.reconcile import PositionReconciler

LONG = target("BTC", "0.1", "76000", "90000")
SHORT = target("BTC", "-0.1", "84000", "70000")
OURS = f"0x{TAG}" + 24 * "1"
NO = Refusal("invalid_json", "the model wrote prose")


def trigger(
    leg: Leg,
    px: str,
    size: str = "0.1",
    oid: int = 1,
    symbol: str = "BTC",
    cloid: str | None = f"0x{TAG}" + 24 * "1",
) -> OpenOrder:
    """A sell trigger, as a long is protected by."""
    return OpenOrder(symbol, oid, cloid, False, Decimal(size), Decimal(1), True, 0, Decimal(px), leg)


STOP, PROFIT = trigger(Leg.STOP_LOSS, "76000", oid=1), trigger(Leg.TAKE_PROFIT, "90000", oid=2)


def plan(
    venue: PaperVenue,
    outcome: Decision | Refusal,
    *,
    prior: Decision | None = None,
    rules: object = RULES,
    now_ms: int = CYCLE_MS + 5_000,
    marks: dict[str, Decimal] | None = None,
) -> ExecutionPlan:
    return PositionReconciler(ASSETS, ["BTC", "ETH"], LIMITS, rules).plan(
        cycle_ms=CYCLE_MS,
        outcome=outcome,
        account=venue.account(),
        reference_px=marks or MARKS,
        prior=prior,
        now_ms=now_ms,
    )


def story(plan: ExecutionPlan) -> list[str]:
    """The plan in words: purpose, direction and size, or what is cancelled."""

    def word(action: object) -> str:
        if isinstance(action, PlaceOrder):
            return f"{action.purpose} {'buy' if action.is_buy else 'sell'} {wire(action.size_base)}"
        if isinstance(action, CancelOrder):
            return f"cancel {action.oid}"
        assert isinstance(action, SetLeverage)
        return f"leverage {action.leverage}"

    return [word(action) for action in plan.actions]


def protected_long() -> PaperVenue:
    venue = PaperVenue()
    venue.hold("BTC", "0.1")
    venue.orders = [STOP, PROFIT]
    return venue


def test_opening_places_entry_stop_and_take_profit_in_that_order() -> None:
    made = plan(PaperVenue(), decision(LONG))
    assert story(made) == ["open buy 0.1", "stop_loss sell 0.1", "take_profit sell 0.1"]
    entry, stop, profit = made.actions
    assert isinstance(entry, PlaceOrder)
    assert isinstance(stop, PlaceOrder)
    assert isinstance(profit, PlaceOrder)
    assert (entry.limit_px, entry.reduce_only, entry.trigger_px) == (Decimal(80_400), False, None)
    assert (stop.trigger_px, stop.limit_px, stop.reduce_only) == (Decimal(76_000), Decimal(68_400), True)
    assert (profit.trigger_px, profit.limit_px) == (Decimal(90_000), Decimal(81_000))
    assert all(is_ours(order.cloid, TAG) for order in (entry, stop, profit))
    assert len({entry.cloid, stop.cloid, profit.cloid}) == 3


def test_a_short_is_protected_by_buys_with_limits_above_their_triggers() -> None:
    made = plan(PaperVenue(), decision(SHORT))
    assert story(made) == ["open sell 0.1", "stop_loss buy 0.1", "take_profit buy 0.1"]
    limits = [action.limit_px for action in made.actions if isinstance(action, PlaceOrder)]
    assert limits == [Decimal(79_600), Decimal(92_400), Decimal(77_000)]


def test_an_account_at_its_target_needs_nothing() -> None:
    assert plan(protected_long(), decision(LONG)).actions == ()


def test_an_increase_replaces_protection_new_one_first() -> None:
    made = plan(protected_long(), decision(target("BTC", "0.15", "76000", "90000")))
    assert story(made) == [
        "increase buy 0.05",
        "stop_loss sell 0.15",
        "cancel 1",
        "take_profit sell 0.15",
        "cancel 2",
    ]
    stop, old = made.actions[1:3]
    assert isinstance(stop, PlaceOrder)
    assert isinstance(old, CancelOrder)
    assert (stop.replaces_oid, old.after_cloid) == (1, stop.cloid)


def test_a_reduction_is_reduce_only_and_comes_before_any_entry() -> None:
    made = plan(
        protected_long(),
        decision(target("BTC", "0.04", "76000", "90000"), target("ETH", "1", "1900", "2300")),
    )
    assert story(made)[0] == "reduce sell 0.06"
    assert story(made)[-3] == "open buy 1"
    first = made.actions[0]
    assert isinstance(first, PlaceOrder)
    assert first.reduce_only


def test_a_close_cancels_our_triggers_after_it() -> None:
    made = plan(protected_long(), decision())
    assert story(made) == ["close sell 0.1", "cancel 1", "cancel 2"]
    close, *cancels = made.actions
    assert isinstance(close, PlaceOrder)
    assert close.reduce_only
    assert all(isinstance(c, CancelOrder) and c.after_cloid == close.cloid for c in cancels)


def test_a_flip_closes_reduce_only_before_it_opens() -> None:
    made = plan(protected_long(), decision(SHORT))
    assert story(made) == [
        "close sell 0.1",
        "cancel 1",
        "cancel 2",
        "open sell 0.1",
        "stop_loss buy 0.1",
        "take_profit buy 0.1",
    ]


def test_a_stop_moves_only_beyond_the_configured_distance() -> None:
    near = decision(target("BTC", "0.1", "76076", "90000"))
    far = decision(target("BTC", "0.1", "76090", "90000"))
    assert plan(protected_long(), near).actions == ()
    assert story(plan(protected_long(), far)) == ["stop_loss sell 0.1", "cancel 1"]


def test_a_stop_of_the_wrong_size_is_replaced() -> None:
    venue = protected_long()
    venue.orders[0] = trigger(Leg.STOP_LOSS, "76000", "0.05", oid=1)
    assert story(plan(venue, decision(LONG))) == ["stop_loss sell 0.1", "cancel 1"]


def test_a_double_of_the_stop_is_cancelled_without_a_new_one() -> None:
    venue = protected_long()
    venue.orders.append(trigger(Leg.STOP_LOSS, "76000", oid=9))
    assert story(plan(venue, decision(LONG))) == ["cancel 9"]


def test_a_whole_position_trigger_covers_any_size() -> None:
    venue = protected_long()
    venue.orders[0] = replace(STOP, size_base=Decimal(0), is_whole_position=True)
    assert plan(venue, decision(LONG)).actions == ()


def test_a_second_plan_of_the_cycle_takes_another_id_for_the_stop_that_it_replaces() -> None:
    venue = protected_long()
    first = plan(venue, decision(target("BTC", "0.1", "77000", "90000"))).actions[0]
    assert isinstance(first, PlaceOrder)
    venue.orders[0] = replace(STOP, cloid=first.cloid, trigger_px=first.trigger_px)
    second = plan(venue, decision(target("BTC", "0.1", "78000", "90000"))).actions[0]
    assert isinstance(second, PlaceOrder)
    assert second.cloid != first.cloid


def test_an_orphan_of_ours_is_cancelled_and_a_foreign_order_is_not() -> None:
    venue = PaperVenue()
    venue.orders = [STOP, trigger(Leg.STOP_LOSS, "1900", oid=5, symbol="ETH", cloid=None)]
    assert story(plan(venue, decision())) == ["cancel 1"]
    assert story(plan(venue, NO)) == ["cancel 1"]


def test_an_orphan_of_a_symbol_that_is_no_longer_tracked_is_cancelled() -> None:
    venue = PaperVenue()
    venue.orders = [trigger(Leg.STOP_LOSS, "90", oid=7, symbol="SOL")]
    assert story(plan(venue, decision())) == ["cancel 7"]
    venue.hold("SOL", "3")
    assert plan(venue, decision()).actions == ()


def test_foreign_protection_does_not_stand_in_for_the_decisions_own() -> None:
    venue = protected_long()
    venue.orders = [replace(STOP, cloid=None), PROFIT]
    assert story(plan(venue, decision(LONG))) == ["stop_loss sell 0.1"]


def test_a_trigger_of_the_wrong_side_is_swept() -> None:
    venue = protected_long()
    venue.orders.append(replace(STOP, oid=8, is_buy=True))
    assert story(plan(venue, decision(LONG))) == ["cancel 8"]


@pytest.mark.parametrize("size", ["0.1001", "0.0999"])
def test_a_difference_below_the_minimum_value_is_left_alone_and_named(size: str) -> None:
    made = plan(protected_long(), decision(target("BTC", size, "76000", "90000")))
    assert made.actions == ()
    assert [(s.symbol, s.reason) for s in made.skipped] == [("BTC", "below_minimum_value")]


def test_an_entry_below_the_minimum_value_is_skipped_with_its_protection() -> None:
    made = plan(PaperVenue(), decision(target("BTC", "0.0001", "76000", "90000")))
    assert (made.actions, made.skipped[0].delta_base) == ((), Decimal("0.0001"))


def test_a_remainder_below_the_minimum_value_goes_with_the_close() -> None:
    made = plan(protected_long(), decision(target("BTC", "0.0001", "76000", "90000")))
    assert story(made)[0] == "close sell 0.1"


@pytest.mark.parametrize(
    ("outcome", "skipped"),
    [
        (decision(target("BTC", "0.0001", "76000", "90000")), []),
        (decision(), [("BTC", Decimal("-0.0001"), "below_minimum_value")]),
        (Refusal("any", "why"), []),
    ],
)
def test_a_holding_worth_less_than_the_minimum_takes_no_order_and_is_told(
    outcome: Decision | Refusal, skipped: list[tuple[str, Decimal, str]]
) -> None:
    venue = PaperVenue()
    venue.hold("BTC", "0.0001")
    made = plan(venue, outcome)
    assert made.actions == ()
    assert [(s.symbol, s.delta_base, s.reason) for s in made.skipped] == skipped
    assert made.alerts[0].startswith("A REMAINDER OF 0.0001 BTC IS WORTH LESS THAN 10 USD")


def test_protection_worth_less_than_the_minimum_is_not_looped_on_but_told() -> None:
    """The position is worth 16 USD, its stop at 45,000 only 9: the venue would refuse it in every cycle."""
    venue = PaperVenue()
    venue.hold("BTC", "0.0002")
    made = plan(venue, decision(target("BTC", "0.0002", "45000", "90000")))
    assert story(made) == ["take_profit sell 0.0002"]
    assert made.alerts[0].startswith("THE STOP-LOSS OF 0.0002 BTC AT 45000 IS WORTH LESS THAN 10 USD")


@pytest.mark.parametrize(("goal", "stop", "take"), [("0.1", "76000", "90000"), ("-0.1", "90000", "70000")])
def test_a_remainder_is_taken_along_by_the_next_order(goal: str, stop: str, take: str) -> None:
    venue = PaperVenue()
    venue.hold("BTC", "0.0001")
    made = plan(venue, decision(target("BTC", goal, stop, take)))
    delta = abs(Decimal(goal) - Decimal("0.0001"))
    assert [a.size_base for a in made.actions if isinstance(a, PlaceOrder)] == [delta, *[Decimal("0.1")] * 2]


def test_a_margin_sets_the_leverage_before_the_entry_rounded_up() -> None:
    made = plan(PaperVenue(), decision(target("BTC", "0.1", "76000", "90000", margin="3000")))
    assert story(made)[:2] == ["leverage 3", "open buy 0.1"]


def test_the_leverage_stays_within_the_configured_maximum() -> None:
    made = plan(PaperVenue(), decision(target("BTC", "0.1", "76000", "90000", margin="100")))
    assert story(made)[0] == "leverage 10"


def test_without_a_margin_the_leverage_is_left_alone() -> None:
    assert not [a for a in plan(PaperVenue(), decision(LONG)).actions if isinstance(a, SetLeverage)]


def test_the_price_alone_does_not_move_the_leverage_of_a_standing_position() -> None:
    kept = decision(target("BTC", "0.1", "76000", "90000", margin="1600"))
    moved = {**MARKS, "BTC": Decimal(81_000)}
    assert plan(protected_long(), kept, prior=kept, marks=moved).actions == ()


def test_a_changed_margin_moves_the_leverage_of_a_standing_position() -> None:
    before = decision(target("BTC", "0.1", "76000", "90000", margin="1600"))
    after = decision(target("BTC", "0.1", "76000", "90000", margin="4000"))
    assert story(plan(protected_long(), after, prior=before)) == ["leverage 2"]


def test_a_refusal_leaves_exposure_and_protection_as_they_are() -> None:
    made = plan(protected_long(), NO, prior=decision(target("BTC", "0.5", "70000", "99000")))
    assert (made.actions, made.alerts, made.refusal) == ((), (), NO)


def test_missing_protection_is_put_back_from_the_last_applied_decision() -> None:
    venue = protected_long()
    venue.orders = [PROFIT]
    made = plan(venue, NO, prior=decision(LONG))
    assert story(made) == ["stop_loss sell 0.1"]
    assert made.refusal is NO


def test_an_undersized_stop_is_put_back_in_full_before_the_small_one_goes() -> None:
    venue = protected_long()
    venue.orders[0] = trigger(Leg.STOP_LOSS, "76000", "0.04", oid=1)
    assert story(plan(venue, NO, prior=decision(LONG))) == ["stop_loss sell 0.1", "cancel 1"]


@pytest.mark.parametrize("prior", [None, decision(SHORT), decision()])
def test_a_naked_position_that_nobody_knows_a_stop_for_is_an_alert(prior: Decision | None) -> None:
    venue = protected_long()
    venue.orders = []
    made = plan(venue, NO, prior=prior)
    assert made.actions == ()
    assert made.alerts[0].startswith("NO STOP-LOSS COVERS THE LONG OF 0.1 BTC")
    assert made.alerts[1].startswith("NO TAKE-PROFIT COVERS")


def test_a_stop_that_is_crossed_already_becomes_the_close_it_would_have_been() -> None:
    venue = protected_long()
    venue.orders = [PROFIT]
    made = plan(venue, NO, prior=decision(LONG), marks={**MARKS, "BTC": Decimal(75_000)})
    assert story(made) == ["close sell 0.1", "cancel 2"]


def test_a_crossed_stop_is_an_alert_where_so_configured() -> None:
    venue = protected_long()
    venue.orders = [PROFIT]
    rules = replace(RULES, crossed_stop="alert")
    made = plan(venue, NO, prior=decision(LONG), marks={**MARKS, "BTC": Decimal(75_000)}, rules=rules)
    assert made.actions == ()
    assert "ALREADY PAST 76000" in made.alerts[0]


def test_a_stale_decision_is_refused_by_name_but_missing_protection_is_still_put_back() -> None:
    venue = protected_long()
    venue.orders = [PROFIT]
    made = plan(venue, decision(SHORT), prior=decision(LONG), now_ms=CYCLE_MS + 30_001)
    assert made.refusal is not None
    assert made.refusal.reason == "stale_decision"
    assert story(made) == ["stop_loss sell 0.1"]


@pytest.mark.parametrize(
    ("mark", "reason"), [("76000", "price_moved_past_stop"), ("90000", "price_moved_past_take_profit")]
)
def test_a_price_past_stop_or_take_profit_refuses_the_whole_decision(mark: str, reason: str) -> None:
    both = decision(LONG, target("ETH", "1", "1900", "2300"))
    made = plan(PaperVenue(), both, marks={**MARKS, "BTC": Decimal(mark)})
    assert made.refusal is not None
    assert made.refusal.reason == reason
    assert made.actions == ()


def test_a_decision_without_a_reference_price_is_refused() -> None:
    made = plan(PaperVenue(), decision(LONG), marks={"ETH": Decimal(2000)})
    assert made.refusal is not None
    assert made.refusal.reason == "no_reference_price"


def test_prices_off_the_grid_are_rounded_away_from_the_market() -> None:
    made = plan(PaperVenue(), decision(target("BTC", "0.1", "79999.97", "80000.04")))
    triggers = [a.trigger_px for a in made.actions if isinstance(a, PlaceOrder) and a.trigger_px]
    assert triggers == [Decimal(79_999), Decimal(80_001)]
    assert all(is_valid_price(px, 5) for px in triggers)


def test_purposes_decide_what_freshness_binds() -> None:
    assert [p for p in OrderPurpose if p.increases_exposure] == [OrderPurpose.OPEN, OrderPurpose.INCREASE]
