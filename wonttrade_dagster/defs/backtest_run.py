"""One backtest over one range: history, results, report.

Belongs here: what a backtest reads, and writing what came of it.
Does not belong here: Dagster, the backtest itself (``backtest_parts``), how fills are simulated.

A model call over HTTP happens in every cycle: no code path can answer a decision from a stored reply.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.backtest_end import stored_end
from wonttrade_dagster.adapters.backtest_line import shared_of
from wonttrade_dagster.adapters.backtest_results import (
    RESULTS_NAME,
    SUMMARY_NAME,
    BacktestFrames,
    BacktestResults,
    backtest_folder,
    open_results,
)
from wonttrade_dagster.adapters.backtest_resume import (
    finished_cycles,
    has_cycles,
    stored_facts,
)
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.adapters.replay import BacktestReplayProvider, default_assets
from wonttrade_dagster.adapters.report import ReportData, equity_png, write_report
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.core.codec import decode, jsonable
from wonttrade_dagster.core.context import PromptTemplate
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import AssetSpec, IndicatorSetting
from wonttrade_dagster.core.performance import drawdown_series
from wonttrade_dagster.core.simulation import SlippageModel
from wonttrade_dagster.defs.backtest_assumptions import (
    assumptions,
    late_at_end,
    price_jumps,
    skipped,
    unpaid_at_end,
)
from wonttrade_dagster.defs.backtest_parts import Backtest, BacktestSpec, CycleWriter
from wonttrade_dagster.defs.compose import Executors, indicator_setting, prompt_template, slippage_of
from wonttrade_dagster.settings import Settings


def replay_again(
    history: MarketHistory, facts: Mapping[str, Any], assets: Mapping[str, AssetSpec]
) -> BacktestReplayProvider:
    """The stored market of an earlier backtest, by the first line of its results. Raises ``HistoryError``."""
    told = facts.get("setting", {}).get("indicators")
    return BacktestReplayProvider(
        history,
        assets,
        facts["symbols"],
        from_ms=facts["from_ms"],
        to_ms=facts["to_ms"],
        indicators=told and decode(IndicatorSetting, json.dumps(told)),
        **facts["windows"],
    )


def replay_of(
    settings: Settings,
    history: MarketHistory,
    from_ms: int,
    to_ms: int,
    template: PromptTemplate | None = None,
) -> BacktestReplayProvider:
    """The stored market of a range, with the indicators that ``template`` shows.

    Raises:
        HistoryError: names every hole.
        ConfigurationError: the template shows indicators of other lengths.
    """
    symbols = settings.symbols
    replay = BacktestReplayProvider(
        history,
        default_assets(symbols.tracked),
        symbols.tracked,
        intraday_interval=symbols.intraday_interval,
        long_interval=symbols.long_interval,
        history_bars=symbols.history_bars,
        from_ms=from_ms,
        to_ms=to_ms,
        indicators=indicator_setting(settings, template),
    )
    if settings.backtest.missing_funding == "refuse":
        replay.refuse_missing_funding()
    return replay


@dataclass(frozen=True, slots=True)
class BacktestOutcome:
    """What a finished backtest hands to the graph.

    Attributes:
        spec: what was run.
        folder: where everything is.
        report_path: the page.
        cycles: decision times replayed.
        outcomes: (outcome, reason, cycles), most frequent first.
        headline: the main figures as text.
        equity_png: account value and drawdown.
        estimate: name and value of what was expected before the first call, as text.
    """

    spec: BacktestSpec
    folder: Path
    report_path: Path
    cycles: int
    outcomes: tuple[tuple[str, str, int], ...]
    headline: tuple[tuple[str, str], ...]
    equity_png: bytes
    estimate: tuple[tuple[str, str], ...] = ()


def run_backtest_range(
    settings: Settings,
    spec: BacktestSpec,
    history: MarketHistory,
    executors: Executors,
    say: Callable[[str], object],
    before: Callable[[BacktestReplayProvider], object] = lambda _: None,
) -> BacktestOutcome:
    """Replay a range, write its folder, and sum it up.

    Args:
        settings: of the backtest.
        spec: what is run.
        history: stored candles and funding.
        executors: makes the simulated exchange.
        say: takes a line for the log.
        before: is shown the market before anything is written or asked; what it raises ends the backtest.

    Raises:
        HistoryError: the stored history does not cover the range.
        UsageError: a backtest of this id is finished already, or was begun differently.
        ConfigurationError: the prompt's system message cannot be made.
        StorageError: the disk did not take a write; what was written before is intact.
        ModelUnavailableError: the model's server is down: the backtest would measure the outage.
        MoneyIdentityError: the simulated accounts do not add up.
    """
    template = prompt_template(settings, spec.prompt)
    replay = replay_of(settings, history, spec.from_ms, spec.to_ms, template)
    before(replay)
    backtest = Backtest.of(settings, spec, replay, executors)
    results, done = _begun(settings, spec, backtest)
    told = f", {done} of them are finished already" if done else ""
    say(f"backtest {spec.backtest_id}: {spec.cycles} cycles{told}, results in {results.folder}")
    with results.journal:
        _run_to_end(backtest, results, was_answered=done > 0)
    return _finish(settings, results, backtest)


def _run_to_end(backtest: Backtest, results: BacktestResults, *, was_answered: bool) -> None:
    """Decide what is left to be decided, and let the account live on until the range ends."""
    if results.ended is not None:  # by an attempt that was interrupted while it made its report
        return
    writer = CycleWriter(results, backtest.walk, was_answered)
    backtest.run(writer.cycle)
    writer.end()
    results.end(backtest.live_on(), backtest.walk.executor.venue.state)


def _begun(settings: Settings, spec: BacktestSpec, backtest: Backtest) -> tuple[BacktestResults, int]:
    """The results file, with the cycles of an interrupted attempt taken in; how many those are."""
    folder = backtest_folder(settings.data_dir, spec.backtest_id)
    facts = json.loads(json.dumps(_facts(settings, spec, backtest.parts, backtest.walk.replay)))
    stored = stored_facts(folder)
    if stored is not None and "system" not in stored:
        del facts["system"]  # begun by an earlier version: each line tells it, and goes on to
    is_resumed = _goes_on(folder, stored, facts)
    results = open_results(
        folder,
        sync_every=settings.backtest.sync_every,
        secrets=settings.secret_values(),
        is_resumed=is_resumed,
    )
    results.begin(facts, spec.from_ms, is_resumed=is_resumed)
    results.open_account(spec.from_ms - spec.cycle_minutes * 60_000, settings.backtest.initial_equity_usd)
    return results, _pick_up(results, facts, backtest) if is_resumed else 0


def _goes_on(folder: Path, stored: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bool:
    """Whether the folder, whose first line is ``stored``, holds an earlier attempt at the same backtest.

    Raises:
        UsageError: it holds cycles of another one under this id: they were paid for, and running them again
            would spend ``backtest.max_usd`` a second time.
    """
    if stored is None or stored == facts or (folder / SUMMARY_NAME).exists():
        return stored == facts
    if has_cycles(folder):
        changed = ", ".join(sorted(n for n in stored.keys() | facts.keys() if stored.get(n) != facts.get(n)))
        raise UsageError(
            f"backtest {facts['backtest_id']} was begun with other values of {changed}: bring them back, "
            "or start a new backtest"
        )
    return False


def _pick_up(results: BacktestResults, facts: Mapping[str, Any], backtest: Backtest) -> int:
    count, last = 0, None
    for last in finished_cycles(results.folder, facts):
        backtest.ledger.remember(last.records)
        results.remember(last.records, last.events)
        count += 1
    if last is not None:
        backtest.stand(last.records.cycle_ms, last.latency_ms, last.exchange)
    if (end := stored_end(results.folder / RESULTS_NAME)) is not None:
        results.remember_end(end)
    return count


def _facts(
    settings: Settings, spec: BacktestSpec, parts: CycleParts, replay: BacktestReplayProvider
) -> dict[str, Any]:
    """The first line of the results: everything one needs to run it again."""
    return {
        **asdict(spec),
        "symbols": list(settings.symbols.tracked),
        "template_sha256": parts.context_builder.template.template_sha256,
        "settings_sha256": settings.choices_sha256,
        "initial_equity_usd": str(settings.backtest.initial_equity_usd),
        "taker_fee_bps": str(settings.backtest.taker_fee_bps),
        "slippage": jsonable(slippage_of(settings)),
        "latency": settings.backtest.latency,
        "bars": dict(replay.bar_intervals),
        **shared_of(parts, replay.assets(), replay.snapshot(spec.from_ms)),
        "windows": replay.windows,
        "history_sha256": replay.history_sha256,
    }


def _finish(settings: Settings, results: BacktestResults, backtest: Backtest) -> BacktestOutcome:
    """Table rows, report and summary of the cycles that are written; the summary says that it is finished."""
    spec = backtest.spec
    frames = results.frames()
    results.store(frames, settings.resilience.ledger_lock_seconds)
    report_path = write_report(results.folder, _report_data(settings, results, frames, backtest))
    summary = json.loads((results.folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    outcomes = frames.decisions.group_by("outcome", "reason").len().sort("len", descending=True)
    return BacktestOutcome(
        spec=spec,
        folder=results.folder,
        report_path=report_path,
        cycles=spec.cycles,
        outcomes=tuple(outcomes.iter_rows()),
        headline=tuple(headline(summary)),
        equity_png=equity_png(frames.equity, drawdown_series(frames.equity)),
    )


def _report_data(
    settings: Settings, results: BacktestResults, frames: BacktestFrames, backtest: Backtest
) -> ReportData:
    spec, replay, rules = backtest.spec, backtest.walk.replay, settings.backtest
    tracked = settings.symbols.tracked
    return ReportData(
        backtest_id=spec.backtest_id,
        from_ms=spec.from_ms,
        to_ms=spec.to_ms,
        cycle_minutes=spec.cycle_minutes,
        model=spec.model,
        prompt_name=spec.prompt,
        prompt_sha256=backtest.parts.context_builder.template.template_sha256,
        settings_sha256=settings.choices_sha256,
        initial_equity_usd=float(rules.initial_equity_usd),
        equity=frames.equity,
        fills=frames.fills,
        latency=frames.latency,
        decisions=frames.decisions,
        prices={symbol: replay.bars(symbol, spec.from_ms, spec.to_ms) for symbol in tracked},
        assumptions=assumptions(settings, replay),
        caveats=(
            *replay.caveats(),
            *price_jumps(settings, replay, spec.from_ms, spec.to_ms),
            *skipped(spec.cycles - frames.decisions.height),
            *late_at_end(spec.to_ms, backtest.walk.busy_until_ms),
            *unpaid_at_end(replay, results.ended),
        ),
        protection=frames.protection,
        funding_usd=float(results.funding_usd),
        funding_by_symbol_usd={s: float(usd) for s, usd in results.funding_by_symbol_usd.items()},
        unprotected=results.unprotected(),
        targets=frames.targets,
        slippage_bps=_paid_slippage_bps(settings, results),
        taker_fee_bps=float(rules.taker_fee_bps),
        knowledge_cutoff=settings.llm.knowledge_cutoff(spec.model),
    )


def _paid_slippage_bps(settings: Settings, results: BacktestResults) -> float:
    slippage = slippage_of(settings)
    if slippage.model is SlippageModel.FIXED_BPS and not slippage.random_bps:
        return float(slippage.bps)
    return results.mean_slippage_bps
