"""The ``llm_contexts`` stage: snapshots in, the two messages for the model out.

Belongs here: the template, the typed facts it sees, the hash of the prompt.
Does not belong here: reading the template from disk (``adapters.prompts``), the wording (``prompts/``).

Rendering is pure: the same inputs give the same bytes, and a name the template gets wrong is an error.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from wonttrade_dagster.core.alerts import protection_alerts
from wonttrade_dagster.core.invalidation import MARKET_SERIES, Reading
from wonttrade_dagster.core.model import (
    UNBROKEN,
    USUAL_INDICATORS,
    AccountSnapshot,
    BreakerState,
    ExecutionRules,
    IndicatorSetting,
    IndicatorSnapshot,
    MarketSnapshot,
    PerformanceSoFar,
    PriorDecision,
    Prompt,
    RiskLimits,
)
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD, wire
from wonttrade_dagster.core.prompt_account import (
    AccountFacts,
    PauseFacts,
    PriorFacts,
    RefusalFacts,
    account_facts,
    pause_facts,
    prior_facts,
    refusal_facts,
)
from wonttrade_dagster.core.prompt_data import data_block, limits_block
from wonttrade_dagster.core.prompt_market import (
    SymbolFacts,
    SymbolWindows,
    WindowColumns,
    WindowPrinter,
    symbol_facts,
)
from wonttrade_dagster.core.prompt_names import (
    IndicatorLabels,
    labels_of,
    refuse_other_lengths,
    setting_shown,
)
from wonttrade_dagster.core.prompt_template import CompiledTemplate
from wonttrade_dagster.core.prompt_text import age, cycle_name, quoted, usd, utc_seconds
from wonttrade_dagster.core.quick_init import quick_init

_ALERT_CHARS = 300


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A versioned prompt directory as text.

    Attributes:
        name: as configured in ``llm.prompt``, e.g. ``trader/v1``.
        system_source: Jinja2 source of the system message; sees ``RuleFacts`` as ``rules``.
        user_source: Jinja2 source of the user message; sees ``PromptFacts`` as ``facts``.
        schema: strict JSON schema of the reply.
        template_sha256: of both sources.
        schema_sha256: of the schema's text.
        files: name and text of each file, as it was read.
    """

    name: str
    system_source: str
    user_source: str
    schema: Mapping[str, Any]
    template_sha256: str
    schema_sha256: str
    files: tuple[tuple[str, str], ...] = ()

    def indicators(self, lengths: IndicatorSetting) -> IndicatorSetting:
        """``lengths`` with the further columns that the user message shows; raises ``ConfigurationError``."""
        return setting_shown(self.name, self.user_source, lengths)


@quick_init
@dataclass(frozen=True, slots=True, eq=False)
class ContextInputs:
    """Everything a prompt is made of; ``alerts`` are sentences of the cycle before."""

    cycle_ms: int
    market: MarketSnapshot
    indicators: IndicatorSnapshot
    account: AccountSnapshot
    performance: PerformanceSoFar
    prior: PriorDecision
    alerts: tuple[str, ...] = ()
    breaker: BreakerState = UNBROKEN
    held_since: tuple[tuple[str, int], ...] = ()
    """Per position: the cycle in whose report its side was first seen."""
    readings: tuple[Reading, ...] = ()
    """The prior plan's conditions at this cycle."""


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """The rules that bind every answer, in words."""

    symbols: tuple[str, ...]
    intervals: tuple[str, ...]
    window_series: tuple[str, ...]
    market_series: tuple[str, ...]
    cycle_minutes: int
    max_position_usd: str
    max_gross_exposure_usd: str
    max_leverage: int
    taker_fee_bps: str
    slippage_bps: str
    min_value_usd: str


@quick_init
@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What the user message may say; every text in it is already safe to print."""

    cycle: str
    time: str
    minutes_since_start: int
    invocation: int
    alerts: tuple[str, ...]
    rules: RuleFacts
    labels: IndicatorLabels
    symbols: tuple[SymbolFacts, ...]
    account: AccountFacts
    prior: PriorFacts | None
    refusal: RefusalFacts | None
    pause: PauseFacts | None
    data_json: str


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is the same in every cycle that knows the same symbols, and the begun hash of its prompts."""

    rules: RuleFacts
    system: str
    _begun: "hashlib._Hash"

    def prompt_sha256(self, user: str) -> str:
        """Of both messages."""
        digest = self._begun.copy()
        digest.update(user.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Compiled:
    system: CompiledTemplate
    user: CompiledTemplate
    printer: WindowPrinter
    limits_json: str
    labels: IndicatorLabels


def _compile(template: PromptTemplate, indicators: IndicatorSetting, limits: RiskLimits) -> _Compiled:
    sources = (template.system_source, template.user_source)
    system, user = (CompiledTemplate.of(template.name, source) for source in sources)
    refuse_other_lengths(template.name, template.user_source, indicators)
    printer = WindowPrinter(WindowColumns.of(indicators.names), limits)
    return _Compiled(system, user, printer, limits_block(limits), labels_of(indicators))


@dataclass(frozen=True, slots=True)
class ContextBuilder:
    """Builds prompts from one template, compiled once.

    Attributes:
        template: the prompt directory.
        limits: the limits a decision is judged by, told to the model.
        rules: fee and slippage allowance, told to the model.
        cycle_minutes: the cadence.
        indicators: which columns the snapshots hold; raises ``ConfigurationError`` where the template shows
            another one.
    """

    template: PromptTemplate
    limits: RiskLimits
    rules: ExecutionRules
    cycle_minutes: int
    indicators: IndicatorSetting = USUAL_INDICATORS
    _compiled: _Compiled = field(init=False, repr=False, compare=False)
    _standing: Callable[[tuple[str, ...], tuple[str, ...]], _Standing] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", _compile(self.template, self.indicators, self.limits))
        object.__setattr__(self, "_standing", lru_cache(maxsize=4)(self._told))

    def build(self, inputs: ContextInputs) -> Prompt:
        """The two messages.

        Raises:
            ConfigurationError: the template names something that does not exist, or cannot be computed.
        """
        standing = self._standing_of(inputs.market)
        user = self._compiled.user.rendered({"facts": self._facts(inputs, standing.rules)})
        return Prompt(
            system=standing.system,
            user=user,
            template=self.template.name,
            template_sha256=self.template.template_sha256,
            schema_sha256=self.template.schema_sha256,
            prompt_sha256=standing.prompt_sha256(user),
        )

    def system_message(self, market: MarketSnapshot) -> str:
        """The first message: the same for all markets of these symbols and intervals.

        Raises:
            ConfigurationError: as :meth:`build`.
        """
        return self._standing_of(market).system

    def _standing_of(self, market: MarketSnapshot) -> _Standing:
        intervals = dict.fromkeys(w.interval for m in market.markets for w in (m.intraday, m.long_term))
        return self._standing(tuple(m.symbol for m in market.markets), tuple(intervals))

    def _facts(self, inputs: ContextInputs, rules: RuleFacts) -> PromptFacts:
        market, account = inputs.market, inputs.account
        printer = self._compiled.printer
        windows = [SymbolWindows.of(m, inputs.indicators.of(m.symbol), printer) for m in market.markets]
        symbols = (symbol_facts(w, account.leverage(w.market.symbol)) for w in windows)
        passed = (quoted(alert, _ALERT_CHARS) for alert in inputs.alerts)
        return PromptFacts(
            cycle=cycle_name(inputs.cycle_ms),
            time=f"{utc_seconds(inputs.cycle_ms)} UTC",
            minutes_since_start=(inputs.cycle_ms - inputs.performance.started_at_ms) // 60_000,
            invocation=inputs.performance.invocations,
            alerts=tuple(dict.fromkeys((*protection_alerts(account), *passed))),
            rules=rules,
            labels=self._compiled.labels,
            symbols=tuple(symbols),
            account=account_facts(account, inputs.performance, market, _ages(inputs)),
            prior=prior_facts(inputs.prior, account, market, inputs.readings),
            refusal=refusal_facts(inputs.prior),
            pause=pause_facts(inputs.breaker, inputs.cycle_ms),
            data_json=data_block(inputs.cycle_ms, windows, account, self._compiled.limits_json, inputs.prior),
        )

    def _told(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> _Standing:
        rules = self._rule_facts(symbols, intervals)
        system = self._compiled.system.rendered({"rules": rules})
        return _Standing(rules, system, hashlib.sha256(f"{system}\0".encode()))

    def _rule_facts(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> RuleFacts:
        return RuleFacts(
            symbols=symbols,
            intervals=intervals,
            window_series=self.indicators.window_series,
            market_series=MARKET_SERIES,
            cycle_minutes=self.cycle_minutes,
            max_position_usd=usd(self.limits.max_position_usd),
            max_gross_exposure_usd=usd(self.limits.max_gross_exposure_usd),
            max_leverage=self.limits.max_leverage,
            taker_fee_bps=wire(self.rules.taker_fee_bps),
            slippage_bps=wire(self.rules.slippage_bps),
            min_value_usd=wire(MIN_ORDER_VALUE_USD),
        )


def _ages(inputs: ContextInputs) -> dict[str, str]:
    return {symbol: age(inputs.cycle_ms - since_ms) for symbol, since_ms in inputs.held_since}
