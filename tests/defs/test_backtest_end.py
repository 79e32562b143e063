"""A whole backtest lives on after its last decision: a stop, funding and the value at the end count.

One day with a decision every four hours, all of them the same: long 0.02 BTC with its stop 2 % below, short
0.5 ETH. At 22:00 the price of BTC falls by 5 %: two hours after the last decision, two before the end.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from loopback import DAY_MS, MINUTE_MS, Loopback, generated_history

from wonttrade_dagster.adapters.backtest_results import (
    DATABASE_NAME,
    RESULTS_NAME,
    SUMMARY_NAME,
    backtest_folder,
)
from wonttrade_dagster.cli.app import run as command
from wonttrade_dagster.core.errors import ModelUnavailableError
from wonttrade_dagster.defs.backtest_parts import BacktestSpec
from wonttrade_dagster.defs.backtest_run import BacktestOutcome, run_backtest_range
from wonttrade_dagster.defs.compose import Executors, market_history
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000
TO_MS = FIRST_MS + DAY_MS
HOUR_MS = 60 * MINUTE_MS
CADENCE = 240
CYCLES = 6
LAST_MS = TO_MS - CADENCE * MINUTE_MS
ID = "lived"


def target(symbol: str, size: float, stop: float, take: float) -> dict[str, Any]:
    told = {"symbol": symbol, "target_size": size, "stop_loss": stop, "take_profit": take}
    return told | {"confidence": 0.6, "rationale": "as said", "margin": None}


def reply(prior_plan: str) -> str:
    targets = [target("BTC", 0.02, 98_000, 110_000), target("ETH", -0.5, 4_400, 3_600)]
    told = {"explanation": "held", "invalidation_condition": "none", "prior_plan": prior_plan}
    return json.dumps(told | {"replaced_because": None, "targets": targets})


def flat(px: float, from_ms: int, to_ms: int) -> pl.DataFrame:
    """A price that hardly moves."""
    times = pl.int_range(from_ms, to_ms, 5 * MINUTE_MS, eager=True)
    prices = {"open": px, "high": px * 1.0005, "low": px * 0.9995, "close": px, "volume": 12.5}
    return pl.DataFrame({"open_time_ms": times}).with_columns(**{k: pl.lit(v) for k, v in prices.items()})


@dataclass
class Lived:
    config: Path
    loopback: Loopback

    @property
    def folder(self) -> Path:
        return backtest_folder(load_settings(self.config).data_dir, ID)

    @property
    def results(self) -> Path:
        return self.folder / RESULTS_NAME

    def run(self) -> BacktestOutcome:
        settings = load_settings(self.config)
        spec = BacktestSpec(ID, FIRST_MS, TO_MS, "loopback-rule", "trader/v1", CADENCE)
        return run_backtest_range(settings, spec, market_history(settings), Executors(), lambda _: None)

    def lines(self, kind: str) -> list[Mapping[str, Any]]:
        lines = [json.loads(line) for line in self.results.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["kind"] == kind]

    @property
    def end(self) -> Mapping[str, Any]:
        (line,) = self.lines("end")
        return line

    @property
    def summary(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.folder / SUMMARY_NAME).read_text(encoding="utf-8"))
        return found

    def series(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / f"{name}.parquet")

    def replies(self) -> None:
        self.loopback.model("faults", [])
        kept = {"kind": "reply", "text": reply("kept"), "times": CYCLES}
        self.loopback.model("faults", [{"kind": "reply", "text": reply("none")}, kept])


def prepared(loopback: Loopback, folder: Path) -> Lived:
    changed = {"runtime__mode": "BACKTEST", "backtest__latency": 30, "backtest__sync_every": 1}
    config = loopback.config(folder, llm__deadline_seconds=30, **changed)
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    history, fall_ms = market_history(settings), LAST_MS + 2 * HOUR_MS
    day = {
        "BTC": pl.concat([flat(100_000.0, FIRST_MS, fall_ms), flat(95_000.0, fall_ms, TO_MS)]),
        "ETH": flat(4_000.0, FIRST_MS, TO_MS),
    }
    for symbol, frame in day.items():
        history.add_candles(symbol, "5m", frame, "test", replace=True)
    return Lived(config, loopback)


@pytest.fixture(scope="module")
def lived(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    made = prepared(loopback, tmp_path_factory.mktemp("lived"))
    made.replies()
    made.run()
    return made


def test_a_stop_that_fires_after_the_last_decision_is_in_fills_curve_and_split(lived: Lived) -> None:
    assert [line["body"]["outcome"] for line in lived.lines("cycle")] == ["applied"] * CYCLES
    sold = lived.series("fills").row(-1, named=True)
    assert (sold["purpose"], sold["symbol"], sold["size_base"]) == ("stop_loss", "BTC", -0.02)
    assert sold["px"] < 95_000, "it opened beyond its stop"
    assert LAST_MS < sold["time_ms"] < TO_MS
    curve = lived.series("equity").rows()
    assert [time_ms for time_ms, _ in curve] == list(
        range(FIRST_MS - CADENCE * MINUTE_MS, TO_MS + 1, CADENCE * MINUTE_MS)
    )
    assert curve[-1][1] - curve[-2][1] < -90
    summary = lived.summary
    assert summary["performance"]["final_equity_usd"] == curve[-1][1]
    assert summary["performance"]["stop_fraction"] == 1
    assert summary["performance"]["open_round_trips"] == 1
    assert summary["decisions"]["cycles"] == CYCLES
    assert summary["exposure"]["BTC"]["cycles_long"] == CYCLES
    worst = summary["notable_cycles"][0]
    assert (worst["cycle_ms"], worst["effect_usd"] < -90) == (LAST_MS, True)


def test_the_split_adds_up_to_the_result_by_symbol_too(lived: Lived) -> None:
    total, by_symbol = lived.summary["pnl"], lived.summary["pnl_by_symbol"]
    curve = lived.series("equity")["account_value_usd"]
    assert total["result_usd"] == curve[-1] - curve[0]
    assert total["slippage_usd"] == pytest.approx(sum(s["slippage_usd"] for s in by_symbol.values()))
    for name, value in total.items():
        assert sum(split[name] for split in by_symbol.values()) == pytest.approx(value, abs=1e-6), name
    parts = total["price_usd"] - total["slippage_usd"] - total["fees_usd"] - total["funding_usd"]
    assert parts == pytest.approx(total["result_usd"])


def test_funding_is_paid_up_to_the_end_and_for_what_is_held_alone(lived: Lived) -> None:
    paid: dict[str, list[int]] = {"BTC": [], "ETH": []}
    for event in lived.end["body"]["events"]:
        if event["event"] == "FundingPayment":
            paid[event["symbol"]].append((event["time_ms"] - LAST_MS) // HOUR_MS)
    assert paid == {"BTC": [1, 2], "ETH": [1, 2, 3, 4]}
    events = [e for kind in ("cycle", "end") for line in lived.lines(kind) for e in line["body"]["events"]]
    usd = [Decimal(e["paid_usd"]) for e in events if e["event"] == "FundingPayment"]
    assert lived.summary["performance"]["funding_usd"] == pytest.approx(float(sum(usd)), abs=1e-12)


def test_the_end_is_a_line_after_the_last_cycle_with_the_account_in_it(lived: Lived) -> None:
    lines = [json.loads(line) for line in lived.results.read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["backtest", *["cycle"] * CYCLES, "end"]
    end = lines[-1]
    assert end["cycle_ms"] == TO_MS
    assert [position["symbol"] for position in end["body"]["positions"]] == ["ETH"]
    assert {order["symbol"] for order in end["body"]["protection"]} == {"ETH"}
    assert list(end["body"]["exchange"]["positions"]) == ["ETH"]
    assert float(end["body"]["account_value_usd"]) == lived.summary["performance"]["final_equity_usd"]


def test_the_tables_end_there_too(lived: Lived) -> None:
    with duckdb.connect(str(lived.folder / DATABASE_NAME), read_only=True) as connection:

        def last(query: str) -> Any:
            return connection.execute(query).fetchall()

        assert last("SELECT max(time_ms), count(*) FROM equity") == [(TO_MS, CYCLES + 2)]
        assert last("SELECT max(cycle_ms), count(*) FROM decisions") == [(LAST_MS, CYCLES)]
        assert last("SELECT symbol FROM protection WHERE cycle_ms > " + str(LAST_MS)) == [("ETH",)]
        assert last("SELECT purpose FROM fills ORDER BY time_ms DESC LIMIT 1") == [("stop_loss",)]


def test_holding_is_compared_over_the_same_time(lived: Lived) -> None:
    assert lived.summary["buy_and_hold_fraction"]["BTC"] == pytest.approx(-0.05)


def test_the_assumptions_no_longer_take_the_last_stretch_away(lived: Lived) -> None:
    said = " ".join(lived.summary["assumptions"])
    assert "lives on to the end of the range" in said
    assert "not lived" not in said
    assert not [caveat for caveat in lived.summary["caveats"] if "last decision" in caveat]


# --- who reads the file ----------------------------------------------------------------------------


def asked(lived: Lived, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert command([*words, "--backtest", ID, "--json", "--config", str(lived.config)]) == 0
    return json.loads(capsys.readouterr().out)


def test_replay_takes_the_end_for_no_cycle_and_no_damage(
    lived: Lived, capsys: pytest.CaptureFixture[str]
) -> None:
    told = asked(lived, capsys, "replay", "--all")
    assert (told["cycles"], told["same"], told["damage"]) == (CYCLES, CYCLES, [])


def test_sql_shows_the_last_fill_and_the_last_value(lived: Lived, capsys: pytest.CaptureFixture[str]) -> None:
    equity = asked(
        lived, capsys, "sql", "SELECT time, account_value_usd FROM equity ORDER BY time DESC LIMIT 1"
    )
    assert equity == [
        {"time": "2025-06-02 00:00:00", "account_value_usd": lived.series("equity")["account_value_usd"][-1]}
    ]
    fills = asked(lived, capsys, "sql", "SELECT symbol, size_base FROM fills ORDER BY time DESC LIMIT 1")
    assert fills == [{"symbol": "BTC", "size_base": -0.02}]
    assert asked(lived, capsys, "sql", "SELECT count(*) AS n FROM cycles") == [{"n": CYCLES}]


def test_the_last_decision_is_worth_what_the_account_lived_through_after_it(
    lived: Lived, capsys: pytest.CaptureFixture[str]
) -> None:
    told = asked(lived, capsys, "explain", "last")
    worth = dict(next(c for c in told["chapters"] if c["title"] == "Worth")["facts"])
    assert told["cycle"] == "2025-06-01T20:00"
    assert worth["until"] == "the end of the backtest, 2025-06-02 00:00:00"
    assert worth["account value then"] == f"${lived.summary['performance']['final_equity_usd']:,.2f}"
    assert worth["realised PnL"].startswith("−$10")
    first = dict(
        next(
            c
            for c in asked(lived, capsys, "explain", "2025-06-01T00:00")["chapters"]
            if c["title"] == "Worth"
        )["facts"]
    )
    assert first["until"] == "the next applied decision, 2025-06-01 04:00:00"


def test_a_file_without_an_end_is_read_as_before(
    lived: Lived, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = lived.results.read_bytes()
    lived.results.write_bytes(whole[: whole.rstrip(b"\n").rfind(b"\n") + 1])
    try:
        assert asked(lived, capsys, "replay", "--all")["same"] == CYCLES
        told = asked(lived, capsys, "explain", "last")
        assert "the newest report" in json.dumps(told)
        assert asked(lived, capsys, "sql", "SELECT count(*) AS n FROM equity") == [{"n": CYCLES}]
    finally:
        lived.results.write_bytes(whole)


# --- interrupted -----------------------------------------------------------------------------------


def without_times(results: Path) -> list[Any]:
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return [(line["kind"], line["cycle_ms"], line["body"]) for line in lines if line["kind"] != "torn"]


@pytest.mark.parametrize("left", ["no end", "half of the end", "an end", "an end and half a report"])
def test_an_attempt_that_died_around_the_end_ends_as_if_nothing_had_happened(lived: Lived, left: str) -> None:
    """What a kill leaves: each line is on disk before the next step, the summary is written last."""
    whole, lines, summary = lived.results.read_bytes(), without_times(lived.results), lived.summary
    series = {name: lived.series(name) for name in ("equity", "fills", "drawdown")}
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    kept = {"no end": whole[:start], "half of the end": whole[: start + 200]}
    lived.results.write_bytes(kept.get(left, whole))
    (lived.folder / SUMMARY_NAME).unlink()
    if left != "an end and half a report":
        (lived.folder / DATABASE_NAME).unlink()
        (lived.folder / "equity.parquet").unlink()
    before = lived.loopback.model_calls
    lived.run()
    assert lived.loopback.model_calls == before, "no decision is asked for again"
    assert without_times(lived.results) == lines, "and the end is written once"
    assert lived.summary == summary
    assert all(lived.series(name).equals(frame) for name, frame in series.items())


def test_a_backtest_whose_model_went_away_does_not_live_to_its_end(
    loopback: Loopback, tmp_path: Path
) -> None:
    gone = prepared(loopback, tmp_path)
    gone.loopback.model("faults", [])
    kept = {"kind": "reply", "text": reply("kept"), "times": 2}
    reset = {"kind": "reset", "times": 99}
    gone.loopback.model("faults", [{"kind": "reply", "text": reply("none")}, kept, reset])
    with pytest.raises(ModelUnavailableError):
        gone.run()
    assert len(gone.lines("cycle")) == 3
    assert gone.lines("end") == []
    assert not (gone.folder / SUMMARY_NAME).exists()
    gone.loopback.model("faults", [])
    gone.loopback.model("faults", [{"kind": "reply", "text": reply("kept"), "times": CYCLES}])
    gone.run()
    assert len(gone.lines("cycle")) == CYCLES
    assert gone.end["cycle_ms"] == TO_MS


def test_funding_of_the_very_last_hour_that_nobody_stored_is_told(loopback: Loopback, tmp_path: Path) -> None:
    """Files of whole days stop right before it: refusing them would refuse most."""
    made = prepared(loopback, tmp_path)
    path = load_settings(made.config).data_dir / "market.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"DELETE FROM funding_rates WHERE time_ms >= {TO_MS}")
    made.replies()
    made.run()
    told = [sentence for sentence in made.summary["caveats"] if "2025-06-02 00:00" in sentence]
    assert told == ["ETH: the funding rate of 2025-06-02 00:00 UTC is missing, none is charged at the end"]
