"""Another machine that trades the same account: what it leaves on the venue, and what that forbids.

Belongs here: how it is noticed and told. Does not belong here: what a journal proves (``AuditSink``), the
lease that keeps a second process of this machine out.
"""

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.client_order_id import is_ours
from wonttrade_dagster.core.errors import StorageError
from wonttrade_dagster.core.model import AccountSnapshot, Decision, ExecutionPlan, OpenOrder, Refusal
from wonttrade_dagster.core.ports import AuditSink


def strangers(audit: AuditSink, account: AccountSnapshot, tag: str) -> tuple[OpenOrder, ...]:
    """Open orders under this account's tag that an intact journal does not know as intents."""
    tagged = [order for order in account.open_orders if is_ours(order.cloid, tag)]
    try:
        return audit.strangers(tagged)
    except StorageError:
        return ()  # a journal that cannot be read proves nothing, and refuses the decision by itself


def alone_only(found: tuple[OpenOrder, ...], outcome: Decision | Refusal) -> Decision | Refusal:
    """Two machines would undo each other's decisions: none of this one's is applied."""
    if not found or isinstance(outcome, Refusal):
        return outcome
    return Refusal("second_machine", f"another machine trades this account: {_named(found)}")


def with_alert(found: tuple[OpenOrder, ...], plan: ExecutionPlan) -> ExecutionPlan:
    """The plan with a sentence in capitals before its own."""
    if not found:
        return plan
    alert = f"A SECOND MACHINE TRADES THIS ACCOUNT: {_named(found)}; STOP ONE OF THE TWO"
    return replace(plan, alerts=(alert, *plan.alerts))


def _named(found: tuple[OpenOrder, ...]) -> str:
    orders = ", ".join(f"{order.symbol} order {order.oid}" for order in found)
    return f"{orders} on the venue carries its tag, and its journal never sent it"
