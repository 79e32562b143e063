"""Rows of orders, fills, funding and deposits as the venue prints them (protocol §2.4 to §2.6, §7.2).

Belongs here: one record to one JSON object. Does not belong here: which rows an answer holds.
"""

from decimal import Decimal
from hashlib import sha256
from typing import Any

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.precision import floor_size
from wonttrade_dagster.core.simulation.events import Execution, FundingPayment, Liquidation
from wonttrade_dagster.core.simulation.margin import free_margin_usd
from wonttrade_dagster.core.simulation.records import (
    OrderRequest,
    StandingOrder,
    VenueRules,
)
from wonttrade_dagster.sandbox.account_log import Account, LedgerRow, StatusRow
from wonttrade_dagster.sandbox.numbers import text

FEE_TOKEN = "USDC"  # noqa: S105 (the name of a coin)
OPEN = "open"
FUNDING_DECIMALS = Decimal("0.000001")
PX_DECIMALS = 8
LIQUIDATOR = "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14"
"""The address that takes liquidated positions; any address would do."""


def digest(*parts: object) -> str:
    """A transaction hash: 0x and 64 hex digits, the same for the same parts."""
    return "0x" + sha256(":".join(str(part) for part in parts).encode()).hexdigest()


def side(*, is_buy: bool) -> str:
    """``B`` bid, ``A`` ask."""
    return "B" if is_buy else "A"


def short_order(order: StandingOrder) -> dict[str, Any]:
    """A row of ``openOrders``: nothing says that it is a trigger, cloid and reduceOnly only when set."""
    request = order.request
    row = basic_order(order)
    if request.reduce_only:
        row["reduceOnly"] = True
    return row


def basic_order(order: StandingOrder) -> dict[str, Any]:
    """The part of an order that ``openOrders`` and ``orderUpdates`` share."""
    request = order.request
    row: dict[str, Any] = {
        "coin": request.symbol,
        "side": side(is_buy=request.is_buy),
        "limitPx": text(request.limit_px),
        "sz": text(order.open_base),
        "oid": order.oid,
        "timestamp": order.placed_at_ms,
        "origSz": text(request.size_base),
    }
    return row if request.cloid is None else row | {"cloid": request.cloid}


def open_order(order: StandingOrder, account: Account) -> dict[str, Any]:
    """A row of ``frontendOpenOrders``, with the children that wait for it (they are rows themselves too)."""
    waiting = [c for group in account.groups if group.parent_oid == order.oid for c in group.waiting]
    return long_order(order) | {"children": [long_order(child) for child in waiting]}


def long_order(order: StandingOrder, *, is_closed: bool = False) -> dict[str, Any]:
    """The long form of an order; a closed trigger order loses its trigger fields, as on the venue."""
    request = order.request
    shows_trigger = request.trigger is not None and not is_closed
    return {
        "coin": request.symbol,
        "side": side(is_buy=request.is_buy),
        "limitPx": text(request.limit_px),
        "sz": text(order.open_base),
        "oid": order.oid,
        "timestamp": order.placed_at_ms,
        "triggerCondition": trigger_condition(request) if shows_trigger else "N/A",
        "isTrigger": shows_trigger,
        "triggerPx": text(request.trigger.trigger_px) if shows_trigger and request.trigger else "0.0",
        "children": [],
        "isPositionTpsl": request.is_position_tpsl,
        "reduceOnly": request.reduce_only,
        "orderType": order_type(request),
        "origSz": text(request.size_base),
        "tif": None if request.trigger is not None else request.tif.value,
        "cloid": request.cloid,
    }


def trigger_condition(request: OrderRequest) -> str:
    """``Price below 95000``, with the number as it was sent."""
    px = request.trigger.trigger_px if request.trigger is not None else Decimal(0)
    plain = format(px.normalize(), "f")
    return f"Price {'below' if request.fires_below else 'above'} {plain}"


def order_type(request: OrderRequest) -> str:
    """``Limit``, or ``Stop Market`` and its three brothers."""
    if request.trigger is None:
        return "Limit"
    name = "Stop" if request.trigger.leg is Leg.STOP_LOSS else "Take Profit"
    return f"{name} {'Market' if request.trigger.is_market else 'Limit'}"


def status(row: StatusRow) -> dict[str, Any]:
    """A row of ``historicalOrders``, and the inside of ``orderStatus``."""
    order = long_order(row.order, is_closed=row.status not in {OPEN, "triggered"})
    return {"order": order, "status": row.status, "statusTimestamp": row.time_ms}


def update(row: StatusRow) -> dict[str, Any]:
    """A row of the ``orderUpdates`` channel."""
    return {"order": basic_order(row.order), "status": row.status, "statusTimestamp": row.time_ms}


def fill(execution: Execution, address: str) -> dict[str, Any]:
    """A row of ``userFills``; cloid and liquidation only when there are any."""
    row: dict[str, Any] = {
        "coin": execution.symbol,
        "px": text(_printed_px(execution)),
        "sz": text(execution.size_base),
        "side": side(is_buy=execution.is_buy),
        "time": execution.time_ms,
        "startPosition": text(execution.start_position_base),
        "dir": execution.direction,
        "closedPnl": text(execution.closed_pnl_usd.quantize(FUNDING_DECIMALS)),
        "hash": digest("fill", execution.oid, execution.time_ms),
        "oid": execution.oid,
        "crossed": execution.crossed,
        "fee": text(execution.fee_usd),
        "tid": execution.tid,
        "feeToken": FEE_TOKEN,
        "twapId": None,
    }
    if execution.cloid is not None:
        row["cloid"] = execution.cloid
    if execution.liquidation_mark_px is not None:
        mark = text(execution.liquidation_mark_px)
        method = "backstop" if execution.direction.startswith("Liquidated") else "market"
        row["liquidation"] = {"liquidatedUser": address, "markPx": mark, "method": method}
    return row


def liquidation_event(row: Liquidation, address: str) -> dict[str, Any]:
    """A liquidation as the ``userEvents`` channel tells it."""
    return {
        "lid": int(digest("liquidation", address, row.time_ms, row.symbol)[2:14], 16),
        "liquidator": LIQUIDATOR,
        "liquidated_user": address,
        "liquidated_ntl_pos": text(abs(row.size_base) * row.mark_px),
        "liquidated_account_value": text(row.equity_usd.quantize(FUNDING_DECIMALS)),
    }


def _printed_px(execution: Execution) -> Decimal:
    """A takeover's price is a quotient of 28 digits; the venue's prices end after eight decimals."""
    exponent = execution.px.as_tuple().exponent
    is_long = isinstance(exponent, int) and exponent < -PX_DECIMALS
    return execution.px.quantize(Decimal(1).scaleb(-PX_DECIMALS)) if is_long else execution.px


def funding_delta(payment: FundingPayment) -> dict[str, Any]:
    """A funding payment as signed cash flow of the account (received positive)."""
    return {
        "coin": payment.symbol,
        "usdc": text((-payment.paid_usd).quantize(FUNDING_DECIMALS)),
        "szi": text(payment.size_base),
        "fundingRate": text(payment.rate),
        "nSamples": None,
    }


def funding(payment: FundingPayment) -> dict[str, Any]:
    """A row of ``userFunding``."""
    return {
        "time": payment.time_ms,
        "hash": digest("funding", payment.time_ms, payment.symbol),
        "delta": {"type": "funding", **funding_delta(payment)},
    }


def ledger(row: LedgerRow) -> dict[str, Any]:
    """A row of ``userNonFundingLedgerUpdates``."""
    return {
        "time": row.time_ms,
        "hash": digest("ledger", row.time_ms, sorted(row.delta.items(), key=str)),
        "delta": row.delta,
    }


def active_asset(rules: VenueRules, mark_px: Decimal, account: Account, coin: str) -> dict[str, Any]:
    """``activeAssetData``: leverage set for a coin, and how much of it could be traded now."""
    setting = account.state.setting(coin, rules)
    held = account.state.positions.get(coin)
    leverage: dict[str, Any] = {
        "type": "cross" if setting.is_cross else "isolated",
        "value": setting.leverage,
    }
    if not setting.is_cross:
        leverage["rawUsd"] = text(held.isolated_raw_usd if held else Decimal(0))
    free = free_margin_usd(account.state, rules)
    size = floor_size(free * setting.leverage / mark_px, rules.assets[coin].size_decimals)
    return {
        "user": account.address,
        "coin": coin,
        "leverage": leverage,
        "maxTradeSzs": [text(size)] * 2,
        "availableToTrade": [text(free.quantize(FUNDING_DECIMALS))] * 2,
        "markPx": text(mark_px),
    }
