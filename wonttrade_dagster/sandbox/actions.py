"""``/exchange``: signed actions, from the envelope to the venue's answer (protocol §3, §4).

Belongs here: who may act, and what each action answers. Does not belong here: HTTP (``venue_app``), how
orders of one request belong together (``order_groups``), the exchange's rules (``core.simulation``).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.records import ChangeOutcome, LeverageSetting
from wonttrade_dagster.sandbox import order_groups
from wonttrade_dagster.sandbox.agents import AgentError
from wonttrade_dagster.sandbox.answers import Json, done, orders, refused, statuses
from wonttrade_dagster.sandbox.envelopes import (
    SchemaError,
    read_address,
    read_bool,
    read_cloid,
    read_envelope,
    read_int,
    read_rows,
)
from wonttrade_dagster.sandbox.faults import FaultList
from wonttrade_dagster.sandbox.nonces import NonceError
from wonttrade_dagster.sandbox.order_groups import Refused, symbol_of
from wonttrade_dagster.sandbox.signatures import USER_SIGNED, UnrecoverableSignatureError, recover_signer
from wonttrade_dagster.sandbox.venue import LoopbackVenue

SCHEDULE_VOLUME_USD = Decimal(1_000_000)
NTLI_PER_USD = 1_000_000

Action = Mapping[str, Any]


def carry_out(venue: LoopbackVenue, faults: FaultList, body: object) -> dict[str, Any]:
    """The answer to one request to ``/exchange``. Raises ``SchemaError`` for what is no request."""
    envelope = read_envelope(body)
    try:
        signer = recover_signer(envelope)
        with venue.lock:
            user = _authorise(venue, envelope, signer)
            venue.accounts[user].requests_used += _weight(envelope["action"])
            return _HANDLERS[envelope["action"]["type"]](venue, faults, user, envelope["action"])
    except (UnrecoverableSignatureError, NonceError, AgentError, Refused) as error:
        return refused(str(error))


def _authorise(venue: LoopbackVenue, envelope: Mapping[str, Any], signer: str) -> str:
    """The account that the signer acts for; books the nonce. Raises ``Refused``, ``NonceError``."""
    now_ms = venue.clock.host_ms()
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
        raise Refused("Action already expired")
    venue.nonces.use(signer, int(envelope["nonce"]), now_ms)
    return user


def _weight(action: Action) -> int:
    batches = (action.get(name) for name in ("orders", "cancels", "modifies"))
    return max([1, *(len(batch) for batch in batches if isinstance(batch, list))])


def _order(venue: LoopbackVenue, faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    return orders(order_groups.place_all(venue, faults, user, action))


def _modify(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    rows = [action] if action["type"] == "modify" else read_rows(action.get("modifies"), "modifies")
    return orders([order_groups.modify(venue, user, row) for row in rows])


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
    standing = venue.accounts[user].state.orders.values()
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
    if action.get("time") is None:
        return done()
    read_int(action["time"], "time")
    volume = venue.accounts[user].volume_usd()
    required = f"Required: ${SCHEDULE_VOLUME_USD}. Traded: ${volume.normalize():f}."
    return refused(f"Cannot set scheduled cancel time until enough volume traded. {required}")


def _approve_agent(venue: LoopbackVenue, _faults: FaultList, user: str, action: Action) -> dict[str, Any]:
    name = action.get("agentName") or ""
    venue.agents.approve(user, read_address(action.get("agentAddress")), str(name), venue.clock.host_ms())
    return done()


def _noop(_venue: LoopbackVenue, _faults: FaultList, _user: str, _action: Action) -> dict[str, Any]:
    return done()


def _class_transfer(_venue: LoopbackVenue, _faults: FaultList, user: str, _action: Action) -> dict[str, Any]:
    return refused(
        f"Insufficient balance for withdrawal. The loopback venue has no spot wallet. User: {user}"
    )


def _changed(outcome: ChangeOutcome) -> dict[str, Any]:
    return done() if outcome.error is None else refused(outcome.error)


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
}
