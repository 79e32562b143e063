"""Snapshots for the tests of prompt and judgement: deterministic, two symbols, 300 bars a window."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.context import ContextBuilder, ContextInputs, PromptTemplate
from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    CandleSeries,
    Decision,
    ExecutionRules,
    Fill,
    IndicatorSnapshot,
    Leg,
    MarginTier,
    MarketSnapshot,
    OpenOrder,
    PerformanceSoFar,
    Position,
    PriorDecision,
    PriorPlan,
    Refusal,
    RiskLimits,
    SymbolMarket,
    TargetPosition,
)

D = Decimal
CYCLE_MS = 1_795_435_380_000  # 2026-11-23 12:03 UTC
PROMPTS = Path(__file__).parents[2] / "prompts"
LIMITS = RiskLimits(D(60_000), D(100_000), 10)
RULES = ExecutionRules(D(50), D(5), 60_000, "close", D("4.5"), "0badcafe")
FLAT = AccountSnapshot(CYCLE_MS, D("25000.5"), D("25000.5"), D(0), (), ())
NO_PRIOR = PriorDecision(None, None)
PERFORMANCE = PerformanceSoFar(D(25_000), 0.00002, 1.234, D("3.21"), D("-0.5"), CYCLE_MS - 5_400_000, 31)


def asset(
    symbol: str = "BTC", size_decimals: int = 5, max_leverage: int = 40, **changes: object
) -> AssetSpec:
    tiers = (MarginTier(D(0), max_leverage), MarginTier(D(150_000_000), max_leverage // 2))
    return replace(AssetSpec(symbol, 0, size_decimals, max_leverage, tiers), **changes)


def candles(px: float, bars: int = 300, step_ms: int = 300_000) -> pl.DataFrame:
    first = CYCLE_MS // step_ms * step_ms - bars * step_ms
    close = [px * (1 + 0.01 * math.sin(i / 9) + 0.0001 * i) for i in range(1 - bars, 1)]
    before = [close[0], *close[:-1]]
    return pl.DataFrame(
        {
            "open_time_ms": [first + i * step_ms for i in range(bars)],
            "open": before,
            "high": [max(a, b) * 1.001 for a, b in zip(before, close, strict=True)],
            "low": [min(a, b) * 0.999 for a, b in zip(before, close, strict=True)],
            "close": close,
            "volume": [10.0 + i % 7 for i in range(bars)],
        }
    )


def symbol_market(
    symbol: str = "BTC",
    px: str = "100000",
    size_decimals: int = 5,
    mark: bool = True,
    **changes: object,
) -> SymbolMarket:
    price = D(px)
    return SymbolMarket(
        asset=asset(symbol, size_decimals, **changes),
        mid_px=price if mark else None,
        mark_px=price if mark else None,
        oracle_px=price if mark else None,
        funding_rate_hourly=0.0000125 if mark else None,
        open_interest_base=12345.678 if mark else None,
        day_volume_usd=1_234_567_890.0 if mark else None,
        intraday=CandleSeries(symbol, "5m", candles(float(price))),
        long_term=CandleSeries(symbol, "4h", candles(float(price), step_ms=14_400_000)),
    )


@cache
def _two_symbols() -> MarketSnapshot:
    return market(symbol_market(), symbol_market("ETH", "4000", 4, max_leverage=25))


@cache
def _two_symbols_indicators() -> IndicatorSnapshot:
    return IndicatorEngine().compute(_two_symbols())


def market(*markets: SymbolMarket) -> MarketSnapshot:
    return MarketSnapshot(CYCLE_MS, CYCLE_MS + 100, "rest", markets) if markets else _two_symbols()


def position(
    symbol: str = "BTC",
    size: str = "0.5",
    entry: str = "99000",
    liquidation: str | None = "80000",
    leverage: int = 5,
    **changes: object,
) -> Position:
    made = Position(
        symbol, D(size), D(entry), leverage, True, D("500"), D("10000"),
        None if liquidation is None else D(liquidation), D("1.25"),
    )  # fmt: skip
    return replace(made, **changes)


def trigger(symbol: str, oid: int, px: str, size: str, leg: Leg, is_buy: bool) -> OpenOrder:
    return OpenOrder(symbol, oid, None, is_buy, D(size), D(px), True, CYCLE_MS - 1, D(px), leg)


def account(
    *positions: Position,
    orders: Iterable[OpenOrder] = (),
    value: str = "30000",
    free: str = "20000",
    used: str = "10000",
) -> AccountSnapshot:
    return AccountSnapshot(CYCLE_MS, D(value), D(free), D(used), tuple(positions), tuple(orders))


def long_and_short() -> AccountSnapshot:
    return account(
        position(),
        position("ETH", "-2", "4100", "5200", 4),
        orders=(
            trigger("BTC", 11, "95000", "0.5", Leg.STOP_LOSS, is_buy=False),
            trigger("BTC", 12, "110000", "0.5", Leg.TAKE_PROFIT, is_buy=False),
            trigger("ETH", 21, "4300", "2", Leg.STOP_LOSS, is_buy=True),
            trigger("ETH", 22, "3500", "2", Leg.TAKE_PROFIT, is_buy=True),
        ),
    )


def target(
    symbol: str = "BTC",
    size: str = "0.5",
    stop: str = "95000",
    take: str = "110000",
    rationale: str = "the trend is up",
) -> TargetPosition:
    prices = (None, None) if D(size) == 0 else (D(stop), D(take))
    return TargetPosition(symbol, D(size), *prices, 0.6, rationale)


def prior(
    *targets: TargetPosition,
    refusal: Refusal | None = None,
    fills: Iterable[Fill] = (),
    explanation: str = "Momentum carries on.",
) -> PriorDecision:
    chosen = targets or (target(), target("ETH", "-2", "4300", "3500", "relative weakness"))
    made = Decision(explanation, "BTC closes below 94000 on 4h.", tuple(chosen), PriorPlan.NONE)
    return PriorDecision(made, CYCLE_MS - 300_000, refusal, tuple(fills))


def reply_target(
    symbol: object = "BTC", size: object = 0.5, stop: object = 95000, take: object = 110000, **changes: object
) -> dict[str, Any]:
    body = {"symbol": symbol, "target_size": size, "stop_loss": stop, "take_profit": take}
    return body | {"confidence": 0.6, "rationale": "because", "margin": None} | changes


ETH_FLAT = reply_target("ETH", 0, None, None)


def reply(*targets: dict[str, Any], **changes: object) -> str:
    body = {"explanation": "e", "invalidation_condition": "i", "prior_plan": "none"}
    body |= {"replaced_because": None, "targets": list(targets or (reply_target(), ETH_FLAT))}
    return json.dumps(body | changes)


def judgement(
    account: AccountSnapshot = FLAT,
    prior: PriorDecision = NO_PRIOR,
    limits: RiskLimits = LIMITS,
    snapshot: MarketSnapshot | None = None,
) -> JudgementInputs:
    return JudgementInputs(snapshot or market(), account, prior, limits)


def context_inputs(
    account: AccountSnapshot = FLAT,
    prior: PriorDecision = NO_PRIOR,
    alerts: Iterable[str] = (),
    snapshot: MarketSnapshot | None = None,
) -> ContextInputs:
    chosen = snapshot or market()
    indicators = IndicatorEngine().compute(snapshot) if snapshot else _two_symbols_indicators()
    return ContextInputs(CYCLE_MS, chosen, indicators, account, PERFORMANCE, prior, tuple(alerts))


@cache
def _shipped_builder() -> ContextBuilder:
    return ContextBuilder(load_prompt(PROMPTS, "trader/v1"), LIMITS, RULES, 5)


def builder(template: PromptTemplate | None = None) -> ContextBuilder:
    return ContextBuilder(template, LIMITS, RULES, 5) if template else _shipped_builder()
