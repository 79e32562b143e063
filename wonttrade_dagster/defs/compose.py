"""Parts from settings: the only place below the command line where ``Settings`` is unpacked.

Belongs here: constructor calls. Does not belong here: Dagster, decisions, loops.
"""

from collections.abc import Callable
from decimal import Decimal

from wonttrade_dagster.adapters.clock import FixedClock, SystemClock
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.hyperliquid import HyperliquidMarketData, HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.budget import RoomLeft
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.history import VenueHistory
from wonttrade_dagster.adapters.hyperliquid.meter import BudgetMeter
from wonttrade_dagster.adapters.journal import Journal
from wonttrade_dagster.adapters.lazy_assets import LazyAssets
from wonttrade_dagster.adapters.lease import AccountLease
from wonttrade_dagster.adapters.ledger import DuckDBLedger
from wonttrade_dagster.adapters.llm import OpenAIModel
from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.adapters.records import JournalledRecords
from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.adapters.simulated import SimulatedExecutor
from wonttrade_dagster.adapters.telemetry import Telemetry
from wonttrade_dagster.core.backtest import MemoryAudit, MemoryLedger
from wonttrade_dagster.core.broken_prompt import broken_prompt
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.client_order_id import account_tag
from wonttrade_dagster.core.context import ContextBuilder, PromptTemplate
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.execution import ExecutionService
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.llm_engine import LLMDecisionEngine
from wonttrade_dagster.core.model import (
    NO_CAPS,
    BreakerRules,
    ExecutionRules,
    IndicatorSetting,
    ModelPrice,
    RiskLimits,
    SpendingCaps,
)
from wonttrade_dagster.core.ports import AuditSink, Clock, MarketData, Venue
from wonttrade_dagster.core.prompt_names import fitted_schema
from wonttrade_dagster.core.request_weight import RequestRoom
from wonttrade_dagster.core.simulation import Slippage, SlippageModel
from wonttrade_dagster.core.state import StateLoader
from wonttrade_dagster.defs.compose_stream import stream_windows
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.sandbox.accounts import SANDBOX_AGENT_PRIVATE_KEY
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
    """The decision log of the live family; another account's decisions in it are not ours."""
    account = f"{settings.hyperliquid.network}-{settings.credentials.account_address.lower()}"
    return Journal(settings.decision_log_path, secrets=settings.secret_values(), account=account)


def ledger(settings: Settings, audit: Journal) -> DuckDBLedger:
    """The history of one network and account: never shared by two accounts."""
    account = settings.credentials.account_address.lower()
    folder = settings.data_dir / settings.family / f"{settings.hyperliquid.network}-{account}"
    return DuckDBLedger(
        folder / "ledger.duckdb",
        spool_dir=folder / "spool",
        lock_seconds=settings.resilience.ledger_lock_seconds,
        journal=audit,
        secrets=settings.secret_values(),
    )


def market_history(settings: Settings) -> MarketHistory:
    """Candles and funding, shared by every mode."""
    return MarketHistory.of(settings.data_dir)


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
        stream=stream_windows(settings, clock) if settings.hyperliquid.stream else None,
    )


def venue_history(settings: Settings) -> VenueHistory:
    """The past as the venue still has it."""
    clock, hyperliquid = SystemClock(), settings.hyperliquid
    connection = SdkConnection(
        base_url=settings.venue_url,
        timeout_seconds=hyperliquid.timeout_seconds,
        read_attempts=hyperliquid.read_attempts,
        clock=clock,
    )
    return VenueHistory(connection, market_data(settings, clock), clock)


def venue(settings: Settings, clock: Clock) -> HyperliquidVenue:
    """The account's side of the venue: queries by account address, orders signed by the agent.

    Raises:
        ConfigurationError: the sandbox's public key is configured for a real network.
    """
    key = settings.credentials.agent_private_key.get_secret_value()
    if settings.hyperliquid.network != "local" and key.lower() == SANDBOX_AGENT_PRIVATE_KEY.lower():
        raise ConfigurationError(
            "credentials.agent_private_key is the sandbox's, which everybody knows: "
            f"approve an agent of your own on {settings.hyperliquid.network} and use its key"
        )
    return HyperliquidVenue(
        base_url=settings.venue_url,
        account_address=settings.credentials.account_address,
        agent_private_key=key,
        symbols=settings.symbols.tracked,
        timeout_seconds=settings.hyperliquid.timeout_seconds,
        read_attempts=settings.hyperliquid.read_attempts,
        clock=clock,
    )


def account_lease(settings: Settings) -> AccountLease:
    """The right to trade this account, one process at a time."""
    return AccountLease(settings.data_dir, settings.credentials.account_address, settings.hyperliquid.network)


def telemetry(settings: Settings) -> Telemetry:
    """Log, heartbeat and metrics of the live loop."""
    return Telemetry(
        settings.log_path,
        settings.heartbeat_path,
        settings.metrics_path,
        settings.secret_values(),
        mode=settings.runtime.mode.value,
    )


class Executors:
    """Makes the executor of either family; the ``executor`` resource of the graph."""

    def for_live(
        self,
        venue: Venue,
        audit: AuditSink,
        clock: Clock,
        rules: ExecutionRules,
        data: MarketData,
        room: Callable[[], RequestRoom],
    ) -> ExecutionService:
        """Orders go to the venue."""
        return ExecutionService(venue, audit, clock, rules, LazyAssets(data), room)

    def for_backtest(
        self, settings: Settings, audit: AuditSink, clock: FixedClock, data: BacktestReplayProvider
    ) -> SimulatedExecutor:
        """Orders go to the simulated exchange."""
        backtest = settings.backtest
        bar_ms = {symbol: interval_ms(interval) for symbol, interval in data.bar_intervals.items()}
        return SimulatedExecutor(
            assets=data.assets(),
            audit=audit,
            clock=clock,
            rules=execution_rules(settings),
            deposit_usd=backtest.initial_equity_usd,
            taker_fee_rate=backtest.taker_fee_bps / Decimal(10_000),
            slippage=slippage_of(settings),
            bar_ms=bar_ms,
        )


def slippage_of(settings: Settings) -> Slippage:
    """How much worse than the price the simulated exchange fills."""
    backtest = settings.backtest
    return Slippage(
        bps=backtest.slippage_bps,
        model=SlippageModel(backtest.slippage_model),
        half_spread_bps=backtest.half_spread_bps,
        impact_coefficient=backtest.impact_coefficient,
        range_fraction=backtest.range_fraction,
        random_bps=backtest.slippage_random_bps,
        seed=backtest.slippage_seed,
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
        secrets=settings.secret_values(),
    )


def prompt_template(settings: Settings, name: str | None = None) -> PromptTemplate:
    """The configured prompt directory, or another one. Raises ``ConfigurationError``."""
    return load_prompt(settings.prompts_dir, name or settings.llm.prompt)


def indicator_setting(settings: Settings, template: PromptTemplate | None = None) -> IndicatorSetting:
    """The configured lengths, with the further columns that a prompt shows. Raises ``ConfigurationError``."""
    lengths = IndicatorSetting(**settings.indicators.model_dump())
    return lengths if template is None else template.indicators(lengths)


def model_price(settings: Settings, model: str) -> ModelPrice | None:
    """The configured price of a model, None without one."""
    row = next((price for price in settings.llm.prices if price.model == model), None)
    if row is None:
        return None
    cached = row.input_usd if row.cached_input_usd is None else row.cached_input_usd
    return ModelPrice(row.input_usd, cached, row.output_usd)


def decision_engine(
    settings: Settings, template: PromptTemplate, clock: Clock, model: OpenAIModel, caps: SpendingCaps
) -> LLMDecisionEngine:
    """The model behind its deadline and its caps, and the judgement of its reply.

    Raises:
        ConfigurationError: a cap is set and the model has no price.
    """
    price = model_price(settings, model.model)
    if price is None and caps != NO_CAPS:
        raise ConfigurationError(
            f"llm.prices names no price of {model.model!r}, which the configured spending cap needs: add one"
        )
    return LLMDecisionEngine(
        model=model,
        schema=fitted_schema(template.schema, indicator_setting(settings, template)),
        limits=risk_limits(settings),
        clock=clock,
        deadline_ms=int(settings.llm.deadline_seconds * 1000),
        entry_cost_bps=settings.execution.slippage_bps + settings.execution.taker_fee_bps,
        repairs=settings.llm.repair,
        price=price,
        caps=caps,
    )


def breaker_rules(settings: Settings) -> BreakerRules:
    """When failures in a row pause the model's calls."""
    resilience = settings.resilience
    return BreakerRules(
        failures=resilience.breaker_failures,
        first_pause_ms=int(resilience.breaker_first_pause_seconds * 1000),
        max_pause_ms=int(resilience.breaker_max_pause_seconds * 1000),
    )


def _context_builder(settings: Settings, template: PromptTemplate, cycle_minutes: int) -> ContextBuilder:
    shown = indicator_setting(settings, template)
    return ContextBuilder(template, risk_limits(settings), execution_rules(settings), cycle_minutes, shown)


def _live_builder(settings: Settings) -> ContextBuilder:
    """A prompt that is broken on disk must keep nobody's stop from being put back: it refuses by name."""
    minutes = settings.runtime.cycle_minutes
    try:
        return _context_builder(settings, prompt_template(settings), minutes)
    except ConfigurationError as error:
        limits, rules = risk_limits(settings), execution_rules(settings)
        return broken_prompt(str(error), limits, rules, minutes, indicator_setting(settings))


def _live_state(settings: Settings, market: MarketData, account: Venue) -> StateLoader:
    resilience = settings.resilience
    return StateLoader(
        market,
        account,
        int(resilience.max_market_age_seconds * 1000),
        settings.symbols.tracked,
        resilience.max_price_jump_fraction,
    )


def compose_live_cycle(settings: Settings, executors: Executors) -> LiveCycle:
    """Every part of the live family; opens no connection to the venue yet."""
    clock, audit = SystemClock(), journal(settings)
    data = market_data(settings, clock)
    account = venue(settings, clock)
    room = RoomLeft(account.budget, (data.budget,), account.address_budget)
    rules, builder = execution_rules(settings), _live_builder(settings)
    store, model = ledger(settings, audit), language_model(settings)
    account.warm_up()
    model.warm_up()
    parts = CycleParts(
        state=_live_state(settings, data, account),
        indicators=IndicatorEngine(settings.symbols.series_points, builder.indicators).compute,
        context_builder=builder,
        decision_engine=decision_engine(
            settings, builder.template, clock, model, SpendingCaps(per_day_usd=settings.llm.max_usd_per_day)
        ),
        executor=executors.for_live(account, audit, clock, rules, data, room),
        audit=audit,
        ledger=store,
        clock=clock,
        symbols=settings.symbols.tracked,
        limits=risk_limits(settings),
        rules=rules,
        series_points=settings.symbols.series_points,
        settings_sha256=settings.sha256,
        breaker=breaker_rules(settings),
    )
    return LiveCycle(
        parts=parts,
        records=JournalledRecords(audit, store),
        ledger=store,
        telemetry=telemetry(settings),
        lease=account_lease(settings),
        journal=audit,
        meter=BudgetMeter(data, account),
        settings_sha256=settings.sha256,
        max_start_delay_ms=rules.max_decision_age_ms,
    )


def compose_backtest_parts(
    settings: Settings,
    model: str,
    prompt: str,
    cycle_minutes: int,
    replay: BacktestReplayProvider,
    executor: SimulatedExecutor,
) -> CycleParts:
    """Parts of a backtest; audit, ledger and clock are those of the run."""
    template, rules = prompt_template(settings, prompt), execution_rules(settings)
    points, asked = settings.symbols.series_points, language_model(settings, model)
    asked.warm_up()  # else the latency of the first call would be that of an import
    return CycleParts(
        # What gates a live snapshot was asked of the whole range when it was loaded.
        state=StateLoader(replay, executor.venue, 0, settings.symbols.tracked),
        indicators=lambda market: replay.indicators(market.cycle_ms, points),
        context_builder=_context_builder(settings, template, cycle_minutes),
        decision_engine=decision_engine(
            settings,
            template,
            SystemClock(),
            asked,
            SpendingCaps(in_all_usd=settings.backtest.max_usd),
        ),
        executor=executor,
        audit=MemoryAudit(),
        ledger=MemoryLedger(),
        clock=FixedClock(),
        symbols=settings.symbols.tracked,
        limits=risk_limits(settings),
        rules=rules,
        series_points=settings.symbols.series_points,
        settings_sha256=settings.choices_sha256,
    )
