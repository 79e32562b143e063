"""What the cases share: the official clients, and one cycle of plan and execution."""

from decimal import Decimal
from itertools import count
from typing import Any

from eth_account import Account
from fakes import HastyClock
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from wonttrade_dagster.adapters.hyperliquid import (
    HyperliquidMarketData,
    HyperliquidPreflight,
    HyperliquidVenue,
)
from wonttrade_dagster.core.backtest import MemoryAudit
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    Decision,
    ExecutionPlan,
    ExecutionReport,
    ExecutionRules,
    Leg,
    MarginTier,
    OrderPurpose,
    PlaceOrder,
    Position,
    PriorPlan,
    Refusal,
    RiskLimits,
    TargetPosition,
)
from wonttrade_dagster.core.order_desk import OrderDesk
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.sandbox.accounts import (
    SANDBOX_ACCOUNT_ADDRESS,
    SANDBOX_AGENT_PRIVATE_KEY,
)
from wonttrade_dagster.sandbox.server import Sandbox

D = Decimal
ME = SANDBOX_ACCOUNT_ADDRESS
IOC = {"limit": {"tif": "Ioc"}}
GTC = {"limit": {"tif": "Gtc"}}
SYMBOLS = ("BTC", "ETH")
LIMITS = RiskLimits(D(1_000_000), D(2_000_000), 20)
RULES = ExecutionRules(D(50), D(10), 10**9, "close", D("4.5"), "0badc0de")
"""Cycle times are counted up and not read: the age of a decision is not what is tested here."""
BTC = AssetSpec("BTC", 3, 5, 40, (MarginTier(D(0), 40), MarginTier(D(150_000_000), 20)))
ETH = AssetSpec("ETH", 4, 4, 25, (MarginTier(D(0), 25),))
BROKEN = Refusal("invalid_json", "prose")

CLOCK = HastyClock()
CYCLES = count(CLOCK.now_ms())
"""Every cycle has a time of its own, so that no client order id comes twice unless a case wants it."""


def official_clients(sandbox: Sandbox) -> tuple[Info, Exchange]:
    """The official SDK as the account's agent, with no code of ours between."""
    info = Info(sandbox.venue_url, skip_ws=True, timeout=5)
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    return info, Exchange(wallet, sandbox.venue_url, account_address=ME, timeout=5)


def _options(sandbox: Sandbox, changes: dict[str, Any]) -> dict[str, Any]:
    options = {"base_url": sandbox.venue_url, "timeout_seconds": 5.0, "clock": CLOCK, "read_attempts": 3}
    return options | changes


def venue_of(sandbox: Sandbox, **changes: Any) -> HyperliquidVenue:
    options = {
        "account_address": ME,
        "agent_private_key": SANDBOX_AGENT_PRIVATE_KEY,
        "symbols": SYMBOLS,
    }
    return HyperliquidVenue(**_options(sandbox, options | changes))


def market_data_of(sandbox: Sandbox, **changes: Any) -> HyperliquidMarketData:
    windows = {"intraday_interval": "5m", "long_interval": "4h", "history_bars": 100, "symbols": SYMBOLS}
    return HyperliquidMarketData(**_options(sandbox, windows | changes))


def preflight_of(sandbox: Sandbox, **changes: Any) -> HyperliquidPreflight:
    keys = {"account_address": ME, "agent_private_key": SANDBOX_AGENT_PRIVATE_KEY}
    return HyperliquidPreflight(**_options(sandbox, keys | changes))


def statuses(answer: Any) -> list[Any]:
    """The items of an answer to an action."""
    assert answer["status"] == "ok", answer
    return list(answer["response"]["data"]["statuses"])


def trigger(px: float, tpsl: str = "sl") -> dict[str, Any]:
    """The SDK's order type of a market trigger."""
    return {"trigger": {"isMarket": True, "triggerPx": px, "tpsl": tpsl}}


def leg(*, is_buy: bool, px: float, kind: dict[str, Any], size: float = 0.05) -> dict[str, Any]:
    """One order of a batch, as the SDK takes it; triggers are reduce-only."""
    return {
        "coin": "BTC",
        "is_buy": is_buy,
        "sz": size,
        "limit_px": px,
        "order_type": kind,
        "reduce_only": "trigger" in kind,
    }


def target(
    symbol: str, size: str, stop: Any = None, profit: Any = None, margin: Any = None
) -> TargetPosition:
    prices = [None if px is None else D(str(px)) for px in (stop, profit, margin)]
    return TargetPosition(symbol, D(size), prices[0], prices[1], 0.5, "trend", prices[2])


def decision(*targets: TargetPosition) -> Decision:
    """The targets given, and flat in every other symbol."""
    named = {t.symbol for t in targets}
    rest = tuple(target(symbol, "0") for symbol in SYMBOLS if symbol not in named)
    return Decision("why", "never", (*targets, *rest), PriorPlan.NONE)


def decide(venue: HyperliquidVenue, sizes: dict[str, str]) -> Decision:
    """Targets of these sizes with a stop 5 % and a take-profit 10 % away from the mark."""
    marks = dict(venue.account().marks)

    def made(symbol: str, size: str) -> TargetPosition:
        side = 1 if D(size) > 0 else -1
        return target(symbol, size, *(marks[symbol] * (1 + side * D(f)) for f in ("-0.05", "0.10")))

    return decision(*(made(symbol, size) for symbol, size in sizes.items()))


def plan(
    account: AccountSnapshot,
    outcome: Decision | Refusal,
    *,
    prior: Decision | None = None,
    cycle_ms: int | None = None,
) -> ExecutionPlan:
    """The plan for that account at its own marks."""
    cycle_ms = next(CYCLES) if cycle_ms is None else cycle_ms
    return PositionReconciler({"BTC": BTC, "ETH": ETH}, SYMBOLS, LIMITS, RULES).plan(
        cycle_ms=cycle_ms,
        outcome=outcome,
        account=account,
        reference_px=dict(account.marks),
        prior=prior,
        now_ms=cycle_ms,
    )


def execute(venue: HyperliquidVenue, made: ExecutionPlan) -> ExecutionReport:
    return ExecutionService(venue, MemoryAudit(), CLOCK, RULES, {"BTC": BTC, "ETH": ETH}).execute(made)


def cycle(
    venue: HyperliquidVenue, outcome: Decision | Refusal | dict[str, str], prior: Decision | None = None
) -> ExecutionReport:
    """One cycle on the venue: read, plan, execute. Sizes stand for a decision with both legs."""
    wanted = decide(venue, outcome) if isinstance(outcome, dict) else outcome
    return execute(venue, plan(venue.account(), wanted, prior=prior))


def entry(
    venue: HyperliquidVenue, signed: str = "0.01", purpose: OrderPurpose = OrderPurpose.OPEN
) -> PlaceOrder:
    """An order of our own making in BTC at the mark."""
    mark = dict(venue.account().marks)["BTC"]
    return OrderDesk(BTC, next(CYCLES), RULES).marketable(purpose, D(signed), mark, "test")


def stop_for(held: str = "0.01", px: int = 76_000, leg: Leg = Leg.STOP_LOSS) -> PlaceOrder:
    """A protection order of our own making for a position in BTC."""
    return OrderDesk(BTC, next(CYCLES), RULES).trigger(leg, D(px), D(held), "test")


def held(symbol: str, size: str, px: int = 80_000, **changes: Any) -> Position:
    facts = {"leverage": 5, "is_cross": True, "unrealized_pnl_usd": D(0), "margin_used_usd": D(0)}
    facts |= {"liquidation_px": None}
    return Position(symbol, D(size), D(px), **(facts | changes))


def snapshot(*positions: Position, orders: Any = ()) -> AccountSnapshot:
    marks = (("BTC", D(80_000)), ("ETH", D(3_000)))
    return AccountSnapshot(0, D(10_000), D(10_000), D(0), tuple(positions), tuple(orders), marks)


def kinds(made: ExecutionPlan) -> list[str]:
    """What a plan does, in its order."""
    return [a.purpose.value if isinstance(a, PlaceOrder) else a.kind for a in made.actions]
