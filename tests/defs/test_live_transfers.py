"""Deposits and withdrawals at the loopback venue, made through the official SDK between live cycles."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid.exchange import Exchange
from loopback import Loopback, SetBackClock, run_stages

from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS, Record
from wonttrade_dagster.core.model import AccountSnapshot, CycleReport, LlmContext, PerformanceSoFar, Stage
from wonttrade_dagster.core.transfers import is_only_funded
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle, journal, ledger
from wonttrade_dagster.sandbox.account_log import Account as VenueAccount
from wonttrade_dagster.settings import Settings, load_settings


@dataclass
class Owner:
    """An account of its own on the loopback venue, its master key, and the program that trades it."""

    loopback: Loopback
    clock: SetBackClock
    settings: Settings
    master: LocalAccount

    def cycle(self) -> CycleReport:
        return run_stages(compose_live_cycle(self.settings, Executors()), self.clock)

    def sdk(self) -> Exchange:
        return Exchange(self.master, self.loopback.sandbox.venue_url, timeout=5)

    def hold_prices(self, minutes: int) -> None:
        """No stop fires meanwhile, however long the next cycle waits."""
        mids = httpx2.post(f"{self.loopback.sandbox.venue_url}/info", json={"type": "allMids"}).json()
        for coin in ("BTC", "ETH"):
            self.loopback.venue("price", {"coin": coin, "mid": mids[coin], "hold_ms": minutes * 60_000})

    def fund(self, usdc: int) -> None:
        self.loopback.venue("fund", {"user": self.master.address, "usdc": usdc})

    def at_venue(self) -> VenueAccount:
        return self.loopback.sandbox.venue.account(self.master.address.lower())

    def stored(self, report: CycleReport, stage: Stage) -> Record:
        payload = ledger(self.settings, journal(self.settings)).load(report.cycle_ms, stage)
        assert payload is not None
        record: Record = decode(STAGE_RECORDS[stage], payload)
        return record

    def told(self, report: CycleReport) -> LlmContext:
        context = self.stored(report, Stage.LLM_CONTEXTS)
        assert isinstance(context, LlmContext)
        return context

    def explained(self, before: CycleReport, report: CycleReport, moved_usd: Decimal) -> float:
        """The return that the change of the account value leaves, transfers apart."""
        assert before.account_value_usd is not None
        assert report.account_value_usd is not None
        end = report.account_value_usd + max(-moved_usd, Decimal(0))
        step = end / (before.account_value_usd + max(moved_usd, Decimal(0)))
        return (1 + performance(before).return_fraction) * float(step) - 1


def performance(report: CycleReport) -> PerformanceSoFar:
    assert report.performance is not None
    return report.performance


@pytest.fixture
def owner(loopback: Loopback, clock: SetBackClock, tmp_path: Path) -> Owner:
    """20,000 USD, and a first cycle that opened positions."""
    master: LocalAccount = Account.create()
    loopback.venue("fund", {"user": master.address, "usdc": 20_000})
    agent: LocalAccount = Account.create()
    loopback.venue("agent", {"user": master.address, "agent": agent.address})
    config = loopback.config(
        tmp_path,
        credentials__account_address=master.address,
        credentials__agent_private_key="0x" + agent.key.hex().removeprefix("0x"),
    )
    return Owner(loopback, clock, load_settings(config), master)


def done(answer: Any) -> None:
    assert answer["status"] == "ok", answer


def test_a_deposit_moves_neither_return_nor_sharpe(owner: Owner) -> None:
    first, before = owner.cycle(), owner.cycle()
    assert first.positions
    owner.fund(10_000)
    report = owner.cycle()
    assert [(t.kind, t.usd) for t in report.transfers] == [("deposit", Decimal(10_000))]
    assert report.alerts == ()
    expected = owner.explained(before, report, Decimal(10_000))
    assert performance(report).return_fraction == pytest.approx(expected, abs=1e-9)
    context = owner.told(report)
    assert abs(context.performance.return_fraction) < 0.01
    assert "(10000.00 USD paid in apart)" in context.prompt.user
    after = owner.cycle()
    assert (after.transfers, after.alerts) == ((), ())
    assert performance(after).sharpe is not None
    sums = performance(after).returns
    assert sums is not None
    assert sums.count == 3
    assert abs(sums.mean) + sums.squares**0.5 < 0.02, "no step of a third is among the returns"


def test_withdrawals_and_transfers_to_the_spot_wallet_and_back(owner: Owner) -> None:
    owner.cycle()
    before = owner.cycle()
    done(owner.sdk().withdraw_from_bridge(8_000, owner.master.address))
    report = owner.cycle()
    assert [(t.kind, t.usd) for t in report.transfers] == [("withdraw", Decimal(-8_000))]
    assert performance(report).return_fraction == pytest.approx(
        owner.explained(before, report, Decimal(-8_000)), abs=1e-9
    )
    done(owner.sdk().usd_class_transfer(3_000, False))
    away = owner.cycle()
    done(owner.sdk().usd_class_transfer(3_000, True))
    back = owner.cycle()
    assert [t.usd for t in (*away.transfers, *back.transfers)] == [Decimal(-3_000), Decimal(3_000)]
    done(owner.sdk().usd_class_transfer(3_000, False))
    done(owner.sdk().usd_class_transfer(3_000, True))
    done(owner.sdk().usd_transfer(500, "0x" + "44" * 20))
    report = owner.cycle()
    assert sum(t.usd or 0 for t in report.transfers) == Decimal(-500)
    assert report.alerts == away.alerts == back.alerts == ()
    assert performance(report).transfers_usd == Decimal(-8_500)
    assert abs(performance(report).return_fraction) < 0.02


def test_a_deposit_together_with_fills_fees_and_funding(owner: Owner) -> None:
    before = owner.cycle()
    owner.fund(10_000)
    owner.fund(2_000)
    done(owner.sdk().market_open("SOL", is_buy=True, sz=5))
    owner.clock.offset_ms += 60 * 60_000  # over an hour: funding is paid
    report = owner.cycle()
    assert {"SOL"} <= {fill.symbol for fill in report.fills}
    assert performance(report).funding_usd != 0
    assert sum(t.usd or 0 for t in report.transfers) == Decimal(12_000)
    assert not [alert for alert in report.alerts if "ACCOUNT" in alert]
    expected = owner.explained(before, report, Decimal(12_000))
    assert performance(report).return_fraction == pytest.approx(expected, abs=1e-9)


def test_a_list_that_is_late_by_a_cycle(owner: Owner) -> None:
    owner.cycle()
    before = owner.cycle()
    owner.fund(10_000)
    hidden = owner.at_venue().ledger.pop()
    report = owner.cycle()
    assert (report.transfers, report.alerts) == ((), ())
    assert abs(owner.told(report).performance.return_fraction) < 0.02
    assert abs(performance(report).return_fraction - performance(before).return_fraction) < 0.01
    owner.at_venue().ledger.append(hidden)
    report = owner.cycle()
    assert [t.usd for t in report.transfers] == [Decimal(10_000)]
    assert report.alerts == ()
    assert abs(performance(report).return_fraction - performance(before).return_fraction) < 0.01


def test_a_kind_that_nobody_knows_is_told(owner: Owner) -> None:
    owner.cycle()
    owner.fund(10_000)
    owner.at_venue().ledger[-1].delta["type"] = "giftOfNextYear"
    report = owner.cycle()
    assert len(report.alerts) == 1
    assert "'giftOfNextYear'" in report.alerts[0]
    assert "10,000.00 USD CAME TO THE ACCOUNT: THIS COUNTS AS GAIN" in report.alerts[0]
    assert owner.told(owner.cycle()).alerts == report.alerts


def test_cycles_without_transfers_ask_for_none_even_where_funding_is_paid(owner: Owner) -> None:
    before = owner.cycle()
    owner.hold_prices(minutes=120)
    owner.loopback.venue("faults", [{"on": "info:userNonFundingLedgerUpdates", "kind": "500", "times": 9}])
    for minutes in (0, 60, 0):
        owner.clock.offset_ms += minutes * 60_000
        report = owner.cycle()
        assert (report.transfers, report.alerts) == ((), ())
        account = owner.stored(report, Stage.ACCOUNT_SNAPSHOTS)
        assert isinstance(account, AccountSnapshot)
        booking = performance(before).booking
        assert booking is not None
        assert is_only_funded(booking, account, before.positions), "so that the prompt asks nothing"
        before = report
    assert performance(report).funding_usd != 0
    assert performance(report).basis is None
    waiting = httpx2.get(f"{owner.loopback.sandbox.venue_url}/sandbox/faults").json()["faults"]
    assert [fault["times"] for fault in waiting] == [9]


def test_all_is_withdrawn_and_some_of_it_paid_in_again(owner: Owner) -> None:
    owner.loopback.model("faults", [{"kind": "reply", "text": "no JSON at all", "times": 99}])
    owner.cycle()
    done(owner.sdk().withdraw_from_bridge(20_000, owner.master.address))
    empty = owner.cycle()
    assert (empty.reason, empty.account_value_usd) == ("account_without_equity", 0)
    assert performance(empty).return_fraction == 0
    assert performance(owner.cycle()).return_fraction == 0
    owner.fund(500)
    owner.loopback.model("faults", [])
    report = owner.cycle()
    assert report.positions
    assert abs(performance(report).return_fraction) < 0.02
    assert performance(report).transfers_usd == Decimal(-19_500)
    assert performance(owner.cycle()).sharpe is not None
    assert report.alerts == ()
