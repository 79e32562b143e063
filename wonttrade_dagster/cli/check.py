"""``wonttrade check``: a preflight that sends no order.

Belongs here: the questions, and what each answer means for a trader. Does not belong here: how the venue or
the model is asked. Every question is asked, so that all problems are seen at once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.hyperliquid import HyperliquidPreflight, SignerRole
from wonttrade_dagster.cli.output import out, print_json
from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.core.model import AssetSpec, Position, Prompt
from wonttrade_dagster.defs.compose import (
    indicator_setting,
    language_model,
    market_data,
    prompt_template,
    venue,
)
from wonttrade_dagster.settings import Settings, load_settings

MAX_SKEW_MS = 1_000
"""A nonce is a clock: a second of skew still trades, and is worth a warning."""


AGENT_WARNING_MS = 7 * 86_400_000
"""An agent that expires sooner than this is worth a warning."""

PING = """Answer with the smallest valid JSON of the schema and an empty list of targets.
```json
{"cycle": "check", "symbols": {}, "account": {}, "limits": {}, "prior": null}
```"""
"""What ``check`` asks the model: no market in it, so that nothing in the answer can be a decision."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: ``ok``, ``warning`` or ``problem``, and a sentence."""

    question: str
    verdict: str
    detail: str


Question = tuple[str, Callable[[Settings], Finding | str]]


def run_check(config: Path, *, as_json: bool) -> int:
    """Ask every question; 0 when none is a problem, else 1.

    Raises:
        ConfigurationError: the settings are missing or wrong (exit code 2).
    """
    settings = load_settings(config)
    findings = [Finding("settings", "ok", f"{settings.path} is valid ({settings.sha256[:12]})")]
    findings += [_ask(settings, name, question) for name, question in QUESTIONS]
    if as_json:
        print_json([{"question": f.question, "verdict": f.verdict, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            out.print(
                f"{finding.verdict:>8}  {finding.question}: {finding.detail}", markup=False, soft_wrap=True
            )
    return int(any(finding.verdict == "problem" for finding in findings))


def _ask(settings: Settings, name: str, question: Callable[[Settings], Finding | str]) -> Finding:
    try:
        answer = question(settings)
    except WontTradeError as error:
        return Finding(name, "problem", str(error))
    return answer if isinstance(answer, Finding) else Finding(name, "ok", answer)


def _preflight(settings: Settings) -> HyperliquidPreflight:
    return HyperliquidPreflight(
        base_url=settings.venue_url,
        account_address=settings.credentials.account_address,
        agent_private_key=settings.credentials.agent_private_key,
        timeout_seconds=settings.hyperliquid.timeout_seconds,
        read_attempts=1,
        clock=SystemClock(),
    )


def _prompt(settings: Settings) -> str:
    template = prompt_template(settings)
    shown = indicator_setting(settings, template).further
    further = f", further indicators: {', '.join(shown)}" if shown else ""
    return f"{template.name} ({template.template_sha256[:12]}){further}"


def _mode(settings: Settings) -> Finding | str:
    text = f"{settings.runtime.mode.value} on {settings.hyperliquid.network} at {settings.venue_url}"
    return Finding("mode", "warning", f"{text}: REAL MONEY") if settings.family == "live" else text


def _symbols(settings: Settings) -> Finding | str:
    assets = market_data(settings, SystemClock()).assets()
    unlisted = [s for s in settings.symbols.tracked if s not in assets or assets[s].is_delisted]
    if unlisted:
        raise WontTradeError(f"the venue does not trade {', '.join(unlisted)}: change symbols.tracked")
    listed = ", ".join(f"{s} (up to {assets[s].max_leverage}x)" for s in settings.symbols.tracked)
    isolated = [s for s in settings.symbols.tracked if assets[s].only_isolated]
    if isolated:
        detail = f"{listed}; {', '.join(isolated)}: isolated margin only, a position can be liquidated alone"
        return Finding("symbols", "warning", f"{detail}; untrack it if you do not want that")
    return listed


def _clock(settings: Settings) -> Finding | str:
    skew_ms = _preflight(settings).clock_skew_ms()
    text = f"the venue's clock is {skew_ms:+d} ms from this machine's"
    if abs(skew_ms) > MAX_SKEW_MS:
        return Finding("clock", "warning", f"{text}: set it by NTP, orders carry it")
    return text


def _account(settings: Settings) -> Finding | str:
    preflight = _preflight(settings)
    value = preflight.account_value_usd()
    worth = f"{settings.credentials.account_address} is worth {value:.2f} USD"
    if preflight.pools_spot():
        detail = f"{worth} on the perpetuals side, which does not show all of a unified account"
        verdict = "warning" if value > 0 else "problem"
        return Finding("account", verdict, f"{detail}: turn the unified account off and transfer USDC to it")
    if value > 0:
        return worth
    spot = preflight.spot_usdc()
    where = f"; {spot:.2f} USDC lie on the spot side" if spot else ""
    return Finding("account", "problem", f"the perpetuals account is empty{where}: deposit or transfer USDC")


_ROLE_SENTENCES = {
    SignerRole.AGENT: "the key is an agent of the account: it can trade and cannot withdraw",
    SignerRole.MASTER: "the key is the account's own: it can withdraw; approve an agent and use its key",
    SignerRole.FOREIGN_AGENT: "the key is an agent of another account: approve one for this account",
}


def _signer(settings: Settings) -> Finding | str:
    preflight = _preflight(settings)
    role = preflight.signer_role()
    sentence = _ROLE_SENTENCES.get(
        role, "the account does not know the key: approve it as an agent (API wallet)"
    )
    if role is SignerRole.AGENT:
        return _expiry(preflight.expires_at_ms()) or sentence
    return Finding("signer", "warning" if role is SignerRole.MASTER else "problem", sentence)


def _expiry(expires_at_ms: int | None) -> Finding | None:
    """What is wrong with an agent's remaining time; None when it is long, or unknown (the unnamed agent)."""
    if expires_at_ms is None:
        return None
    day = datetime.fromtimestamp(expires_at_ms / 1000, UTC).isoformat(timespec="minutes")
    left_ms = expires_at_ms - SystemClock().now_ms()
    if left_ms <= 0:
        return Finding("signer", "warning", f"the agent expired at {day}: approve a new one and use its key")
    if left_ms < AGENT_WARNING_MS:
        return Finding("signer", "warning", f"the agent expires at {day}: approve a new one before that")
    return None


def _budget(settings: Settings) -> Finding | str:
    budget = _preflight(settings).address_budget()
    if not budget.is_low:
        return budget.sentence()
    advice = "beyond that one action every 10 s; each USD traded adds one, longer cycles need fewer"
    return Finding("budget", "warning", f"{budget.sentence()}: {advice}")


def _conflicts(settings: Settings, positions: Iterable[Position], assets: Mapping[str, AssetSpec]) -> str:
    """Positions whose leverage or margin mode is not what this program would choose; "" without any."""
    found = []
    for position in positions:
        symbol, limit = position.symbol, settings.risk.max_leverage
        if position.leverage > limit:
            found.append(
                f"{symbol} stands at {position.leverage}x, risk.max_leverage is {limit}: "
                "lower it on the venue"
            )
        if not position.is_cross and symbol in assets and not assets[symbol].only_isolated:
            found.append(f"{symbol} is on isolated margin: it stays so until you close it or set it to cross")
    return "; ".join(found)


def _protection(settings: Settings) -> Finding | str:
    account = venue(settings, SystemClock()).account()
    naked = [p.symbol for p in account.positions if not account.protection(p.symbol)]
    if naked:
        detail = f"{', '.join(naked)} stand without any stop or take-profit"
        return Finding("positions", "warning", detail)
    conflicts = _conflicts(settings, account.positions, market_data(settings, SystemClock()).assets())
    if conflicts:
        return Finding("positions", "warning", conflicts)
    return f"{len(account.positions)} positions, {len(account.open_orders)} open orders"


def _model(settings: Settings) -> str:
    """One short completion under the real schema: key, model name and schema support in one question."""
    template = prompt_template(settings)
    hashes = (template.template_sha256, template.schema_sha256)
    question = Prompt("You are being tested.", PING, template.name, *hashes, prompt_sha256="")
    deadline_ms = int(settings.llm.deadline_seconds * 1000)
    reply = language_model(settings).complete(question, template.schema, deadline_ms)
    tokens = reply.usage.prompt_tokens + reply.usage.completion_tokens
    return f"{reply.model} answered in {reply.latency_ms} ms ({tokens} tokens)"


QUESTIONS: tuple[Question, ...] = (
    ("mode", _mode),
    ("prompt", _prompt),
    ("symbols", _symbols),
    ("clock", _clock),
    ("account", _account),
    ("signer", _signer),
    ("budget", _budget),
    ("positions", _protection),
    ("model", _model),
)
