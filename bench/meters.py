"""Meters built into the running parts: the model's call and the SDK's signing.

Belongs here: taking time where no stage boundary lies. Does not belong here: summing it up.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.measure import Laps
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.model import ModelReply, Prompt
from wonttrade_dagster.core.ports import LanguageModel


@dataclass(frozen=True, slots=True)
class MeteredModel(LanguageModel):
    """Another model, with a stopwatch around its call; keeps what it answered."""

    model: LanguageModel
    laps: Laps = field(default_factory=Laps)
    replies: list[ModelReply] = field(default_factory=list)

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        """Whatever the other one answers."""
        with self.laps.lap():
            reply = self.model.complete(prompt, schema, deadline_ms)
        self.replies.append(reply)
        return reply


@dataclass(slots=True)
class Canned(LanguageModel):
    """Replies that a server gave before, handed out again: what is left is the cycle without its model."""

    replies: Iterator[ModelReply]

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        """The next one."""
        del prompt, schema, deadline_ms
        return next(self.replies)


@contextmanager
def in_place_of(owner: object, name: str, stand_in: object) -> Iterator[None]:
    """Let ``stand_in`` be what ``owner`` has under a name, for parts that take no other one."""
    original = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def metered_signing() -> Iterator[Laps]:
    """A stopwatch around the SDK's signature; parts composed inside the block carry it."""
    from hyperliquid import exchange  # noqa: PLC0415 (about 1 s that only the live cycle needs)

    laps, original = Laps(), exchange.sign_l1_action

    def timed(*args: object) -> object:
        with laps.lap():
            return original(*args)

    with in_place_of(exchange, "sign_l1_action", timed):
        yield laps


@contextmanager
def machine_clock(now_ms: Callable[[], int]) -> Iterator[None]:
    """Let every ``SystemClock`` of this process tell another time, so that no cycle waits for its minute.

    The live cycle is composed by the product's own composition root, which takes no clock.
    """

    def told(_self: SystemClock) -> int:
        return now_ms()

    with in_place_of(SystemClock, "now_ms", told):
        yield
