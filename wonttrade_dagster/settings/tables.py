"""The tables of ``wonttrade.toml``: one frozen model each, field by field.

Belongs here: fields, their kinds, their defaults (every default is the safe choice).
Does not belong here: rules between fields (``settings.rules``), reading the file (``settings.loading``).
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from wonttrade_dagster.settings.fields import (
    INTERVAL_MINUTES,
    Address,
    AddressOrEmpty,
    ApiKey,
    Bps,
    Coefficient,
    CycleMinutes,
    Day,
    Expected,
    Fraction,
    LoopbackUrl,
    Mode,
    Name,
    PlainUrl,
    PositiveUsd,
    PriceUsd,
    PromptName,
    RelativePath,
    Seconds,
    SigningKey,
    Switch,
    Symbols,
    Temperature,
    as_float,
    as_tuple,
    count,
)

TABLE_CONFIG = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)
"""Strict: a string is not a number. ``hide_input_in_errors``: a message of pydantic holds no secret."""

Interval = Annotated[
    Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"],
    Expected(f"one of {', '.join(INTERVAL_MINUTES)}"),
]


class Table(BaseModel):
    """What every table is: frozen, strict, without unknown keys."""

    model_config = TABLE_CONFIG


class RuntimeTable(Table):
    """``[runtime]``: what the program acts on, and how often."""

    mode: Mode
    cycle_minutes: CycleMinutes = 5
    live_account: AddressOrEmpty = ""
    autostart: Switch = False
    max_cycle_seconds: Seconds | None = None
    data_dir: RelativePath = "data"
    prompts_dir: RelativePath = "prompts"


class CredentialsTable(Table):
    """``[credentials]``: secrets, in memory only. The key of the chosen provider is required."""

    account_address: Address
    agent_private_key: SigningKey
    openai_api_key: ApiKey | None = None
    azure_openai_api_key: ApiKey | None = None


class HyperliquidTable(Table):
    """``[hyperliquid]``: which exchange. ``base_url`` belongs to network ``local`` alone."""

    network: Annotated[Literal["mainnet", "testnet", "local"], Expected("mainnet, testnet or local")]
    base_url: LoopbackUrl | None = None
    timeout_seconds: Seconds = 10.0
    read_attempts: Annotated[int, count(1, 10, "how often a read is tried")] = 4
    stream: Switch = True


class SymbolsTable(Table):
    """``[symbols]``: what is traded, and how much of its past is read."""

    tracked: Symbols
    intraday_interval: Interval = "5m"
    long_interval: Interval = "4h"
    history_bars: Annotated[int, count(60, 5000, "closed candles per series")] = 1000
    series_points: Annotated[int, count(1, 500, "points of each series in the prompt")] = 10


Length = Annotated[int, count(2, 1000, "bars")]


class IndicatorsTable(Table):
    """``[indicators]``: lengths in bars; names follow from them (``core.model.indicators``)."""

    ema_fast_bars: Length = 20
    ema_slow_bars: Length = 50
    macd_fast_bars: Length = 12
    macd_slow_bars: Length = 26
    macd_signal_bars: Length = 9
    rsi_fast_bars: Length = 7
    rsi_slow_bars: Length = 14
    atr_fast_bars: Length = 3
    atr_slow_bars: Length = 14
    volume_mean_bars: Length = 20
    volatility_bars: Length = 20
    roc_bars: Length = 10
    vwap_bars: Length = 20
    bollinger_width_bars: Length = 20
    volume_z_score_bars: Length = 20


class AzureTable(Table):
    """``[llm.azure]``: where the Azure OpenAI deployment is."""

    endpoint: PlainUrl
    deployment: Name
    api_version: Name


class PriceRow(Table):
    """One entry of ``llm.prices``: what a model's tokens cost, in USD per million."""

    model: Name
    input_usd: PriceUsd
    cached_input_usd: PriceUsd | None = None
    output_usd: PriceUsd


class KnowledgeCutoffRow(Table):
    """One entry of ``llm.knowledge_cutoffs``: the last day that a model's training may have seen."""

    model: Name
    date: Day


Rows = TypeVar("Rows", tuple[PriceRow, ...], tuple[KnowledgeCutoffRow, ...])


def _each_once(rows: Rows) -> Rows:
    names = [row.model for row in rows]
    if len(set(names)) != len(names):
        raise ValueError("named twice")
    return rows


class LlmTable(Table):
    """``[llm]``: the model and how it is asked. ``temperature = "unset"`` leaves the parameter out."""

    provider: Annotated[Literal["openai", "azure"], Expected("openai or azure")]
    model: Name
    base_url: PlainUrl = "https://api.openai.com/v1"
    prompt: PromptName = "trader/v1"
    temperature: Annotated[
        Temperature | Literal["unset"],
        BeforeValidator(as_float),
        Expected('a number from 0 to 2, or "unset" to leave the parameter out'),
    ] = 0.0
    seed: Annotated[int, count(0, 2**63 - 1, "the same for the same sampling")] | None = None
    max_output_tokens: Annotated[int, count(16, 1_000_000, "tokens")] = 4000
    reasoning_effort: Name | None = None
    service_tier: Name | None = None
    deadline_seconds: Seconds = 45.0
    repair: Switch = True
    prices: Annotated[
        tuple[PriceRow, ...],
        BeforeValidator(as_tuple),
        AfterValidator(_each_once),
        Expected(
            "a list of {model, input_usd, cached_input_usd, output_usd}: USD per million tokens, "
            "each model once"
        ),
    ] = ()
    max_usd_per_day: PositiveUsd | None = None
    knowledge_cutoffs: Annotated[
        tuple[KnowledgeCutoffRow, ...],
        BeforeValidator(as_tuple),
        AfterValidator(_each_once),
        Expected('a list of {model, date}: the last day of its training as "YYYY-MM-DD", each model once'),
    ] = ()
    azure: AzureTable | None = None

    def knowledge_cutoff(self, model: str) -> date | None:
        """The last day that the model may know; None where nobody said."""
        return next((row.date for row in self.knowledge_cutoffs if row.model == model), None)

    @property
    def sampling_temperature(self) -> float | None:
        """What is sent; None leaves the parameter out."""
        return None if isinstance(self.temperature, str) else self.temperature


class RiskTable(Table):
    """``[risk]``: limits beyond which a decision is refused whole. No defaults: they are a choice."""

    max_position_usd: PositiveUsd
    max_gross_exposure_usd: PositiveUsd
    max_leverage: Annotated[int, count(1, 100, "times")]


class ExecutionTable(Table):
    """``[execution]``: how orders are priced, and until when they may be sent."""

    slippage_bps: Bps = Decimal(100)
    min_stop_move_bps: Bps = Decimal(5)
    max_decision_age_seconds: Seconds = 60.0
    crossed_stop: Annotated[Literal["close", "alert"], Expected("close or alert")] = "close"
    taker_fee_bps: Bps = Decimal("4.5")


class ResilienceTable(Table):
    """``[resilience]``: how long to wait before something counts as failed."""

    max_market_age_seconds: Seconds = 30.0
    ledger_lock_seconds: Seconds = 2.0
    max_price_jump_fraction: Fraction = 0.5
    start_lead_seconds: Seconds = 22.0
    breaker_failures: Annotated[int, count(1, 1000, "failed cycles in a row")] = 3
    breaker_first_pause_seconds: Seconds = 300.0
    breaker_max_pause_seconds: Seconds = 3600.0


class TelemetryTable(Table):
    """``[telemetry]``: where it is written what happened. No defaults: know where your records are."""

    log_path: RelativePath
    decision_log_path: RelativePath
    heartbeat_path: RelativePath
    metrics_path: RelativePath


class BacktestTable(Table):
    """``[backtest]``: the simulated account and its exchange. ``cycle_minutes``: else the runtime's."""

    initial_equity_usd: PositiveUsd = Decimal(10000)
    cycle_minutes: CycleMinutes | None = None
    slippage_model: Annotated[
        Literal["fixed_bps", "half_spread_impact", "bar_range"],
        Expected("fixed_bps, half_spread_impact or bar_range"),
    ] = "fixed_bps"
    slippage_bps: Bps = Decimal(5)
    half_spread_bps: Bps = Decimal(1)
    impact_coefficient: Coefficient = Decimal(1)
    range_fraction: Coefficient = Decimal("0.1")
    slippage_random_bps: Bps = Decimal(0)
    slippage_seed: Annotated[int, count(0, 2**63 - 1, "the same for the same random slippage")] = 0
    latency: Annotated[
        Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | Literal["measured"],
        BeforeValidator(as_float),
        Expected('seconds from 0 to 3600, or "measured" for what each model call took'),
    ] = "measured"
    taker_fee_bps: Bps = Decimal("4.5")
    max_usd: PositiveUsd | None = None
    missing_funding: Annotated[Literal["refuse", "zero"], Expected("refuse or zero")] = "refuse"
    max_concurrent_runs: Annotated[int, count(1, 16, "runs side by side")] = 2
    shard_days: Annotated[int, count(0, 3660, "days of a shard, 0 for one window")] = 0
    sync_every: Annotated[int, count(1, 10_000, "records between two fsyncs of the results")] = 64


TABLES: dict[str, type[Table]] = {
    "runtime": RuntimeTable,
    "credentials": CredentialsTable,
    "hyperliquid": HyperliquidTable,
    "symbols": SymbolsTable,
    "indicators": IndicatorsTable,
    "llm": LlmTable,
    "llm.azure": AzureTable,
    "risk": RiskTable,
    "execution": ExecutionTable,
    "resilience": ResilienceTable,
    "telemetry": TelemetryTable,
    "backtest": BacktestTable,
}
"""Every table by its TOML name, in the order of the example."""

SECRET_TABLES = frozenset({"credentials"})
"""What stands in these is never shown, not even when it is wrong: a key in the wrong line is still a key."""
