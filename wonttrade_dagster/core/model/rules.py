"""Rules that bind a decision and its orders, their echo in a record, and points of the equity curve.

Belongs here: records and plain readings of their fields; units are in the names, see ``core.model``.
Does not belong here: judgement, arithmetic of money, (de)serialisation.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from wonttrade_dagster.core.model.guard import NO_CAPS, ModelPrice, SpendingCaps
from wonttrade_dagster.core.model.indicators import USUAL_INDICATORS, IndicatorSetting


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
class CycleSetting:
    """What of the configuration a cycle was computed with: enough to compute it once more.

    Attributes:
        symbols: the tracked ones, in the configured order.
        limits: what a decision must stay within.
        rules: how orders are priced and when they are allowed.
        entry_cost_bps: slippage and fee that the judgement adds to the margin of an entry.
        series_points: points of each series in the prompt.
        cycle_minutes: the cadence.
        settings_sha256: of ``wonttrade.toml``; empty where nobody told.
        price: of the model's tokens.
        caps: what the model's calls may cost.
        indicators: lengths and further columns; a record that does not say is from before they could differ.
    """

    symbols: tuple[str, ...]
    limits: RiskLimits
    rules: ExecutionRules
    entry_cost_bps: Decimal
    series_points: int
    cycle_minutes: int
    settings_sha256: str = ""
    price: ModelPrice | None = None
    caps: SpendingCaps = NO_CAPS
    indicators: IndicatorSetting = USUAL_INDICATORS


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """Account value at a time; the one source of return, Sharpe and drawdown."""

    time_ms: int
    account_value_usd: Decimal
