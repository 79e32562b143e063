"""A whole cycle on doubles: what a test of the loop sits down at."""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from fakes import BreakableAudit, ScriptedMarket, ScriptedModel
from paper_venue import ManualClock, PaperVenue
from trader_samples import CYCLE_MS, ETH_FLAT, LIMITS, RULES, builder, market, reply, reply_target

from wonttrade_dagster.core.backtest import MemoryLedger, MemoryRecords
from wonttrade_dagster.core.cycle import CycleRun
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import (
    NO_CAPS,
    AccountSnapshot,
    BreakerRules,
    CycleReport,
    Fill,
    Leg,
    ModelPrice,
    SpendingCaps,
    Stage,
    Transfer,
)
from wonttrade_dagster.core.state import StateLoader

D = Decimal
STEP_MS = 300_000
HOUR_MS = 3_600_000
LATER_MS = 2
DOWN = VenueUnavailableError("the venue did not answer within 10 s")
LONG_BTC = reply()
KEPT = reply(prior_plan="kept")
FLAT = reply(reply_target(size=0, stop=None, take=None), reply_target("ETH", 0, None, None))
MOVED_STOP = reply(
    reply_target(stop=96_000), ETH_FLAT, prior_plan="replaced", replaced_because="the price has moved"
)
FLAT_NOW = reply(
    reply_target(size=0, stop=None, take=None),
    reply_target("ETH", 0, None, None),
    prior_plan="replaced",
    replaced_because="the trend is over",
)


class BookedVenue(PaperVenue):
    """A venue whose money adds up: fees on fills, funding with a time, transfers, gains of another symbol.

    A ``value`` that the test sets is earned or lost by such a gain, a moment later.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, {"BTC": D(100_000), "ETH": D(4_000)})
        self.opening = D(30_000)
        self.funding: list[tuple[int, Decimal]] = []
        self.funding_asked = 0
        self.moved: list[tuple[int, Decimal]] = []
        self.listed: list[Transfer] = []
        self.transfers_asked = 0
        self.behind_ms: int | None = None

    @property
    def value(self) -> Decimal:
        return self._value(self.clock.now_ms() + LATER_MS + 1)

    @value.setter
    def value(self, usd: Decimal) -> None:
        if self.reads:
            self.earn(usd - self.value)
        else:
            self.opening += usd - self.value

    def earn(self, usd: Decimal) -> None:
        """By a trade that nobody here made, LATER_MS from now: after what the last report booked."""
        at_ms, number = self.clock.now_ms() + LATER_MS, 5_000 + len(self.booked)
        self.booked.append(Fill("SOL", at_ms, D(100), D(1), D(0), usd, number, number, "Close Short"))

    def pay_in(
        self, usd: Decimal, kind: str = "deposit", *, lists: bool = True, told: bool = True
    ) -> Transfer:
        """Money comes in (goes out, if negative); the venue may not list it, or not say how much it was."""
        at_ms = self.clock.now_ms() + LATER_MS
        self.moved.append((at_ms, usd))
        transfer = Transfer(at_ms, kind, usd if told else None)
        self.listed += [transfer] if lists else []
        return transfer

    def _value(self, before_ms: int) -> Decimal:
        fills = (fill.closed_pnl_usd - fill.fee_usd for fill in self._fills() if fill.time_ms < before_ms)
        paid = (usd for time_ms, usd in self.funding if time_ms < before_ms)
        moved = (usd for time_ms, usd in self.moved if time_ms < before_ms)
        gains = (position.unrealized_pnl_usd for position in self.positions.values())
        return self.opening + sum(fills) - sum(paid) + sum(moved) + sum(gains)

    def _snapshot(self) -> AccountSnapshot:
        time_ms = None if self.behind_ms is None else self.clock.now_ms() - self.behind_ms
        value = self._value(self.clock.now_ms() + 1 if time_ms is None else time_ms)
        worth = replace(super()._snapshot(), account_value_usd=value, free_margin_usd=value)
        return replace(worth, venue_time_ms=time_ms)

    def fills(self, since_ms: int) -> tuple[Fill, ...]:
        self._require()
        return tuple(fill for fill in self._fills() if fill.time_ms >= since_ms)

    def _fills(self) -> tuple[Fill, ...]:
        return tuple(replace(f, fee_usd=D("1.5")) if f.symbol != "SOL" else f for f in self.booked)

    def funding_paid_usd(self, since_ms: int, until_ms: int) -> Decimal:
        self._require()
        self.funding_asked += 1
        return sum((usd for time_ms, usd in self.funding if since_ms <= time_ms < until_ms), D(0))

    def transfers(self, since_ms: int, until_ms: int) -> tuple[Transfer, ...]:
        self._require()
        self.transfers_asked += 1
        return tuple(t for t in self.listed if since_ms <= t.time_ms < until_ms)

    def _require(self) -> None:
        if not self.is_readable:
            raise DOWN


@dataclass
class Desk:
    """Every part of a cycle, and a clock that stands at the cycle's time when it begins."""

    model: ScriptedModel = field(default_factory=lambda: ScriptedModel(LONG_BTC))
    clock: ManualClock = field(default_factory=lambda: ManualClock(CYCLE_MS))
    audit: BreakableAudit = field(default_factory=BreakableAudit)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    market: ScriptedMarket = field(default_factory=lambda: ScriptedMarket(market()))
    breaker: BreakerRules | None = None
    caps: SpendingCaps = NO_CAPS
    price: ModelPrice | None = None

    def __post_init__(self) -> None:
        self.venue = BookedVenue(self.clock)

    def parts(self) -> CycleParts:
        return CycleParts(
            state=StateLoader(self.market, self.venue, 30_000),
            indicators=IndicatorEngine().compute,
            context_builder=builder(),
            decision_engine=LLMDecisionEngine(
                self.model, {}, LIMITS, self.clock, 45_000, price=self.price, caps=self.caps
            ),
            executor=ExecutionService(self.venue, self.audit, self.clock, RULES, self.market.assets()),
            audit=self.audit,
            ledger=self.ledger,
            clock=self.clock,
            symbols=("BTC", "ETH"),
            limits=LIMITS,
            rules=RULES,
            breaker=self.breaker,
        )

    def cycle(self, number: int = 0) -> CycleReport:
        cycle_ms = CYCLE_MS + number * STEP_MS
        self.clock.time_ms = max(self.clock.time_ms, cycle_ms + 500)
        report = CycleRun(self.parts(), cycle_ms, self.records).run_all()
        self.ledger.remember(self.records)
        return report

    def stage(self, stage: Stage) -> object:
        return self.records.read(self.records.cycle_ms, stage)

    def standing(self) -> dict[str, set[Leg | None]]:
        legs: dict[str, set[Leg | None]] = {}
        for order in self.venue.orders:
            legs.setdefault(order.symbol, set()).add(order.leg)
        return legs


BOTH_LEGS = {Leg.STOP_LOSS, Leg.TAKE_PROFIT}


def holding_unprotected(*script: object) -> Desk:
    """An account whose decision was applied once, and whose protection has vanished since."""
    desk = Desk(ScriptedModel(LONG_BTC, *script))
    desk.cycle(0)
    desk.venue.orders.clear()
    desk.venue.log.clear()
    return desk


def refused(desk: Desk, report: CycleReport, reason: str) -> None:
    """The decision was refused by name, exposure stands as it was, and protection was put back."""
    assert (report.outcome, report.reason) == ("refused", reason)
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}
    assert len(desk.venue.log) == 2, "one stop-loss and one take-profit, each sent once"
