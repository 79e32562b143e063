"""Rules between fields: what each may be, given the others.

Belongs here: one function a rule, yielding ``table.key: found …, expected …`` lines.
Does not belong here: what one field may be on its own (``settings.fields``).

A rule reads a :class:`Draft`, in which a wrong field is None, and stays silent about what it cannot know.
"""

from collections.abc import Callable, Iterator

from wonttrade_dagster.core.model import RuntimeMode
from wonttrade_dagster.settings.draft import Draft
from wonttrade_dagster.settings.fields import INTERVAL_MINUTES
from wonttrade_dagster.settings.tables import TABLES

LEGAL_NETWORKS: dict[RuntimeMode, tuple[str, ...]] = {
    RuntimeMode.LIVE: ("mainnet",),
    RuntimeMode.TESTNET: ("testnet", "local"),
    RuntimeMode.PAPER: ("mainnet",),
    RuntimeMode.BACKTEST: ("mainnet", "testnet", "local"),
}
"""Which networks a mode may act on. Real money needs LIVE; a rehearsal never reaches it."""

CYCLE_MARGIN_SECONDS = 5.0
"""What the default of ``runtime.max_cycle_seconds`` leaves before the next cycle."""

_BARS_BESIDE_ITS_LENGTH = dict.fromkeys(
    ("rsi_fast_bars", "rsi_slow_bars", "atr_fast_bars", "atr_slow_bars", "volatility_bars", "roc_bars"), 1
)
"""What is measured from bar to bar needs one bar more than it averages."""

_TELEMETRY_KEYS = ("log_path", "decision_log_path", "heartbeat_path", "metrics_path")


def _paper_does_not_exist_yet(draft: Draft) -> Iterator[str]:
    if draft.value("runtime.mode") is RuntimeMode.PAPER:
        yield (
            "runtime.mode: found PAPER, expected LIVE, TESTNET or BACKTEST: paper trading does not exist; "
            "closest is TESTNET with network local or testnet"
        )


def _mode_and_network_are_a_legal_pair(draft: Draft) -> Iterator[str]:
    mode, network = draft.value("runtime.mode"), draft.value("hyperliquid.network")
    if mode is None or network is None or network in LEGAL_NETWORKS[mode]:
        return
    legal = " or ".join(LEGAL_NETWORKS[mode])
    yield f'hyperliquid.network: found "{network}", expected {legal} with runtime.mode = "{mode}"'


def _live_needs_its_second_yes(draft: Draft) -> Iterator[str]:
    if draft.value("runtime.mode") is not RuntimeMode.LIVE:
        return
    repeated, address = draft.value("runtime.live_account"), draft.value("credentials.account_address")
    if repeated is not None and (not repeated or (address is not None and repeated != address)):
        what = "another address" if repeated else "nothing"
        yield (
            f"runtime.live_account: found {what}, expected credentials.account_address once more: "
            "trading real money needs this second yes"
        )


def _base_url_belongs_to_local(draft: Draft) -> Iterator[str]:
    network, given = draft.value("hyperliquid.network"), draft.has("hyperliquid.base_url")
    if network == "local" and not given:
        yield (
            "hyperliquid.base_url: found nothing, expected the address of the loopback venue with network "
            '"local", e.g. http://127.0.0.1:8600'
        )
    if network in ("mainnet", "testnet") and given:
        yield f'hyperliquid.base_url: found an address, expected none with network "{network}": it is fixed'


def _azure_has_its_table(draft: Draft) -> Iterator[str]:
    provider, given = draft.value("llm.provider"), "llm.azure" in draft.tables
    if provider == "azure" and not given:
        yield (
            "llm.azure: found nothing, expected a table [llm.azure] with endpoint, deployment, api_version "
            'because llm.provider = "azure"'
        )
    if provider == "openai" and given:
        yield 'llm.azure: found a table, expected none because llm.provider = "openai"'


def _provider_has_its_key(draft: Draft) -> Iterator[str]:
    provider = draft.value("llm.provider")
    key = {"openai": "openai_api_key", "azure": "azure_openai_api_key"}.get(provider or "")
    if key and not draft.has(f"credentials.{key}"):
        yield f'credentials.{key}: found nothing, expected the API key because llm.provider = "{provider}"'


def _times_fit_into_a_cycle(draft: Draft) -> Iterator[str]:
    minutes = draft.value("runtime.cycle_minutes")
    if minutes is None:
        return
    cycle_seconds = minutes * 60
    for path in ("runtime.max_cycle_seconds", "llm.deadline_seconds", "resilience.start_lead_seconds"):
        seconds = draft.value(path)
        if seconds is not None and seconds >= cycle_seconds:
            yield f"{path}: found {seconds:g}, expected less than a cycle ({cycle_seconds} seconds)"
    age = draft.value("execution.max_decision_age_seconds")
    if age is not None and age > cycle_seconds:
        yield (
            f"execution.max_decision_age_seconds: found {age:g}, expected at most a cycle "
            f"({cycle_seconds} seconds)"
        )


def _the_lead_is_possible(draft: Draft) -> Iterator[str]:
    """Below 5 s a tick of the sensor can miss it; a run waits at most 90 s for its cycle."""
    seconds = draft.value("resilience.start_lead_seconds")
    if seconds is not None and not 5 <= seconds <= 80:
        yield f"resilience.start_lead_seconds: found {seconds:g}, expected 5 to 80 seconds"


def _the_model_may_use_its_deadline(draft: Draft) -> Iterator[str]:
    deadline = draft.value("llm.deadline_seconds")
    for path in ("runtime.max_cycle_seconds", "execution.max_decision_age_seconds"):
        limit = draft.value(path)
        if deadline is not None and limit is not None and limit < deadline:
            yield f"{path}: found {limit:g}, expected at least llm.deadline_seconds ({deadline:g})"


def _a_cap_needs_a_price(draft: Draft) -> Iterator[str]:
    model, prices = draft.value("llm.model"), draft.value("llm.prices")
    if model is None or prices is None or model in {price.model for price in prices}:
        return
    for path in ("llm.max_usd_per_day", "backtest.max_usd"):
        if draft.value(path) is not None:
            yield f'llm.prices: found no price of "{model}", expected one because {path} is set'


def _pauses_grow(draft: Draft) -> Iterator[str]:
    first, longest = (draft.value(f"resilience.breaker_{name}_pause_seconds") for name in ("first", "max"))
    if first is not None and longest is not None and longest < first:
        yield (
            f"resilience.breaker_max_pause_seconds: found {longest:g}, expected at least "
            f"resilience.breaker_first_pause_seconds ({first:g})"
        )


def _windows_are_in_order(draft: Draft) -> Iterator[str]:
    intraday, long_term = draft.value("symbols.intraday_interval"), draft.value("symbols.long_interval")
    if intraday and long_term and INTERVAL_MINUTES[long_term] <= INTERVAL_MINUTES[intraday]:
        yield f'symbols.long_interval: found "{long_term}", expected one longer than "{intraday}"'
    bars, points = draft.value("symbols.history_bars"), draft.value("symbols.series_points")
    if bars and points and points > bars:
        yield f"symbols.series_points: found {points}, expected at most symbols.history_bars ({bars})"


def _fast_is_faster_than_slow(draft: Draft) -> Iterator[str]:
    for name in ("ema", "macd", "rsi", "atr"):
        fast, slow = (draft.value(f"indicators.{name}_{pace}_bars") for pace in ("fast", "slow"))
        if fast is not None and slow is not None and fast >= slow:
            yield (
                f"indicators.{name}_fast_bars: found {fast}, expected less than "
                f"indicators.{name}_slow_bars ({slow})"
            )


def _every_indicator_has_a_value(draft: Draft) -> Iterator[str]:
    bars, signal = draft.value("symbols.history_bars"), draft.value("indicators.macd_signal_bars")
    for key in TABLES["indicators"].model_fields:
        length = draft.value(f"indicators.{key}")
        if bars is None or length is None or (key == "macd_slow_bars" and signal is None):
            continue
        beside = signal - 1 if key == "macd_slow_bars" else _BARS_BESIDE_ITS_LENGTH.get(key, 0)
        if length + beside > bars:
            yield (
                f"indicators.{key}: found {length}, whose first value needs {length + beside} candles, "
                f"expected at most symbols.history_bars ({bars}) of them"
            )


def _telemetry_files_are_different(draft: Draft) -> Iterator[str]:
    seen: dict[str, str] = {}
    for key in _TELEMETRY_KEYS:
        path = draft.value(f"telemetry.{key}")
        if path is not None and (first := seen.setdefault(path, key)) != key:
            yield f"telemetry.{key}: found the path of telemetry.{first}, expected a file of its own"


RULES: tuple[Callable[[Draft], Iterator[str]], ...] = (
    _paper_does_not_exist_yet,
    _mode_and_network_are_a_legal_pair,
    _live_needs_its_second_yes,
    _base_url_belongs_to_local,
    _azure_has_its_table,
    _provider_has_its_key,
    _times_fit_into_a_cycle,
    _the_lead_is_possible,
    _the_model_may_use_its_deadline,
    _a_cap_needs_a_price,
    _pauses_grow,
    _windows_are_in_order,
    _fast_is_faster_than_slow,
    _every_indicator_has_a_value,
    _telemetry_files_are_different,
)
"""Every rule, in the order in which a reader meets the fields."""
