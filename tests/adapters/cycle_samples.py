"""Small records of a cycle for the tests of journal, ledger and telemetry."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl

from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.model import (
    CANDLE_SCHEMA,
    AssetSpec,
    CandleSeries,
    CycleReport,
    Decision,
    DecisionRecord,
    ExecutionPlan,
    ExecutionReport,
    Fill,
    Leg,
    MarketSnapshot,
    OpenOrder,
    OrderPurpose,
    PerformanceSoFar,
    PlaceOrder,
    Position,
    PriorPlan,
    Refusal,
    Stage,
    SymbolMarket,
    TargetPosition,
)

D = Decimal
STEP_MS = 300_000
FIRST_MS = 1_795_435_200_000


def at(cycle: int) -> int:
    """The time of the n-th cycle."""
    return FIRST_MS + cycle * STEP_MS


def order(cloid: str = "0x01", **changes: Any) -> PlaceOrder:
    plain = PlaceOrder("BTC", OrderPurpose.OPEN, True, D("0.5"), D("100.5"), False, cloid, "opens")
    return replace(plain, **changes)


def decision(explanation: str = "up", size: str = "0.5") -> Decision:
    target = TargetPosition("BTC", D(size), D("90.5"), D(120), 0.7, "because")
    return Decision(explanation, "below 90", (target,), PriorPlan.REPLACED, "it moved")


def fill(cycle: int) -> Fill:
    return Fill(
        "BTC", at(cycle) + 9_000, D("100.1"), D("0.5"), D("0.02"), D(0), 7, cycle, "Open Long", "0x01"
    )


def report(cycle: int, value: str | None = "1000", **changes: Any) -> CycleReport:
    so_far = PerformanceSoFar(D("999.5"), 0.1, None, D(0), D(0), at(0), cycle + 1)
    account_value = None if value is None else D(value)
    plain = CycleReport(at(cycle), "applied", "applied", "fine", account_value, 1, 0, 800, at(cycle) + 10_000)
    return replace(plain, performance=so_far, **changes)


def refused_report(cycle: int, **changes: Any) -> CycleReport:
    return report(cycle, outcome="refused", reason="violations", detail="two rules", **changes)


def stages(cycle: int, outcome: Decision | Refusal, refusal: Refusal | None = None) -> dict[Stage, bytes]:
    """The payloads of a cycle that decided ``outcome``; ``refusal`` is what the plan made of it."""
    cycle_ms = at(cycle)
    refused = outcome if isinstance(outcome, Refusal) else refusal
    fills = () if refused else (fill(cycle),)
    return {
        Stage.DECISIONS: encode(DecisionRecord(cycle_ms, outcome, None, None, cycle_ms + 5_000)),
        Stage.EXECUTION_PLANS: encode(ExecutionPlan(cycle_ms, (), refusal=refused)),
        Stage.EXECUTIONS: encode(ExecutionReport(cycle_ms, (), fills=fills)),
        Stage.CYCLE_REPORTS: encode(report(cycle, str(1000 + cycle))),
    }


def candles(start: int, bars: int, change: float = 0.0, interval: str = "5m") -> CandleSeries:
    """Bars number ``start`` and on of an endless series; ``change`` moves the close of the last one."""
    index = range(start, start + bars)
    close = [100 + (i * 7919 % 1000) / 97 for i in index]
    close[-1] += change
    columns = {
        "open_time_ms": [FIRST_MS + i * STEP_MS for i in index],
        "open": [value - 0.1 for value in close],
        "high": [value + 1e-7 for value in close],
        "low": [value / 3 for value in close],
        "close": close,
        "volume": [float(i * 10**14) for i in index],
    }
    return CandleSeries("BTC", interval, pl.DataFrame(columns, schema=dict(CANDLE_SCHEMA)))


def snapshot(cycle: int, *series: CandleSeries) -> bytes:
    """A market snapshot holding those candles as its intraday windows."""
    asset = AssetSpec("BTC", 0, 5, 40, ())
    long_term = candles(0, 3, interval="4h")
    markets = tuple(
        SymbolMarket(asset, D("100.5"), None, None, 1e-5, None, None, window, long_term) for window in series
    )
    return encode(MarketSnapshot(at(cycle), at(cycle) + 700, "rest", markets))


def position(symbol: str = "BTC") -> Position:
    return Position(symbol, D("0.5"), D(100), 3, True, D(1), D(20), None)


def stop(symbol: str = "BTC", leg: Leg = Leg.STOP_LOSS) -> OpenOrder:
    return OpenOrder(symbol, 5, "0x02", False, D("0.5"), D(80), True, FIRST_MS, D(90), leg)
