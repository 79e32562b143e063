"""What happens in each cycle of a campaign, drawn from its seed alone.

Belongs here: chances and choices. Does not belong here: acting them out.

A cycle's plan depends on the seed and on its number only, never on what happened before it, so that the same
seed kills the same cycles at the same steps.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench.candles import SYMBOLS

MOST_STEPS = 90
"""A cycle that sends some orders passes about so many steps."""
MOST_ORDER_STEPS = 24
MOST_DIRTY = 5

READS = (
    "meta",
    "metaAndAssetCtxs",
    "clearinghouseState",
    "frontendOpenOrders",
    "candleSnapshot",
    "orderStatus",
    "userFillsByTime",
    "userFunding",
)
WRITES = ("order", "cancel", "updateLeverage")
TRANSPORT = ("hang", "reset", "429", "500", "html200", "trickle", "answer_lost", "reply")
BUSINESS = ("partial_ioc", "trigger_rejected", "order_rejected")
MODEL_KINDS = (
    *("hang", "reset", "429", "500", "html200", "trickle", "answer_lost"),
    *("invalid_json", "malformed", "refusal", "length", "wrong_shape", "wrong_schema"),
)
NONSENSE: tuple[Any, ...] = (
    *(None, [], {}, "", 0, True, "NaN", {"status": "ok"}, {"status": "err", "response": "no"}),
    *({"status": "ok", "response": {"type": "order", "data": {"statuses": []}}}, [[]], [None, None]),
    {"universe": [{"name": "BTC", "szDecimals": "five", "maxLeverage": None}]},
    {"marginSummary": {"accountValue": "NaN"}, "assetPositions": "none", "time": "now"},
)
"""JSON that is no answer to anything."""


class Pace(StrEnum):
    """How much time a cycle has; each has settings of its own."""

    CALM = "calm"
    ROUGH = "rough"
    HASTY = "hasty"
    """The decision is stale after a second: it grows old in the middle of the cycle."""
    LATE = "late"
    """As hasty with the age of a decision, as calm with the time for an answer."""


class Mischief(StrEnum):
    """What is done to, or in, the trading process at one of its steps."""

    KILL = "kill"
    TEAR = "tear"
    """Half of the next journal line is written, then the process is killed."""
    PAUSE = "pause"
    JUMP = "jump"
    DELETE_DATA = "delete_data"


@dataclass(frozen=True, slots=True)
class Event:
    """One mischief at one step: the n-th of all, or the n-th of those around orders."""

    what: Mischief
    step: int
    among_orders: bool
    symbol: str = ""
    amount: float = 0.0
    """Of a jump: the fraction by which the price moves; of a pause: seconds."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Something that a person does to the account between two cycles."""

    what: str
    symbol: str
    amount: float


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """Everything that is drawn for one cycle."""

    number: int
    is_clean: bool
    pace: Pace = Pace.CALM
    style: str = "valid"
    jumps: dict[str, float] = field(default_factory=dict)
    faults: tuple[dict[str, Any], ...] = ()
    model_faults: tuple[dict[str, Any], ...] = ()
    events: tuple[Event, ...] = ()
    hands: tuple[Hand, ...] = ()
    resumes: bool = False
    """A killed cycle is executed again from its first stage that is not stored."""
    resumes_calmly: bool = False
    """Then nothing goes wrong any more: it must leave everything protected."""
    is_stale: bool = False
    """It is asked for after its time."""
    disk_bytes: int | None = None
    """So many bytes fit on the disk, then it is full."""
    holds_ledger: bool = False
    deletes_data: bool = False
    has_twin: bool = False
    """Two processes run the same cycle at the same time."""


def plans(seed: int, count: int) -> Iterator[CyclePlan]:
    """``count`` cycles: runs of one to five with faults, each followed by a clean one; the last is clean."""
    dirty_left = 0
    for number in range(1, count + 1):
        draws = random.Random(f"{seed}:{number}")
        if number == count or dirty_left == 0:
            dirty_left = draws.randint(1, MOST_DIRTY)
            yield _clean(number, draws)
        else:
            dirty_left -= 1
            yield _dirty(number, draws)


def _clean(number: int, draws: random.Random) -> CyclePlan:
    style = "valid" if draws.random() < 0.65 else "invalid"
    return CyclePlan(number, is_clean=True, style=style, jumps=_jumps(draws))


def _dirty(number: int, draws: random.Random) -> CyclePlan:
    happens = draws.random
    is_stale = happens() < 0.02
    pace = Pace.HASTY if is_stale or happens() < 0.1 else Pace.ROUGH
    return CyclePlan(
        number,
        is_clean=False,
        pace=pace,
        style=draws.choices(("valid", "invalid", "close_stops"), (7, 1, 2))[0],
        jumps=_jumps(draws),
        faults=tuple(_fault(draws) for _ in range(draws.choices((0, 1, 2, 4), (4, 4, 3, 1))[0])),
        model_faults=tuple(_model_fault(draws) for _ in range(draws.choices((0, 1, 3), (17, 2, 1))[0])),
        events=(*_events(draws), *_growing_old(pace, draws)),
        hands=tuple(_hands(draws)),
        resumes=happens() < 0.6,
        resumes_calmly=happens() < 0.6,
        is_stale=is_stale,
        disk_bytes=draws.choice((0, 300, 3_000, 9_000, 20_000)) if happens() < 0.05 else None,
        holds_ledger=happens() < 0.05,
        deletes_data=happens() < 0.02,
        has_twin=happens() < 0.03,
    )


def _jumps(draws: random.Random) -> dict[str, float]:
    spread = draws.choices((0.0, 0.002, 0.01, 0.05, 0.3), (4, 12, 16, 6, 3))[0]
    return {symbol: draws.gauss(0, spread) for symbol in SYMBOLS}


def _fault(draws: random.Random) -> dict[str, Any]:
    times = draws.choices((1, 2, 3, 8), (6, 2, 2, 1))[0]
    if draws.random() < 0.3:
        fraction = draws.choice((0.1, 0.5, 0.9))
        return {
            "on": "exchange:order",
            "kind": draws.choice(BUSINESS),
            "times": times,
            "fraction": fraction,
        }
    is_write = draws.random() < 0.55
    on = f"exchange:{draws.choice(WRITES)}" if is_write else f"info:{draws.choice(READS)}"
    fault = {"on": on, "kind": draws.choice(TRANSPORT), "times": times}
    return fault | _options(fault["kind"], draws)


def _options(kind: object, draws: random.Random) -> dict[str, Any]:
    match kind:
        case "hang":
            return {"duration_ms": 1_500}
        case "reply":
            return {"body": draws.choice(NONSENSE), "status": draws.choice((200, 200, 200, 400, 422, 502))}
    return {}


def _model_fault(draws: random.Random) -> dict[str, Any]:
    kind = draws.choice(MODEL_KINDS)
    return {"on": "*", "kind": kind, "times": draws.choice((1, 1, 4)), **_options(kind, draws)}


def _events(draws: random.Random) -> Iterator[Event]:
    for what, chance in (
        (Mischief.JUMP, 0.25),
        (Mischief.PAUSE, 0.06),
        (Mischief.DELETE_DATA, 0.02),
        (Mischief.TEAR, 0.05),
        (Mischief.KILL, 0.45),
    ):
        if draws.random() < chance:
            among_orders = draws.random() < 0.65
            step = draws.randint(1, MOST_ORDER_STEPS if among_orders else MOST_STEPS)
            spread = draws.choice((0.002, 0.01, 0.06))
            amount = draws.uniform(0.2, 0.9) if what is Mischief.PAUSE else draws.gauss(0, spread)
            yield Event(what, step, among_orders, draws.choice(SYMBOLS), amount)


def _growing_old(pace: Pace, draws: random.Random) -> Iterator[Event]:
    """A hasty cycle is often held up between its plan and its orders, for longer than its decision lives."""
    if pace is Pace.HASTY and draws.random() < 0.7:
        yield Event(Mischief.PAUSE, draws.randint(1, 8), among_orders=True, amount=draws.uniform(1.0, 1.9))


def _hands(draws: random.Random) -> Iterator[Hand]:
    for what, chance in (("trade", 0.1), ("limit", 0.05), ("trigger", 0.05), ("flatten", 0.02)):
        if draws.random() < chance:
            yield Hand(what, draws.choice(SYMBOLS), draws.choice((-1, 1)) * draws.uniform(0.01, 0.3))
