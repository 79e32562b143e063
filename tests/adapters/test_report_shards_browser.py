"""The page of a sharded backtest in a browser: drawn whole, silent, without a request, phone-sized too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, browser, opened
from test_backtest_shards import DAYS, plan_of, write_shard
from test_report_browser import DRAWN, TOO_WIDE, TRACES, ready

from wonttrade_dagster.adapters.backtest_merge import merge_when_complete
from wonttrade_dagster.adapters.backtest_results import backtest_folder

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"), pytest.mark.e2e]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir, plan = tmp_path_factory.mktemp("shards"), plan_of()
    for number in range(len(DAYS)):
        write_shard(data_dir, plan, number)
    page = merge_when_complete(backtest_folder(data_dir, plan.backtest_id), plan, None)
    assert page is not None
    return page


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_page_is_drawn_whole_silently_offline_and_fits(address: str, page_file: Path, width: int) -> None:
    with opened(address, page_file.as_uri(), width, is_dark=width == 390) as page:
        ready(page)
        assert page.evaluate(DRAWN) == [True, True]
        assert page.evaluate(TRACES) == [[1, 1], [len(DAYS) + 1, len(DAYS) + 1]]
        assert page.evaluate(TOO_WIDE.replace("WIDTH", str(width))) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.title") == "Backtest bt"
        assert page.complaints == []
        assert page.requests == [page_file.as_uri()]
