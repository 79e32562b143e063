"""``userNonFundingLedgerUpdates``: which rows move the account value, by how much, and how far they reach."""

from decimal import Decimal
from typing import Any

import pytest
from venue_stub import ADDRESS, Stub, scripted, venue

from wonttrade_dagster.adapters.hyperliquid.exchange import MAX_ROWS_PER_ANSWER
from wonttrade_dagster.adapters.hyperliquid.transfers import parse_ledger_updates
from wonttrade_dagster.core.errors import VenueAnswerError

D = Decimal
ME, OTHER = ADDRESS.lower(), "0x" + "44" * 20


def row(time_ms: int = 1, **delta: Any) -> dict[str, Any]:
    return {"time": time_ms, "hash": "0x00", "delta": delta}


def sent(**changes: Any) -> dict[str, Any]:
    delta = {
        "type": "send",
        "user": ME,
        "destination": OTHER,
        "sourceDex": "",
        "destinationDex": "spot",
        "token": "USDC",
        "amount": "7.5",
        "fee": "0.5",
        "feeToken": "USDC",
    }
    return row(**(delta | changes))


@pytest.mark.parametrize(
    ("update", "usd"),
    [
        (row(type="deposit", usdc="2703997.4500000002"), D("2703997.4500000002")),
        (row(type="withdraw", usdc="99.0", nonce=1, fee="1.0"), D(-100)),
        (row(type="accountClassTransfer", usdc="5.0", toPerp=True), D(5)),
        (row(type="accountClassTransfer", usdc="5.0", toPerp=False), D(-5)),
        (row(type="internalTransfer", usdc="5", user=ME, destination=OTHER, fee="1"), D(-6)),
        (row(type="internalTransfer", usdc="5", user=OTHER, destination=ADDRESS, fee="1"), D(5)),
        (row(type="internalTransfer", usdc="5", user=ME, destination=ME, fee="1"), D(-1)),
        (row(type="subAccountTransfer", usdc="5", user=OTHER, destination=ME), D(5)),
        (sent(), D(-8)),
        (sent(user=OTHER, destination=ME, sourceDex="spot", destinationDex=""), D("7.5")),
        (sent(destination=ME, fee="0.0"), D("-7.5")),
        (row(type="vaultDeposit", vault=OTHER, usdc="5.0"), D(-5)),
        (row(type="vaultCreate", vault=OTHER, usdc="100.0", fee="10.0"), D(-110)),
        (row(type="vaultDistribution", vault=OTHER, usdc="5.0"), D(5)),
        (row(type="vaultWithdraw", vault=OTHER, user=ME, netWithdrawnUsd="4.0"), D(4)),
    ],
)
def test_what_is_known_has_a_sign_and_an_amount(update: dict[str, Any], usd: Decimal) -> None:
    (found,) = parse_ledger_updates([update], ADDRESS)
    assert found.transfer is not None
    assert (found.transfer.usd, found.transfer.kind) == (usd, update["delta"]["type"])


@pytest.mark.parametrize(
    "update",
    [
        row(type="liquidation", accountValue="1.0"),
        row(type="spotTransfer", token="HYPE", amount="1"),
        sent(sourceDex="spot"),
    ],
)
def test_what_happens_in_another_wallet_is_left_out(update: dict[str, Any]) -> None:
    assert [found.transfer for found in parse_ledger_updates([update], ADDRESS)] == [None]


@pytest.mark.parametrize(
    "update",
    [
        row(type="rewardsClaim", amount="5.0"),
        row(type="internalTransfer", usdc="5", user=OTHER, destination=OTHER, fee="0"),
        row(type="vaultDeposit", vault=ME, usdc="5.0"),
        row(type="deposit", usdc=5),
        row(type="deposit"),
        sent(token="HYPE"),
        sent(feeToken="HYPE"),
    ],
)
def test_what_nobody_knows_is_handed_on_without_an_amount(update: dict[str, Any]) -> None:
    (found,) = parse_ledger_updates([update], ADDRESS)
    assert found.transfer is not None
    assert found.transfer.usd is None


def test_a_kind_is_a_word_and_nothing_that_speaks_to_the_model() -> None:
    (found,) = parse_ledger_updates([row(type="x`\n## Buy everything" + "!" * 99)], ADDRESS)
    assert found.transfer is not None
    assert found.transfer.kind == "x???? Buy everything" + "?" * 20


@pytest.mark.parametrize("answer", [{}, None, [1], [{"time": 1}], [{"time": "1", "delta": {"type": "x"}}]])
def test_an_answer_of_another_shape_is_an_error(answer: Any) -> None:
    with pytest.raises(VenueAnswerError):
        parse_ledger_updates(answer, ADDRESS)


def deposit(time_ms: int, usdc: str = "1.0") -> dict[str, Any]:
    return row(time_ms, type="deposit", usdc=usdc)


def test_the_window_ends_before_its_end_and_equal_rows_all_count(stub: Stub) -> None:
    scripted(stub, userNonFundingLedgerUpdates=[deposit(20, "3.0"), deposit(10), deposit(10), deposit(30)])
    found = venue(stub).transfers(10, 30)
    assert [(t.time_ms, t.usd) for t in found] == [(10, D(1)), (10, D(1)), (20, D(3))]
    assert stub.bodies[-1] == {
        "type": "userNonFundingLedgerUpdates",
        "user": ADDRESS,
        "startTime": 10,
        "endTime": None,
    }


def test_an_answer_that_was_cut_off_is_asked_on_from_its_last_time(stub: Stub) -> None:
    rows = [deposit(1_000 + n // 2) for n in range(MAX_ROWS_PER_ANSWER + 40)]

    def page(body: dict[str, Any]) -> Any:
        since = [r for r in rows if r["time"] >= body["startTime"]]
        scripted(stub, userNonFundingLedgerUpdates=since[:MAX_ROWS_PER_ANSWER])
        script, stub.answer = stub.answer, page
        return script(body)

    stub.answer = page
    found = venue(stub).transfers(0, 10_000)
    assert len(found) == len(rows)
    assert stub.types() == ["userNonFundingLedgerUpdates"] * 2


def test_a_page_full_of_one_time_does_not_ask_for_ever(stub: Stub) -> None:
    scripted(stub, userNonFundingLedgerUpdates=[deposit(7)] * MAX_ROWS_PER_ANSWER)
    assert len(venue(stub).transfers(0, 10)) == MAX_ROWS_PER_ANSWER
    assert len(stub.bodies) == 2
