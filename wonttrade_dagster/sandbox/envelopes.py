"""The bodies of ``/exchange``, read strictly into records (protocol §3, §13).

Belongs here: which JSON is a request at all. Does not belong here: whether the venue carries it out.

Unknown fields are refused in the envelope and in an action and ignored inside an order, as on the venue.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.simulation.records import OrderRequest, Tif, Trigger
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.numbers import read_wire

MAX_UINT64 = 2**64 - 1
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ENVELOPE = frozenset({"action", "nonce", "signature", "vaultAddress", "expiresAfter"})
_TIFS = {"Gtc": Tif.GTC, "Ioc": Tif.IOC, "Alo": Tif.ALO, "FrontendMarket": Tif.IOC}
_LEGS = {"sl": Leg.STOP_LOSS, "tp": Leg.TAKE_PROFIT}

_SIGNED = frozenset({"signatureChainId", "hyperliquidChain"})
ACTION_FIELDS: Mapping[str, frozenset[str]] = {
    "order": frozenset({"orders", "grouping", "builder"}),
    "cancel": frozenset({"cancels"}),
    "cancelByCloid": frozenset({"cancels"}),
    "modify": frozenset({"oid", "order"}),
    "batchModify": frozenset({"modifies"}),
    "updateLeverage": frozenset({"asset", "isCross", "leverage"}),
    "updateIsolatedMargin": frozenset({"asset", "isBuy", "ntli"}),
    "scheduleCancel": frozenset({"time"}),
    "noop": frozenset(),
    "approveAgent": frozenset({"agentAddress", "agentName", "nonce"}) | _SIGNED,
    "usdClassTransfer": frozenset({"amount", "toPerp", "nonce"}) | _SIGNED,
    "usdSend": frozenset({"destination", "amount", "time"}) | _SIGNED,
    "withdraw3": frozenset({"destination", "amount", "time"}) | _SIGNED,
}
"""What an action may hold beside its ``type``."""


class SchemaError(ValueError):
    """The body is no request of the venue's: HTTP 422."""


@dataclass(frozen=True, slots=True)
class WireOrder:
    """One order and the asset it is for; the symbol is filled in by the venue's listing."""

    asset_id: int
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    reduce_only: bool
    tif: Tif
    trigger: Trigger | None
    cloid: str | None

    def request(self, symbol: str, *, is_position_tpsl: bool = False) -> OrderRequest:
        """The order for the simulated exchange."""
        return OrderRequest(
            symbol=symbol,
            is_buy=self.is_buy,
            size_base=self.size_base,
            limit_px=self.limit_px,
            tif=self.tif,
            reduce_only=self.reduce_only,
            cloid=self.cloid,
            trigger=self.trigger,
            is_position_tpsl=is_position_tpsl,
        )


def read_envelope(body: object) -> dict[str, Any]:
    """The five keys of a signed request with an action of a known type. Raises ``SchemaError``."""
    envelope = _object(body, "the body")
    if not _ENVELOPE >= envelope.keys() >= {"action", "nonce", "signature"}:
        raise SchemaError("the envelope has other keys than a signed request")
    read_int(envelope["nonce"], "nonce")
    action = _object(envelope["action"], "action")
    fields = ACTION_FIELDS.get(str(action.get("type")))
    if fields is None or not action.keys() <= fields | {"type"}:
        raise SchemaError(f"no action {action.get('type')!r} with these fields")
    _check_signature(_object(envelope["signature"], "signature"))
    if envelope.get("expiresAfter") is not None:
        read_int(envelope["expiresAfter"], "expiresAfter")
    if envelope.get("vaultAddress") is not None:
        read_address(envelope["vaultAddress"])
    return envelope


def read_order(value: object) -> WireOrder:
    """One order of an ``order`` or ``batchModify`` action. Raises ``SchemaError``."""
    row = _object(value, "order")
    limit, trigger = _order_type(_object(row.get("t"), "t"))
    return WireOrder(
        asset_id=read_int(row.get("a"), "a"),
        is_buy=read_bool(row.get("b"), "b"),
        limit_px=_decimal(row.get("p")),
        size_base=_decimal(row.get("s")),
        reduce_only=read_bool(row.get("r"), "r"),
        tif=limit,
        trigger=trigger,
        cloid=None if row.get("c") is None else read_cloid(row["c"]),
    )


def read_list(value: object, what: str) -> list[Any]:
    """A JSON list. Raises ``SchemaError``."""
    if not isinstance(value, list):
        raise SchemaError(f"{what} is not a list")
    return value


def read_rows(value: object, what: str) -> list[dict[str, Any]]:
    """A JSON list of objects. Raises ``SchemaError``."""
    return [_object(row, what) for row in read_list(value, what)]


def read_int(value: object, what: str) -> int:
    """An unsigned 64-bit number. Raises ``SchemaError``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_UINT64:
        raise SchemaError(f"{what} is not an unsigned integer")
    return value


def read_bool(value: object, what: str) -> bool:
    """A JSON boolean. Raises ``SchemaError``."""
    if not isinstance(value, bool):
        raise SchemaError(f"{what} is not a boolean")
    return value


def read_cloid(value: object) -> str:
    """A client order id in lower case. Raises ``SchemaError``."""
    if not isinstance(value, str) or not _CLOID.fullmatch(value):
        raise SchemaError("a client order id is 0x and 32 hex digits")
    return value.lower()


def read_address(value: object) -> str:
    """An address in lower case. Raises ``SchemaError``."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise SchemaError("an address is 0x and 40 hex digits")
    return value.lower()


def read_amount(value: object) -> Decimal:
    """An amount of money as text. Raises ``SchemaError``."""
    return _decimal(value)


def read_oid(value: object) -> int | str:
    """An order id, or a client order id. Raises ``SchemaError``."""
    return read_cloid(value) if isinstance(value, str) else read_int(value, "oid")


def _order_type(row: dict[str, Any]) -> tuple[Tif, Trigger | None]:
    if row.keys() == {"limit"}:
        return _choice(_object(row["limit"], "limit").get("tif"), _TIFS), None
    if row.keys() != {"trigger"}:
        raise SchemaError("an order is either limit or trigger")
    trigger = _object(row["trigger"], "trigger")
    is_market = read_bool(trigger.get("isMarket"), "isMarket")
    leg = _choice(trigger.get("tpsl"), _LEGS)
    return Tif.GTC, Trigger(_decimal(trigger.get("triggerPx")), is_market, leg)


def _check_signature(signature: dict[str, Any]) -> None:
    if signature.keys() != {"r", "s", "v"} or not all(isinstance(signature[k], str) for k in "rs"):
        raise SchemaError("a signature has r, s and v")
    read_int(signature["v"], "v")


def _choice(value: object, choices: Mapping[str, Any]) -> Json:
    if not isinstance(value, str) or value not in choices:
        raise SchemaError(f"{value!r} is none of {', '.join(choices)}")
    return choices[value]


def _decimal(value: object) -> Decimal:
    return _or_schema_error(read_wire, value)


def _or_schema_error(read: Callable[[object], Decimal], value: object) -> Decimal:
    try:
        return read(value)
    except ValueError as error:
        raise SchemaError(str(error)) from error


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SchemaError(f"{what} is not an object")
    return value
