"""What the venue answered to an action, normalised item by item; nothing here raises for a batch.

Belongs here: the two levels of an exchange answer, order statuses, which errors mean "already gone".
Does not belong here: sending, looking up a lost answer (``exchange``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.adapters.hyperliquid.fields import Row, shown
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import ActionStatus

_WAITING = frozenset({"waitingForTrigger", "waitingForFill"})
_ALREADY_GONE = "Order was never placed, already canceled, or filled"
MAX_SENTENCE_CHARS = 300
"""The longest error on record has 130 characters."""
_STANDING_STATUSES = frozenset({"open"})


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """What became of one item of an action."""

    status: ActionStatus
    message: str = ""
    oid: int | None = None
    filled_base: Decimal = Decimal(0)
    average_px: Decimal | None = None


def normalise(answer: object, count: int) -> tuple[ItemAnswer, ...]:
    """One answer per item sent.

    ``status: err`` and a lone error stand for the whole batch; items that the venue did not answer are
    unknown, as is everything that the protocol does not name.
    """
    try:
        row = Row.of(answer, "exchange answer")
        if row.text("status") == "err":
            return (ItemAnswer(ActionStatus.ERROR, _sentence(row.value("response"))),) * count
        if row.text("status") != "ok":
            return (_unknown(answer),) * count
        return _items(row.row("response"), count)
    except VenueAnswerError as error:
        return (ItemAnswer(ActionStatus.UNKNOWN, str(error)),) * count


def _items(response: Row, count: int) -> tuple[ItemAnswer, ...]:
    if response.text("type") == "default":
        return (ItemAnswer(ActionStatus.DONE),) * count
    statuses = response.row("data").value("statuses")
    if not isinstance(statuses, list):
        return (_unknown(statuses),) * count
    items = tuple(_item(status) for status in statuses[:count])
    if len(items) == 1 and items[0].status is ActionStatus.ERROR:
        return items * count
    silent = ItemAnswer(ActionStatus.UNKNOWN, "the venue answered fewer items than were sent")
    return items + (silent,) * (count - len(items))


def _item(status: object) -> ItemAnswer:
    if status == "success":
        return ItemAnswer(ActionStatus.DONE)
    if isinstance(status, str) and status in _WAITING:
        return ItemAnswer(ActionStatus.WAITING, status)
    if not isinstance(status, dict) or len(status) != 1:
        return _unknown(status)
    (name, body), *_ = status.items()
    read = _READERS.get(name)
    try:
        return read(body) if read else _unknown(status)
    except VenueAnswerError as error:
        return ItemAnswer(ActionStatus.UNKNOWN, str(error))


def _filled(body: object) -> ItemAnswer:
    row = Row.of(body, "filled")
    return ItemAnswer(
        ActionStatus.FILLED,
        oid=row.integer("oid"),
        filled_base=row.decimal("totalSz"),
        average_px=row.price("avgPx"),
    )


def _resting(body: object) -> ItemAnswer:
    return ItemAnswer(ActionStatus.RESTING, oid=Row.of(body, "resting").integer("oid"))


def _error(body: object) -> ItemAnswer:
    text = _sentence(body)
    if text.startswith(_ALREADY_GONE):
        return ItemAnswer(ActionStatus.DONE, text)
    return ItemAnswer(ActionStatus.ERROR, text)


def _sentence(text: object) -> str:
    """The venue's words as a person and the next prompt may see them: one printable line, not too long."""
    line = "".join(c if c.isprintable() else " " for c in (text if isinstance(text, str) else shown(text)))
    return line if len(line) <= MAX_SENTENCE_CHARS else f"{line[: MAX_SENTENCE_CHARS - 1]}…"


_READERS: dict[str, Callable[[object], ItemAnswer]] = {
    "filled": _filled,
    "resting": _resting,
    "error": _error,
}


def _unknown(value: object) -> ItemAnswer:
    return ItemAnswer(ActionStatus.UNKNOWN, f"the venue answered {shown(value)}")


def parse_order_status(answer: object) -> ItemAnswer | None:
    """``orderStatus``; None for ``unknownOid``, which is not proof that the order never existed.

    More than thirty statuses exist and grow: those not named here are told apart by their ending.
    Raises ``VenueAnswerError``.
    """
    row = Row.of(answer, "orderStatus")
    outer = row.text("status")
    if outer == "unknownOid":
        return None
    if outer != "order":
        return _unknown(outer)
    found = row.row("order")
    order, status = found.row("order"), found.text("status")
    filled = max(order.decimal("origSz") - order.decimal("sz"), Decimal(0))
    oid = order.integer("oid")
    return ItemAnswer(
        classify(status, filled), _sentence(status), oid, filled if _has_fills(status) else Decimal(0)
    )


def classify(status: str, filled_base: Decimal = Decimal(0)) -> ActionStatus:
    """An order status; a cancelled order that had filled in part counts as filled."""
    if status in _STANDING_STATUSES:
        return ActionStatus.RESTING
    if status == "filled":
        return ActionStatus.FILLED
    if status == "triggered":
        return ActionStatus.DONE
    if status.lower().endswith("rejected"):
        return ActionStatus.ERROR
    if status.lower().endswith(("canceled", "cancelled", "cancel")):
        return ActionStatus.FILLED if filled_base else ActionStatus.ERROR
    return ActionStatus.UNKNOWN


def _has_fills(status: str) -> bool:
    return not status.lower().endswith("rejected")
