"""What a backtest will cost and how long it will take, before its first call.

Belongs here: arithmetic over calls, tokens, prices and latency, and its words.
Does not belong here: rendering prompts (``core.cycle``), finding measured calls (``adapters.backtest_pace``).

Everything is an estimate and says what it rests on. What nobody knows is None, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean

from wonttrade_dagster.core.model import ModelPrice, TokenUsage
from wonttrade_dagster.core.shards import longest_chain
from wonttrade_dagster.core.spending import CHARACTERS_PER_TOKEN, cost_usd

REPLY_TOKENS, REPLY_TOKENS_PER_SYMBOL = 150, 150
"""Of a reply whose model was never measured: explanation and condition, and each target. A model that
thinks in tokens needs many more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a model answered before.

    Attributes:
        latency_ms: median of a call; None without one.
        reply_tokens: of a call's reply; None where nobody counted.
        source: which calls these were, as words; empty without any.
    """

    latency_ms: float | None = None
    reply_tokens: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class BacktestEstimate:
    """What is to be expected of the calls of a backtest; repairs come on top.

    Attributes:
        calls: one a cycle.
        prompt_tokens: in all, by the length of some prompts; None where none could be rendered.
        reply_tokens: in all.
        cost_usd: at the full price of input; None without a price or without a prompt.
        seconds: of waiting for the model, with ``side_by_side`` windows at a time; None without a latency.
        side_by_side: windows at a time, at most.
        pace: what the latency and the replies' length rest on.
        prompts: how many were rendered.
    """

    calls: int
    prompt_tokens: int | None
    reply_tokens: int
    cost_usd: Decimal | None
    seconds: float | None
    side_by_side: int
    pace: Pace
    prompts: int

    @property
    def text(self) -> str:
        """One line for a person."""
        return "; ".join(f"{name} {value}" for name, value in self.rows)

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Name and value of each part, in words."""
        measured = self.pace.source if self.pace.reply_tokens is not None else "assumed, never measured"
        return (
            ("model calls", f"{self.calls:,}"),
            ("tokens in", self._tokens_in),
            ("tokens out", f"about {self.reply_tokens:,} ({measured})"),
            ("cost", self._cost),
            ("time", self._time),
        )

    @property
    def _tokens_in(self) -> str:
        if self.prompt_tokens is None:
            return "unknown: no prompt could be rendered, the market of the range cannot be right"
        return (
            f"about {self.prompt_tokens:,} ({self.prompts} prompts rendered without a position, "
            f"{CHARACTERS_PER_TOKEN:g} characters a token)"
        )

    @property
    def _cost(self) -> str:
        if self.cost_usd is not None:
            return f"about {self.cost_usd:.2f} USD, repairs not counted"
        return "unknown" if self.prompt_tokens is None else "unknown: llm.prices names no price of this model"

    @property
    def _time(self) -> str:
        if self.seconds is None or self.pace.latency_ms is None:
            return "unknown: no call of this model was recorded yet"
        windows = f", {self.side_by_side} windows at a time" if self.side_by_side > 1 else ""
        return (
            f"about {self.seconds / 3600:.2f} hours at {self.pace.latency_ms / 1000:.2f} s a call "
            f"({self.pace.source}){windows}"
        )

    def above(self, cap_usd: Decimal | None) -> str | None:
        """Why it must not begin under a cap; None where nothing speaks against it."""
        if cap_usd is None or self.cost_usd is None or self.cost_usd <= cap_usd:
            return None
        return (
            f"the {self.calls:,} calls would cost about {self.cost_usd:.2f} USD by estimate, more than "
            f"backtest.max_usd ({cap_usd}): raise it, or choose fewer days or a longer cadence"
        )


def estimate_of(
    cycles: Sequence[int],
    side_by_side: int,
    prompt_characters: Sequence[int],
    pace: Pace,
    price: ModelPrice | None,
    symbols: int,
) -> BacktestEstimate:
    """Put an estimate together.

    Args:
        cycles: of each window.
        side_by_side: windows at a time.
        prompt_characters: lengths of some prompts, the reply's schema included.
        pace: how the model answered before.
        price: of its tokens; None where nobody said.
        symbols: that a decision covers.
    """
    calls = sum(cycles)
    reply_tokens = pace.reply_tokens
    if reply_tokens is None:
        reply_tokens = REPLY_TOKENS + symbols * REPLY_TOKENS_PER_SYMBOL
    prompt_tokens, cost = None, None
    if prompt_characters:
        prompt_tokens = round(calls * mean(prompt_characters) / CHARACTERS_PER_TOKEN)
    if prompt_tokens is not None and price is not None:
        cost = cost_usd(TokenUsage(prompt_tokens, round(calls * reply_tokens)), price)
    places = min(side_by_side, len(cycles))
    seconds = None if pace.latency_ms is None else longest_chain(cycles, places) * pace.latency_ms / 1000
    return BacktestEstimate(
        calls=calls,
        prompt_tokens=prompt_tokens,
        reply_tokens=round(calls * reply_tokens),
        cost_usd=cost,
        seconds=seconds,
        side_by_side=places,
        pace=pace,
        prompts=len(prompt_characters),
    )


def sample_of(grid: Sequence[int]) -> tuple[int, ...]:
    """First, middle and last decision time of a grid, each once."""
    if not grid:
        return ()
    return tuple(dict.fromkeys((grid[0], grid[len(grid) // 2], grid[-1])))
