"""``/exchange``: signed actions, from the envelope to the venue's answer (protocol §3, §4).

Belongs here: who may act, and what each action answers. Does not belong here: HTTP (``venue_app``), how
orders of one request belong together (``order_groups``), the exchange's rules (``core.simulation``).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.events import ChangeOutcome
from wonttrade_dagster.core.simulation.records import LeverageSetting
from wonttrade_dagster.sandbox import limits, order_groups, treasury
from wonttrade_dagster.sandbox.about import About
from wonttrade_dagster.sandbox.agents import AgentError
from wonttrade_dagster.sandbox.answers import Json, done, orders, refused, statuses
from wonttrade_dagster.sandbox.envelopes import (
    SchemaError,
    read_address,
    read_amount,
    read_bool,
    read_cloid,
    read_envelope,
    read_int,
    read_rows,
)
from wonttrade_dagster.sandbox.faults import DEFAULT_SKEW_MS, FaultList
from wonttrade_dagster.sandbox.limits import BudgetError
from wonttrade_dagster.sandbox.nonces import NonceError
from wonttrade_dagster.sandbox.order_groups import Refused, symbol_of
from wonttrade_dagster.sandbox.signatures import USER_SIGNED, UnrecoverableSignatureError, recover_signer
from wonttrade_dagster.sandbox.venue import LoopbackVenue
from wonttrade_dagster.sandbox.walk import DAY_MS

MIN_SCHEDULE_MS = 5_000
MAX_SWITCHES_PER_DAY = 10
NTLI_PER_USD = 1_000_000

Action = Mapping[str, Any]


def carry_out(venue: LoopbackVenue, faults: FaultList, body: object) -> dict[str, Any]:
    """The answer to one request to ``/exchange``. Raises ``SchemaError`` for what is no request."""
    envelope = read_envelope(body)
    try:
        signer = recover_signer(envelope)
        with venue.lock:
            user = _authorise(venue, envelope, signer, _skew_ms(venue, faults, envelope))
            limits.spend(venue.accounts[user], envelope["action"], venue.clock.host_ms(), venue.options)
            return _HANDLERS[envelope["action"]["type"]](venue, faults, user, envelope["action"])
    except (UnrecoverableSignatureError, NonceError, AgentError, BudgetError, Refused) as error:
        return refused(str(error))


def _skew_ms(venue: LoopbackVenue, faults: FaultList, envelope: Mapping[str, Any]) -> int:
    """How wrong the venue's clock is about this request, as long as a fault says so."""
    kinds = frozenset({"wrong_clock"})
    fault = faults.take("exchange", str(envelope["action"]["type"]), kinds, About(venue, envelope))
    return 0 if fault is None else int(fault.options.get("by_ms", DEFAULT_SKEW_MS))


def _authorise(venue: LoopbackVenue, envelope: Mapping[str, Any], signer: str, skew_ms: int) -> str:
    """The account that the signer acts for; books the nonce. Raises ``Refused``, ``NonceError``."""
    now_ms = venue.clock.host_ms() + skew_ms
    is_user_signed = envelope["action"]["type"] in USER_SIGNED
    user = signer if venue.knows(signer) else venue.agents.master_of(signer, now_ms)
    if is_user_signed and not venue.knows(signer):
        raise Refused(f"Must deposit before performing actions. User: {signer}")
    if user is None or not venue.knows(user):
        raise Refused(f"User or API Wallet {signer} does not exist.")
    if envelope.get("vaultAddress") is not None:
        raise Refused(f"Vault not registered: {read_address(envelope['vaultAddress'])}")
    expires_ms = envelope.get("expiresAfter")
    if expires_ms is not None and expires_ms < now_ms:
        venue.accounts[user].requests_used += limits.EXPIRED_COST
        raise Refused("Action already expired")
    venue.nonces.use(signer, int(envelope["nonce"]), now_ms)
    return user


def _order(venue: LoopbackVenue, faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    return orders(order_groups.place_all(venue, faults, user, action))


def _modify(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    modifies = [dict(action)] if action["type"] == "modify" else action.get("modifies")
    rows = read_rows(modifies, "modifies")
    return orders(order_groups.modify_all(venue, user, rows))


def _cancel(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    pairs = [
        (read_int(row.get("a"), "a"), read_int(row.get("o"), "o"))
        for row in read_rows(action.get("cancels"), "cancels")
    ]
    return statuses("cancel", [_cancelled(venue, user, asset, oid) for asset, oid in pairs])


def _cancel_by_cloid(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    pairs = [
        (read_int(row.get("asset"), "asset"), read_cloid(row.get("cloid")))
        for row in read_rows(action.get("cancels"), "cancels")
    ]
    return statuses("cancel", [_cancelled(venue, user, asset, cloid) for asset, cloid in pairs])


def _cancelled(venue: LoopbackVenue, user: str, asset_id: int, key: int | str) -> Json:
    account = venue.accounts[user]
    standing = [*account.state.orders.values(), *account.waiting_children()]
    is_of_asset = any(
        key in (order.oid, order.request.cloid) and venue.rules.assets[order.symbol].asset_id == asset_id
        for order in standing
    )
    outcome = venue.cancel(user, key if is_of_asset else -1)
    return "success" if outcome.ok else {"error": f"{outcome.error} asset={asset_id}"}


def _leverage(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    symbol = symbol_of(venue, read_int(action.get("asset"), "asset"))
    leverage = read_int(action.get("leverage"), "leverage")
    is_cross = read_bool(action.get("isCross"), "isCross")
    return _changed(venue.set_leverage(user, symbol, LeverageSetting(leverage, is_cross)))


def _isolated_margin(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    symbol = symbol_of(venue, read_int(action.get("asset"), "asset"))
    read_bool(action.get("isBuy"), "isBuy")
    ntli = action.get("ntli")
    if not isinstance(ntli, int) or isinstance(ntli, bool):
        raise SchemaError("ntli is not an integer")
    return _changed(venue.move_margin(user, symbol, Decimal(ntli) / NTLI_PER_USD))


def _schedule_cancel(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    account = venue.accounts[user]
    if action.get("time") is None:
        account.cancel_all_at_ms = None
        return done()
    ahead_ms = read_int(action["time"], "time") - venue.clock.host_ms()
    required, volume = venue.options.schedule_cancel_volume_usd, account.volume_usd()
    if volume < required:
        sums = f"Required: ${required}. Traded: ${volume.normalize():f}."
        return refused(f"Cannot set scheduled cancel time until enough volume traded. {sums}")
    if ahead_ms < MIN_SCHEDULE_MS:
        return refused("Scheduled cancel time too early, must be at least 5 seconds from now.")
    today = venue.settled_ms // DAY_MS
    if sum(at_ms // DAY_MS == today for at_ms in account.cancel_all_fired_ms) >= MAX_SWITCHES_PER_DAY:
        return refused(f"Too many scheduled cancels triggered today. Limit is {MAX_SWITCHES_PER_DAY}.")
    account.cancel_all_at_ms = venue.clock.now_ms() + ahead_ms
    return done()


def _approve_agent(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    name = action.get("agentName") or ""
    venue.agents.approve(user, read_address(action.get("agentAddress")), str(name), venue.clock.host_ms())
    return done()


def _noop(_venue: LoopbackVenue, _faults: FaultList, _user: str, _action: Action) -> dict[str, Any]:
    return done()


def _class_transfer(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    to_perp = read_bool(action.get("toPerp"), "toPerp")
    return _answered(treasury.transfer(venue, user, read_amount(action.get("amount")), to_perp=to_perp))


def _usd_send(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    destination = read_address(action.get("destination"))
    return _answered(treasury.send(venue, user, destination, read_amount(action.get("amount"))))


def _withdraw(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    read_address(action.get("destination"))
    nonce = read_int(action.get("time"), "time")
    return _answered(treasury.withdraw_usdc(venue, user, read_amount(action.get("amount")), nonce))


def _answered(refusal: str | None) -> dict[str, Any]:
    return done() if refusal is None else refused(refusal)


def _changed(outcome: ChangeOutcome) -> dict[str, Any]:
    return _answered(outcome.error)


_Handler = Callable[[LoopbackVenue, FaultList, str, Action], dict[str, Any]]
_HANDLERS: Mapping[str, _Handler] = {
    "order": _order,
    "modify": _modify,
    "batchModify": _modify,
    "cancel": _cancel,
    "cancelByCloid": _cancel_by_cloid,
    "updateLeverage": _leverage,
    "updateIsolatedMargin": _isolated_margin,
    "scheduleCancel": _schedule_cancel,
    "approveAgent": _approve_agent,
    "noop": _noop,
    "usdClassTransfer": _class_transfer,
    "usdSend": _usd_send,
    "withdraw3": _withdraw,
}
