"""Snapshots for the tests of prompt and judgement: deterministic, two symbols, 300 bars a window."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl

from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.context import ContextBuilder, ContextInputs
from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    CandleSeries,
    Decision,
    ExecutionRules,
    Leg,
    MarginTier,
    MarketSnapshot,
    OpenOrder,
    PerformanceSoFar,
    Position,
    PriorDecision,
    PriorPlan,
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
PERFORMANCE = PerformanceSoFar(
    D(25_000), 0.00002, 1.234, D("3.21"), D("-0.5"), CYCLE_MS - 5_400_000, 31
)


def asset(symbol="BTC", size_decimals=5, max_leverage=40, **changes):
    tiers = (MarginTier(D(0), max_leverage), MarginTier(D(150_000_000), max_leverage // 2))
    return replace(AssetSpec(symbol, 0, size_decimals, max_leverage, tiers), **changes)


def candles(px, bars=300, step_ms=300_000, last_close_ms=CYCLE_MS - 180_000):
    first = last_close_ms // step_ms * step_ms - bars * step_ms
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


def symbol_market(symbol="BTC", px="100000", size_decimals=5, mark=True, **asset_changes):
    price = D(px)
    return SymbolMarket(
        asset=asset(symbol, size_decimals, **asset_changes),
        mid_px=price if mark else None,
        mark_px=price if mark else None,
        oracle_px=price if mark else None,
        funding_rate_hourly=0.0000125 if mark else None,
        open_interest_base=12345.678 if mark else None,
        day_volume_usd=1_234_567_890.0 if mark else None,
        intraday=CandleSeries(symbol, "5m", candles(float(price))),
        long_term=CandleSeries(symbol, "4h", candles(float(price), step_ms=14_400_000)),
    )


def market(*markets):
    chosen = markets or (symbol_market(), symbol_market("ETH", "4000", 4, max_leverage=25))
    return MarketSnapshot(CYCLE_MS, CYCLE_MS + 100, "rest", tuple(chosen))


def position(symbol="BTC", size="0.5", entry="99000", liquidation="80000", leverage=5, **changes):
    made = Position(
        symbol, D(size), D(entry), leverage, True, D("500"), D("10000"),
        None if liquidation is None else D(liquidation), D("1.25"),
    )  # fmt: skip
    return replace(made, **changes)


def trigger(symbol, oid, px, size, leg, is_buy):
    return OpenOrder(symbol, oid, None, is_buy, D(size), D(px), True, CYCLE_MS - 1, D(px), leg)


def account(*positions, orders=(), value="30000", free="20000", used="10000"):
    return AccountSnapshot(CYCLE_MS, D(value), D(free), D(used), tuple(positions), tuple(orders))


def long_and_short():
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


def target(symbol="BTC", size="0.5", stop="95000", take="110000", rationale="the trend is up", **changes):
    prices = (None, None) if D(size) == 0 else (D(stop), D(take))
    return replace(TargetPosition(symbol, D(size), *prices, 0.6, rationale), **changes)


def prior(*targets, refusal=None, fills=(), explanation="Momentum carries on."):
    chosen = targets or (target(), target("ETH", "-2", "4300", "3500", "relative weakness"))
    made = Decision(explanation, "BTC closes below 94000 on 4h.", tuple(chosen), PriorPlan.NONE)
    return PriorDecision(made, CYCLE_MS - 300_000, refusal, tuple(fills))


def reply_target(symbol="BTC", size=0.5, stop=95000, take=110000, **changes):
    body = {"symbol": symbol, "target_size": size, "stop_loss": stop, "take_profit": take}
    return body | {"confidence": 0.6, "rationale": "because", "margin": None} | changes


ETH_FLAT = reply_target("ETH", 0, None, None)


def reply(*targets, **changes):
    body = {"explanation": "e", "invalidation_condition": "i", "prior_plan": "none"}
    body |= {"replaced_because": None, "targets": list(targets or (reply_target(), ETH_FLAT))}
    return json.dumps(body | changes)


def judgement(account=FLAT, prior=NO_PRIOR, limits=LIMITS, snapshot=None):
    return JudgementInputs(snapshot or market(), account, prior, limits)


def context_inputs(account=FLAT, prior=NO_PRIOR, alerts=(), snapshot=None):
    chosen = snapshot or market()
    indicators = IndicatorEngine().compute(chosen)
    return ContextInputs(CYCLE_MS, chosen, indicators, account, PERFORMANCE, prior, tuple(alerts))


def builder(template=None):
    return ContextBuilder(template or load_prompt(PROMPTS, "trader/v1"), LIMITS, RULES, 5)
