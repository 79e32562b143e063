"""The adapters on a sandbox: how they are made, and one cycle of plan and execution through them."""

from decimal import Decimal
from itertools import count

from fakes import HastyClock
from sandbox_control import control_of
from venue_clients import market_data_at

from wonttrade_dagster.adapters.hyperliquid import HyperliquidMarketData, HyperliquidVenue
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    Decision,
    ExecutionReport,
    ExecutionRules,
    Leg,
    OrderPurpose,
    PlaceOrder,
    PriorPlan,
    Refusal,
    RiskLimits,
    TargetPosition,
)
from wonttrade_dagster.core.order_desk import OrderDesk
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox

CLOCK = HastyClock()
SYMBOLS = ["BTC", "ETH"]
TAG = "0badc0de"
RULES = ExecutionRules(Decimal(50), Decimal(10), 30_000, "close", Decimal("4.5"), TAG)
LIMITS = RiskLimits(Decimal(1_000_000), Decimal(2_000_000), 20)
CYCLES = count(CLOCK.now_ms())
"""Every test and cycle has a time of its own, so that no client order id comes twice."""


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
    options: dict[str, object] = {"history_bars": 300, "read_attempts": 3}
    return market_data_at(sandbox.venue_url, CLOCK, **(options | changes))


def fault(sandbox: Sandbox, on: str, kind: str, **options: object) -> None:
    control_of(sandbox)("faults", [{"on": on, "kind": kind, **options}])


def set_price(sandbox: Sandbox, coin: str, mid: Decimal) -> None:
    control_of(sandbox)("price", {"coin": coin, "mid": str(mid)})


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
    return ExecutionService(venue, MemoryAudit(), CLOCK, patient, assets).execute(plan)


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
