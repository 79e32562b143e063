"""What a backtest takes for granted, in sentences for its report.

Belongs here: words. Does not belong here: the rules themselves (``core.simulation``, ``adapters.simulated``).
"""

import polars as pl

from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.backtest import AccountEnd
from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.funding import HOUR_MS
from wonttrade_dagster.core.simulation import SlippageModel
from wonttrade_dagster.core.utc import utc_text
from wonttrade_dagster.defs.compose import slippage_of
from wonttrade_dagster.settings import Settings


def assumptions(settings: Settings, replay: BacktestReplayProvider) -> tuple[str, ...]:
    """What the simulator takes for granted, a sentence each, for the report."""
    backtest = settings.backtest
    bars = ", ".join(f"{symbol} {interval}" for symbol, interval in replay.bar_intervals.items())
    return (
        f"Orders fill at the open of the bar in which they are sent, worse by {_slippage_text(settings)}.",
        f"Orders are sent {_latency_text(settings)} after the prices that the model saw.",
        f"Every fill pays a taker fee of {backtest.taker_fee_bps} bps, truncated to 6 decimals.",
        f"Between decisions the bars are walked ({bars}): a stop inside a bar fires.",
        "A gap through a stop fills at the open; where stop and take-profit lie in one bar, the stop wins.",
        "Funding is paid hourly at the stored rate on the bar's open, which stands in for the oracle price.",
        "Mark and oracle prices are not in the history: triggers and margin use the traded price.",
        "After the last decision the account lives on to the end of the range; no position is closed there.",
        "Decisions come from real model calls made now: a model may know the past it is asked about.",
    )


def skipped(cycles: int) -> tuple[str, ...]:
    """The caveat about decision times that were skipped, where there are any."""
    if not cycles:
        return ()
    return (f"{cycles} decision times were skipped: the decision before was still being made.",)


def late_at_end(to_ms: int, decided_ms: int) -> tuple[str, ...]:
    """The caveat about a last decision that was there after the range only: no price of then is known."""
    if decided_ms <= to_ms:
        return ()
    late = f"The last decision was there {(decided_ms - to_ms) / 1000:,.0f} s after the end of the range"
    return (f"{late}: whatever it ordered was filled at the last price known there.",)


def unpaid_at_end(replay: BacktestReplayProvider, end: AccountEnd | None) -> tuple[str, ...]:
    """The caveat about funding due at the very end: a history of whole days stops right before that hour."""
    if end is None or end.time_ms % HOUR_MS:
        return ()
    known = {p.symbol: replay.funding_between(p.symbol, end.time_ms - 1, end.time_ms) for p in end.positions}
    return tuple(
        f"{symbol}: the funding rate of {utc_text(end.time_ms)} is missing, none is charged at the end"
        for symbol, rates in known.items()
        if not rates
    )


def price_jumps(
    settings: Settings, replay: BacktestReplayProvider, from_ms: int, to_ms: int
) -> tuple[str, ...]:
    """The caveats about candles that would have stopped a live cycle.

    Such a price may be real or a slip of the file: a history cannot tell, and what was traded at it decides
    the result.
    """
    most = settings.resilience.max_price_jump_fraction
    before = pl.col("close").shift(1)
    moved = pl.max_horizontal(pl.col("high") / before - 1, 1 - pl.col("low") / before)
    bars = {  # the first one is measured by the one before it
        symbol: replay.bars(symbol, from_ms - interval_ms(interval), to_ms)
        for symbol, interval in replay.bar_intervals.items()
    }
    found = {symbol: frame.filter(moved > most)["open_time_ms"] for symbol, frame in bars.items()}
    return tuple(
        f"{symbol}: the price jumps by more than {most:.0%} from one candle to the next, {len(times)} times, "
        f"first at {utc_text(times[0])}: see whether that is real."
        for symbol, times in found.items()
        if len(times)
    )


def _slippage_text(settings: Settings) -> str:
    slippage = slippage_of(settings)
    words = {
        SlippageModel.FIXED_BPS: f"{slippage.bps} bps",
        SlippageModel.HALF_SPREAD_IMPACT: f"{slippage.half_spread_bps} bps and an impact of "
        f"{slippage.impact_coefficient} · volatility · √(size / volume) of the bar",
        SlippageModel.BAR_RANGE: f"{slippage.range_fraction} of the bar's high − low",
    }[slippage.model]
    if not slippage.random_bps:
        return words
    return f"{words}, and up to {slippage.random_bps} bps more at random (seed {slippage.seed})"


def _latency_text(settings: Settings) -> str:
    latency = settings.backtest.latency
    if isinstance(latency, str):
        return "as many seconds as the call took, rounded up,"
    return f"{latency:g} seconds"
