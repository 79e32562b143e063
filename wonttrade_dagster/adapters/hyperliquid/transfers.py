"""``userNonFundingLedgerUpdates``: what of it moves the value of the perpetuals' account, and by how much.

Belongs here: the kinds of the venue's ledger and their signs. Does not belong here: asking (``exchange``).

A kind that is not listed here, a row in which this account has no part, and one that is not as expected have
no known effect: they are handed on as such, never guessed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.adapters.hyperliquid.fields import Row, rows
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import Transfer

MAX_KIND_CHARS = 40
PERPS_DEX, USDC = "", "USDC"

WITHOUT_EFFECT = frozenset({"liquidation", "spotTransfer", "spotGenesis", "cStakingTransfer"})
"""Spot and staking are other wallets; what a liquidation cost is in its fills."""

_NOT_IN_A_WORD = re.compile(r"[^A-Za-z0-9_ -]")


@dataclass(frozen=True, slots=True)
class LedgerUpdate:
    """One row of the venue's ledger; ``transfer`` is None where it does not touch the account value."""

    time_ms: int
    transfer: Transfer | None


def parse_ledger_updates(answer: object, address: str) -> tuple[LedgerUpdate, ...]:
    """The rows of ``userNonFundingLedgerUpdates``, oldest first.

    Args:
        answer: the venue's.
        address: the account that was asked about.

    Raises:
        VenueAnswerError: it is no list of such rows.
    """
    found = [_update(row, address.lower()) for row in rows(answer, "userNonFundingLedgerUpdates")]
    return tuple(sorted(found, key=lambda update: update.time_ms))


def _update(row: Row, address: str) -> LedgerUpdate:
    delta, time_ms = row.row("delta"), row.integer("time")
    kind = delta.text("type")
    if kind in WITHOUT_EFFECT:
        return LedgerUpdate(time_ms, None)
    usd = _effect(kind, delta, address)
    word = _NOT_IN_A_WORD.sub("?", kind)[:MAX_KIND_CHARS]  # it is told to the model
    return LedgerUpdate(time_ms, None if usd == 0 else Transfer(time_ms, word, usd))


def _effect(kind: str, delta: Row, address: str) -> Decimal | None:
    """One odd row must not keep fees and funding from being booked for ever: its effect is not known."""
    if kind not in _EFFECTS:
        return None
    try:
        return _EFFECTS[kind](delta, address)
    except VenueAnswerError:
        return None


def _fee(delta: Row) -> Decimal:
    return delta.optional_decimal("fee") or Decimal(0)


def _deposit(delta: Row, _address: str) -> Decimal:
    return delta.decimal("usdc")


def _withdraw(delta: Row, _address: str) -> Decimal:
    """``usdc`` is what arrives, the fee was taken besides."""
    return -delta.decimal("usdc") - _fee(delta)


def _class_transfer(delta: Row, _address: str) -> Decimal:
    usdc = delta.decimal("usdc")
    return usdc if delta.flag("toPerp") else -usdc


def _between_accounts(delta: Row, address: str) -> Decimal | None:
    """The sender pays the fee; to oneself only the fee is gone."""
    sender, receiver = delta.text("user").lower(), delta.text("destination").lower()
    if address not in (sender, receiver):
        return None
    usdc = delta.decimal("usdc")
    return (usdc if address == receiver else 0) - (usdc + _fee(delta) if address == sender else Decimal(0))


def _send(delta: Row, address: str) -> Decimal | None:
    """Any token between any two wallets of the venue; only USDC in the first perpetual dex counts."""
    sender, receiver = delta.text("user").lower(), delta.text("destination").lower()
    is_from = address == sender and delta.text("sourceDex") == PERPS_DEX
    is_to = address == receiver and delta.text("destinationDex") == PERPS_DEX
    if address not in (sender, receiver):
        return None
    if not is_from and not is_to:
        return Decimal(0)
    fee = _fee(delta)
    if delta.text("token") != USDC or (fee and (delta.optional_text("feeToken") or USDC) != USDC):
        return None
    amount = delta.decimal("amount")
    return (amount if is_to else 0) - (amount + fee if is_from else Decimal(0))


def _into_vault(delta: Row, address: str) -> Decimal | None:
    if delta.text("vault").lower() == address:
        return None  # the account is the vault itself
    return -delta.decimal("usdc") - _fee(delta)


def _from_vault(delta: Row, address: str) -> Decimal | None:
    return None if delta.text("vault").lower() == address else delta.decimal("usdc")


def _vault_withdrawal(delta: Row, address: str) -> Decimal | None:
    return delta.decimal("netWithdrawnUsd") if delta.text("user").lower() == address else None


_EFFECTS: Mapping[str, Callable[[Row, str], Decimal | None]] = {
    "deposit": _deposit,
    "withdraw": _withdraw,
    "accountClassTransfer": _class_transfer,
    "internalTransfer": _between_accounts,
    "subAccountTransfer": _between_accounts,
    "send": _send,
    "vaultCreate": _into_vault,
    "vaultDeposit": _into_vault,
    "vaultDistribution": _from_vault,
    "vaultWithdraw": _vault_withdrawal,
}
