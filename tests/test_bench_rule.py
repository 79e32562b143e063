"""The rule's benchmark: what it prints, and that its trades are those of a slow reading of the same rule."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bench.__main__ import main
from bench.candles import walk
from bench.rule import FROM_MS
from bench.rule.decisions import decide
from bench.rule.peers import PEERS, Peer, measure, write_file
from bench.rule.trader import RuleTrader, rows
from wonttrade_dagster.adapters.replay import default_assets
from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation import BarTable, Execution, VenueRules, account_value_usd

BARS = 3000
MINUTES = 5
HOUR_MS = 3_600_000
FEE_RATE = Decimal("0.00045")
FUNDING_RATE = Decimal("0.0000125")
MICRO = Decimal("0.000001")
RULES = VenueRules(default_assets(["BTC"]))

Trade = tuple[int, bool, Decimal, Leg | None]
"""When, bought or sold, at which price, the exit that it was."""


def averages(closes: Sequence[float], period: int) -> list[float | None]:
    """The mean of the first bars, then the recursion."""
    found: list[float | None] = [None] * (period - 1)
    average = sum(closes[:period]) / period
    found.append(average)
    for close in closes[period:]:
        average += (close - average) * 2 / (period + 1)
        found.append(average)
    return found


@dataclass
class SlowRule:
    """One coin, bar by bar, in plain numbers: no module of the product."""

    cash: Decimal = Decimal(10_000_000)
    held: int = 0
    stop: Decimal = Decimal(0)
    profit: Decimal = Decimal(0)
    trades: list[Trade] = field(default_factory=list)
    payments: int = 0

    def fill(self, time_ms: int, side: int, px: Decimal, leg: Leg | None = None) -> None:
        px = px.quantize(Decimal(1), ROUND_CEILING if side > 0 else ROUND_FLOOR)
        self.held += side
        self.cash -= side * px + (px * FEE_RATE).quantize(MICRO, ROUND_DOWN)
        self.trades.append((time_ms, side > 0, px, leg))

    def decide(self, time_ms: int, side: int, px: Decimal) -> None:
        if self.held:
            self.fill(time_ms, -self.held, px)
        self.fill(time_ms, side, px)
        self.stop = (px * (1 - side * Decimal("0.005"))).quantize(Decimal(1))
        self.profit = (px * (1 + side * Decimal("0.01"))).quantize(Decimal(1))

    def live(self, time_ms: int, opened: Decimal, high: Decimal, low: Decimal) -> None:
        side = self.held
        if not side:
            return
        worst, best = (low, high) if side > 0 else (high, low)
        if side * worst <= side * self.stop:  # a gap fills at the open; the stop comes first
            gapped = side * opened <= side * self.stop
            self.fill(time_ms, -side, opened if gapped else self.stop, Leg.STOP_LOSS)
        elif side * best >= side * self.profit:
            self.fill(time_ms, -side, self.profit, Leg.TAKE_PROFIT)

    def pay(self, px: Decimal) -> None:
        if self.held:
            self.cash -= (self.held * px * FUNDING_RATE).quantize(MICRO)
            self.payments += 1

    def run(self, frame: pl.DataFrame) -> None:
        closes = frame["close"].to_list()
        fast, slow = averages(closes, 20), averages(closes, 50)
        was_above: bool | None = None
        before = Decimal(0)
        for row, (time_ms, *floats) in enumerate(frame.select(frame.columns[:5]).iter_rows()):
            opened, high, low, close = (Decimal(repr(px)) for px in floats)
            if time_ms % HOUR_MS == 0 and row:
                self.pay(opened)
            above = is_above(fast[row - 1], slow[row - 1]) if row else None
            if was_above is not None and above != was_above:
                self.decide(time_ms, 1 if above else -1, before)
            was_above, before = above, close
            self.live(time_ms + 1, opened, high, low)


def is_above(fast: float | None, slow: float | None) -> bool | None:
    return None if fast is None or slow is None else fast > slow


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return walk("BTC", FROM_MS, BARS, MINUTES, 8)


def test_the_trades_are_those_of_a_slow_reading_of_the_rule(frame: pl.DataFrame) -> None:
    slow = SlowRule()
    slow.run(frame)
    trader = RuleTrader(BarTable.of({"BTC": frame}), RULES)
    trader.trade(rows(decide({"BTC": frame}, RULES.assets), RULES.assets))
    fills = [event for event in trader.events if isinstance(event, Execution)]
    assert [(fill.time_ms, fill.is_buy, fill.px, fill.leg) for fill in fills] == slow.trades
    legs = [fill.leg for fill in fills]
    assert min(legs.count(Leg.STOP_LOSS), legs.count(Leg.TAKE_PROFIT), slow.payments) > 5
    close = Decimal(repr(frame["close"][-1]))
    assert account_value_usd(trader.state) == slow.cash + slow.held * close


def test_it_tells_trades_shares_and_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rule", "--count", "3000", "--json", "--seed", "3"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["figures"]["bars_per_second"]["goal"] == 200_000
    assert data["figures"]["peak_rss"]["met"] is True
    facts = data["facts"]
    assert facts["trades"] == facts["decisions"] > 20
    assert facts["trades"] < facts["fills"] <= 2 * facts["trades"]
    # Each fill, each payment and each decision, and the end.
    assert facts["checks.identities"] >= facts["fills"] + facts["funding_payments"] + facts["decisions"]
    shares = [share for name, share in data["ratios"].items() if name.startswith("cpu_share.")]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert facts["two_symbols.trades"] > facts["trades"]
    assert not any(name.startswith("peer.") for name in data["figures"] | facts)


def test_peers_belong_to_the_rule_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", "--count", "500", "--peers"]) == 2
    assert "walk has no peers" in capsys.readouterr().err


def test_a_peer_that_cannot_run_says_why_and_gives_no_figure(tmp_path: Path) -> None:
    found = measure(Peer("backtesting", ("--no-such-option",)), tmp_path / "rule.npz")
    assert (found.told, list(found.cpu_seconds)) == (None, [])
    assert found.summary().startswith("not measured: ")
    assert len(found.summary()) > len("not measured: ")


def test_every_peer_gets_the_decision_on_the_bar_whose_close_made_it(
    frame: pl.DataFrame, tmp_path: Path
) -> None:
    decisions = decide({"BTC": frame}, RULES.assets)
    write_file(tmp_path / "rule.npz", frame, decisions, 0.00045)
    with np.load(tmp_path / "rule.npz") as held:
        decided = held["side"].nonzero()[0]
        assert decided.tolist() == [bar - 1 for bar in decisions["bar"]]
        # The next bar's open is that close: everybody enters at the same price.
        assert held["close"][decided].tolist() == held["open"][decided + 1].tolist()
        assert float(held["fee_rate"]) == 0.00045
    assert all(peer.script.is_file() for peer in PEERS)
