"""Backtests over minutes in which decisions take time, with each slippage model, run twice, replayed."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, generated_history, wave

from wonttrade_dagster.adapters.backtest_results import RESULTS_NAME, SUMMARY_NAME, backtest_folder
from wonttrade_dagster.cli.app import run as command
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import run_backtest_range
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
CADENCE = 30
HOURS = 8


@dataclass(frozen=True)
class Finished:
    config: Path
    backtest_id: str
    folder: Path

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._lines()[0]["body"]

    @property
    def cycles(self) -> list[tuple[int, Mapping[str, Any]]]:
        return [(line["cycle_ms"], line["body"]) for line in self._lines() if line["kind"] == "cycle"]

    @property
    def equity(self) -> list[str]:
        return [body["account_value_usd"] for _, body in self.cycles]

    @property
    def fills(self) -> list[Mapping[str, Any]]:
        return [fill for _, body in self.cycles for fill in body["fills"]]

    @property
    def summary(self) -> Mapping[str, Any]:
        return json.loads((self.folder / SUMMARY_NAME).read_text(encoding="utf-8"))

    def _lines(self) -> list[Any]:
        text = (self.folder / RESULTS_NAME).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


Run = Callable[..., Finished]


@pytest.fixture
def backtest(loopback: Loopback, tmp_path: Path) -> Run:
    """Runs a backtest over minutes, five minutes and four hours with these settings."""

    def run(backtest_id: str = "one", cadence: int = CADENCE, **changed: Any) -> Finished:
        folder = tmp_path / backtest_id
        folder.mkdir()
        config = loopback.config(folder, runtime__mode="BACKTEST", **changed)
        settings = load_settings(config)
        generated_history(settings, FIRST_MS, 1)
        history = market_history(settings)
        for symbol, px in (("BTC", 100_000.0), ("ETH", 4_000.0)):
            minutes = wave(px, FIRST_MS - HOUR_MS, FIRST_MS + HOURS * HOUR_MS, MINUTE_MS)
            history.add_candles(symbol, "1m", minutes, "test")
        return carried_out(config, backtest_id, cadence)

    return run


def carried_out(config: Path, backtest_id: str, cadence: int = CADENCE) -> Finished:
    settings, to_ms = load_settings(config), FIRST_MS + HOURS * HOUR_MS
    spec = BacktestSpec(backtest_id, FIRST_MS, to_ms, "loopback-rule", "trader/v1", cadence)
    run_backtest_range(settings, spec, market_history(settings), Executors(), lambda _: None)
    return Finished(config, backtest_id, backtest_folder(settings.data_dir, backtest_id))


def replayed(finished: Finished, capsys: pytest.CaptureFixture[str]) -> Mapping[str, Any]:
    capsys.readouterr()
    arguments = ["replay", "--all", "--backtest", finished.backtest_id, "--config", str(finished.config)]
    assert command([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_same_backtest_twice_earns_the_same_and_is_replayed_the_same(
    backtest: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = backtest("one"), backtest("two")
    assert len(one.fills) > 4, "a backtest that never trades shows nothing"
    assert one.equity == two.equity
    assert [fill["px"] for fill in one.fills] == [fill["px"] for fill in two.fills]
    assert (one.facts["latency"], one.facts["bars"]) == ("measured", {"BTC": "1m", "ETH": "1m"})
    assert {body["latency_ms"] % 1_000 for _, body in one.cycles} == {0}
    assert any("BTC 1m, ETH 1m" in sentence for sentence in one.summary["assumptions"])
    replayed(one, capsys)


def test_orders_fill_at_the_open_of_the_minute_in_which_they_are_sent(backtest: Run) -> None:
    finished = backtest(
        runtime__cycle_minutes=5,
        execution__max_decision_age_seconds=200,
        backtest__latency=150,
        backtest__slippage_bps=0,
    )
    minutes = wave(100_000.0, FIRST_MS, FIRST_MS + HOURS * HOUR_MS, MINUTE_MS)
    opens = dict(minutes.select("open_time_ms", "open").iter_rows())
    sent = [
        (cycle_ms, fill)
        for cycle_ms, body in finished.cycles
        for fill in body["fills"]
        if fill["symbol"] == "BTC" and fill["time_ms"] == cycle_ms + 150_000
    ]
    assert sent
    for cycle_ms, fill in sent:
        assert abs(float(fill["px"]) - opens[cycle_ms + 2 * MINUTE_MS]) <= 1, "the tick of BTC"
    assert all(fill["slippage_bps"] == "0" for fill in finished.fills)


def test_every_fill_between_two_decisions_stands_in_a_report(backtest: Run) -> None:
    finished = backtest(
        runtime__cycle_minutes=5, execution__max_decision_age_seconds=200, backtest__latency=30
    )
    happened = {
        (event["symbol"], event["tid"])
        for _, body in finished.cycles
        for event in body["events"]
        if event["event"] == "Execution"
    }
    assert len(happened) > 4, "stops and take-profits fired"
    assert happened <= {(fill["symbol"], fill["tid"]) for fill in finished.fills}
    held = {p["symbol"]: float(p["size_base"]) for p in finished.cycles[-1][1]["positions"]}
    for symbol in ("BTC", "ETH"):
        sizes = [float(fill["size_base"]) for fill in finished.fills if fill["symbol"] == symbol]
        assert abs(sum(sizes) - held.get(symbol, 0.0)) < 1e-9


def test_a_decision_older_than_allowed_opens_nothing(backtest: Run) -> None:
    finished = backtest(backtest__latency=61)
    assert finished.fills == []
    assert {body["reason"] for _, body in finished.cycles} == {"stale_decision"}
    assert set(finished.equity) == {"10000"}


def test_a_latency_beyond_the_next_decision_time_skips_it(
    backtest: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = backtest(backtest__latency=CADENCE * 60 + 1)
    times = [cycle_ms for cycle_ms, _ in finished.cycles]
    assert times == list(range(FIRST_MS, FIRST_MS + HOURS * HOUR_MS, 2 * CADENCE * MINUTE_MS))
    assert "8 decision times were skipped" in " ".join(finished.summary["caveats"])
    replayed(finished, capsys)


MODELS = {
    "half_spread_impact": {"backtest__half_spread_bps": 2, "backtest__impact_coefficient": 2},
    "bar_range": {"backtest__range_fraction": 0.2, "backtest__slippage_random_bps": 3},
}


@pytest.mark.parametrize("model", list(MODELS))
def test_each_fill_says_what_its_model_charged_and_a_rerun_charges_the_same(
    backtest: Run, model: str
) -> None:
    changed = {"backtest__slippage_model": model, **MODELS[model]}
    one, two = backtest("one", **changed), backtest("two", **changed)
    assert one.facts["slippage"]["model"] == model
    charged = [float(fill["slippage_bps"]) for fill in one.fills]
    assert len(set(charged)) > 1, "not one number for all"
    assert all(0 < bps <= 900 for bps in charged)
    assert (charged, one.equity) == ([float(fill["slippage_bps"]) for fill in two.fills], two.equity)
    assert min(charged) <= one.summary["costs"]["paid"]["slippage_bps"] <= max(charged)


def test_an_interrupted_backtest_goes_on_in_the_middle_of_a_minute(backtest: Run) -> None:
    """Cut after five cycles whose decisions took 90 s: their account stands half through a bar."""
    changed = {"runtime__cycle_minutes": 5, "execution__max_decision_age_seconds": 200}
    changed |= {"backtest__slippage_model": "bar_range", "backtest__slippage_random_bps": 3}
    whole = backtest(backtest__latency=90, **changed)
    cycles, equity, fills = whole.cycles, whole.equity, whole.fills
    path = whole.folder / RESULTS_NAME
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:6]))
    (whole.folder / SUMMARY_NAME).unlink()
    resumed = carried_out(whole.config, whole.backtest_id)
    assert (resumed.equity, resumed.fills) == (equity, fills)
    assert [body["exchange"] for _, body in resumed.cycles] == [body["exchange"] for _, body in cycles]
    assert {body["latency_ms"] for _, body in cycles} == {90_000}


def test_a_last_decision_that_is_there_after_the_range_is_told(backtest: Run) -> None:
    """A decision every 35 minutes, half an hour and 30 s late: the last of eight hours at 08:05:30."""
    finished = backtest(
        cadence=5,
        runtime__cycle_minutes=60,
        execution__max_decision_age_seconds=3600,
        backtest__latency=1830,
    )
    decided_ms, body = finished.cycles[-1]
    assert decided_ms + body["latency_ms"] == FIRST_MS + HOURS * HOUR_MS + 330_000
    told = [sentence for sentence in finished.summary["caveats"] if "last decision" in sentence]
    late = "The last decision was there 330 s after the end of the range"
    assert told == [f"{late}: whatever it ordered was filled at the last price known there."]
