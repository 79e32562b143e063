"""What a story is made of: facts, tables, passages, and the words for single values.

Belongs here: the shapes, and wording that more than one chapter needs. Does not belong here: a chapter.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from wonttrade_dagster.adapters.report.wording import ABSENT, duration_text
from wonttrade_dagster.core.model import AccountSnapshot, StageFailure
from wonttrade_dagster.core.precision import wire

Fact = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StoryTable:
    """Rows of text under a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A longer text, as it is; ``is_prompt`` marks what a terminal shows only when asked."""

    title: str
    text: str
    is_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the story."""

    title: str
    facts: tuple[Fact, ...] = ()
    tables: tuple[StoryTable, ...] = ()
    passages: tuple[Passage, ...] = ()
    notes: tuple[str, ...] = ()


def positions(account: AccountSnapshot) -> StoryTable:
    """What is held."""
    columns = ("symbol", "size", "entry", "liquidation", "leverage", "unrealised PnL")
    rows = [
        (
            p.symbol,
            wire(p.size_base),
            wire(p.entry_px),
            px_text(p.liquidation_px),
            f"{p.leverage}x",
            amount(p.unrealized_pnl_usd),
        )
        for p in account.positions
    ]
    return StoryTable("Positions", columns, tuple(rows))


def orders(account: AccountSnapshot) -> StoryTable:
    """What stands on the venue."""
    columns = ("symbol", "kind", "side", "size", "trigger", "oid")
    rows = [
        (
            o.symbol,
            words(o.leg or "order"),
            "buy" if o.is_buy else "sell",
            wire(o.size_base),
            px_text(o.trigger_px),
            str(o.oid),
        )
        for o in account.open_orders
    ]
    return StoryTable("Orders standing on the venue", columns, tuple(rows))


def failed(failure: StageFailure) -> str:
    """A failed stage in a line."""
    return f"{failure.stage.value}: {failure.reason}: {failure.detail}"


def words(name: str) -> str:
    """A name in words."""
    return name.replace("_", " ")


def px_text(px: Decimal | None) -> str:
    """A price, or that there is none."""
    return "absent" if px is None else wire(round(px, 6))  # a computed price has 28 digits


def figure(value: float | None) -> str:
    """A statistic, six significant figures."""
    return "absent" if value is None else f"{value:.6g}"


def amount(amount: Decimal | None, digits: int = 2) -> str:
    """USD with sign; a dash where nobody knows."""
    if amount is None:
        return ABSENT
    return f"{'−' if amount < 0 else ''}${abs(amount):,.{digits}f}"


def lasted(duration_ms: int) -> str:
    """A duration."""
    return duration_text(duration_ms)


def at(time_ms: int) -> str:
    """A time, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
