"""What a backtest takes for granted, in sentences for its report.

Belongs here: words. Does not belong here: the rules themselves (``core.simulation``, ``adapters.simulated``).
"""

from wonttrade_dagster.adapters.replay import BacktestReplayProvider
from wonttrade_dagster.core.simulation import SlippageModel
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
        "The account ends at the last decision, right after its orders: the rest of the range is not lived.",
        "Decisions come from real model calls made now: a model may know the past it is asked about.",
    )


def skipped(cycles: int) -> tuple[str, ...]:
    """The caveat about decision times that were skipped, where there are any."""
    if not cycles:
        return ()
    return (f"{cycles} decision times were skipped: the decision before was still being made.",)


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
