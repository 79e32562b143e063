"""The venue's nonce rules (protocol §6).

Belongs here: whether a signer may use a nonce. Does not belong here: who the signer is.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping

KEPT = 100
DAY_MS = 86_400_000
MARGIN_MS = 120_000
OLDEST_MS = 2 * DAY_MS - MARGIN_MS
NEWEST_MS = DAY_MS - MARGIN_MS
"""Documented: two days back, one ahead; measured two minutes narrower at both ends, which is stricter."""


class NonceError(ValueError):
    """The nonce was used before, or lies outside the window; the message is the venue's."""


class NonceBook:
    """The highest 100 nonces of every signer (agents have their own)."""

    def __init__(self, used: Mapping[str, list[int]] | None = None) -> None:
        self._used = {signer: sorted(nonces) for signer, nonces in (used or {}).items()}

    def use(self, signer: str, nonce: int, now_ms: int) -> None:
        """Book a nonce of ``signer``. Raises ``NonceError`` with the venue's sentence."""
        used = self._used.setdefault(signer, [])
        index = bisect_left(used, nonce)
        if index < len(used) and used[index] == nonce:
            raise NonceError(f"Invalid nonce: duplicate nonce {nonce}")
        lowest = max(now_ms - OLDEST_MS, used[0] if len(used) >= KEPT else 0)
        if nonce < lowest:
            raise NonceError(f"Invalid nonce: nonce too low {nonce} < {lowest}")
        if nonce > now_ms + NEWEST_MS:
            raise NonceError(f"Invalid nonce: nonce too high {nonce} > {now_ms + NEWEST_MS}")
        insort(used, nonce)
        del used[:-KEPT]

    def saved(self) -> dict[str, list[int]]:
        """The nonces by signer, as JSON."""
        return {signer: list(nonces) for signer, nonces in self._used.items()}
