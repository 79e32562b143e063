import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import random_candles
from report_samples import CYCLE_MS, FROM, HOSTILE, empty_report_data, report_data

from wonttrade_dagster.adapters.report import ReportData, equity_png, write_report
from wonttrade_dagster.adapters.report.charts import MAX_POINTS, all_charts, iso_times, thin
from wonttrade_dagster.adapters.report.summary import curve, summarise
from wonttrade_dagster.adapters.report.wording import (
    duration_text,
    fraction_text,
    number_text,
    time_text,
    usd_text,
)
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.performance import drawdown_series

CHARTS = ["equity", "drawdown", "price-BTC", "exposure", "pnl", "latency"]


def charts_of(data: ReportData) -> list[dict[str, Any]]:
    return all_charts(data, summarise(data)["pnl"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "bt-1"
    assert write_report(folder, report_data()) == folder / "report.html"
    return folder


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.words.append(data)


def test_a_report_is_a_folder_of_named_files(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "drawdown.parquet",
        "equity.parquet",
        "fills.parquet",
        "latency.parquet",
        "report.html",
        "summary.json",
    ]
    data = report_data()
    assert pl.read_parquet(folder / "equity.parquet").equals(data.equity)
    assert pl.read_parquet(folder / "fills.parquet").equals(data.fills)
    assert pl.read_parquet(folder / "latency.parquet").equals(data.latency)
    assert pl.read_parquet(folder / "drawdown.parquet").equals(drawdown_series(data.equity))


@pytest.mark.parametrize("lives_on", [True, False])
def test_holding_is_compared_up_to_where_the_account_ends(*, lives_on: bool) -> None:
    """A coin that doubles after the last decision: an account that ended there could not earn that either."""
    whole = report_data()
    data = whole if lives_on else report_data(equity=whole.equity[:-1])
    last_ms = data.to_ms - CYCLE_MS
    doubled = pl.when(pl.col("open_time_ms") >= last_ms).then(2.0).otherwise(1.0)
    surging = data.prices["BTC"].with_columns(pl.col("open", "high", "low", "close") * doubled)
    changed = replace(data, prices={"BTC": surging})
    before, after = (summarise(each)["buy_and_hold_fraction"]["BTC"] for each in (data, changed))
    assert after == (pytest.approx(2 * before + 1) if lives_on else before)
    held = [next(t for t in charts_of(d)[0]["data"] if t["name"] == "Hold BTC") for d in (data, changed)]
    assert (held[0] != held[1]) == lives_on


def test_an_account_that_ended_with_its_last_decision_still_has_a_report(tmp_path: Path) -> None:
    """Results from before accounts lived on."""
    data = report_data(equity=report_data().equity[:-1])
    write_report(tmp_path, data)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["performance"]["final_equity_usd"] == data.equity["account_value_usd"][-1]
    assert summary["decisions"]["cycles"] == 96


def test_the_summary_states_the_figures(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    data = report_data()
    lived = data.prices["BTC"].filter(pl.col("open_time_ms") < data.equity["time_ms"][-1])
    first, last = lived["open"][0], lived["close"][-1]
    assert (
        summary["performance"]["total_return_fraction"] == data.equity["account_value_usd"][-1] / 10_000 - 1
    )
    assert summary["performance"]["fees_usd"] == pytest.approx(1.1)
    assert summary["performance"]["funding_usd"] == 1.5
    assert summary["performance"]["stop_fraction"] == 1.0
    assert summary["performance"]["open_round_trips"] == 1
    assert summary["buy_and_hold_fraction"]["BTC"] == pytest.approx(last / first - 1)
    assert summary["decisions"] == {
        "cycles": 96,
        "by_outcome": {"applied": 86, "refused": 10},
        "by_prior_plan": {"kept": 96},
        "by_reason": {"violations": 10},
        "repaired": {"asked": 10, "taken": 0},
        "conditions": {"held": 14, "obeyed": 7, "not_obeyed": 7},
    }
    assert (summary["latency"]["model_calls"], summary["latency"]["max_ms"]) == (96, 1_095)
    assert summary["latency"]["prompt_tokens"] == 96 * 900
    assert summary["prompt"] == {"name": "trader/v1", "sha256": "ab" * 32}


def test_writing_again_replaces_the_report(tmp_path: Path) -> None:
    write_report(tmp_path, report_data())
    write_report(tmp_path, report_data(funding_usd=7.0))
    assert json.loads((tmp_path / "summary.json").read_text())["performance"]["funding_usd"] == 7.0
    assert len(list(tmp_path.iterdir())) == 6


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        write_report(tmp_path / "file", report_data())


def test_the_page_holds_everything_and_refers_to_nothing(folder: Path) -> None:
    page = Elements((folder / "report.html").read_text())
    assert not [attrs for _, attrs in page.tags if {"src", "href", "srcset", "action"} & attrs.keys()]
    policies = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert (folder / "report.html").stat().st_size < 8_000_000


def test_model_text_is_shown_as_text(folder: Path) -> None:
    page = Elements((folder / "report.html").read_text())
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert "img" not in [tag for tag, _ in page.tags]
    assert HOSTILE in "".join(page.words)
    assert "bt-<1>" in "".join(page.words)


def test_hostile_symbols_cannot_leave_the_chart_data(tmp_path: Path) -> None:
    candles = random_candles(FROM, 10)
    path = write_report(tmp_path, report_data(prices={HOSTILE: candles}))
    page = Elements(path.read_text())
    assert [tag for tag, _ in page.tags].count("script") == 3
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', path.read_text())
    assert found is not None
    assert json.loads(found[1])[2]["title"] == f"{HOSTILE}: price and trades"


def test_the_page_names_run_model_prompt_settings_and_caveats(folder: Path) -> None:
    words = " ".join(Elements((folder / "report.html").read_text()).words)
    for expected in (
        "2025-06-01 00:00 – 2025-06-02 00:00 UTC",
        "trader/v1",
        "abababababab",
        "cdcdcdcdcdcd",
        "The model is a stand-in.",
        "the stop comes first",
        "violations",
        "stop loss",
        "Past results",
    ):
        assert expected in words


def test_a_run_that_did_nothing_still_has_a_report(tmp_path: Path) -> None:
    page = Elements(write_report(tmp_path, empty_report_data()).read_text())
    words = " ".join(page.words)
    assert "No order was filled in this run." in words
    assert "Only 0 round trips" in words
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["performance"]["sharpe"] is None
    assert summary["latency"]["p50_ms"] is None
    assert summary["buy_and_hold_fraction"] == {"BTC": None}


def test_charts_are_figures_that_plotly_accepts() -> None:
    for data in (report_data(), empty_report_data()):
        charts = charts_of(data)
        assert [chart["id"] for chart in charts] == CHARTS
        for chart in charts:
            go.Figure(data=chart["data"], layout=chart["layout"])


def test_entries_stops_and_protection_are_drawn_where_they_happened() -> None:
    traces: dict[str, dict[str, Any]] = {
        trace["name"]: trace for trace in charts_of(report_data())[2]["data"]
    }
    assert (traces["Buy to open"]["x"], traces["Buy to open"]["y"]) == (["2025-06-01T01:00:00"], [100.0])
    assert traces["Sell to open"]["text"] == ["-5"]
    assert traces["Stop-loss"]["y"] == [99.0]
    assert set(traces["Stop-loss level"]["y"]) == {98.0}
    assert "Take-profit level" not in traces


def test_no_trace_has_more_points_than_a_phone_can_draw() -> None:
    data = report_data(prices={"BTC": random_candles(FROM, 20_000, "1m")})
    assert all(len(trace["x"]) <= MAX_POINTS for chart in charts_of(data) for trace in chart["data"])


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(8, 100))
@settings(max_examples=60)
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], limit: int) -> None:
    frame = pl.DataFrame({"t": range(len(values)), "v": pl.Series(values, dtype=pl.Float64)})
    thinned = thin(frame, "v", limit)
    assert thinned.height <= max(limit, 0) or frame.height <= limit
    assert thinned["t"].is_sorted()
    assert thinned.join(frame, on=["t", "v"], how="anti").is_empty()
    if values:
        assert (thinned["v"].min(), thinned["v"].max()) == (min(values), max(values))
        assert (thinned["t"][0], thinned["t"][-1]) == (0, len(values) - 1)


def test_the_curve_begins_with_the_opening_equity() -> None:
    data = report_data(equity=report_data().equity[4:], initial_equity_usd=9_000.0)
    assert curve(data).row(0) == (FROM, 9_000.0)
    assert curve(data).height == data.equity.height + 1
    assert summarise(data)["performance"]["opening_equity_usd"] == 9_000.0
    assert curve(report_data()).equals(report_data().equity)


def test_the_picture_is_a_png_of_the_curve() -> None:
    data = report_data()
    picture = equity_png(data.equity, drawdown_series(data.equity))
    assert picture.startswith(b"\x89PNG\r\n")
    assert (int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")) == (1_200, 675)
    flat = data.equity.with_columns(account_value_usd=pl.lit(1.0))
    assert equity_png(flat, drawdown_series(flat)) != picture
    assert equity_png(data.equity[:1], drawdown_series(data.equity[:1])).startswith(b"\x89PNG")
    assert equity_png(data.equity[:0], drawdown_series(data.equity[:0])).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (usd_text(-1234.5), "−$1,234.50"),
        (usd_text(None), "–"),
        (fraction_text(0.1234, sign=True), "+12.34 %"),
        (fraction_text(-0.0012), "−0.12 %"),
        (number_text(104_535.0), "104,535.00"),
        (number_text(0.000123456), "0.00012346"),
        (duration_text(250), "250 ms"),
        (duration_text(1_234), "1.2 s"),
        (duration_text(59 * 60_000 + 59_000), "1 h 0 min"),
        (duration_text(100 * 3_600_000), "4 d 4 h"),
        (duration_text(None), "–"),
        (time_text(FROM), "2025-06-01 00:00"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_times_in_charts_are_utc() -> None:
    assert iso_times(pl.Series([FROM, FROM + CYCLE_MS])) == ["2025-06-01T00:00:00", "2025-06-01T00:15:00"]
