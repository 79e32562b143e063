"""What the preflight warns of before anything trades, each against the loopback venue."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from loopback import CANARY_KEY, DAY_MS, Loopback

from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget
from wonttrade_dagster.adapters.hyperliquid.preflight import HyperliquidPreflight
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS

Check = Callable[..., dict[str, tuple[str, str]]]
AGENT = Account.from_key(CANARY_KEY).address


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with Loopback.serving() as loopback:
        yield loopback


@pytest.fixture
def check(loopback: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    def asked(**changes: Any) -> dict[str, tuple[str, str]]:
        config = loopback.config(tmp_path, **changes)
        capsys.readouterr()
        run(["check", "--json", "--config", str(config)])
        findings = json.loads(capsys.readouterr().out)
        return {f["question"]: (f["verdict"], f["detail"]) for f in findings}

    return asked


def approve(loopback: Loopback, valid_until_ms: int) -> None:
    name = f"trader valid_until {valid_until_ms}"
    loopback.venue("agent", {"user": SANDBOX_ACCOUNT_ADDRESS, "agent": AGENT, "name": name})


@pytest.mark.parametrize(("days", "verdict"), [(6, "warning"), (8, "ok")])
def test_an_agent_that_expires_within_a_week_is_a_warning(
    loopback: Loopback, check: Check, days: int, verdict: str
) -> None:
    approve(loopback, time.time_ns() // 1_000_000 + days * DAY_MS)
    assert check()["signer"][0] == verdict


def test_an_agent_whose_time_has_passed_is_told(
    loopback: Loopback, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = time.time_ns() // 1_000_000
    approve(loopback, now_ms + DAY_MS)
    monkeypatch.setattr("wonttrade_dagster.cli.check.SystemClock.now_ms", lambda _: now_ms + 2 * DAY_MS)
    verdict, detail = check()["signer"]
    assert verdict == "warning"
    assert "expired at" in detail


def test_usdc_that_lies_on_the_spot_side_only_is_a_problem_with_the_amount(
    loopback: Loopback, check: Check
) -> None:
    owner = Account.from_key("0x" + "cd" * 32)
    loopback.venue("fund", {"user": owner.address, "usdc": 500})
    Exchange(owner, loopback.sandbox.venue_url).usd_class_transfer(500.0, to_perp=False)
    verdict, detail = check(credentials__account_address=owner.address)["account"]
    assert verdict == "problem"
    assert "500.00 USDC lie on the spot side" in detail


def test_a_delisted_symbol_is_a_problem_and_an_isolated_one_a_warning(check: Check) -> None:
    assert check(symbols__tracked=["BTC", "MATIC"])["symbols"][0] == "problem"
    verdict, detail = check(symbols__tracked=["BTC", "HPOS"])["symbols"]
    assert verdict == "warning"
    assert "HPOS: isolated margin only" in detail


@pytest.mark.parametrize(("is_cross", "words"), [(True, "stands at 10x"), (False, "is on isolated margin")])
def test_a_position_that_this_program_would_not_hold_like_that_is_a_warning(
    loopback: Loopback, check: Check, is_cross: bool, words: str
) -> None:
    exchange = Exchange(
        Account.from_key(CANARY_KEY), loopback.sandbox.venue_url, account_address=SANDBOX_ACCOUNT_ADDRESS
    )
    exchange.update_leverage(10 if is_cross else 2, "BTC", is_cross)
    exchange.market_open("BTC", True, 0.01)
    px = round(float(loopback.info().all_mids()["BTC"]) * 0.9)
    stop = {"trigger": {"triggerPx": px, "isMarket": True, "tpsl": "sl"}}
    exchange.order("BTC", False, 0.01, px, stop, reduce_only=True)
    verdict, detail = check()["positions"]
    assert verdict == "warning"
    assert words in detail


def test_the_address_budget_is_told_and_a_low_one_is_a_warning(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check()["budget"][0] == "ok"
    monkeypatch.setattr(HyperliquidPreflight, "address_budget", lambda _: AddressBudget(9_900, 10_000))
    verdict, detail = check()["budget"]
    assert verdict == "warning"
    assert "100 are left" in detail


def test_a_unified_account_is_a_warning(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hyperliquid.info.Info.query_user_abstraction_state", lambda _self, _user: "unifiedAccount"
    )
    verdict, detail = check()["account"]
    assert verdict == "warning"
    assert "unified account" in detail
