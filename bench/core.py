"""The pure parts of a cycle, each against its goal: plan, prompt, judgement, indicators.

Belongs here: their inputs, made once from generated candles. Does not belong here: I/O of any kind.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

import polars as pl

from bench.candles import MINUTE_MS, SYMBOLS, walk
from bench.ground import PROMPTS
from bench.measure import Figure, Result, time_calls
from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.adapters.replay import default_assets
from wonttrade_dagster.core.context import ContextBuilder, ContextInputs
from wonttrade_dagster.core.decision import JudgementInputs, judge
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.indicators import INDICATOR_COLUMNS, IndicatorEngine
from wonttrade_dagster.core.model import (
    FURTHER,
    USUAL_INDICATORS,
    AccountSnapshot,
    CandleSeries,
    Decision,
    ExecutionPlan,
    ExecutionRules,
    Leg,
    MarketSnapshot,
    OpenOrder,
    PerformanceSoFar,
    Position,
    PriorDecision,
    RiskLimits,
    SymbolMarket,
)
from wonttrade_dagster.core.reconcile import PositionReconciler
from wonttrade_dagster.sandbox.rule_model import reply_text

CYCLE_MS = 1_795_435_200_000
BARS = 1000
YEAR_BARS = 365 * 1440
GOALS_MS = {"plan": 1.0, "prompt": 1.0, "judge": 0.3, "indicators": 20.0, "year": 3000.0}
_LIMITS = RiskLimits(Decimal(3000), Decimal(6000), 3)
_RULES = ExecutionRules(Decimal(100), Decimal(5), 60_000, "close", Decimal("4.5"), "0badcafe")
_VALUE_USD = Decimal(10_000)
_EVERY_COLUMN = IndicatorEngine(setting=replace(USUAL_INDICATORS, further=FURTHER))


def run(count: int, seed: int) -> Result:
    """``count`` timed calls each; a quarter as many of the indicators, and one over a year of minutes."""
    scene = _Scene.of(seed)
    rarely = max(count // 4, 1)
    indicators, further = (
        _against_goal(name, "indicators", partial(engine.compute, scene.market), rarely)
        for name, engine in (("indicators", IndicatorEngine()), ("indicators_further", _EVERY_COLUMN))
    )
    figures = [
        *(_against_goal(name, "plan", call, count) for name, call in scene.plans().items()),
        _against_goal("prompt", "prompt", scene.render, count),
        _against_goal("judge", "judge", scene.judge, count),
        indicators,
        further,
        _year(seed),
    ]
    ratios = {}
    peer = _talib(scene.market)
    if peer is not None:
        figures.append(Figure.of("indicators_talib", time_calls(peer, rarely)))
        ratios["indicators_to_talib"] = indicators.median / figures[-1].median
    facts = {
        "symbols": len(SYMBOLS),
        "bars_per_series": BARS,
        "prompt_characters": len(scene.prompt_text),
        "actions": {name: len(plan().actions) for name, plan in scene.plans().items()},
    }
    return Result(figures, ratios, facts)


def _year(seed: int) -> Figure:
    """All columns over a year of minutes, as a backtest computes them, once."""
    series = [walk(symbol, CYCLE_MS - YEAR_BARS * MINUTE_MS, YEAR_BARS, 1, seed) for symbol in SYMBOLS]
    laps = time_calls(lambda: [_EVERY_COLUMN.with_indicators(frame) for frame in series], 1, warm_up=1)
    return Figure.of("indicators_year", laps, GOALS_MS["year"])


def _against_goal(name: str, goal: str, call: Callable[[], object], count: int) -> Figure:
    return Figure.of(name, time_calls(call, count), GOALS_MS[goal])


@dataclass(frozen=True, slots=True)
class _Scene:
    """Two symbols at a cycle time: what each part is given."""

    market: MarketSnapshot
    builder: ContextBuilder
    inputs: ContextInputs
    prompt_text: str
    reply: str
    decision: Decision

    @classmethod
    def of(cls, seed: int) -> "_Scene":
        market = MarketSnapshot(CYCLE_MS, CYCLE_MS, "history", tuple(_market(s, seed) for s in SYMBOLS))
        flat = AccountSnapshot(CYCLE_MS, _VALUE_USD, _VALUE_USD, Decimal(0), (), ())
        builder = ContextBuilder(load_prompt(PROMPTS, "trader/v1"), _LIMITS, _RULES, 5)
        first = _inputs(market, flat, PriorDecision(None, None))
        opening = _judged(reply_text(builder.build(first).user), first)
        inputs = _inputs(market, _holding(opening, market), PriorDecision(opening, CYCLE_MS - 300_000))
        prompt = builder.build(inputs)
        reply = reply_text(prompt.user)
        return cls(market, builder, inputs, prompt.system + prompt.user, reply, opening)

    def render(self) -> object:
        """The prompt of an account that holds both symbols."""
        return self.builder.build(self.inputs)

    def judge(self) -> object:
        """The rule's reply to it."""
        return _judged(self.reply, self.inputs)

    def plans(self) -> dict[str, Callable[[], ExecutionPlan]]:
        """Opening both, turning both round, and finding nothing to do."""
        flat = replace(self.inputs.account, positions=(), open_orders=())
        turned = replace(self.inputs.account, positions=tuple(map(_turned, self.inputs.account.positions)))
        return {
            "plan_open": lambda: self._plan(flat),
            "plan_flip": lambda: self._plan(turned),
            "plan_nothing": lambda: self._plan(self.inputs.account),
        }

    def _plan(self, account: AccountSnapshot) -> ExecutionPlan:
        # Built anew as in a cycle, where the venue's listing is read first.
        plan = PositionReconciler(default_assets(SYMBOLS), SYMBOLS, _LIMITS, _RULES).plan(
            cycle_ms=CYCLE_MS,
            outcome=self.decision,
            account=account,
            reference_px={m.symbol: m.reference_px for m in self.market.markets},
            prior=self.decision,
            now_ms=CYCLE_MS + 2_000,
        )
        if plan.refusal is not None:
            raise WontTradeError(f"the benchmark's own plan was refused: {plan.refusal.detail}")
        return plan


def _market(symbol: str, seed: int) -> SymbolMarket:
    series = []
    for interval, minutes in (("5m", 5), ("4h", 240)):
        from_ms = CYCLE_MS - BARS * minutes * MINUTE_MS
        series.append(CandleSeries(symbol, interval, walk(symbol, from_ms, BARS, minutes, seed)))
    px = Decimal(repr(float(series[0].frame["close"][-1]))).quantize(Decimal(1))
    return SymbolMarket(
        asset=default_assets((symbol,))[symbol],
        mid_px=px,
        mark_px=px,
        oracle_px=px,
        funding_rate_hourly=0.0000125,
        open_interest_base=12_345.6,
        day_volume_usd=1.2e9,
        intraday=series[0],
        long_term=series[1],
    )


def _inputs(market: MarketSnapshot, account: AccountSnapshot, prior: PriorDecision) -> ContextInputs:
    zero = Decimal(0)
    performance = PerformanceSoFar(_VALUE_USD, 0.01, 1.2, zero, zero, CYCLE_MS - 36_000_000, 120)
    return ContextInputs(CYCLE_MS, market, IndicatorEngine().compute(market), account, performance, prior)


def _judged(text: str, inputs: ContextInputs) -> Decision:
    outcome = judge(text, JudgementInputs(inputs.market, inputs.account, inputs.prior, _LIMITS))
    if not isinstance(outcome, Decision):
        raise WontTradeError(f"the benchmark's own reply was refused: {outcome.detail}")
    return outcome


def _holding(decision: Decision, market: MarketSnapshot) -> AccountSnapshot:
    """The account that the decision leads to, protection included."""
    positions, orders = [], []
    for number, target in enumerate(decision.targets):
        px, size = market.market(target.symbol).reference_px, target.target_size
        if not size or target.stop_loss is None or target.take_profit is None:
            raise WontTradeError("the rule stayed flat on the generated candles: choose another --seed")
        margin = abs(size) * px / 3
        position = Position(
            symbol=target.symbol,
            size_base=size,
            entry_px=px,
            leverage=3,
            is_cross=True,
            unrealized_pnl_usd=Decimal(0),
            margin_used_usd=margin,
            liquidation_px=None,
        )
        positions.append(position)
        for leg, trigger in ((Leg.STOP_LOSS, target.stop_loss), (Leg.TAKE_PROFIT, target.take_profit)):
            oid = 10 * number + (leg is Leg.STOP_LOSS)
            orders.append(_standing(target.symbol, oid, size, trigger, leg))
    return AccountSnapshot(CYCLE_MS, _VALUE_USD, _VALUE_USD, Decimal(0), tuple(positions), tuple(orders))


def _standing(symbol: str, oid: int, held: Decimal, trigger_px: Decimal, leg: Leg) -> OpenOrder:
    return OpenOrder(
        symbol=symbol,
        oid=oid,
        cloid=f"0x{_RULES.cloid_tag}{oid:024x}",
        is_buy=held < 0,
        size_base=abs(held),
        limit_px=trigger_px,
        reduce_only=True,
        placed_at_ms=CYCLE_MS - 1,
        trigger_px=trigger_px,
        leg=leg,
    )


def _turned(position: Position) -> Position:
    return replace(position, size_base=-position.size_base)


def _talib(market: MarketSnapshot) -> Callable[[], object] | None:
    """The same indicators by TA-Lib's C code, where it is installed (it is a development dependency)."""
    try:
        import talib  # noqa: PLC0415 (not there on every platform)
    except ImportError:
        return None
    series = [s.frame for m in market.markets for s in (m.intraday, m.long_term)]

    def enriched(frame: pl.DataFrame) -> pl.DataFrame:
        high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
        columns = (
            talib.EMA(close, 20),
            talib.EMA(close, 50),
            *talib.MACD(close, 12, 26, 9),
            talib.RSI(close, 7),
            talib.RSI(close, 14),
            talib.ATR(high, low, close, 3),
            talib.ATR(high, low, close, 14),
            talib.SMA(volume, 20),
        )
        return frame.with_columns(
            pl.Series(name, values) for name, values in zip(INDICATOR_COLUMNS, columns, strict=True)
        )

    return lambda: [enriched(frame).tail(10) for frame in series]
