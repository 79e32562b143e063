"""Client order ids: which orders are ours, and which order of which cycle one is.

Belongs here: the form of an id and how it is derived.
Does not belong here: sending, looking up or remembering orders.

An id is 16 bytes: a tag of 4 bytes that marks the account's orders as ours without any journal, then 12
bytes of a hash of (cycle, symbol, leg, attempt). The same step of the same cycle always has the same id,
so that a second run can ask the venue for it before it sends anything.
"""

from hashlib import sha256

TAG_DIGITS = 8
_HASH_DIGITS = 24
_HEX_DIGITS = frozenset("0123456789abcdef")


def account_tag(account_address: str, network: str) -> str:
    """8 hex digits for one account on one network; upper and lower case addresses give the same tag."""
    return _digest(account_address.lower(), network)[:TAG_DIGITS]


def cloid(tag: str, cycle_ms: int, symbol: str, leg: str, attempt: int) -> str:
    """The id of one order: ``0x``, ``tag``, 24 hex digits.

    Args:
        tag: 8 lower-case hex digits, see :func:`account_tag`.
        cycle_ms: the decision time.
        symbol: the coin.
        leg: what the order is for, e.g. ``open`` or ``stop_loss``.
        attempt: 0 for the first order of its kind in the cycle.

    Raises:
        ValueError: for a tag of another form.
    """
    if len(tag) != TAG_DIGITS or not _HEX_DIGITS.issuperset(tag):
        raise ValueError(f"an order tag is {TAG_DIGITS} lower-case hex digits, not {tag!r}")
    return f"0x{tag}{_digest(str(cycle_ms), symbol, leg, str(attempt))[:_HASH_DIGITS]}"


def is_ours(cloid: str | None, tag: str) -> bool:
    """Whether an order with that id, if it has one, was made under ``tag``."""
    return cloid is not None and cloid.lower().startswith(f"0x{tag}")


def _digest(*parts: str) -> str:
    # A unit separator cannot occur in a part, so that no two lists of parts share one text.
    return sha256("\x1f".join(parts).encode()).hexdigest()
