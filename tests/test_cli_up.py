"""What ``wonttrade up`` does beside Dagster: the stream, what ``wonttrade status`` says of it, the end."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from loopback import Loopback

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.hyperliquid.stream_reader import StreamMiss
from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.cli.live_runs import let_cycle_end
from wonttrade_dagster.cli.services import DagsterServices
from wonttrade_dagster.cli.status import read_status
from wonttrade_dagster.cli.up import streaming
from wonttrade_dagster.core.errors import UsageError
from wonttrade_dagster.core.model import MarketSnapshot
from wonttrade_dagster.defs.compose import market_data
from wonttrade_dagster.defs.compose_stream import stream_windows
from wonttrade_dagster.defs.live import JOB_NAME
from wonttrade_dagster.settings import load_settings


def stream_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "stream"]


def wait_for(holds: Any, seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, "did not come about"
        time.sleep(0.05)
    return found


@pytest.mark.e2e
def test_cycles_use_the_stream_of_up_and_go_on_by_rest_without_it(tmp_path: Path) -> None:
    with Loopback.serving() as loopback:
        settings = load_settings(loopback.config(tmp_path))
        clock = SystemClock()
        reader = stream_windows(settings, clock)
        cycle_ms = clock.now_ms() // 300_000 * 300_000
        assert read_status(settings)["stream"] is None
        with streaming(settings):
            wait_for(lambda: isinstance(reader.snapshot(cycle_ms), MarketSnapshot))
            data = market_data(settings, clock)
            assert data.snapshot(cycle_ms).source == "stream"
            assert data.budget.spent().weight == 0
            status = read_status(settings)["stream"]
            assert (status["state"], status["connections"], status["problem"]) == ("up", 1, "")
            assert 0 <= status["age_seconds"] < 5
        assert stream_threads() == []
        wait_for(lambda: isinstance(reader.snapshot(cycle_ms), StreamMiss))
        by_rest = market_data(settings, clock).snapshot(cycle_ms)
        assert by_rest.source == "rest"
        assert "the stream was last seen" in by_rest.stream_miss


@pytest.mark.parametrize("changes", [{"hyperliquid__stream": False}, {"runtime__mode": "BACKTEST"}])
def test_no_stream_runs_where_none_is_wanted(tmp_path: Path, changes: dict[str, Any]) -> None:
    with Loopback.serving() as loopback:
        settings = load_settings(loopback.config(tmp_path, **changes))
        with streaming(settings):
            assert stream_threads() == []
        assert read_status(settings)["stream"] is None


def test_a_stream_that_fails_is_told_and_made_anew(tmp_path: Path) -> None:
    with Loopback.serving() as loopback:
        settings = load_settings(loopback.config(tmp_path))
        in_the_way = settings.data_dir / "stream"
        in_the_way.parent.mkdir(parents=True, exist_ok=True)
        in_the_way.write_text("a file where the folder should be", encoding="utf-8")
        with streaming(settings):
            wait_for(lambda: settings.log_path.exists() and "stream_failed" in settings.log_path.read_text())
            in_the_way.unlink()
            wait_for(lambda: (read_status(settings)["stream"] or {}).get("state") == "up")


@dg.job(name=JOB_NAME)
def live_job() -> None:
    pass


def test_a_live_cycle_under_way_is_waited_for_unless_a_signal_asks_to_stop(tmp_path: Path) -> None:
    with Loopback.serving() as loopback:
        settings = load_settings(loopback.config(tmp_path))
    stopping = threading.Event()
    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        run = instance.create_run_for_job(live_job, status=dg.DagsterRunStatus.STARTED)
        threading.Timer(1.2, instance.report_run_failed, [run]).start()
        began = time.monotonic()
        let_cycle_end(prepare_home(settings), settings.max_cycle_seconds, stopping)
        assert 1.0 < time.monotonic() - began < 10
        instance.create_run_for_job(live_job, status=dg.DagsterRunStatus.STARTED)
        stopping.set()
        let_cycle_end(prepare_home(settings), settings.max_cycle_seconds, stopping)
        assert time.monotonic() - began < 10


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with Loopback.serving() as loopback, socket.socket() as taken:
        settings = load_settings(loopback.config(tmp_path))
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        services = DagsterServices(settings, taken.getsockname()[1], autostart=True)
        with pytest.raises(UsageError, match=r"in use\): give another --port"), services:
            pass
    assert not (settings.data_dir / "dagster").exists()
