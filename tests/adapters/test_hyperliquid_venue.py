"""The adapter against the loopback venue: what the official SDK sends, a venue answers."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import count, pairwise

import pytest
import requests

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.hyperliquid import (
    HyperliquidMarketData,
    HyperliquidPreflight,
    HyperliquidVenue,
    SignerRole,
)
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.errors import VenueAnswerError, VenueUnavailableError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    ActionStatus,
    CancelOrder,
    Decision,
    ExecutionReport,
    ExecutionRules,
    Leg,
    OpenOrder,
    OrderPurpose,
    PlaceOrder,
    PriorPlan,
    Refusal,
    RiskLimits,
    SetLeverage,
    TargetPosition,
)
from wonttrade_dagster.core.order_desk import OrderDesk
from wonttrade_dagster.core.ports import AuditSink
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_ADDRESS,
    SANDBOX_AGENT_PRIVATE_KEY,
)
from wonttrade_dagster.sandbox.server import Sandbox


class HastyClock(SystemClock):
    """Real time; pauses are cut short."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.02))


CLOCK = HastyClock()
SYMBOLS = ["BTC", "ETH"]
TAG = "0badc0de"
RULES = ExecutionRules(Decimal(50), Decimal(10), 30_000, "close", Decimal("4.5"), TAG)
LIMITS = RiskLimits(Decimal(1_000_000), Decimal(2_000_000), 20)
CYCLES = count(CLOCK.now_ms())
"""Every test and cycle has a time of its own, so that no client order id comes twice."""


class Memory(AuditSink):
    """A journal that keeps intents in memory."""

    def __init__(self) -> None:
        self.intents: list[PlaceOrder] = []

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        self.intents.append(order)

    def append(self, kind: str, cycle_ms: int, body: object) -> None: ...

    def applied(self, cycle_ms: int, decision: Decision) -> None: ...

    def last_applied(self) -> tuple[int, Decision] | None:
        return None

    def strangers(self, orders: object) -> tuple[OpenOrder, ...]:
        return ()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7) as running:
        yield running


@pytest.fixture
def venue(sandbox: Sandbox) -> HyperliquidVenue:
    return make_venue(sandbox)


def make_venue(sandbox: Sandbox, timeout: float = 5.0) -> HyperliquidVenue:
    return HyperliquidVenue(
        base_url=sandbox.venue_url,
        account_address=SANDBOX_ACCOUNT_ADDRESS,
        agent_private_key=SANDBOX_AGENT_PRIVATE_KEY,
        timeout_seconds=timeout,
        symbols=SYMBOLS,
        clock=CLOCK,
        read_attempts=3,
    )


def market_data(sandbox: Sandbox, **changes: object) -> HyperliquidMarketData:
    options: dict[str, object] = {
        "base_url": sandbox.venue_url,
        "symbols": SYMBOLS,
        "intraday_interval": "5m",
        "long_interval": "4h",
        "history_bars": 300,
        "timeout_seconds": 5.0,
        "read_attempts": 3,
        "clock": CLOCK,
    }
    return HyperliquidMarketData(**(options | changes))


def fault(sandbox: Sandbox, on: str, kind: str, **options: object) -> None:
    body = [{"on": on, "kind": kind, **options}]
    requests.post(f"{sandbox.venue_url}/sandbox/faults", json=body, timeout=5).raise_for_status()


def set_price(sandbox: Sandbox, coin: str, mid: Decimal) -> None:
    body = {"coin": coin, "mid": str(mid)}
    requests.post(f"{sandbox.venue_url}/sandbox/price", json=body, timeout=5).raise_for_status()


def decide(venue: HyperliquidVenue, sizes: dict[str, str]) -> Decision:
    """Targets of these sizes with a stop 5 % and a take-profit 10 % away."""
    marks = dict(venue.account().marks)

    def target(symbol: str) -> TargetPosition:
        size = Decimal(sizes.get(symbol, "0"))
        if size == 0:
            return TargetPosition(symbol, size, None, None, 0.5, "flat")
        side = 1 if size > 0 else -1
        stop, profit = (marks[symbol] * (1 + side * Decimal(f)) for f in ("-0.05", "0.10"))
        return TargetPosition(symbol, size, stop, profit, 0.5, "trend")

    return Decision("why", "never", tuple(target(symbol) for symbol in SYMBOLS), PriorPlan.NONE)


def carry_out(
    venue: HyperliquidVenue, sizes: dict[str, str] | Refusal, prior: Decision | None = None
) -> ExecutionReport:
    account, cycle_ms = venue.account(), next(CYCLES)
    assets = venue._connection.assets()
    plan = PositionReconciler(assets, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=cycle_ms,
        outcome=sizes if isinstance(sizes, Refusal) else decide(venue, sizes),
        account=account,
        reference_px=dict(account.marks),
        prior=prior,
        now_ms=cycle_ms,
    )
    # Cycle times are counted up here and not read: the age of a decision is not what is tested.
    patient = ExecutionRules(Decimal(50), Decimal(10), 10**9, "close", Decimal("4.5"), TAG)
    return ExecutionService(venue, Memory(), CLOCK, patient, assets).execute(plan)


def entry(venue: HyperliquidVenue, size: str = "0.01") -> PlaceOrder:
    desk = OrderDesk(venue._connection.assets()["BTC"], next(CYCLES), RULES)
    mark = dict(venue.account().marks)["BTC"]
    return desk.marketable(OrderPurpose.OPEN, Decimal(size), mark, "test")


def stop_for(venue: HyperliquidVenue, fraction: str = "0.95") -> PlaceOrder:
    """A stop-loss of a long of 0.01 BTC."""
    desk = OrderDesk(venue._connection.assets()["BTC"], next(CYCLES), RULES)
    mark = dict(venue.account().marks)["BTC"]
    px = desk.trigger_px(Leg.STOP_LOSS, mark * Decimal(fraction), is_long=True)
    return desk.trigger(Leg.STOP_LOSS, px, Decimal("0.01"), "test")


# --- the market ----------------------------------------------------------------------------------


def test_a_snapshot_holds_the_last_closed_candles_of_every_symbol_and_window(sandbox: Sandbox) -> None:
    cycle_ms = CLOCK.now_ms()
    snapshot = market_data(sandbox).snapshot(cycle_ms)
    assert [market.symbol for market in snapshot.markets] == SYMBOLS
    for market in snapshot.markets:
        assert market.mark_px is not None
        assert market.oracle_px is not None
        for series in (market.intraday, market.long_term):
            opens = series.frame["open_time_ms"].to_list()
            length_ms = interval_ms(series.interval)
            assert len(opens) == 300
            assert opens[-1] == cycle_ms // length_ms * length_ms - length_ms
            assert {after - before for before, after in pairwise(opens)} == {length_ms}


def test_nothing_in_a_snapshot_of_the_past_closed_after_it(sandbox: Sandbox) -> None:
    cycle_ms = CLOCK.now_ms() // 300_000 * 300_000 - 3_600_000
    for market in market_data(sandbox).snapshot(cycle_ms).markets:
        assert market.intraday.frame["open_time_ms"][-1] == cycle_ms - 300_000


def test_a_snapshot_of_two_symbols_takes_at_most_eight_requests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    send = requests.Session.send

    def counted(self: requests.Session, request: requests.PreparedRequest, **options: object) -> object:
        sent.append(request.body)
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", counted)
    market_data(sandbox, history_bars=1000).snapshot(CLOCK.now_ms())
    assert len(sent) <= 8


def test_a_gap_in_the_candles_is_refused_by_name(sandbox: Sandbox) -> None:
    candle = {
        "T": 0,
        "s": "BTC",
        "i": "5m",
        "o": "1.0",
        "c": "1.0",
        "h": "1.0",
        "l": "1.0",
        "v": "0.0",
        "n": 0,
    }
    last_ms = CLOCK.now_ms() // 300_000 * 300_000 - 300_000
    body = [candle | {"t": last_ms - 600_000}, candle | {"t": last_ms}]
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=body)
    with pytest.raises(VenueAnswerError, match="5m candles of BTC have a gap"):
        market_data(sandbox).snapshot(last_ms + 300_000)


def test_candles_that_end_early_are_refused_by_name(sandbox: Sandbox) -> None:
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=[])
    with pytest.raises(VenueAnswerError, match="5m candles of BTC are missing"):
        market_data(sandbox).snapshot(CLOCK.now_ms())


def test_a_candle_with_a_price_of_zero_is_refused(sandbox: Sandbox) -> None:
    last_ms = CLOCK.now_ms() // 300_000 * 300_000 - 300_000
    candle = {"t": last_ms, "o": "1.0", "c": "0.0", "h": "1.0", "l": "0.0", "v": "0.0"}
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=[candle])
    with pytest.raises(VenueAnswerError, match="price above zero"):
        market_data(sandbox).snapshot(last_ms + 300_000)


# --- the account ---------------------------------------------------------------------------------


def test_an_entry_is_filled_protected_and_seen_standing(venue: HyperliquidVenue) -> None:
    report = carry_out(venue, {"BTC": "0.01", "ETH": "-0.2"})
    assert {result.status for result in report.results} == {ActionStatus.FILLED, ActionStatus.RESTING}
    assert report.alerts == ()
    assert report.account is not None
    for symbol, size in (("BTC", Decimal("0.01")), ("ETH", Decimal("-0.2"))):
        assert report.account.size_base(symbol) == size
        standing = report.account.protection(symbol)
        assert {order.leg for order in standing} == set(Leg)
        assert all(o.size_base == abs(size) and o.reduce_only and o.is_buy == (size < 0) for o in standing)
    assert sum(fill.size_base for fill in report.fills if fill.symbol == "ETH") == Decimal("-0.2")


def test_the_same_decision_again_needs_nothing_and_a_flip_ends_on_the_other_side(
    venue: HyperliquidVenue,
) -> None:
    carry_out(venue, {"BTC": "0.01"})
    assert carry_out(venue, {"BTC": "0.01"}).results == ()
    report = carry_out(venue, {"BTC": "-0.02"})
    assert report.account is not None
    assert report.account.size_base("BTC") == Decimal("-0.02")
    assert all(order.is_buy for order in report.account.open_orders)
    assert len(report.account.open_orders) == 2


def test_a_close_leaves_nothing_behind(venue: HyperliquidVenue) -> None:
    carry_out(venue, {"BTC": "0.01", "ETH": "0.2"})
    report = carry_out(venue, {})
    assert report.account is not None
    assert (report.account.positions, report.account.open_orders) == ((), ())


def test_missing_protection_is_put_back_on_a_refusal(venue: HyperliquidVenue) -> None:
    applied = decide(venue, {"BTC": "0.01"})
    carry_out(venue, {"BTC": "0.01"})
    for order in venue.account().open_orders:
        venue.cancel(CancelOrder(order.symbol, order.oid, order.cloid, "by hand"))
    report = carry_out(venue, Refusal("invalid_json", "prose"), prior=applied)
    assert report.account is not None
    assert len(report.account.protection("BTC")) == 2


def test_a_stop_that_fires_leaves_the_account_flat(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    carry_out(venue, {"ETH": "0.2"})
    mark = dict(venue.account().marks)["ETH"]
    set_price(sandbox, "ETH", (mark * Decimal("0.9")).quantize(Decimal(1)))
    assert venue.account().size_base("ETH") == 0
    directions = [fill.direction for fill in venue.fills(CLOCK.now_ms() - 60_000)]
    assert directions[-1] == "Close Long"


def test_leverage_is_set_and_seen_on_the_position(venue: HyperliquidVenue) -> None:
    assert venue.set_leverage(SetLeverage("BTC", 7, True, "test")).status is ActionStatus.DONE
    carry_out(venue, {"BTC": "0.01"})
    held = venue.account().position("BTC")
    assert held is not None
    assert (held.leverage, held.is_cross) == (7, True)


def test_an_impossible_leverage_is_an_error_with_the_venues_words(venue: HyperliquidVenue) -> None:
    result = venue.set_leverage(SetLeverage("BTC", 1000, True, "test"))
    assert result.status is ActionStatus.ERROR
    assert "leverage" in result.message.lower()


def test_an_order_that_is_too_large_is_an_error_and_not_an_exception(venue: HyperliquidVenue) -> None:
    result = venue.place(entry(venue, "40"))
    assert result.status is ActionStatus.ERROR
    assert result.message


def test_what_the_venue_knows_of_an_id(venue: HyperliquidVenue) -> None:
    order = entry(venue)
    assert venue.find(order.cloid) is None
    venue.place(order)
    found = venue.find(order.cloid)
    assert found is not None
    assert (found.status, found.filled_base) == (ActionStatus.FILLED, Decimal("0.01"))
    stop = stop_for(venue)
    venue.place(stop)
    standing = venue.find(stop.cloid)
    assert standing is not None
    assert standing.status is ActionStatus.RESTING


def test_a_cancel_of_what_is_gone_is_done(venue: HyperliquidVenue) -> None:
    venue.place(entry(venue))
    stop = venue.place(stop_for(venue))
    assert stop.oid is not None
    cancel = CancelOrder("BTC", stop.oid, None, "test")
    assert venue.cancel(cancel).status is ActionStatus.DONE
    again = venue.cancel(cancel)
    assert (again.status, "already canceled" in again.message) == (ActionStatus.DONE, True)


def test_the_preflight_reads_role_clock_and_equity(sandbox: Sandbox) -> None:
    preflight = HyperliquidPreflight(
        base_url=sandbox.venue_url,
        account_address=SANDBOX_ACCOUNT_ADDRESS,
        agent_private_key=SANDBOX_AGENT_PRIVATE_KEY,
        timeout_seconds=5,
        read_attempts=2,
        clock=CLOCK,
    )
    assert preflight.signer_address.lower() == SANDBOX_AGENT_ADDRESS
    assert preflight.signer_role() is SignerRole.AGENT
    assert preflight.account_role(SANDBOX_AGENT_ADDRESS) == "agent"
    assert preflight.account_role(SANDBOX_ACCOUNT_ADDRESS) == "user"
    assert abs(preflight.clock_skew_ms()) < 5_000
    assert preflight.account_value_usd() > 0


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reset", "429", "500", "html200"])
def test_a_passing_fault_of_a_read_is_not_noticed(
    sandbox: Sandbox, venue: HyperliquidVenue, kind: str
) -> None:
    fault(sandbox, "info:clearinghouseState", kind)
    assert venue.account().account_value_usd > 0


@pytest.mark.parametrize(("kind", "options"), [("hang", {"duration_ms": 1_500}), ("trickle", {})])
def test_a_venue_that_hangs_or_drips_is_given_up_on_in_time(
    sandbox: Sandbox, kind: str, options: dict[str, int]
) -> None:
    fault(sandbox, "info:clearinghouseState", kind, times=3, **options)
    hasty = make_venue(sandbox, timeout=0.3)
    before_ms = CLOCK.now_ms()
    with pytest.raises(VenueUnavailableError):
        hasty.account()
    assert CLOCK.now_ms() - before_ms < 5_000


@pytest.mark.parametrize("lost", ["entry", "stop"])
def test_an_order_whose_answer_was_lost_is_found_by_its_id_and_not_sent_twice(
    sandbox: Sandbox, venue: HyperliquidVenue, lost: str
) -> None:
    if lost == "stop":
        venue.place(entry(venue))
    fault(sandbox, "exchange:order", "answer_lost")
    order = entry(venue) if lost == "entry" else stop_for(venue)
    result = venue.place(order)
    assert "found by client order id" in result.message
    assert result.status is (ActionStatus.FILLED if lost == "entry" else ActionStatus.RESTING)
    account = venue.account()
    assert account.size_base("BTC") == Decimal("0.01")
    assert len(account.open_orders) == (lost == "stop")


def test_a_cancel_whose_answer_was_lost_is_looked_up(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    venue.place(entry(venue))
    stop = venue.place(stop_for(venue))
    assert stop.oid is not None
    fault(sandbox, "exchange:cancel", "answer_lost")
    result = venue.cancel(CancelOrder("BTC", stop.oid, None, "test"))
    assert (result.status, "answer lost" in result.message) == (ActionStatus.DONE, True)


@pytest.mark.parametrize("kind", ["reset", "html200", "500"])
def test_an_order_that_never_arrived_is_unknown_and_nothing_is_held(
    sandbox: Sandbox, venue: HyperliquidVenue, kind: str
) -> None:
    fault(sandbox, "exchange:order", kind)
    assert venue.place(entry(venue)).status is ActionStatus.UNKNOWN
    assert venue.account().positions == ()


def test_a_partial_fill_is_protected_with_what_was_filled(sandbox: Sandbox, venue: HyperliquidVenue) -> None:
    fault(sandbox, "exchange:order", "partial_ioc")
    report = carry_out(venue, {"BTC": "0.02"})
    assert report.account is not None
    held = report.account.size_base("BTC")
    assert 0 < held < Decimal("0.02")
    assert {order.size_base for order in report.account.protection("BTC")} == {held}


def test_a_stop_that_is_rejected_once_stands_within_the_same_cycle(
    sandbox: Sandbox, venue: HyperliquidVenue
) -> None:
    fault(sandbox, "exchange:order", "trigger_rejected")
    report = carry_out(venue, {"BTC": "0.01"})
    assert report.alerts == ()
    (stop,) = [r for r in report.results if getattr(r.action, "leg", None) is Leg.STOP_LOSS]
    assert (stop.status, "rejected at first" in stop.message) == (ActionStatus.RESTING, True)
    assert report.account is not None
    assert len(report.account.protection("BTC")) == 2
    ((symbol, seconds),) = report.unprotected_seconds
    assert symbol == "BTC"
    assert 0 < seconds < 5


def test_a_rejected_stop_is_an_alert_and_the_next_cycle_puts_it_there(
    sandbox: Sandbox, venue: HyperliquidVenue
) -> None:
    fault(sandbox, "exchange:order", "trigger_rejected", times=2)
    applied = decide(venue, {"BTC": "0.01"})
    report = carry_out(venue, {"BTC": "0.01"})
    assert any("STANDS WITHOUT A CONFIRMED STOP-LOSS" in alert for alert in report.alerts)
    mended = carry_out(venue, Refusal("invalid_json", "prose"), prior=applied)
    assert mended.account is not None
    assert len(mended.account.protection("BTC")) == 2


@pytest.mark.parametrize("on", ["info:orderStatus", "info:frontendOpenOrders", "info:clearinghouseState"])
def test_an_execution_never_raises_when_the_venue_cannot_be_read(
    sandbox: Sandbox, venue: HyperliquidVenue, on: str
) -> None:
    account = venue.account()
    assets = venue._connection.assets()
    cycle_ms = CLOCK.now_ms()
    plan = PositionReconciler(assets, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=cycle_ms,
        outcome=decide(venue, {"BTC": "0.01"}),
        account=account,
        reference_px=dict(account.marks),
        prior=None,
        now_ms=cycle_ms,
    )
    fault(sandbox, on, "reset", times=50)
    service = ExecutionService(make_venue(sandbox), Memory(), CLOCK, RULES, assets)
    report = service.execute(plan)
    assert len(report.results) == 3
    assert report.account is None or on == "info:orderStatus"
