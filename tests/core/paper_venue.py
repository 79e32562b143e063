"""A venue in memory for the tests of plan and execution: fills everything at the mark, scripted to fail."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from wonttrade_dagster.core.errors import StorageError, VenueUnavailableError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    ActionResult,
    ActionStatus,
    AssetSpec,
    CancelOrder,
    Decision,
    ExecutionRules,
    Fill,
    MarginTier,
    OpenOrder,
    PlaceOrder,
    Position,
    PriorPlan,
    RiskLimits,
    SetLeverage,
    TargetPosition,
    Transfer,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, Venue
from wonttrade_dagster.core.protection import is_crossed

TAG = "0badc0de"
CYCLE_MS = 1_790_000_000_000
LIMITS = RiskLimits(Decimal(1_000_000), Decimal(2_000_000), 10)
RULES = ExecutionRules(Decimal(50), Decimal(10), 30_000, "close", Decimal("4.5"), TAG)


def asset(symbol: str, asset_id: int, size_decimals: int, max_leverage: int = 40) -> AssetSpec:
    return AssetSpec(symbol, asset_id, size_decimals, max_leverage, (MarginTier(Decimal(0), max_leverage),))


ASSETS = {"BTC": asset("BTC", 3, 5), "ETH": asset("ETH", 4, 4, 25), "SOL": asset("SOL", 0, 2, 20)}
MARKS = {"BTC": Decimal(80_000), "ETH": Decimal(2_000), "SOL": Decimal(100)}


def position(symbol: str, size: Decimal, leverage: int = 5) -> Position:
    return Position(symbol, size, MARKS[symbol], leverage, True, Decimal(0), Decimal(0), None)


def target(
    symbol: str, size: str, stop: str | None = None, profit: str | None = None, margin: str | None = None
) -> TargetPosition:
    def decimal(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    return TargetPosition(
        symbol, Decimal(size), decimal(stop), decimal(profit), 0.5, "because", decimal(margin)
    )


def decision(*targets: TargetPosition) -> Decision:
    named = {t.symbol for t in targets}
    rest = tuple(target(symbol, "0") for symbol in ("BTC", "ETH") if symbol not in named)
    return Decision("why", "never", (*targets, *rest), PriorPlan.NONE)


class ManualClock(Clock):
    def __init__(self, now_ms: int = CYCLE_MS + 5_000) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    def sleep(self, seconds: float) -> None:
        self.time_ms += round(seconds * 1000)


class Journal(AuditSink):
    """Takes the intents of an execution, which writes and asks nothing else."""

    def __init__(self) -> None:
        self.intents: list[PlaceOrder] = []
        self.is_broken = False

    def intent(self, cycle_ms: int, order: PlaceOrder) -> None:
        if self.is_broken:
            raise StorageError("the disk is full")
        self.intents.append(order)

    def append(self, kind: str, cycle_ms: int, body: object) -> None:
        raise AssertionError(f"an execution writes intents only, not {kind!r}")

    def applied(self, cycle_ms: int, decision: Decision) -> None:
        raise AssertionError("a decision is taken on by the planning, before its execution")

    def last_applied(self) -> tuple[int, Decision] | None:
        return None

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        raise AssertionError("the planning asks whose the orders are, not an execution")


class PaperVenue(Venue):
    """Holds positions and orders; every call that changes something takes ``latency_ms``."""

    def __init__(self, clock: ManualClock | None = None, marks: dict[str, Decimal] | None = None) -> None:
        self.clock = clock or ManualClock()
        self.marks = dict(marks or MARKS)
        self.positions: dict[str, Position] = {}
        self.orders: list[OpenOrder] = []
        self.set_leverages: dict[str, int] = {}
        self.known: dict[str, ActionResult] = {}
        self.booked: list[Fill] = []
        self.log: list[tuple[str, str]] = []
        self.placed: list[PlaceOrder] = []
        self.fill_fraction = Decimal(1)
        self.reject: set[str] = set()
        self.lose_answer: set[str] = set()
        self.is_readable = True
        self.can_find = True
        self.lagging_reads = 0
        self.latency_ms = 100
        self.reads = 0

    def hold(self, symbol: str, size: str, leverage: int = 5) -> None:
        self.positions[symbol] = position(symbol, Decimal(size), leverage)
        self.set_leverages[symbol] = leverage  # outlives the position, as on the venue

    def account(self) -> AccountSnapshot:
        self.reads += 1
        if not self.is_readable:
            raise VenueUnavailableError("no answer")
        if self.lagging_reads:
            self.lagging_reads -= 1
            return replace(self._snapshot(), positions=(), open_orders=())
        return self._snapshot()

    def _snapshot(self) -> AccountSnapshot:
        return AccountSnapshot(
            self.clock.now_ms(),
            Decimal(100_000),
            Decimal(100_000),
            Decimal(0),
            tuple(self.positions.values()),
            tuple(self.orders),
            tuple(self.marks.items()),
        )

    def place(self, order: PlaceOrder) -> ActionResult:
        self.clock.time_ms += self.latency_ms
        self.log.append((order.purpose.value, order.symbol))
        self.placed.append(order)
        result = self._rest(order) if order.leg else self._trade(order)
        self.known[order.cloid] = result
        if order.purpose.value in self.lose_answer:
            return ActionResult(order, ActionStatus.UNKNOWN, "answer lost")
        return replace(result, answered_at_ms=self.clock.now_ms())

    def _rest(self, order: PlaceOrder) -> ActionResult:
        assert order.trigger_px is not None
        held = self.positions[order.symbol].size_base if order.symbol in self.positions else Decimal(0)
        crossed = is_crossed(order.leg, order.trigger_px, self.marks[order.symbol], is_long=not order.is_buy)
        if order.purpose.value in self.reject or held == 0 or crossed:
            return ActionResult(order, ActionStatus.ERROR, "Invalid TP/SL price.")
        oid = 1000 + len(self.known)
        self.orders.append(
            OpenOrder(
                order.symbol,
                oid,
                order.cloid,
                order.is_buy,
                order.size_base,
                order.limit_px,
                True,
                self.clock.now_ms(),
                order.trigger_px,
                order.leg,
            )
        )
        return ActionResult(order, ActionStatus.RESTING, oid=oid)

    def _trade(self, order: PlaceOrder) -> ActionResult:
        if order.purpose.value in self.reject:
            return ActionResult(order, ActionStatus.ERROR, "Insufficient margin to place order.")
        before = self.positions[order.symbol].size_base if order.symbol in self.positions else Decimal(0)
        size = (order.size_base * self.fill_fraction).quantize(Decimal("0.00001"))
        if order.reduce_only:
            assert before * (1 if order.is_buy else -1) < 0, "Reduce only order would increase position."
            size = min(size, abs(before))
        after = before + (size if order.is_buy else -size)
        leverage = (
            self.positions[order.symbol].leverage if before else self.set_leverages.get(order.symbol, 20)
        )
        self.positions.pop(order.symbol, None)
        if after:
            self.hold(order.symbol, str(after), leverage)
        oid = 1000 + len(self.known)
        signed, px = after - before, self.marks[order.symbol]
        fill = Fill(
            order.symbol,
            self.clock.now_ms(),
            px,
            signed,
            Decimal(0),
            Decimal(0),
            oid,
            oid,
            "Open Long",
            order.cloid,
        )
        self.booked.append(fill)
        return ActionResult(order, ActionStatus.FILLED, oid=oid, filled_base=size, average_px=px)

    def cancel(self, cancel: CancelOrder) -> ActionResult:
        self.log.append(("cancel", cancel.symbol))
        self.orders = [order for order in self.orders if order.oid != cancel.oid]
        return ActionResult(cancel, ActionStatus.DONE)

    def set_leverage(self, change: SetLeverage) -> ActionResult:
        self.log.append(("leverage", change.symbol))
        if "leverage" in self.reject:
            return ActionResult(change, ActionStatus.ERROR, "Invalid leverage value")
        self.set_leverages[change.symbol] = change.leverage
        if change.symbol in self.positions:
            held = self.positions[change.symbol]
            self.positions[change.symbol] = replace(held, leverage=change.leverage)
        return ActionResult(change, ActionStatus.DONE)

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        return tuple(fill for fill in self.booked if fill.time_ms >= since_ms)

    def find(self, cloid: str) -> ActionResult | None:
        if not self.can_find:
            raise VenueUnavailableError("no answer")
        return self.known.get(cloid)

    def leverages(self, symbols: Sequence[str]) -> Mapping[str, int]:
        return {symbol: self.set_leverages[symbol] for symbol in symbols if symbol in self.set_leverages}

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        return Decimal(0)

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        return ()
