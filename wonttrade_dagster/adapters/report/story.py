"""One cycle as a story: what was seen, asked, answered, judged, planned, sent, filled and confirmed.

Belongs here: the order of the chapters, how it ended, what came of it.
Does not belong here: the other chapters (``story_seen``, ``story_model``, ``story_orders``), showing them
(``story_page`` and the command).

Every text of a model or venue goes through as it is: whoever shows it escapes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wonttrade_dagster.adapters.report.story_model import answered, asked, judged
from wonttrade_dagster.adapters.report.story_orders import confirmed, filled, planned, sent
from wonttrade_dagster.adapters.report.story_parts import Chapter, Fact, amount, at
from wonttrade_dagster.adapters.report.story_seen import seen
from wonttrade_dagster.adapters.report.wording import ABSENT
from wonttrade_dagster.core.model import CycleReport, Stage
from wonttrade_dagster.core.worth import Worth


@dataclass(frozen=True, slots=True)
class Story:
    """One cycle.

    Attributes:
        cycle: its UTC minute.
        source: whose cycle it is.
        facts: how it ended, in short.
        chapters: in the order of the cycle.
    """

    cycle: str
    source: str
    facts: tuple[Fact, ...]
    chapters: tuple[Chapter, ...]


def tell(cycle: str, source: str, records: Mapping[Stage, Any], worth: Worth) -> Story:
    """The story of a cycle.

    Args:
        cycle: its name.
        source: whose it is.
        records: of its stages, as far as they are stored.
        worth: what came of it.
    """
    chapters = tuple(_chapter(title, records, make) for title, make in _CHAPTERS.items())
    return Story(cycle, source, _ending(records), (*chapters, _worth(worth)))


def _chapter(
    title: str, records: Mapping[Stage, Any], make: Callable[[Mapping[Stage, Any]], Chapter | None]
) -> Chapter:
    made = make(records)
    return made or Chapter(title, notes=("Nothing of this is stored.",))


def _ending(records: Mapping[Stage, Any]) -> tuple[Fact, ...]:
    report: CycleReport | None = records.get(Stage.CYCLE_REPORTS)
    if report is None:
        return (("outcome", "the cycle did not end: there is no report"),)
    return (
        ("outcome", report.outcome),
        ("reason", report.reason),
        ("detail", report.detail or ABSENT),
        ("account value", amount(report.account_value_usd)),
    )


def _worth(worth: Worth) -> Chapter:
    facts = (
        ("until", _until(worth)),
        ("refused cycles in between", str(worth.cycles)),
        ("account value before", amount(worth.equity_before_usd)),
        ("account value then", amount(worth.equity_after_usd)),
        ("change", amount(worth.equity_change_usd)),
        ("realised PnL", amount(worth.realised_pnl_usd)),
        ("fees", amount(worth.fees_usd, 4)),
        ("funding", "not known" if worth.funding_paid_usd is None else amount(worth.funding_paid_usd, 4)),
        *((("paid in or taken out", amount(worth.transfers_usd)),) if worth.transfers_usd else ()),
    )
    return Chapter("Worth", facts)


def _until(worth: Worth) -> str:
    if worth.is_over:
        return f"the next applied decision, {at(worth.until_ms)}"
    return f"the end of the backtest, {at(worth.until_ms)}" if worth.is_at_end else "the newest report"


_CHAPTERS: Mapping[str, Callable[[Mapping[Stage, Any]], Chapter | None]] = {
    "Seen": seen,
    "Asked": asked,
    "Answered": answered,
    "Judged": judged,
    "Planned": planned,
    "Sent": sent,
    "Filled": filled,
    "Confirmed": confirmed,
}
