"""Orders of one request: alone, as a bracket, as the exits of a position; and their replacement (§8.4, §9).

Belongs here: grouping, modify, and the faults that befall single orders.
Does not belong here: who may order (``actions``), what one order does (``core.simulation``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.precision import floor_size, lot_base
from wonttrade_dagster.core.simulation.events import OrderOutcome
from wonttrade_dagster.core.simulation.records import (
    Level,
    OrderRequest,
    OrderStatus,
    Quote,
    StandingOrder,
    Tif,
)
from wonttrade_dagster.sandbox.account_log import TpslGroup
from wonttrade_dagster.sandbox.answers import WAITING_FOR_FILL, WAITING_FOR_TRIGGER, order_status
from wonttrade_dagster.sandbox.envelopes import SchemaError, WireOrder, read_list, read_oid, read_order
from wonttrade_dagster.sandbox.faults import FaultList
from wonttrade_dagster.sandbox.venue import LoopbackVenue, Reshape

ORDER_KINDS = frozenset({"partial_ioc", "trigger_rejected", "order_rejected"})
DEFAULT_PARTIAL_FRACTION = 0.5
BAD_MODIFY = "Attempted to modify to invalid new order"
DEAD_MODIFY = "Cannot modify canceled or filled order"


class Refused(Exception):  # noqa: N818 (the venue's answer, not a defect)
    """The venue refuses the whole request; the message is its sentence."""


def symbol_of(venue: LoopbackVenue, asset_id: int) -> str:
    """The coin of an asset id. Raises ``Refused`` for one that is not traded."""
    for symbol, spec in venue.rules.assets.items():
        if spec.asset_id == asset_id:
            return symbol
    raise Refused(f"Asset {asset_id} is not tradable.")


def place_all(
    venue: LoopbackVenue, faults: FaultList, user: str, action: Mapping[str, Any]
) -> list[dict[str, Any] | str]:
    """Statuses of an ``order`` action. Raises ``SchemaError``, ``Refused``."""
    wires = [read_order(row) for row in read_list(action.get("orders"), "orders")]
    grouping = action.get("grouping")
    if not wires:
        raise Refused("Orders are empty.")
    for wire in wires:
        symbol_of(venue, wire.asset_id)
    if isinstance(grouping, dict) and grouping.keys() == {"p"}:
        grouping = "na"
    desk = _Desk(venue, faults, user)
    match grouping:
        case "na":
            return [desk.single(wire) for wire in wires]
        case "positionTpsl":
            return [desk.position_exit(wire) for wire in wires]
        case "normalTpsl":
            return desk.bracket(wires)
    raise SchemaError(f"no grouping {grouping!r}")


def modify_all(venue: LoopbackVenue, user: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Statuses of a ``batchModify``. An order that is already gone refuses the batch before anything moves.

    Raises:
        Refused: there is nothing left to modify.
        SchemaError: a row is no modification.
    """
    keys = [read_oid(row.get("oid")) for row in rows]
    standing = venue.accounts[user].state.orders.values()
    known = {key for order in standing for key in (order.oid, order.request.cloid)}
    if not rows:
        raise Refused("Orders are empty.")
    if not known.issuperset(keys):
        raise Refused(DEAD_MODIFY)
    return [modify(venue, user, row) for row in rows]


def modify(venue: LoopbackVenue, user: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace one standing order: cancel and place, under a new oid.

    Only a plain limit order that does not cross may follow; otherwise the old one stays. A replacement that
    would cross is refused when the old one is already gone (measured on the testnet, protocol §8.4). With
    the venue's flag ``a`` ("always place"), which the SDK cannot send, whatever is asked for follows.

    Raises:
        Refused: there is nothing left to modify.
        SchemaError: the row is no modification.
    """
    key, wire = read_oid(row.get("oid")), read_order(row.get("order"))
    standing = venue.accounts[user].state.orders.values()
    old = next((o for o in standing if key in (o.oid, o.request.cloid)), None)
    if old is None:
        raise Refused(DEAD_MODIFY)
    request = wire.request(symbol_of(venue, wire.asset_id))
    if row.get("a") is True:
        venue.cancel(user, old.oid)
        return order_status(venue.place(user, request), wire.asset_id, wire.cloid)
    is_plain = request.trigger is None and old.request.trigger is None and request.tif is not Tif.IOC
    if not is_plain or request.is_buy != old.request.is_buy or request.symbol != old.symbol:
        return {"error": f"{BAD_MODIFY} asset={wire.asset_id}"}
    venue.cancel(user, old.oid)
    outcome = venue.place(user, replace(request, tif=Tif.ALO))
    return order_status(outcome, wire.asset_id, wire.cloid)


@dataclass(frozen=True, slots=True)
class _OneOrder:
    """What a fault of a single order is limited by."""

    symbol: str
    user: str

    def has_coin(self, coin: str) -> bool:
        """Whether the order is for that coin."""
        return coin == self.symbol

    def has_user(self, address: str) -> bool:
        """Whether the account is that one."""
        return address.lower() == self.user


class _Desk:
    """Places the orders of one request for one user."""

    def __init__(self, venue: LoopbackVenue, faults: FaultList, user: str) -> None:
        self._venue = venue
        self._faults = faults
        self._user = user

    def single(self, wire: WireOrder) -> dict[str, Any]:
        """An order without relatives; a lone trigger answers as resting."""
        outcome = self._place(wire, wire.request(symbol_of(self._venue, wire.asset_id)))
        return order_status(outcome, wire.asset_id, wire.cloid)

    def position_exit(self, wire: WireOrder) -> dict[str, Any] | str:
        """A stop or take-profit that belongs to the position: answered without an oid."""
        request = wire.request(symbol_of(self._venue, wire.asset_id), is_position_tpsl=True)
        problem = _bad_child(request, None)
        if problem is not None:
            return {"error": f"{problem} asset={wire.asset_id}"}
        outcome = self._place(wire, request)
        is_accepted = outcome.error is None
        return WAITING_FOR_TRIGGER if is_accepted else order_status(outcome, wire.asset_id, wire.cloid)

    def bracket(self, wires: list[WireOrder]) -> list[dict[str, Any] | str]:
        """A parent and the exits that wait for its fill; one child's fill cancels the other."""
        parent, *children = [(wire, wire.request(symbol_of(self._venue, wire.asset_id))) for wire in wires]
        problem = "Main order cannot be trigger order." if parent[1].trigger is not None else None
        problem = problem or next((p for _, c in children if (p := _bad_child(c, parent[1]))), None)
        if problem is not None:
            return [{"error": f"{problem} asset={wire.asset_id}"} for wire in wires]
        outcome = self._place(*parent, bracket=True)
        first = order_status(outcome, parent[0].asset_id, parent[0].cloid)
        if outcome.error is not None or outcome.oid is None:
            return [dict(first) for _ in wires]
        account = self._venue.accounts[self._user]
        requests = [request for wire, request in children if not self._is_rejected(wire, request)]
        now_ms = self._venue.settled_ms
        waiting = [StandingOrder(0, r, r.size_base, now_ms, is_waiting=True) for r in requests]
        group = TpslGroup(outcome.oid, waiting)
        account.groups.append(group)
        if outcome.oid in account.state.orders:
            self._venue.number_children(account, group)
        self._venue.follow_up(account)
        word = WAITING_FOR_FILL if group.waiting else WAITING_FOR_TRIGGER
        accepted = {id(request) for request in requests}
        return [first, *(self._child_status(w, word, is_ok=id(r) in accepted) for w, r in children)]

    def _child_status(self, wire: WireOrder, word: str, *, is_ok: bool) -> dict[str, Any] | str:
        return word if is_ok else {"error": f"Invalid TP/SL price. asset={wire.asset_id}"}

    def _place(self, wire: WireOrder, request: OrderRequest, *, bracket: bool = False) -> OrderOutcome:
        if self._is_rejected(wire, request):
            return OrderOutcome(OrderStatus.TRIGGER_PX_REJECTED, None, "Invalid TP/SL price.")
        rejected = self._faults.take("exchange", "order", frozenset({"order_rejected"}), self._one(request))
        if rejected is not None:
            sentence = str(rejected.options.get("error", "Insufficient margin to place order."))
            return OrderOutcome(OrderStatus.REJECTED, None, sentence)
        return self._venue.place(self._user, request, reshape=self._thinning(request), bracket=bracket)

    def _is_rejected(self, _wire: WireOrder, request: OrderRequest) -> bool:
        if request.trigger is None:
            return False
        kinds = frozenset({"trigger_rejected"})
        return self._faults.take("exchange", "order", kinds, self._one(request)) is not None

    def _one(self, request: OrderRequest) -> "_OneOrder":
        return _OneOrder(request.symbol, self._user)

    def _thinning(self, request: OrderRequest) -> Reshape | None:
        if request.trigger is not None or request.tif is not Tif.IOC:
            return None
        fault = self._faults.take("exchange", "order", frozenset({"partial_ioc"}), self._one(request))
        if fault is None:
            return None
        decimals = self._venue.rules.assets[request.symbol].size_decimals
        fraction = Decimal(str(fault.options.get("fraction", DEFAULT_PARTIAL_FRACTION)))
        size = max(floor_size(request.size_base * fraction, decimals), lot_base(decimals))
        return lambda quote: _thin(quote, size)


def _bad_child(request: OrderRequest, parent: OrderRequest | None) -> str | None:
    if request.trigger is None or not request.reduce_only:
        return "Trigger order is not reduce only."
    if parent is not None and (request.is_buy == parent.is_buy or request.symbol != parent.symbol):
        return "Trigger order has unexpected side."
    return None


def _thin(quote: Quote, size_base: Decimal) -> Quote:
    """A book that holds only ``size_base`` on each side, at its best price."""
    bid, ask = quote.bids[0].px, quote.asks[0].px
    return replace(quote, bids=(Level(bid, size_base),), asks=(Level(ask, size_base),))
