"""What must hold for every account, decision and price: planning is idempotent, legal and protective."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from paper_venue import ASSETS, CYCLE_MS, LIMITS, MARKS, RULES, TAG, Journal, PaperVenue

from wonttrade_dagster.core.client_order_id import cloid
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    ActionStatus,
    CancelOrder,
    Decision,
    ExecutionPlan,
    Leg,
    OpenOrder,
    PlaceOrder,
    PriorPlan,
    Refusal,
    TargetPosition,
)
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, floor_size, is_valid_price, is_valid_size
from wonttrade_dagster.core.reconcile import PositionReconciler

SYMBOLS = ["BTC", "ETH"]
NO = Refusal("model_unavailable", "it did not answer")
fractions = st.decimals("0.005", "0.3", places=4)


@st.composite
def sizes(draw: st.DrawFn, symbol: str) -> Decimal:
    value_usd = draw(st.one_of(st.just(Decimal(0)), st.decimals("-50000", "50000", places=2)))
    return floor_size(value_usd / MARKS[symbol], ASSETS[symbol].size_decimals)


@st.composite
def targets(draw: st.DrawFn, symbol: str) -> TargetPosition:
    size, mark = draw(sizes(symbol)), MARKS[symbol]
    if size == 0 or abs(size) * mark < MIN_ORDER_VALUE_USD:  # the judgement lets nothing smaller pass
        return TargetPosition(symbol, Decimal(0), None, None, 0.1, "flat")
    side = 1 if size > 0 else -1
    stop, profit = mark * (1 - side * draw(fractions)), mark * (1 + side * draw(fractions))
    margin = draw(st.none() | st.decimals("50", "20000", places=0))
    return TargetPosition(symbol, size, stop, profit, 0.9, "trend", margin)


decisions = st.tuples(targets("BTC"), targets("ETH")).map(
    lambda pair: Decision("why", "never", pair, PriorPlan.NONE)
)


@st.composite
def triggers(draw: st.DrawFn) -> OpenOrder:
    symbol, leg = draw(st.sampled_from([*SYMBOLS, "SOL"])), draw(st.sampled_from(Leg))
    px = MARKS[symbol] * draw(st.decimals("0.5", "1.5", places=2))
    oid = draw(st.integers(1, 999))
    name = draw(st.sampled_from([cloid(TAG, 0, symbol, leg, oid), None, "0x" + "ab" * 16]))
    size = draw(st.decimals("0.01", "20", places=2))
    is_whole = draw(st.booleans())
    return OpenOrder(symbol, oid, name, draw(st.booleans()), size, px, True, 0, px, leg, is_whole)


@st.composite
def venues(draw: st.DrawFn) -> PaperVenue:
    venue = PaperVenue()
    for symbol in SYMBOLS:
        size = draw(sizes(symbol))
        if size:
            venue.hold(symbol, str(size), draw(st.integers(1, 10)))
    venue.orders = draw(st.lists(triggers(), max_size=5, unique_by=lambda order: order.oid))
    return venue


def make_plan(
    venue: PaperVenue, outcome: Decision | Refusal, prior: Decision | None, cycle_ms: int = CYCLE_MS
) -> ExecutionPlan:
    return PositionReconciler(ASSETS, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=cycle_ms,
        outcome=outcome,
        account=venue.account(),
        reference_px=MARKS,
        prior=prior,
        now_ms=cycle_ms + 1_000,
    )


def carry_out(venue: PaperVenue, plan: ExecutionPlan) -> list[ActionStatus]:
    venue.clock.time_ms = CYCLE_MS + 1_000
    venue.latency_ms = 0
    report = ExecutionService(venue, Journal(), venue.clock, RULES, ASSETS).execute(plan)
    return [result.status for result in report.results]


@settings(max_examples=80, deadline=None)
@given(venues(), decisions, st.none() | decisions)
def test_planning_again_from_where_a_plan_leads_gives_an_empty_plan(
    venue: PaperVenue, decision: Decision, prior: Decision | None
) -> None:
    foreign = [order for order in venue.orders if order.cloid is None or TAG not in order.cloid]
    statuses = carry_out(venue, make_plan(venue, decision, prior))
    assert ActionStatus.ERROR not in statuses
    assert ActionStatus.UNKNOWN not in statuses
    assert make_plan(venue, decision, prior).actions == ()
    assert make_plan(venue, decision, decision).actions == ()
    assert all(order in venue.orders for order in foreign)


@settings(max_examples=80, deadline=None)
@given(venues(), decisions, st.none() | decisions)
def test_the_account_ends_at_the_target_with_its_protection(
    venue: PaperVenue, decision: Decision, prior: Decision | None
) -> None:
    made = make_plan(venue, decision, prior)
    carry_out(venue, made)
    skipped = {delta.symbol for delta in made.skipped}
    for target in decision.targets:
        held = venue.account().size_base(target.symbol)
        if target.symbol in skipped:
            assert abs(held - target.target_size) * MARKS[target.symbol] < MIN_ORDER_VALUE_USD
        else:
            assert held == target.target_size
        ours = [o for o in venue.account().protection(target.symbol) if o.cloid and TAG in o.cloid]
        if any(target.symbol in alert and "LESS THAN 10 USD" in alert for alert in made.alerts):
            assert abs(held) * MARKS[target.symbol] < 2 * MIN_ORDER_VALUE_USD
            continue  # nothing can be placed for so little, what stands is left
        assert sorted(o.leg for o in ours if o.leg) == (sorted(Leg) if held else [])
        assert all(o.is_whole_position or o.size_base == abs(held) for o in ours)


@settings(max_examples=80, deadline=None)
@given(venues(), decisions, st.none() | decisions)
def test_every_order_is_legal_and_risk_falls_before_it_grows(
    venue: PaperVenue, decision: Decision, prior: Decision | None
) -> None:
    actions = make_plan(venue, decision, prior).actions
    orders = [action for action in actions if isinstance(action, PlaceOrder)]
    assert len({order.cloid for order in orders}) == len(orders)
    for order in orders:
        decimals = ASSETS[order.symbol].size_decimals
        assert is_valid_price(order.limit_px, decimals)
        assert is_valid_size(order.size_base, decimals)
        assert order.trigger_px is None or is_valid_price(order.trigger_px, decimals)
        assert order.reduce_only != order.purpose.increases_exposure
    grows = [i for i, a in enumerate(actions) if isinstance(a, PlaceOrder) and a.purpose.increases_exposure]
    reduces = [
        i
        for i, a in enumerate(actions)
        if isinstance(a, PlaceOrder) and a.leg is None and not a.purpose.increases_exposure
    ]
    assert not grows or not reduces or max(reduces) < min(grows)


@settings(max_examples=80, deadline=None)
@given(venues(), st.none() | decisions)
def test_a_refusal_never_changes_exposure_nor_removes_the_only_protection(
    venue: PaperVenue, prior: Decision | None
) -> None:
    held = {symbol: venue.account().size_base(symbol) for symbol in SYMBOLS}
    made = make_plan(venue, NO, prior)
    assert all(not a.purpose.increases_exposure for a in made.actions if isinstance(a, PlaceOrder))
    for cancel in (a for a in made.actions if isinstance(a, CancelOrder)):
        assert cancel.after_cloid is not None or held.get(cancel.symbol, Decimal(0)) == 0
    carry_out(venue, made)
    assert {symbol: venue.account().size_base(symbol) for symbol in SYMBOLS} == held
    assert make_plan(venue, NO, prior).actions == ()


@given(venues(), decisions)
def test_the_same_arguments_give_the_same_plan(venue: PaperVenue, decision: Decision) -> None:
    assert make_plan(venue, decision, None) == make_plan(venue, decision, None)


@given(venues(), decisions)
def test_the_order_in_which_the_venue_lists_orders_and_positions_does_not_move_the_stop(
    venue: PaperVenue, decision: Decision
) -> None:
    made = make_plan(venue, decision, None)
    account = venue.account()
    shuffled = replace(account, positions=account.positions[::-1])
    again = PositionReconciler(ASSETS, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=CYCLE_MS,
        outcome=decision,
        account=shuffled,
        reference_px=MARKS,
        prior=None,
        now_ms=CYCLE_MS,
    )
    assert again.actions == made.actions
