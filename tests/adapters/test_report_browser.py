"""The report in a real browser: drawn whole, silent, without a request, and no wider than a phone."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from chromium import CHROMIUM, Page, browser, opened
from market_samples import random_candles
from report_samples import FROM, empty_report_data, report_data

from wonttrade_dagster.adapters.report import ReportData, write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

DRAWN = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.main-svg').length > 0)"
TRACES = "[...document.querySelectorAll('.chart')].map(c => [c.data.length, c._fullData.length])"
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg'))
  .filter(e => Math.max(e.getBoundingClientRect().right, e.scrollWidth) > WIDTH + 0.5)
  .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 60))
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def long_named_data() -> ReportData:
    """Two coins, words without a gap, and sums of many digits."""
    data = report_data()
    words = "x" * 400
    return report_data(
        backtest_id="b" * 120,
        model="m" * 120,
        prices={**data.prices, "LONGCOINNAME": random_candles(FROM, 288, seed=9)},
        equity=data.equity.with_columns(pl.col("account_value_usd") * 1e9),
        initial_equity_usd=1e13,
        decisions=data.decisions.with_columns(explanation=pl.lit(words), reason=pl.lit("r" * 60)),
        targets=data.targets.with_columns(rationale=pl.lit(words)),
        caveats=("c" * 300,),
    )


DATA = {"usual": report_data, "empty": empty_report_data, "long": long_named_data}


@pytest.fixture(scope="module", params=sorted(DATA))
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report") / request.param, DATA[request.param]())


def ready(page: Page) -> None:
    page.wait_for("document.documentElement?.dataset.ready !== undefined")


@pytest.mark.e2e
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_report_is_drawn_whole_silently_offline_and_fits(
    address: str, page_file: Path, width: int
) -> None:
    with opened(address, page_file.as_uri(), width, is_dark=width == 390) as page:
        ready(page)
        drawn, traces = page.evaluate(DRAWN), page.evaluate(TRACES)
        assert len(drawn) >= 6
        assert all(drawn)
        assert all(given == shown for given, shown in traces)
        assert page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)") is None
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(TOO_WIDE.replace("WIDTH", str(width))) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.innerWidth") == width
        assert page.evaluate("document.title").startswith("Backtest b")
        assert page.complaints == []
        assert page.requests == [page_file.as_uri()]


def test_text_of_the_model_runs_nothing_in_the_browser(address: str, tmp_path: Path) -> None:
    path = write_report(tmp_path, report_data())
    with opened(address, path.as_uri(), 1280) as page:
        ready(page)
        assert page.evaluate("document.title") == "Backtest bt-<1>"
        assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_the_policy_of_the_page_would_stop_a_request(address: str, tmp_path: Path) -> None:
    """What the other tests rely on: a page that tries to load something is found out and stopped."""
    path = write_report(tmp_path, report_data())
    with opened(address, path.as_uri(), 1280) as page:
        ready(page)
        failed = page.evaluate("fetch('http://127.0.0.1:9/x').then(() => 'loaded', () => 'stopped')")
        assert failed == "stopped"
        page.evaluate("1")
        assert any("Content Security Policy" in said for said in page.complaints)


def test_what_the_browser_is_watched_for_would_be_seen(address: str, tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("1")
    (tmp_path / "bad.html").write_text(
        "<meta name=viewport content='width=device-width'><p style='width:900px'>wide</p>"
        "<script>console.error('said so')</script><script>missing()</script><script src=other.js></script>"
        "<script>document.documentElement.dataset.ready = 1</script>"
    )
    with opened(address, (tmp_path / "bad.html").as_uri(), 390) as page:
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") > 390
        assert page.evaluate(TOO_WIDE.replace("WIDTH", "390"))
        assert any("said so" in said for said in page.complaints)
        assert any("missing is not defined" in said for said in page.complaints)
        assert (tmp_path / "other.js").as_uri() in page.requests
