"""What summary and page say about chance, other costs, confidence and the cycles of note."""

import json
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
import polars as pl
import pytest
from market_samples import random_candles
from report_samples import CYCLE_MS, FROM, HOSTILE, empty_report_data, report_data
from test_report import Elements

from wonttrade_dagster.adapters.report import write_report
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.adapters.report.summary import exposure_series, summarise
from wonttrade_dagster.core.luck import MIN_RETURNS
from wonttrade_dagster.core.performance import FILL_SCHEMA


def words_of(folder: Path) -> str:
    return " ".join(" ".join(Elements((folder / "report.html").read_text(encoding="utf-8")).words).split())


def test_the_summary_says_whether_it_was_luck(tmp_path: Path) -> None:
    write_report(tmp_path, report_data(knowledge_cutoff=date(2025, 6, 1)))
    luck = json.loads((tmp_path / "summary.json").read_text())["luck"]
    assert (
        luck["sharpe_interval"]["low"] < luck["sharpe_interval"]["sharpe"] < luck["sharpe_interval"]["high"]
    )
    assert luck["sharpe_interval"]["returns"] == 96, "the one from the last decision to the end counts"
    assert 0 < luck["placebo"]["p_value"] <= 1
    assert luck["knowledge_cutoff"] == "2025-06-01"
    assert len(luck["warnings"]) == 2


def test_a_report_made_again_says_the_same() -> None:
    assert summarise(report_data()) == summarise(report_data())


def test_warnings_stand_at_the_top_of_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    data = report_data(knowledge_cutoff=date(2025, 7, 1))
    write_report(tmp_path, data)
    words = words_of(tmp_path)
    first, luck = words.index("Read this first"), words.index("Was it luck?")
    for warning in ("before the end of the model's knowledge (2025-07-01)", "Only 1 round trips were closed"):
        assert first < words.index(warning) < luck
        assert any(warning in value for name, value in headline(summarise(data)) if name == "warning")


def test_each_answer_says_what_it_means_and_what_it_does_not(tmp_path: Path) -> None:
    write_report(tmp_path, report_data())
    words = words_of(tmp_path)
    for expected in (
        "If days like these went on",
        "does not foretell",
        "that earned at least as much",
        "not the chance that the strategy is worthless",
        "the run would have earned nothing",
        "Open loop: nothing was decided anew",
    ):
        assert expected in words


def test_what_is_not_defined_is_said_to_be(tmp_path: Path) -> None:
    summary = summarise(empty_report_data())
    assert summary["luck"]["sharpe_interval"] is None
    assert summary["luck"]["placebo"] is None
    assert summary["costs"]["break_even"] is None
    assert summary["notable_cycles"] == []
    assert summary["confidence"] == []
    assert summary["holding"] == {"shortest_ms": None, "median_ms": None, "longest_ms": None}
    assert summary["latency"]["cost_usd"] is None
    write_report(tmp_path, empty_report_data())
    words = words_of(tmp_path)
    assert f"Needs at least {MIN_RETURNS} returns" in words
    assert "there is nothing to shuffle" in words
    assert "Nothing was traded." in words


def test_the_runs_own_costs_are_one_of_the_grid_and_give_its_own_result() -> None:
    summary = summarise(report_data())
    own = [r for r in summary["costs"]["open_loop"] if r["costs"] == {"fee_bps": 4.5, "slippage_bps": 5.0}]
    assert [r["final_equity_usd"] for r in own] == [summary["performance"]["final_equity_usd"]]
    assert [r["sharpe"] for r in own] == [summary["performance"]["sharpe"]]
    assert len(summary["costs"]["open_loop"]) == 12


def test_the_parts_of_the_result_add_up() -> None:
    summary = summarise(report_data())
    pnl, performance = summary["pnl"], summary["performance"]
    assert pnl["price_usd"] - pnl["slippage_usd"] - pnl["fees_usd"] - pnl["funding_usd"] == pytest.approx(
        performance["final_equity_usd"] - performance["opening_equity_usd"]
    )
    assert pnl["slippage_usd"] == pytest.approx((1000 + 990 + 495) * 5e-4, rel=1e-3)
    assert (pnl["fees_usd"], pnl["funding_usd"]) == (pytest.approx(1.1), 1.5)


def test_the_exposure_is_what_was_held_over_what_the_account_was_worth() -> None:
    data = report_data()
    series = exposure_series(data)
    assert series.height == data.equity.height
    before, inside, after = (
        series.filter(pl.col("time_ms") == FROM + hours * 3_600_000)["exposure_fraction"][0]
        for hours in (0, 1, 5)
    )
    assert before == 0
    assert inside == pytest.approx(10 * 100 / 10_000, rel=0.05)
    assert after == pytest.approx(-5 * 100 / 10_000, rel=0.1)
    figures = summarise(data)["exposure"]["BTC"]
    assert (figures["cycles_long"], figures["cycles_short"]) == (4, 96 - 10)


def test_an_account_that_is_worth_nothing_has_no_exposure() -> None:
    data = report_data()
    ruined = data.equity.with_columns(account_value_usd=pl.lit(0.0))
    summary = summarise(report_data(equity=ruined))
    assert summary["exposure"] == {}
    assert summary["luck"]["sharpe_interval"] is None


def test_the_notable_cycles_are_those_of_the_largest_effect_with_what_the_model_said(tmp_path: Path) -> None:
    data = report_data()
    write_report(tmp_path, data)
    notable = json.loads((tmp_path / "summary.json").read_text())["notable_cycles"]
    effects = [abs(cycle["effect_usd"]) for cycle in notable]
    assert len(notable) == 10
    assert effects == sorted(effects, reverse=True)
    steps = data.equity["account_value_usd"].diff().abs().drop_nulls()
    assert effects[0] == pytest.approx(steps.max(), rel=0.05)
    page = Elements((tmp_path / "report.html").read_text(encoding="utf-8"))
    words = "".join(page.words)
    assert words.count(HOSTILE) >= 20, "explanation and rationale of each"
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert "img" not in [tag for tag, _ in page.tags]


def test_a_notable_cycle_names_its_fills_and_what_was_held(tmp_path: Path) -> None:
    write_report(tmp_path, report_data(equity=_one_jump()))
    words = words_of(tmp_path)
    assert "The 1 cycles" not in words
    start = words.index("cycles that cost or earned most")
    assert "Held until 2025-06-01 01:15: +10 BTC. Filled: +10 BTC at 100.00 (open)." in words[start:]


def test_a_stop_after_the_last_decision_belongs_to_that_decision(tmp_path: Path) -> None:
    """Short 5 since 02:30; decided last at 23:45, bought back by the stop at 23:50, the end is at 24:00."""
    data = report_data()
    last_ms = data.to_ms - CYCLE_MS
    stop = (last_ms + 300_000, "BTC", 101.0, 5.0, 0.2, -10.0, "stop_loss", "Close Short", 4)
    fills = pl.concat([data.fills, pl.DataFrame([stop], schema=dict(FILL_SCHEMA), orient="row")])
    fell = pl.when(pl.col("time_ms") == data.to_ms).then(9_000.0).otherwise(10_000.0)
    changed = report_data(fills=fills, equity=data.equity.with_columns(account_value_usd=fell))
    before, summary = summarise(data), summarise(changed)
    assert summary["performance"]["final_equity_usd"] == 9_000
    assert (summary["performance"]["round_trips"], summary["performance"]["open_round_trips"]) == (2, 0)
    assert summary["performance"]["exposure_fraction"] < before["performance"]["exposure_fraction"]
    assert {name: summary["exposure"]["BTC"][name] for name in ("cycles_long", "cycles_short")} == {
        name: before["exposure"]["BTC"][name] for name in ("cycles_long", "cycles_short")
    }, "the end is no cycle"
    (worst, *_) = summary["notable_cycles"]
    assert (worst["cycle_ms"], worst["effect_usd"]) == (last_ms, pytest.approx(-1_000))
    assert {cycle["cycle_ms"] for cycle in summary["notable_cycles"]} <= set(data.decisions["cycle_ms"])
    assert exposure_series(changed).row(-1) == (data.to_ms, "BTC", 0.0)
    write_report(tmp_path, changed)
    words = words_of(tmp_path)
    start = words.index("cycles that cost or earned most")
    assert "Held until 2025-06-02 00:00: -5 BTC. Filled: +5 BTC at 101.00 (stop loss)." in words[start:]


def _one_jump() -> pl.DataFrame:
    """The account jumps by 500 USD in the cycle of the first fill, at 01:00."""
    jumped = pl.when(pl.col("time_ms") > FROM + 4 * CYCLE_MS).then(10_500.0).otherwise(10_000.0)
    return report_data().equity.with_columns(account_value_usd=jumped)


def test_repairs_conditions_confidence_and_cost_are_in_summary_and_page(tmp_path: Path) -> None:
    data = report_data()
    summary = summarise(data)
    assert summary["latency"]["cost_usd"] == pytest.approx(0.96)
    assert summary["latency"]["cycles_of_unknown_cost"] == 0
    assert summary["confidence"] == [
        {
            "low": 0.7,
            "high": 0.8,
            "round_trips": 1,
            "win_fraction": 0.0,
            "mean_return_bps": pytest.approx(-109.0),
        }
    ]
    write_report(tmp_path, data)
    words = words_of(tmp_path)
    assert "given up in 7, kept against it in 7" in words
    assert "0.7 to 0.8" in words
    assert "$0.96" in words


def test_a_cost_that_nobody_knows_is_not_zero(tmp_path: Path) -> None:
    unpriced = report_data().decisions.with_columns(cost_usd=pl.lit(None, dtype=pl.Float64))
    summary = summarise(report_data(decisions=unpriced))
    assert (summary["latency"]["cost_usd"], summary["latency"]["cycles_of_unknown_cost"]) == (None, 96)
    assert ("cost of the calls", "–") in headline(summary)


def test_the_headline_of_a_summary_from_before_is_still_told() -> None:
    old = summarise(report_data())
    for name in ("luck", "costs", "pnl", "confidence", "notable_cycles", "holding", "exposure"):
        del old[name]
    del old["latency"]["cost_usd"]
    names = [name for name, _ in headline(old)]
    assert "Sharpe (annualised)" in names
    assert "placebo, p-value" not in names


def test_fills_without_any_candle_still_make_a_report(tmp_path: Path) -> None:
    write_report(tmp_path, report_data(prices={}))
    assert json.loads((tmp_path / "summary.json").read_text())["exposure"] == {}
    empty = report_data(fills=pl.DataFrame(schema=dict(FILL_SCHEMA)))
    write_report(tmp_path, empty)
    assert json.loads((tmp_path / "summary.json").read_text())["pnl"]["slippage_usd"] == 0


def test_three_thousand_cycles_are_judged_within_seconds() -> None:
    """Measured: 0.5 s of processor time on two cores."""
    data, count = report_data(), 3_000
    chance, times = np.random.default_rng(1), range(FROM, FROM + 3_000 * CYCLE_MS, CYCLE_MS)
    value = 10_000 * np.cumprod(1 + chance.normal(0, 0.001, count))
    equity = pl.DataFrame({"time_ms": times, "account_value_usd": value}, schema=data.equity.schema)
    sides = [1.0, -1.0] * (count // 2)
    fills = pl.DataFrame(
        [
            (t, "BTC", 100.0, size, 0.1, 0.0, "flip", "", i)
            for i, (t, size) in enumerate(zip(times, sides, strict=True))
        ],
        schema=dict(FILL_SCHEMA),
        orient="row",
    )
    long = report_data(
        equity=equity, fills=fills, to_ms=times[-1], prices={"BTC": random_candles(FROM, 3 * count)}
    )
    began = process_time()
    luck = summarise(long)["luck"]
    assert process_time() - began < 5
    assert luck["placebo"]["shuffles"] == 1_000
    assert luck["sharpe_interval"]["resamples"] == 2_000
