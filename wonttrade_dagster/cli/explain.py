"""``wonttrade explain``: one cycle as a story, in the terminal, as a page, or as data.

Belongs here: choosing the cycle and showing its story. Does not belong here: its words
(``adapters.report.story``), reading records (``adapters.archive``).
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.archive import CycleArchive, cycle_text
from wonttrade_dagster.adapters.report.story import Story, tell
from wonttrade_dagster.adapters.report.story_page import write_story
from wonttrade_dagster.adapters.report.story_parts import Chapter
from wonttrade_dagster.cli.archives import open_archive
from wonttrade_dagster.cli.output import out, print_json, print_table, printable
from wonttrade_dagster.core.model import AccountSnapshot, ExecutionPlan, LlmContext, Stage
from wonttrade_dagster.core.replay import NotStoredError, StoredCycle, indicators_of
from wonttrade_dagster.core.worth import CycleEnd, worth_of
from wonttrade_dagster.settings import load_settings


def run_explain(
    config: Path, cycle: str, backtest_id: str | None, *, html: Path | None, with_prompt: bool, as_json: bool
) -> None:
    """Tell the story of one cycle.

    Raises:
        UsageError: the cycle is no minute, or there is no such backtest.
        UnknownCycleError: the cycle is not stored; names the nearest ones.
        StorageError: the records cannot be read, or the page cannot be written.
    """
    archive = open_archive(load_settings(config), backtest_id)
    story = story_of(archive, archive.find(cycle))
    if html is not None:
        write_story(html, story)
    if as_json:
        print_json(asdict(story))
        return
    _show(story, with_prompt=with_prompt)
    if html is not None:
        out.print(f"page: {html}", markup=False, soft_wrap=True)


def story_of(archive: CycleArchive, cycle_ms: int) -> Story:
    """The story of a stored cycle."""
    stored = archive.cycle(cycle_ms)
    following = (archive.end(later) for later in archive.cycles() if later > cycle_ms)
    worth = worth_of(_end(stored), following, archive.account_end())
    return tell(cycle_text(cycle_ms), archive.name, _records(stored), worth)


def _end(stored: StoredCycle) -> CycleEnd:
    plain = _records(stored)
    account = plain.get(Stage.ACCOUNT_SNAPSHOTS)
    seen = account if isinstance(account, AccountSnapshot) else None
    return CycleEnd(stored.cycle_ms, seen, plain.get(Stage.CYCLE_REPORTS))


def _records(stored: StoredCycle) -> dict[Stage, Any]:
    found = {stage: record for stage in Stage if (record := stored.record(stage)) is not None}
    if Stage.INDICATORS not in found and Stage.MARKET_SNAPSHOTS in found:
        found |= _computed(stored)
    return found


def _computed(stored: StoredCycle) -> dict[Stage, Any]:
    """Indicators that are not stored but can be had from the history, as in a backtest."""
    context, plan = stored.record(Stage.LLM_CONTEXTS), stored.record(Stage.EXECUTION_PLANS)
    setting = context.setting if isinstance(context, LlmContext) else None
    if setting is None and isinstance(plan, ExecutionPlan) and plan.basis is not None:
        setting = plan.basis.setting
    try:
        return {Stage.INDICATORS: indicators_of(stored, setting.series_points)} if setting else {}
    except NotStoredError:
        return {}


def _show(story: Story, *, with_prompt: bool) -> None:
    out.print(f"{story.source}, cycle {story.cycle} UTC", markup=False, soft_wrap=True)
    for name, value in story.facts:
        out.print(f"{name}: {printable(value)}", markup=False, soft_wrap=True)
    for chapter in story.chapters:
        out.print()
        out.rule(chapter.title, align="left")
        for line in _lines(chapter):
            out.print(line, markup=False, soft_wrap=True)
        for table in chapter.tables:
            if table.rows:
                rows = [[printable(cell) for cell in row] for row in table.rows]
                print_table(table.title, table.columns, rows)
            else:
                out.print(f"{table.title}: none", markup=False)
        for passage in chapter.passages:
            if with_prompt or not passage.is_prompt:
                out.print(f"{passage.title}:", markup=False)
                out.print(printable(passage.text), markup=False, soft_wrap=True)


def _lines(chapter: Chapter) -> Iterator[str]:
    yield from (f"! {printable(note)}" for note in chapter.notes)
    yield from (f"{name}: {printable(value)}" for name, value in chapter.facts)
