"""Text of the model in the report's page: words in a cell, whatever it holds."""

from pathlib import Path

import polars as pl
from report_samples import FROM, report_data
from test_report import Elements

from bench.corpus.cases import corpus
from wonttrade_dagster.adapters.report import write_report
from wonttrade_dagster.adapters.report.data import DECISION_SCHEMA

HOSTILE = [case.decision.explanation for case in corpus() if case.decision and case.family == "injection"]


def page_of(folder: Path, explanations: list[str]) -> Elements:
    rows = [
        (FROM + i, "applied", "applied", "kept", False, 0, None, None, text)
        for i, text in enumerate(explanations)
    ]
    decisions = pl.DataFrame(rows, schema=dict(DECISION_SCHEMA), orient="row")
    return Elements(write_report(folder, report_data(decisions=decisions)).read_text(encoding="utf-8"))


def test_no_explanation_becomes_an_element_of_the_page(tmp_path: Path) -> None:
    assert len(HOSTILE) >= 30
    hostile = page_of(tmp_path / "hostile", HOSTILE)
    harmless = page_of(tmp_path / "harmless", ["The trend is up."] * len(HOSTILE))
    assert hostile.tags == harmless.tags
    shown = "".join(hostile.words)
    assert [text for text in HOSTILE if text not in shown] == []


def test_a_long_explanation_is_cut_in_the_page_and_only_there(tmp_path: Path) -> None:
    page = page_of(tmp_path, ["<b>" * 1_000])
    cell = next(words for words in page.words if words.startswith("<b>"))
    assert cell == ("<b>" * 1_000)[:599] + "…"
