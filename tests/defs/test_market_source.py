"""Where a cycle's market came from, how old it was, and why not from the stream: in the log and in the UI."""

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from background import in_background
from loopback import CANARIES, Loopback, SetBackClock, trade

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.core.model import MarketSnapshot, Stage
from wonttrade_dagster.defs.compose_stream import market_stream, stream_windows
from wonttrade_dagster.defs.metadata import describe
from wonttrade_dagster.defs.stages import stage_key
from wonttrade_dagster.settings import load_settings

PIECES = {f"{symbol} {piece}" for symbol in ("BTC", "ETH") for piece in ("context", "5m", "4h")}


def told(config: Path, cycle_ms: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trade a cycle; its line of the log about the market, and the metadata of ``market_snapshots``."""
    result = trade(config, cycle_ms)
    settings = load_settings(config)
    lines = [json.loads(line) for line in settings.log_path.read_text(encoding="utf-8").splitlines()]
    line = next(x for x in lines if x["event"] == "market_snapshots" and x["cycle_ms"] == cycle_ms)
    key = stage_key(settings.family, Stage.MARKET_SNAPSHOTS)
    events = result.get_asset_materialization_events()
    metadata = next(e.materialization.metadata for e in events if e.asset_key == key)
    assert not any(canary in repr((line, metadata)) for canary in CANARIES)
    shown = {name: metadata[name].value for name in ("source", "stream_miss") if name in metadata}
    return line, shown | {"pieces": sources(metadata["pieces"])}


def sources(pieces: dg.TableMetadataValue) -> dict[str, object]:
    return {record.data["piece"]: record.data["source"] for record in pieces.records}


@pytest.mark.e2e
def test_a_cycle_tells_where_its_market_came_from_and_why_not_from_the_stream(
    loopback: Loopback, clock: SetBackClock, tmp_path: Path
) -> None:
    config = loopback.config(tmp_path)
    settings = load_settings(config)
    line, metadata = told(config, clock.next_minute())
    assert (line["source"], line["stream_miss"]) == ("rest", "no stream has run")
    assert (metadata["source"], metadata["stream_miss"]) == ("rest", "no stream has run")
    assert line["ages_ms"].keys() == PIECES
    assert metadata["pieces"] == dict.fromkeys(PIECES, "rest")
    with in_background(market_stream(settings, SystemClock()).run):
        cycle_ms = clock.next_minute()
        windows, until = stream_windows(settings, SystemClock()), time.monotonic() + 30
        while not isinstance(windows.snapshot(cycle_ms), MarketSnapshot):
            assert time.monotonic() < until
        line, metadata = told(config, cycle_ms)
    assert line["source"] == metadata["source"] == "stream"
    assert "stream_miss" not in line.keys() | metadata.keys()
    assert metadata["pieces"] == dict.fromkeys(PIECES, "stream")
    line, metadata = told(config, clock.next_minute())
    assert line["source"] == "rest"
    assert line["stream_miss"] == metadata["stream_miss"]
    assert "the stream was last seen" in line["stream_miss"]


def test_words_of_the_venue_in_a_miss_are_only_words() -> None:
    snapshot = MarketSnapshot(0, 5, "rest", (), 3, {"BTC open interest mean": 7}, "# <b>[x](http://y)</b>")
    metadata = describe(snapshot)
    shown = metadata["stream_miss"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert shown.value == r"\# &lt;b&gt;\[x\]\(http://y\)&lt;/b&gt;"
    assert sources(metadata["pieces"]) == {"BTC open interest mean": "stream"}
