"""Parts from settings: the only place below the command line where ``Settings`` is unpacked.

Belongs here: constructor calls. Does not belong here: Dagster, decisions, loops.
"""

from decimal import Decimal

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.hyperliquid import HyperliquidMarketData
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.lazy_assets import LazyAssets
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.adapters.llm import OpenAIModel
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.core.client_order_id import account_tag
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.model import ExecutionRules, RiskLimits
from wonttrade_dagster.core.ports import AuditSink, Clock, MarketData, Venue
from wonttrade_dagster.settings import Settings


def risk_limits(settings: Settings) -> RiskLimits:
    """Limits beyond which a decision is refused."""
    risk = settings.risk
    return RiskLimits(risk.max_position_usd, risk.max_gross_exposure_usd, risk.max_leverage)


def execution_rules(settings: Settings) -> ExecutionRules:
    """How orders are priced, and until when they may go out."""
    execution = settings.execution
    return ExecutionRules(
        slippage_bps=execution.slippage_bps,
        min_stop_move_bps=execution.min_stop_move_bps,
        max_decision_age_ms=int(execution.max_decision_age_seconds * 1000),
        crossed_stop=execution.crossed_stop,
        taker_fee_bps=execution.taker_fee_bps,
        cloid_tag=account_tag(settings.credentials.account_address, settings.hyperliquid.network),
    )


def journal(settings: Settings) -> Journal:
    """The decision log of the live family."""
    return Journal(settings.decision_log_path, secrets=settings.secret_values())


def ledger(settings: Settings, audit: AuditSink) -> DuckDBLedger:
    """The history of one network and account: never shared by two accounts."""
    account = settings.credentials.account_address.lower()
    folder = settings.data_dir / settings.family / f"{settings.hyperliquid.network}-{account}"
    return DuckDBLedger(
        folder / "ledger.duckdb",
        spool_dir=folder / "spool",
        lock_seconds=settings.resilience.ledger_lock_seconds,
        journal=audit,
    )


def market_history(settings: Settings) -> MarketHistory:
    """Candles and funding, shared by every mode."""
    return MarketHistory(settings.data_dir / "market.duckdb")


def market_data(settings: Settings, clock: Clock) -> HyperliquidMarketData:
    """The venue's public side."""
    symbols = settings.symbols
    return HyperliquidMarketData(
        base_url=settings.venue_url,
        symbols=symbols.tracked,
        intraday_interval=symbols.intraday_interval,
        long_interval=symbols.long_interval,
        history_bars=symbols.history_bars,
        timeout_seconds=settings.hyperliquid.timeout_seconds,
        read_attempts=settings.hyperliquid.read_attempts,
        clock=clock,
    )


class Executors:
    """Makes the executor of either family; the ``executor`` resource of the graph."""

    def for_live(
        self, venue: Venue, audit: AuditSink, clock: Clock, rules: ExecutionRules, data: MarketData
    ) -> ExecutionService:
        """Orders go to the venue."""
        return ExecutionService(venue, audit, clock, rules, LazyAssets(data))

    def for_backtest(
        self, settings: Settings, audit: AuditSink, clock: FixedClock, data: MarketData
    ) -> SimulatedExecutor:
        """Orders go to the simulated exchange."""
        backtest = settings.backtest
        return SimulatedExecutor(
            assets=data.assets(),
            audit=audit,
            clock=clock,
            rules=execution_rules(settings),
            deposit_usd=backtest.initial_equity_usd,
            taker_fee_rate=backtest.taker_fee_bps / Decimal(10_000),
            slippage_bps=backtest.slippage_bps,
        )


def language_model(settings: Settings, model: str | None = None) -> OpenAIModel:
    """The chat model, every option explicit."""
    llm, azure = settings.llm, settings.llm.azure
    return OpenAIModel(
        provider=llm.provider,
        model=model or llm.model,
        api_key=settings.llm_api_key.get_secret_value(),
        base_url=llm.base_url,
        azure_endpoint=azure.endpoint if azure else None,
        azure_deployment=azure.deployment if azure else None,
        azure_api_version=azure.api_version if azure else None,
        temperature=llm.sampling_temperature,
        seed=llm.seed,
        max_output_tokens=llm.max_output_tokens,
        reasoning_effort=llm.reasoning_effort,
        service_tier=llm.service_tier,
    )
