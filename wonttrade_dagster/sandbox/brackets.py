"""``normalTpsl`` brackets: children that wait for their parent's fill and then cancel each other (§9).

Belongs here: what the events of an account mean for its brackets. Does not belong here: placing, cancelling.

Children are placed when the parent is filled whole, or filled in part and then cancelled for margin; any
other end of the parent ends them. When one child fills, the other is ``siblingFilledCanceled``.
"""

from collections.abc import Iterator

from wonttrade_dagster.core.simulation.records import OrderStatus, StandingOrder
from wonttrade_dagster.sandbox.account_log import CHILD_CANCELED, Account, StatusRow, TpslGroup

FILLED = OrderStatus.FILLED.value
GONE = OrderStatus.REDUCE_ONLY_CANCELED.value


def groups_to_place(account: Account) -> Iterator[TpslGroup]:
    """The groups whose waiting children are due."""
    for group in list(account.groups):
        parent = account.find(group.parent_oid)
        if group.waiting and parent is not None and _releases(parent):
            yield group


def siblings_to_cancel(account: Account) -> list[tuple[int, str]]:
    """Standing children whose sibling has filled, with the status that they end in.

    Children that the exchange has cancelled by itself in the same step get the exact word for it.
    """
    found: list[tuple[int, str]] = []
    for group in account.groups:
        ends = {oid: row.status for oid in group.child_oids if (row := account.find(oid)) is not None}
        if FILLED not in ends.values():
            continue
        for oid, status in ends.items():
            if status == GONE:
                account.relabel(oid, CHILD_CANCELED)
            elif status != FILLED and oid in account.state.orders:
                found.append((oid, CHILD_CANCELED))
    return found


def alive(account: Account) -> list[TpslGroup]:
    """The groups that can still act: a parent that stands, or at least two standing children."""
    standing = account.state.orders
    return [
        group
        for group in account.groups
        if (group.waiting and group.parent_oid in standing)
        or sum(oid in standing for oid in group.child_oids) > 1
    ]


def ended(account: Account) -> list[StandingOrder]:
    """Children that wait for a parent that is gone for another reason than its fill."""
    standing = account.state.orders
    return [o for group in account.groups if group.parent_oid not in standing for o in group.waiting]


def _releases(parent: StatusRow) -> bool:
    is_partly_filled = parent.order.open_base < parent.order.request.size_base
    is_cut_short = parent.status == OrderStatus.MARGIN_CANCELED.value and is_partly_filled
    return parent.status == FILLED or is_cut_short
