"""The situations in which replies of the corpus are judged.

Belongs here: small fixed snapshots by name. Does not belong here: replies, prices that move.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import polars as pl

from wonttrade_dagster.core.decision import JudgementInputs
from wonttrade_dagster.core.model import (
    CANDLE_SCHEMA,
    AccountSnapshot,
    AssetSpec,
    CandleSeries,
    Decision,
    MarginTier,
    MarketSnapshot,
    Position,
    PriorDecision,
    PriorPlan,
    RiskLimits,
    SymbolMarket,
    TargetPosition,
)

D = Decimal
CYCLE_MS = 1_795_435_380_000
LIMITS = RiskLimits(D(60_000), D(100_000), 10)
_NO_PRIOR = PriorDecision(None, None)


def _symbol(symbol: str, px: str, size_decimals: int, max_leverage: int) -> SymbolMarket:
    tiers = (MarginTier(D(0), max_leverage), MarginTier(D(50_000), max_leverage // 2))
    price = D(px)
    bar = {"open_time_ms": [CYCLE_MS - 300_000], "open": [float(price)], "high": [float(price)]}
    bar |= {"low": [float(price)], "close": [float(price)], "volume": [1.0]}
    candles = pl.DataFrame(bar, schema=dict(CANDLE_SCHEMA))
    return SymbolMarket(
        asset=AssetSpec(symbol, 0, size_decimals, max_leverage, tiers),
        mid_px=price,
        mark_px=price,
        oracle_px=price,
        funding_rate_hourly=0.0000125,
        open_interest_base=1_000.0,
        day_volume_usd=1e9,
        intraday=CandleSeries(symbol, "5m", candles),
        long_term=CandleSeries(symbol, "4h", candles),
    )


_BTC = _symbol("BTC", "100000", 5, 40)
_ETH = _symbol("ETH", "4000", 4, 25)
_DOGE = _symbol("DOGE", "0.2", 0, 10)


def _inputs(
    *markets: SymbolMarket,
    positions: tuple[Position, ...] = (),
    free_usd: str = "25000",
    used_usd: str = "0",
    prior: PriorDecision = _NO_PRIOR,
    limits: RiskLimits = LIMITS,
) -> JudgementInputs:
    market = MarketSnapshot(CYCLE_MS, CYCLE_MS + 100, "rest", markets or (_BTC, _ETH))
    free, used = D(free_usd), D(used_usd)
    account = AccountSnapshot(CYCLE_MS, free + used, free, used, positions, ())
    return JudgementInputs(market, account, prior, limits)


def _held(symbol: str, size: str, entry: str, liquidation: str | None) -> Position:
    return Position(
        symbol=symbol,
        size_base=D(size),
        entry_px=D(entry),
        leverage=10,
        is_cross=True,
        unrealized_pnl_usd=D(0),
        margin_used_usd=D(1_000),
        liquidation_px=None if liquidation is None else D(liquidation),
    )


def _target(symbol: str, size: str, stop: str, take: str) -> TargetPosition:
    return TargetPosition(symbol, D(size), D(stop), D(take), 0.6, "the trend is up")


_LONG_BTC = _target("BTC", "0.5", "95000", "110000")
_SHORT_ETH = _target("ETH", "-2", "4300", "3500")


def _prior(*targets: TargetPosition) -> PriorDecision:
    decision = Decision("Momentum carries on.", "BTC closes below 94000.", targets, PriorPlan.NONE)
    return PriorDecision(decision, CYCLE_MS - 300_000)


def _holding(free_usd: str = "20000", used_usd: str = "10000") -> JudgementInputs:
    """A long and a short as the prior plan wants them."""
    positions = (_held("BTC", "0.5", "99000", "80000"), _held("ETH", "-2", "4100", "5200"))
    prior = _prior(_LONG_BTC, _SHORT_ETH)
    return _inputs(positions=positions, free_usd=free_usd, used_usd=used_usd, prior=prior)


def _delisted() -> JudgementInputs:
    gone = replace(_BTC, asset=replace(_BTC.asset, is_delisted=True))
    return _inputs(gone, _ETH, positions=(_held("BTC", "0.25", "99000", None),), used_usd="2500")


def _unmarked() -> JudgementInputs:
    """As in a backtest: the last close is all there is."""
    markets = (replace(market, mark_px=None, mid_px=None, oracle_px=None) for market in (_BTC, _ETH))
    return _inputs(*markets)


_SCENES: Mapping[str, Callable[[], JudgementInputs]] = MappingProxyType(
    {
        "flat": _inputs,
        "holding": _holding,
        "short": lambda: _inputs(positions=(_held("BTC", "-0.5", "101000", "120000"),), used_usd="5000"),
        "long": lambda: _inputs(positions=(_held("BTC", "0.5", "99000", "80000"),), used_usd="5000"),
        "dust": lambda: _inputs(positions=(_held("BTC", "0.00009", "99000", None),)),
        "poor": lambda: _inputs(free_usd="1000"),
        "broke": lambda: _inputs(free_usd="0"),
        "holding_broke": lambda: _holding(free_usd="0", used_usd="0"),
        "delisted": _delisted,
        "unmarked": _unmarked,
        "late_symbol": lambda: _inputs(
            positions=(_held("BTC", "0.5", "99000", "80000"),), used_usd="5000", prior=_prior(_LONG_BTC)
        ),
        "cheap": lambda: _inputs(_BTC, _DOGE),
        "loose": lambda: _inputs(free_usd="10000000", limits=RiskLimits(D(10_000_000), D(20_000_000), 50)),
    }
)

SCENES: Mapping[str, JudgementInputs] = MappingProxyType({name: made() for name, made in _SCENES.items()})
"""Inputs of the judgement by the scene's name."""
