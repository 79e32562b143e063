"""The data contracts of a cycle: frozen records that every part reads and writes.

Belongs here: records, their enums, and properties that are a plain reading of their fields.
Does not belong here: judgement, arithmetic of money, (de)serialisation (see ``core.codec``), I/O.

Units are in the names: ``_usd`` US dollars, ``_base`` base units of the coin, ``_px`` USD per base
unit, ``_ms`` milliseconds (of UTC epoch for a time, plain for a duration), ``_bps`` 1e-4,
``_fraction`` 1 = 100 %. What goes over the venue's boundary is ``Decimal``; statistics are ``float``.
Sizes are signed everywhere: positive long, negative short.
"""

from wonttrade_dagster.core.model.account import (
    AccountSnapshot,
    Booking,
    Fill,
    Leg,
    OpenOrder,
    PerformanceSoFar,
    Position,
    ReturnBasis,
    ReturnSums,
    Transfer,
)
from wonttrade_dagster.core.model.basics import RuntimeMode, Stage, StageFailure
from wonttrade_dagster.core.model.decision import (
    AnsweredTarget,
    Condition,
    Decision,
    DecisionRecord,
    ModelReply,
    PriorDecision,
    PriorPlan,
    Prompt,
    Refusal,
    TargetPosition,
    TokenUsage,
    Violation,
)
from wonttrade_dagster.core.model.execution import (
    ActionResult,
    ActionStatus,
    CycleReport,
    ExecutionReport,
    LlmContext,
)
from wonttrade_dagster.core.model.guard import (
    NO_CAPS,
    NOTHING_SPENT,
    UNBROKEN,
    BreakerRules,
    BreakerState,
    ModelPrice,
    Spending,
    SpendingCaps,
)
from wonttrade_dagster.core.model.indicators import FURTHER, USUAL_INDICATORS, IndicatorSetting
from wonttrade_dagster.core.model.market import (
    CANDLE_SCHEMA,
    AssetSpec,
    CandleSeries,
    Frame,
    IndicatorSnapshot,
    MarginTier,
    MarketSnapshot,
    SymbolIndicators,
    SymbolMarket,
)
from wonttrade_dagster.core.model.plan import (
    Action,
    CancelOrder,
    ExecutionPlan,
    OrderPurpose,
    PlaceOrder,
    PlanBasis,
    SetLeverage,
    SkippedDelta,
)
from wonttrade_dagster.core.model.rules import CycleSetting, EquityPoint, ExecutionRules, RiskLimits

__all__ = [
    "CANDLE_SCHEMA",
    "FURTHER",
    "NOTHING_SPENT",
    "NO_CAPS",
    "UNBROKEN",
    "USUAL_INDICATORS",
    "AccountSnapshot",
    "Action",
    "ActionResult",
    "ActionStatus",
    "AnsweredTarget",
    "AssetSpec",
    "Booking",
    "BreakerRules",
    "BreakerState",
    "CancelOrder",
    "CandleSeries",
    "Condition",
    "CycleReport",
    "CycleSetting",
    "Decision",
    "DecisionRecord",
    "EquityPoint",
    "ExecutionPlan",
    "ExecutionReport",
    "ExecutionRules",
    "Fill",
    "Frame",
    "IndicatorSetting",
    "IndicatorSnapshot",
    "Leg",
    "LlmContext",
    "MarginTier",
    "MarketSnapshot",
    "ModelPrice",
    "ModelReply",
    "OpenOrder",
    "OrderPurpose",
    "PerformanceSoFar",
    "PlaceOrder",
    "PlanBasis",
    "Position",
    "PriorDecision",
    "PriorPlan",
    "Prompt",
    "Refusal",
    "ReturnBasis",
    "ReturnSums",
    "RiskLimits",
    "RuntimeMode",
    "SetLeverage",
    "SkippedDelta",
    "Spending",
    "SpendingCaps",
    "Stage",
    "StageFailure",
    "SymbolIndicators",
    "SymbolMarket",
    "TargetPosition",
    "TokenUsage",
    "Transfer",
    "Violation",
]
