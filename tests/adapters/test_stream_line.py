"""When a connection counts as lost, and how long is waited before the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from wonttrade_dagster.adapters.clock import FixedClock
from wonttrade_dagster.adapters.hyperliquid.stream_line import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    OPEN_LIMIT_MS,
    SILENCE_LIMIT_MS,
    STEADY_MS,
    Line,
    LineKeeper,
    channel_name,
)

START = 1_795_000_000_000


@dataclass
class ScriptedLine(Line):
    """A line that is what the test says."""

    alive: bool = True
    heard: int | None = None
    closed: int = 0

    def is_alive(self) -> bool:
        return self.alive

    def heard_ms(self) -> int | None:
        return self.heard

    def refused(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        self.closed += 1


@dataclass
class Scene:
    jitter: float = 0.5
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))
    lines: list[ScriptedLine] = field(default_factory=list)

    def make(self) -> Line:
        self.lines.append(ScriptedLine())
        return self.lines[-1]

    def keeper(self) -> LineKeeper:
        keeper = LineKeeper(self.make, self.clock.now_ms, lambda: self.jitter)
        keeper.tend(None)
        return keeper

    def pause_ms(self, keeper: LineKeeper) -> int:
        """How long until the next line is begun."""
        begun, lines = self.clock.now_ms(), len(self.lines)
        while len(self.lines) == lines:
            self.clock.sleep(0.01)
            keeper.tend(None)
        return self.clock.now_ms() - begun


def dead(scene: Scene) -> None:
    scene.lines[-1].alive = False


def never_opened(scene: Scene) -> None:
    scene.clock.sleep(OPEN_LIMIT_MS / 1000 + 0.001)


def silent(scene: Scene) -> None:
    scene.lines[-1].heard = scene.clock.now_ms()
    scene.clock.sleep(SILENCE_LIMIT_MS / 1000 + 0.001)


def one_channel_silent(scene: Scene) -> None:
    scene.clock.sleep(2 * SILENCE_LIMIT_MS / 1000 + 0.001)
    scene.lines[-1].heard = scene.clock.now_ms()


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (dead, "ended"),
        (never_opened, "never_opened"),
        (silent, "silent"),
        (one_channel_silent, "channel_silent"),
    ],
)
def test_a_line_is_lost_for_a_named_reason_and_closed(happens: Callable[[Scene], None], reason: str) -> None:
    scene = Scene()
    keeper = scene.keeper()
    assert keeper.tend(None) == ""
    happens(scene)
    assert keeper.tend(None) == reason
    assert (keeper.losses, scene.lines[0].closed, keeper.is_up()) == ({reason: 1}, 1, False)


def test_a_line_that_speaks_stays() -> None:
    scene = Scene()
    keeper = scene.keeper()
    for _ in range(100):
        scene.clock.sleep(5)
        scene.lines[-1].heard = scene.clock.now_ms()
        assert keeper.tend(scene.clock.now_ms() - 1000) == ""
    assert (len(scene.lines), keeper.is_up()) == (1, True)


@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_pauses_double_up_to_a_limit_with_jitter(jitter: float) -> None:
    scene = Scene(jitter)
    keeper, pauses = scene.keeper(), []
    for _ in range(9):
        dead(scene)
        keeper.tend(None)
        pauses.append(scene.pause_ms(keeper) / 1000)
    share = 0.5 + jitter / 2
    wanted = [min(FIRST_PAUSE_SECONDS * 2**n, MAX_PAUSE_SECONDS) * share for n in range(9)]
    assert pauses == pytest.approx(wanted, abs=0.011)


def test_a_line_that_lived_a_while_makes_the_next_pause_short_again() -> None:
    scene = Scene(jitter=0.999)
    keeper = scene.keeper()
    for _ in range(4):
        dead(scene)
        keeper.tend(None)
        scene.pause_ms(keeper)
    scene.clock.sleep(STEADY_MS / 1000)
    scene.lines[-1].heard = scene.clock.now_ms()
    dead(scene)
    keeper.tend(None)
    assert scene.pause_ms(keeper) <= FIRST_PAUSE_SECONDS * 1000 + 10


def test_a_venue_that_accepts_and_drops_is_not_asked_more_than_its_thirty_connections_a_minute() -> None:
    scene = Scene(jitter=0.0)
    keeper = scene.keeper()
    while scene.clock.now_ms() < START + 60_000:
        scene.lines[-1].heard = scene.clock.now_ms()
        dead(scene)
        keeper.tend(scene.clock.now_ms())
        scene.clock.sleep(0.1)
    assert len(scene.lines) <= 30


def test_channels_are_named_by_what_they_are_about() -> None:
    assert channel_name({"type": "candle", "coin": "BTC", "interval": "5m"}) == "candle BTC 5m"
    assert channel_name({"type": "userFills", "user": "0xabc"}) == "userFills"
