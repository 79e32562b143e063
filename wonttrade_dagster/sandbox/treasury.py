"""Money that moves without a trade: between an account's wallets, to others, and out (protocol §2.6, §12).

Belongs here: transfers and their rows in the ledger. Does not belong here: who may ask (``actions``).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.orders import deposit, withdraw
from wonttrade_dagster.core.simulation.records import ExchangeState
from wonttrade_dagster.sandbox.account_log import Account, LedgerRow
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.venue import LoopbackVenue

WITHDRAWAL_FEE_USD = Decimal(1)
NO_BALANCE = "Insufficient balance for withdrawal."


def transfer(venue: LoopbackVenue, user: str, usdc: Decimal, *, to_perp: bool) -> str | None:
    """Move USDC between the spot wallet and the perpetuals' account; the venue's refusal or None."""
    with venue.lock:
        account = venue.account(user)
        if to_perp and usdc > account.spot_usdc:
            return NO_BALANCE
        refusal = _pay_in(venue, account, usdc) if to_perp else _take_out(venue, account, usdc)
        if refusal is None:
            account.spot_usdc += -usdc if to_perp else usdc
            _book(venue, account, {"type": "accountClassTransfer", "usdc": text(usdc), "toPerp": to_perp})
        return refusal


def send(venue: LoopbackVenue, user: str, destination: str, usdc: Decimal) -> str | None:
    """Send USDC to another account of the venue, which comes into being by it; a refusal or None."""
    with venue.lock:
        refusal = _take_out(venue, venue.account(user), usdc)
        if refusal is not None:
            return refusal
        receiver = venue.open(destination)
        _pay_in(venue, receiver, usdc)
        row = {
            "type": "internalTransfer",
            "usdc": text(usdc),
            "user": user,
            "destination": destination,
            "fee": "0.0",
        }
        for account in {user: venue.account(user), destination: receiver}.values():
            _book(venue, account, row)
        return None


def withdraw_usdc(venue: LoopbackVenue, user: str, usdc: Decimal, nonce: int) -> str | None:
    """Take USDC out of the venue, for a fee of one dollar; a refusal or None."""
    with venue.lock:
        if usdc <= WITHDRAWAL_FEE_USD:
            return NO_BALANCE
        account = venue.account(user)
        refusal = _take_out(venue, account, usdc)
        if refusal is None:
            paid = text(usdc - WITHDRAWAL_FEE_USD)
            row = {"type": "withdraw", "usdc": paid, "nonce": nonce, "fee": text(WITHDRAWAL_FEE_USD)}
            _book(venue, account, row)
        return refusal


def _pay_in(venue: LoopbackVenue, account: Account, usdc: Decimal) -> str | None:
    if usdc <= 0:
        return NO_BALANCE

    def step(state: ExchangeState) -> tuple[ExchangeState, tuple[()]]:
        return deposit(state, usdc, venue.settled_ms)[0], ()

    venue.apply(account, step)
    return None


def _take_out(venue: LoopbackVenue, account: Account, usdc: Decimal) -> str | None:
    refusals: list[str | None] = []

    def step(state: ExchangeState) -> tuple[ExchangeState, tuple[()]]:
        state, outcome = withdraw(state, usdc, venue.rules, venue.settled_ms)
        refusals.append(outcome.error)
        return state, ()

    venue.apply(account, step)
    return refusals[0]


def _book(venue: LoopbackVenue, account: Account, delta: Mapping[str, Any]) -> None:
    account.ledger.append(LedgerRow(venue.settled_ms, dict(delta)))
