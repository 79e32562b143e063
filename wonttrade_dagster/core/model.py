"""The data contracts of a cycle: frozen records that every part reads and writes.

Belongs here: records, their enums, and properties that are a plain reading of their fields.
Does not belong here: judgement, arithmetic of money, (de)serialisation (see ``core.codec``), I/O.

Units are in the names: ``_usd`` US dollars, ``_base`` base units of the coin, ``_px`` USD per base
unit, ``_ms`` milliseconds (of UTC epoch for a time, plain for a duration), ``_bps`` 1e-4,
``_fraction`` 1 = 100 %. What goes over the venue's boundary is ``Decimal``; statistics are ``float``.
Sizes are signed everywhere: positive long, negative short.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import polars as pl

from wonttrade_dagster.core.codec import FrameCodec

Frame = Annotated[pl.DataFrame, FrameCodec]

CANDLE_SCHEMA: Mapping[str, pl.DataType] = {
    "open_time_ms": pl.Int64(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}


class RuntimeMode(StrEnum):
    """What a cycle acts on; the value is the word used in ``wonttrade.toml``."""

    LIVE = "LIVE"
    TESTNET = "TESTNET"
    PAPER = "PAPER"
    BACKTEST = "BACKTEST"


class Stage(StrEnum):
    """The stages of a cycle; the value is the asset's name in the graph."""

    MARKET_SNAPSHOTS = "market_snapshots"
    ACCOUNT_SNAPSHOTS = "account_snapshots"
    INDICATORS = "indicators"
    LLM_CONTEXTS = "llm_contexts"
    DECISIONS = "decisions"
    EXECUTION_PLANS = "execution_plans"
    EXECUTIONS = "executions"
    CYCLE_REPORTS = "cycle_reports"


@dataclass(frozen=True, slots=True)
class StageFailure:
    """A stage that could not do its work; travels on as a value so that what follows still runs.

    Attributes:
        stage: where it happened.
        reason: a stable snake_case name, e.g. ``venue_unavailable``, ``market_stale``.
        detail: one sentence for a person; holds no secret.
    """

    stage: Stage
    reason: str
    detail: str
    kind: Literal["failure"] = "failure"


# --- the market ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarginTier:
    """From ``lower_bound_usd`` of notional on, at most ``max_leverage``."""

    lower_bound_usd: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """What the venue's ``meta`` says of one perpetual.

    ``asset_id`` is the index in ``meta.universe`` and differs between networks: never hard-code it.
    ``margin_tiers`` ascend by bound; the first bound is 0.
    """

    symbol: str
    asset_id: int
    size_decimals: int
    max_leverage: int
    margin_tiers: tuple[MarginTier, ...]
    is_delisted: bool = False
    only_isolated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CandleSeries:
    """Closed candles of one symbol and interval, oldest first.

    Attributes:
        symbol: the coin.
        interval: the venue's name of the interval, e.g. ``5m``, ``4h``.
        frame: ``CANDLE_SCHEMA``; ascending unique ``open_time_ms``; no null, no NaN.
    """

    symbol: str
    interval: str
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class SymbolMarket:
    """Everything known of one symbol at the cycle time.

    What a source does not have (a backtest knows no mark, oracle or open interest) is None, is
    printed as absent, and is never invented. ``reference_px`` is what judgement and plan compare with.
    """

    asset: AssetSpec
    mid_px: Decimal | None
    mark_px: Decimal | None
    oracle_px: Decimal | None
    funding_rate_hourly: float | None
    open_interest_base: float | None
    day_volume_usd: float | None
    intraday: CandleSeries
    long_term: CandleSeries

    @property
    def symbol(self) -> str:
        """The coin, e.g. ``BTC``."""
        return self.asset.symbol

    @property
    def last_close_px(self) -> Decimal:
        """Close of the last closed intraday candle, in its shortest decimal form."""
        return Decimal(repr(float(self.intraday.frame["close"][-1])))

    @property
    def reference_px(self) -> Decimal:
        """Mark if known, else mid, else the last close."""
        return self.mark_px or self.mid_px or self.last_close_px


@dataclass(frozen=True, slots=True, eq=False)
class MarketSnapshot:
    """What was known at ``cycle_ms``: no candle in it closed after that.

    Attributes:
        cycle_ms: the decision time.
        taken_at_ms: when the last piece arrived.
        source: ``rest``, ``stream`` or ``history``.
        markets: one per tracked symbol, in the configured order.
        spread_ms: time between the first and the last piece.
    """

    cycle_ms: int
    taken_at_ms: int
    source: str
    markets: tuple[SymbolMarket, ...]
    spread_ms: int = 0

    def market(self, symbol: str) -> SymbolMarket:
        """The market of ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for market in self.markets:
            if market.symbol == symbol:
                return market
        raise KeyError(symbol)


@dataclass(frozen=True, slots=True, eq=False)
class SymbolIndicators:
    """The last points of both windows with indicator columns appended, oldest first.

    Columns beside ``CANDLE_SCHEMA``: ``ema_20, ema_50, macd, macd_signal, macd_histogram, rsi_7,
    rsi_14, atr_3, atr_14, volume_mean_20``. Null before an indicator's first value (TA-Lib's warm-up).
    """

    symbol: str
    intraday: Frame
    long_term: Frame


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorSnapshot:
    """Indicators of every tracked symbol at the cycle time, in the configured order."""

    cycle_ms: int
    symbols: tuple[SymbolIndicators, ...]

    def of(self, symbol: str) -> SymbolIndicators:
        """The indicators of ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for indicators in self.symbols:
            if indicators.symbol == symbol:
                return indicators
        raise KeyError(symbol)


# --- the account -----------------------------------------------------------------------------------


class Leg(StrEnum):
    """The two protection orders of a position."""

    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


@dataclass(frozen=True, slots=True)
class Position:
    """One open position, as the venue reports it. ``size_base`` is signed and never 0."""

    symbol: str
    size_base: Decimal
    entry_px: Decimal
    leverage: int
    is_cross: bool
    unrealized_pnl_usd: Decimal
    margin_used_usd: Decimal
    liquidation_px: Decimal | None
    funding_since_open_usd: Decimal = Decimal(0)
    """Positive when the holder has paid."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One order that rests or waits on the venue. ``size_base`` is unsigned, what is still open."""

    symbol: str
    oid: int
    cloid: str | None
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    reduce_only: bool
    placed_at_ms: int
    trigger_px: Decimal | None = None
    leg: Leg | None = None
    """Set for trigger orders: which protection leg its type and side make it."""
    is_whole_position: bool = False
    """``isPositionTpsl`` with size 0: follows the position's size."""


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account as the venue showed it at ``taken_at_ms``: the truth of a cycle."""

    taken_at_ms: int
    account_value_usd: Decimal
    free_margin_usd: Decimal
    margin_used_usd: Decimal
    positions: tuple[Position, ...]
    open_orders: tuple[OpenOrder, ...]
    marks: tuple[tuple[str, Decimal], ...] = ()
    """Mark price per tracked symbol read together with the account, where the venue has one."""

    def position(self, symbol: str) -> Position | None:
        """The open position in ``symbol``, or None when flat."""
        return next((p for p in self.positions if p.symbol == symbol), None)

    def size_base(self, symbol: str) -> Decimal:
        """Signed size held, 0 when flat."""
        position = self.position(symbol)
        return position.size_base if position else Decimal(0)

    def mark_px(self, symbol: str) -> Decimal | None:
        """Mark read with the account, or None."""
        return next((px for name, px in self.marks if name == symbol), None)

    def protection(self, symbol: str) -> tuple[OpenOrder, ...]:
        """Trigger orders standing for ``symbol``, ours or not."""
        return tuple(o for o in self.open_orders if o.symbol == symbol and o.leg is not None)


@dataclass(frozen=True, slots=True)
class PerformanceSoFar:
    """How the account did since its opening equity was written; all from account value and fills.

    ``sharpe`` is annualised from equity sampled once a cycle, None below two returns or zero variance.
    """

    opening_equity_usd: Decimal
    return_fraction: float
    sharpe: float | None
    fees_usd: Decimal
    funding_usd: Decimal
    started_at_ms: int
    invocations: int


# --- the decision ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetPosition:
    """What the model wants to hold. ``stop_loss`` and ``take_profit`` are None only when flat."""

    symbol: str
    target_size: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    confidence: float
    rationale: str
    margin_usd: Decimal | None = None
    """Optional margin: the position's leverage becomes ceil(notional / margin)."""


class PriorPlan(StrEnum):
    """What the model says it did with the prior plan."""

    KEPT = "kept"
    REPLACED = "replaced"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """Accepted whole: one target per tracked symbol, explicit zeros included."""

    explanation: str
    invalidation_condition: str
    targets: tuple[TargetPosition, ...]
    prior_plan: PriorPlan
    replaced_because: str | None = None
    kind: Literal["decision"] = "decision"

    def target(self, symbol: str) -> TargetPosition:
        """The target for ``symbol``; raises ``KeyError`` for one that is not tracked."""
        for target in self.targets:
            if target.symbol == symbol:
                return target
        raise KeyError(symbol)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a reply: a stable rule name, where, and a sentence."""

    rule: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A decision that was not applied. Positions and protection stay as they are.

    Attributes:
        reason: a stable snake_case name: ``invalid_json``, ``violations``, ``model_unavailable``,
            ``stale_decision``, ``price_moved_past_stop``, or the reason of an earlier stage failure.
        detail: one sentence for a person and for the next prompt.
        violations: everything that was wrong, not just the first.
    """

    reason: str
    detail: str
    violations: tuple[Violation, ...] = ()
    kind: Literal["refusal"] = "refusal"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The two messages sent to the model, and what made them."""

    system: str
    user: str
    template: str
    template_sha256: str
    schema_sha256: str
    prompt_sha256: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens as the model's server counted them; 0 where it did not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A chat completion as it came back; ``text`` is raw and untrusted."""

    text: str
    model: str
    request_id: str | None
    finish_reason: str
    usage: TokenUsage
    sent_at_ms: int
    received_at_ms: int
    fingerprint: str | None = None

    @property
    def latency_ms(self) -> int:
        """From sending to the last byte."""
        return self.received_at_ms - self.sent_at_ms


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """The outcome of the ``decisions`` stage: what was asked, answered, and made of it."""

    cycle_ms: int
    outcome: Decision | Refusal
    prompt: Prompt | None
    reply: ModelReply | None
    decided_at_ms: int


@dataclass(frozen=True, slots=True)
class PriorDecision:
    """The last applied decision and how the most recent cycle ended, for prompt and protection.

    ``last_refusal`` is set when the cycle before this one was refused (then ``decision`` is older).
    """

    decision: Decision | None
    decided_cycle_ms: int | None
    last_refusal: Refusal | None = None
    fills: tuple["Fill", ...] = ()
    """What was actually filled for that decision."""


# --- the plan --------------------------------------------------------------------------------------


class OrderPurpose(StrEnum):
    """Why an order exists; decides its urgency and whether freshness binds it."""

    OPEN = "open"
    INCREASE = "increase"
    REDUCE = "reduce"
    CLOSE = "close"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"

    @property
    def increases_exposure(self) -> bool:
        """Only these are bound by the freshness of the decision."""
        return self in (OrderPurpose.OPEN, OrderPurpose.INCREASE)


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Send one order. ``size_base`` is unsigned; prices lie on the venue's grid.

    Entries and closes are IOC limits (the venue's market orders); with ``trigger_px`` it is a
    reduce-only market trigger. A protection order's size is what the plan expects to hold: the
    executor sizes it to what was really filled.
    """

    symbol: str
    purpose: OrderPurpose
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    reduce_only: bool
    cloid: str
    reason: str
    trigger_px: Decimal | None = None
    replaces_oid: int | None = None
    """The old protection order that a CancelOrder of the same plan removes once this one stands."""
    kind: Literal["place"] = "place"

    @property
    def leg(self) -> Leg | None:
        """The protection leg, or None for an entry, reduction or close."""
        if self.purpose is OrderPurpose.STOP_LOSS:
            return Leg.STOP_LOSS
        return Leg.TAKE_PROFIT if self.purpose is OrderPurpose.TAKE_PROFIT else None


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel one order of ours. ``after_cloid`` waits until that order is confirmed standing."""

    symbol: str
    oid: int
    cloid: str | None
    reason: str
    after_cloid: str | None = None
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class SetLeverage:
    """Set the integer leverage of a symbol, together with its margin mode."""

    symbol: str
    leverage: int
    is_cross: bool
    reason: str
    kind: Literal["leverage"] = "leverage"


Action = PlaceOrder | CancelOrder | SetLeverage


@dataclass(frozen=True, slots=True)
class SkippedDelta:
    """A difference between target and holding that was left alone, and why."""

    symbol: str
    delta_base: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """The minimal ordered list of actions, risk-reducing ones first.

    ``refusal`` is set when the decision was not applied; the plan then holds protection only.
    ``alerts`` name positions that stand unprotected and cannot be helped from here.
    """

    cycle_ms: int
    actions: tuple[Action, ...]
    skipped: tuple[SkippedDelta, ...] = ()
    refusal: Refusal | None = None
    alerts: tuple[str, ...] = ()
    account: AccountSnapshot | None = None
    """The account as read for this plan, after the decision; None when it could not be read."""


# --- the execution ---------------------------------------------------------------------------------


class ActionStatus(StrEnum):
    """What became of one action."""

    FILLED = "filled"
    RESTING = "resting"
    WAITING = "waiting"
    DONE = "done"
    """Cancels and leverage that the venue confirmed."""
    ERROR = "error"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What the venue answered to one action, normalised item by item."""

    action: Action
    status: ActionStatus
    message: str = ""
    oid: int | None = None
    filled_base: Decimal = Decimal(0)
    average_px: Decimal | None = None
    sent_at_ms: int = 0
    answered_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. ``size_base`` signed by direction; ``closed_pnl_usd`` excludes the fee."""

    symbol: str
    time_ms: int
    px: Decimal
    size_base: Decimal
    fee_usd: Decimal
    closed_pnl_usd: Decimal
    oid: int
    tid: int
    direction: str
    cloid: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """What the venue answered to each action, and the read-back.

    Attributes:
        cycle_ms: the cycle.
        results: one per action of the plan, in the order they were sent.
        fills: fills of this cycle's orders.
        account: the account after everything; None when the read-back failed.
        unprotected_seconds: per symbol, from the entry's fill to the stop's confirmation; the time so
            far when it still is not confirmed.
        alerts: sentences for the next prompt and the heartbeat, e.g. a rejected stop.
    """

    cycle_ms: int
    results: tuple[ActionResult, ...]
    fills: tuple[Fill, ...] = ()
    account: AccountSnapshot | None = None
    unprotected_seconds: tuple[tuple[str, float], ...] = ()
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CycleReport:
    """How one cycle ended; the row that a person reads first."""

    cycle_ms: int
    outcome: Literal["applied", "refused", "failed"]
    reason: str
    detail: str
    account_value_usd: Decimal | None
    actions_planned: int
    actions_failed: int
    model_latency_ms: int | None
    finished_at_ms: int
    alerts: tuple[str, ...] = ()
    positions: tuple[Position, ...] = ()
    protection: tuple[OpenOrder, ...] = ()
    stage_failures: tuple[StageFailure, ...] = ()
    fills: tuple[Fill, ...] = ()
    """The account's fills since the report before this one, whoever caused them."""
    activity_until_ms: int = 0
    """Up to when fills and funding are booked; the next report starts here."""
    performance: PerformanceSoFar | None = None
    """Running totals including this cycle; carried from report to report."""


@dataclass(frozen=True, slots=True)
class LlmContext:
    """The ``llm_contexts`` stage: the prompt, and what went into it beside market and account."""

    cycle_ms: int
    prompt: Prompt
    performance: PerformanceSoFar
    prior: PriorDecision
    alerts: tuple[str, ...] = ()


# --- rules that bind a decision --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Limits from the configuration. A decision beyond them is refused whole, never clipped."""

    max_position_usd: Decimal
    max_gross_exposure_usd: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class ExecutionRules:
    """How orders are priced and when they are allowed; see ``docs/configuration.md``."""

    slippage_bps: Decimal
    min_stop_move_bps: Decimal
    max_decision_age_ms: int
    crossed_stop: Literal["close", "alert"]
    taker_fee_bps: Decimal
    cloid_tag: str
    """First 8 hex digits of every client order id of this account."""


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """Account value at a time; the one source of return, Sharpe and drawdown."""

    time_ms: int
    account_value_usd: Decimal
